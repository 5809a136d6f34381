"""What all readers share: every bad row is named with its place, and all of them in one error."""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from fer_pipeline.core.errors import InputError
from fer_pipeline.raw.rows import USAGES

Row = TypeVar("Row")
Parsed = TypeVar("Parsed")


def name_columns(fields: Sequence[str], expected: Sequence[str]) -> list[str] | None:
    """A header's columns in small letters; None unless it has each of `expected` exactly once."""
    names = [field.strip().lower() for field in fields]
    return names if all(names.count(name) == 1 for name in expected) else None


def name_fields(names: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """{column: text} of a row; ValueError for another number of fields."""
    if len(fields) != len(names):
        raise ValueError(f"{len(fields)} fields, expected {len(names)}")
    return dict(zip(names, fields, strict=True))


def find_usage(text: str) -> int:
    """The position in `USAGES` of what a row says; ValueError for anything else."""
    if text.strip() not in USAGES:
        raise ValueError(f"Usage is {excerpt(text)}, expected {', '.join(USAGES)}")
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


def plain_path(path: str) -> str | None:
    """A relative path with slashes, normalised; None if it leads out of its folder."""
    parts = path.replace("\\", "/").split("/")
    outside = parts[0] == "" or parts[0].endswith(":") or ".." in parts
    return None if outside else posixpath.normpath("/".join(parts))


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
