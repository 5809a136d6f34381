"""Tables whose numbers come with their sources: a key in a file, or a place in the paper.

A source is written as in the cell's title: `metrics/data.json: rows.val.fear`, `metrics/compare.json: votes[3].gain`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fer_pipeline.report.show import NONE, show

PRINTED = ("paper", "literature")
"""Sources whose cells are titled by the place that prints their value."""


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    source: str = ""
    """`metrics/resnet18.json: macro_f1` or `paper: Table 5`, the cell's title in HTML; empty if it is not a number."""


EMPTY = Cell(NONE)


Table = list[list[Cell]]
"""Rows, the head first; the first cell of each row is its name."""


class Files(dict[str, Any]):
    """{path, as cells name it: content} of the files that cells are from: records, dicts and lists in each other."""

    def cell(self, source: str, form: str, place: str = "") -> Cell:
        """The value of a source, shown in a form; 'file: a / b' is a quotient.

        A dash if the value is None, or is the paper's and has no `place` there.
        """
        path, key = source.split(": ")
        if path in PRINTED and not place:
            return EMPTY
        values = [follow(self[path], part) for part in key.split(" / ")]
        if values[0] is None:
            return EMPTY
        value = values[0] / values[1] if values[1:] else values[0]
        return Cell(show(value, form), f"{path}: {place}" if path in PRINTED else source)

    def tabulate(self, first: str, rows: Iterable[Any], columns: Iterable[Any]) -> Table:
        """A table whose names stand under the head `first`.

        Args:
            rows: (key, name), or (key, name, form, place) for columns that have none; a name may be a cell.
            columns: (head, source, form, place). `{}` stands for a row's key, in a source `{1}` for its name.
        """
        columns = list(columns)
        table = [[Cell(first), *(Cell(head) for head, *_ in columns)]]
        for key, name, *own in rows:
            table.append([name if isinstance(name, Cell) else Cell(name)])
            for _, source, *form in columns:
                how, place = [*(form or own), ""][:2]
                table[-1].append(self.cell(source.format(key, name), how, place.format(key)))
        return table


def follow(content: Any, key: str) -> Any:
    """The value in `content` under a dotted key; None below None, and for a key that a dict lacks."""
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(content, list):
            content = content[int(part)]
        elif content is not None:
            content = content.get(part) if isinstance(content, dict) else getattr(content, part)
    return content


def spread(items: Iterable[tuple[Any, str]], columns: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """`columns` for each (key, name) of `items`, which replace <key> and <name>."""
    return [
        tuple(part.replace("<key>", str(key)).replace("<name>", name) for part in column)
        for key, name in items
        for column in columns
    ]
