"""Tables and their cells: each number comes with its source, a key in a file or a place in the paper.

A source is written as in the cell's title: `metrics/data.json: rows.val.fear`, `metrics/compare.json: votes[3].gain`.
In the source of a column, `{}` stands for the key of the row.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from fer_pipeline.report.show import NONE

Show = Callable[[Any], str]
Column = tuple[str, str, Show] | tuple[str, str, Show, str]
"""Head, source, how to show a value, and for the paper's values the place in the paper."""


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    source: str = ""
    """`metrics/resnet18.json: macro_f1` or `paper: Table 5`, the cell's title in HTML; empty if it is not a number."""


EMPTY = Cell(NONE)


class Table(NamedTuple):
    """A table of the page; the first cell of each row is its name."""

    head: list[str]
    rows: list[list[Cell]]


class Files(dict[str, Any]):
    """{path, as cells name it: content} of the files that cells are from: records, dicts and lists in each other."""

    def cell(self, source: str, show: Show, place: str = "") -> Cell:
        """The value of a source; 'file: a / b' is a quotient. A dash if the value, or what it lies in, is None."""
        path, key = source.split(": ")
        values = [follow(self[path], part) for part in key.split(" / ")]
        if values[0] is None:
            return EMPTY
        return Cell(show(values[0] / values[1] if values[1:] else values[0]), f"paper: {place}" if place else source)

    def tabulate(self, first: str, rows: Iterable[tuple[str, str]], columns: Iterable[Column]) -> Table:
        """A table with the names of `rows` [(name, key), ...] under the head `first`, and these columns."""
        columns = list(columns)
        return Table(
            [first, *(head for head, *_ in columns)],
            [
                [Cell(name), *(self.cell(source.replace("{}", key), *how) for _, source, *how in columns)]
                for name, key in rows
            ],
        )


def follow(content: Any, key: str) -> Any:
    """The value in `content` under a dotted key; None below None."""
    for part in re.findall(r"[^.\[\]]+", key):
        if content is None:
            return None
        if isinstance(content, list):
            content = content[int(part)]
        else:
            content = content[part] if isinstance(content, dict) else getattr(content, part)
    return content


def repeat(names: Iterable[str]) -> list[tuple[str, str]]:
    """Rows whose names are their keys."""
    return [(name, name) for name in names]
