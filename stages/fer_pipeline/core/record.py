"""What the JSON files of metrics/ have in common: they are written and read by classes that say what they hold."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import to_json

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[list[Share], Field(min_length=2, max_length=2)]
"""[low, high] of a 95 % interval."""
Difference = Annotated[float, Field(ge=-1, le=1)]


class Record(BaseModel):
    """A JSON object with exactly these keys, in this order; NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def to_bytes(self) -> bytes:
        """The JSON file."""
        return to_json(self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: str | Path, stage: str) -> Self:
        """The record in a JSON file that the DVC stage `stage` writes.

        Raises:
            InputError: the file is missing, no JSON, or has other keys or types.
        """
        remedy = f"run `dvc repro {stage}`"
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except FileNotFoundError:
            raise InputError(f"{path}: not found; {remedy}") from None
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "the file"
            raise InputError(f"{path}: {where}: {problem['msg']}; {remedy}") from None
