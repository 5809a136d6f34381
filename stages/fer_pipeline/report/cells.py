"""A table's cells: each number with the file and the key that it comes from, which cannot part.

A key is a path in a JSON or YAML file: `macro_f1`, `per_class.fear.f1`, `ensembles[3].accuracy`.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from fer_pipeline.report.captions import NONE, percent


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    source: str = ""
    """`metrics/resnet18.json: macro_f1` or `paper: Table 5`, the cell's title in HTML; empty where it is no number."""


EMPTY = Cell(NONE)


class File(NamedTuple):
    """A file from which cells are taken."""

    path: str
    """As its cells name it."""
    content: Any
    """Records, sections of params.yaml, dicts and lists in each other."""

    def cell(self, key: str, show: Callable[[Any], str]) -> Cell:
        """What stands under `key`, shown by `show`; a dash where it is None or lies within None."""
        value = follow(self.content, key)
        return EMPTY if value is None else Cell(show(value), f"{self.path}: {key}")

    def share(self, part: str, whole: str) -> Cell:
        """One number by another, in percent."""
        share = follow(self.content, part) / follow(self.content, whole)
        return Cell(percent(share, 1), f"{self.path}: {part} / {whole}")


def follow(content: Any, key: str) -> Any:
    """What stands in `content` under a dotted key; None within None."""
    for part in re.findall(r"[^.\[\]]+", key):
        if content is None:
            return None
        if isinstance(content, list):
            content = content[int(part)]
        else:
            content = content[part] if isinstance(content, dict) else getattr(content, part)
    return content


def cite(value: Any, show: Callable[[Any], str], place: str) -> Cell:
    """A number of the paper's, with the table or section where it stands; a dash for None."""
    return EMPTY if value is None else Cell(show(value), f"paper: {place}")


class Table(NamedTuple):
    """A table of the page; the first cell of each row is its name."""

    id: str
    title: str
    caption: str
    head: list[str]
    rows: list[list[Cell]]
    notes: tuple[str, ...] = ()
    wordy: bool = False
    """All but the last column are words."""
