"""The terms of raw data: the challenge's and FER+'s words, and the rows that every form is read into."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError

Row = TypeVar("Row")
Parsed = TypeVar("Parsed")

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The challenge's three parts."""

ANNOTATORS = 10
"""How many people voted on each face in FER+."""

FERPLUS_COLUMNS = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "contempt",
    "unknown": "unknown",
    "NF": "no face",
}
"""{column of FER+'s file: name in `VOTE_CLASSES`}, in the file's order."""


class Rows(NamedTuple):
    """All rows of a source, in its order."""

    images: npt.NDArray[np.uint8]
    """uint8 (N, 48, 48), 0..255."""
    labels: npt.NDArray[np.uint8]
    """uint8 (N,), 0..6, positions in `CLASSES`."""
    usages: npt.NDArray[np.uint8]
    """uint8 (N,), 0..2, positions in `USAGES`."""
    kind: Literal["table", "images"]
    """The challenge's CSV, or pictures in folders."""
    md5: str
    """Hex digest of the file; for a folder, of its names and bytes."""
    challenge_file: str | None = None
    """The name of the challenge's file that the table is, byte for byte, wherever it was packed; None for any other."""
    conversions: Mapping[str, int] = {}
    """Pictures converted to grey, by Pillow's mode."""
    left_out: Mapping[str, int] = {}
    """{folder: pictures of another data set} for pictures that are below no folder named after an emotion."""
    scaled: int = 0
    """Pictures of another data set that had another size than 48x48."""


class BadRow(ValueError):
    """A row that differs from the form of its file; the message says what was found and expected."""


def name_columns(fields: Sequence[str], expected: Sequence[str]) -> list[str] | None:
    """A header's columns in small letters; None unless it has each of `expected` exactly once."""
    names = [field.strip().lower() for field in fields]
    return names if all(names.count(name) == 1 for name in expected) else None


def find_usage(text: str) -> int:
    """The position in `USAGES` of what a row says; `BadRow` for anything else."""
    if text.strip() not in USAGES:
        raise BadRow(f"Usage is {excerpt(text)}, expected {', '.join(USAGES)}")
    return USAGES.index(text.strip())


def parse_all(rows: Iterable[tuple[str, Row]], parse: Callable[[Row], Parsed]) -> tuple[list[Parsed], list[str]]:
    """Parse `rows`, pairs of place and row: the results, and 'place: message' where `parse` raises ValueError."""
    results, problems = [], []
    for place, row in rows:
        try:
            results.append(parse(row))
        except ValueError as error:
            problems.append(f"{place}: {error}")
    return results, problems


def excerpt(found: str) -> str:
    """`found` for a message: quoted, escaped to ASCII, at most 40 characters."""
    text = found.strip("\r\n")
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def refuse(name: str | Path, what: str, problems: Sequence[str]) -> None:
    """Raise `InputError` if the file `name` has `problems`: lists the first ten, and counts all as bad `what`s."""
    if problems:
        plural = "" if len(problems) == 1 else "s"
        listed = [*problems[:10], *([f"... and {len(problems) - 10:,} more"] if len(problems) > 10 else [])]
        raise InputError(f"{name}: {len(problems):,} bad {what}{plural}; correct or remove:\n  " + "\n  ".join(listed))
