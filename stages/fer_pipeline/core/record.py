"""The base class of the JSON files in metrics/: each has a class that states its keys and writes and reads it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import to_json

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[list[Share], Field(min_length=2, max_length=2)]  # [low, high]: a 95 % interval
Difference = Annotated[float, Field(ge=-1, le=1)]
Device = Literal["cpu", "cuda", "mps"]  # mps: Apple's GPU
Precision = Literal["float32", "bfloat16", "float16"]


class Record(BaseModel):
    """A JSON object with exactly the keys of the class, in their order. NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def to_bytes(self) -> bytes:
        """The record as a JSON file."""
        return to_json(self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | Path, stage: str) -> Self:
        """Read a JSON file that the stage `stage` writes; InputError if it is missing, or has other keys or types."""
        remedy = f"run `dvc repro {stage}`"
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except FileNotFoundError:
            raise InputError(f"{path}: not found; {remedy}") from None
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "the file"
            raise InputError(f"{path}: {where}: {problem['msg']}; {remedy}") from None
