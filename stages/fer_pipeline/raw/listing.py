"""A table that names pictures: a CSV with the columns path and label, and more that are optional.

`split`; `subject`; `x,y,w,h`, a box around the face in pixels; `group_<name>`; `votes_<class>`, how many annotators
chose a class, with `votes_unknown` and `votes_no_face`. Paths are relative to the table's folder.
"""

import csv
import io
import math
import posixpath
import re
import sys
from collections.abc import Collection, Mapping

import numpy as np

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.votes import NO_CLASS
from fer_pipeline.raw.classes import fold, require_name
from fer_pipeline.raw.folders import Listed
from fer_pipeline.raw.images import OTHER_SUFFIXES, Box, Picture
from fer_pipeline.raw.parsing import excerpt, name_fields, parse_all, plain_path, refuse
from fer_pipeline.raw.splits import PARTS, UNKNOWN
from fer_pipeline.raw.table import Fields, split_rows

BOX = ("x", "y", "w", "h")
PLAIN = ("path", "label", "split", "subject", *BOX)
GROUP, VOTES = "group_", "votes_"
MOST_VOTES = 255  # of a row


def find_columns(header: bytes) -> list[str] | None:
    """The columns of a table that names pictures, the known ones in small letters; None for another file."""
    try:
        fields = next(csv.reader([header.decode("utf-8-sig").rstrip("\r\n")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return None
    columns = []
    for field in map(str.strip, fields):
        small = field.lower()
        prefix = small[:6] if small.startswith((GROUP, VOTES)) else ""
        columns.append(small if small in PLAIN else prefix + field[len(prefix) :])
    return columns if "path" in columns and ("label" in columns or any(c.startswith(VOTES) for c in columns)) else None


def read_list(content: bytes, source: str, folder: str, members: Collection[str], by_votes: bool) -> Listed:
    """Read a table in `folder` of the `members`, as its bytes; `source` names it in messages.

    Raises `InputError` for columns that do not fit together, and lists the first ten bad rows with their number.
    """
    columns = find_columns(content.partition(b"\n")[0]) or []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 at byte {error.start}; save the table as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{source}: line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL character; remove it")
    votes = [column for column in columns if column.startswith(VOTES)]
    voted = {fold(column.removeprefix(VOTES)): column for column in votes}
    chosen = [name for name in voted if name not in NO_CLASS]
    groups = [column for column in columns if column.startswith(GROUP)]
    used = [column for column in columns if column in (*PLAIN, *votes, *groups)]
    if len({*used}) < len(used) or len(voted) < len(votes):
        raise InputError(f"{source}: a column occurs twice in {', '.join(used)}; remove one")
    if 0 < len({*BOX} & {*used}) < len(BOX):
        raise InputError(f"{source}: a box needs all of the columns x, y, w and h; add those that are missing")
    if not by_votes and "label" not in columns:
        raise InputError(f"{source}: no column label; add it, or set prepare.labels to votes in params.yaml")
    if by_votes and not votes:
        raise InputError(
            f"{source}: no columns votes_<class>; add them, or set prepare.labels to emotion in params.yaml"
        )
    if strange := [group for group in groups if not re.fullmatch("[A-Za-z0-9_-]{1,40}", group.removeprefix(GROUP))]:
        raise InputError(f"{source}: the column {excerpt(strange[0])}; name it by letters, digits, _ and - alone")
    for name in chosen:
        require_name(voted[name].removeprefix(VOTES), source)
    if unused := [column for column in columns if column not in used]:
        print(f"warning: {source}: columns that are not used: {', '.join(map(excerpt, unused[:10]))}", file=sys.stderr)

    def parse(fields: Fields) -> tuple[Picture, int, str, list[int], list[str]]:
        if fields is None:
            raise ValueError("a quote that is never closed, or one inside a field")
        texts = {column: one.strip() for column, one in name_fields(columns, fields).items()}
        label = "" if by_votes else require(texts, "label")
        picture = Picture(find_member(require(texts, "path"), folder, members), label, find_box(texts))
        part = UNKNOWN
        if "split" in texts and (part := PARTS.get(texts["split"].lower(), UNKNOWN)) == UNKNOWN:
            raise ValueError(f"split is {excerpt(texts['split'])}, expected train, val or test")
        counts = [count_votes(texts, voted[name]) if name in voted else 0 for name in (*chosen, *NO_CLASS)]
        if sum(counts) > MOST_VOTES:
            raise ValueError(f"{sum(counts):,} votes in all, expected {MOST_VOTES} at most")
        subject = require(texts, "subject") if "subject" in texts else ""
        return picture, part, subject, counts, [texts[group] for group in groups]

    lines = io.StringIO(text, newline="")
    lines.readline()
    parsed, problems = parse_all(split_rows(lines), parse)
    refuse(source, "row", problems)
    if not parsed:
        raise InputError(f"{source}: a header and no rows; expected one row per face")
    pictures, parts, subjects, counts, values = map(list, zip(*parsed, strict=True))
    named = {picture.name for picture in pictures}
    if others := sum(name.lower().endswith(OTHER_SUFFIXES) and name not in named for name in members):
        print(f"{source}: {others:,} more pictures, which it does not name, are left out")
    return Listed(
        pictures,
        np.array(parts, np.uint8),
        "paths",
        subjects if "subject" in columns else [],
        np.array(counts, np.uint8) if votes else None,
        tuple(voted[name].removeprefix(VOTES) for name in chosen),
        {group.removeprefix(GROUP): [*each] for group, each in zip(groups, zip(*values, strict=True), strict=True)},
    )


def require(texts: Mapping[str, str], column: str) -> str:
    """What a row has in a column; ValueError for nothing."""
    if not texts[column]:
        raise ValueError(f"{column} is empty")
    return texts[column]


def find_member(path: str, folder: str, members: Collection[str]) -> str:
    """The name of the picture at a path; ValueError if it leaves the folder or is not there."""
    if (plain := plain_path(path)) is None:
        raise ValueError(f"path {excerpt(path)} leaves the table's folder; expected a path below it")
    name = posixpath.join(folder, plain)
    if name not in members:
        raise ValueError(f"path {excerpt(path)}: no such file")
    return name


def find_box(texts: Mapping[str, str]) -> Box | None:
    """The box of a row, None if it has none; ValueError for what is not four numbers."""
    found = [texts.get(column, "") for column in BOX]
    if not any(found):
        return None
    try:
        left, top, width, height = map(float, found)
    except ValueError:
        left = math.nan
    if not math.isfinite(left) or not all(map(math.isfinite, (top, width, height))) or min(width, height) <= 0:
        raise ValueError(f"x, y, w, h are {excerpt(', '.join(found))}, expected four numbers of pixels")
    return left, top, width, height


def count_votes(texts: Mapping[str, str], column: str) -> int:
    """The votes in a column of a row; ValueError for anything but a whole number."""
    text = texts[column]
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= MOST_VOTES):
        raise ValueError(f"{column} has {excerpt(text)} votes, expected 0..{MOST_VOTES}")
    return int(text)
