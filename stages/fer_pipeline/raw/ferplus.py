"""FER+: the votes of ten annotators for each row of fer2013.csv (Barsoum et al. 2016, the study's reference [11]).

Its file has no pixels: row i belongs to row i of fer2013.csv, so everything that can tell whether it does is checked.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import ANNOTATORS, FERPLUS_COLUMNS, USAGES, VOTE_CLASSES, VOTED
from fer_pipeline.faces.votes import find_majority
from fer_pipeline.raw.table import BadRow, excerpt, list_problems

COLUMNS = {vote: column.lower() for column, vote in FERPLUS_COLUMNS.items()}
"""FER+'s columns by what they count; letter case is free."""
FEWEST = 7
"""Votes of a row: a few annotators' may be missing (FER+ has 9 of one face, 10 of all others)."""
NUMBERS = {str(number): number for number in range(ANNOTATORS + 1)}
"""Numbers of votes, as FER+ writes them."""
NAME = re.compile(r"fer\d{7}\.png", re.ASCII)
"""Of an image, by its place; empty where nearly all annotators saw no face."""
LARGEST_FILE = 1 << 26
"""Bytes; FER+ has 1.6 million."""
UNORDERED = 0.01
"""Share of names that may be lower than the name before: FER+ has 1 in 800, where it names a face by its twin."""
DEVIATIONS = 4.0
"""Standard deviations over chance by which majority and labels have to agree."""
PART = 1000
"""Rows of a Usage among which they have to, as well: a file may be shifted from some row on."""
FEW = 100
"""Rows among which less than chance means nothing."""


def read_votes(path: str | Path, labels: npt.NDArray[np.uint8], usages: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Read a file in FER+'s form, for rows in the order of fer2013.csv.

    Args:
        labels: uint8 (N,), 0..6, of all rows.
        usages: uint8 (N,), 0..2, of all rows.

    Returns:
        Votes uint8 (N, 10), 0..10, in the order of `VOTE_CLASSES`.

    Raises:
        InputError: the file is missing or has another form, a row's Usage, image name or votes do not fit, the count
            differs, or the votes agree with the labels no better than another face's would.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; put FER+'s fer2013new.csv there, or set prepare.votes in params.yaml")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: over {LARGEST_FILE >> 20} MiB, so not FER+'s votes; check prepare.votes")
    votes, found, names = parse_votes(path.read_bytes(), path)
    if len(votes) != len(labels):
        raise InputError(
            f"{path}: {len(votes):,} rows, where the data set has {len(labels):,}; give the file that fits"
        )
    moved = np.flatnonzero(found != usages)
    if len(moved):
        row = int(moved[0])
        raise InputError(
            f"{path}: row {row + 1} is of {USAGES[found[row]]}, where the data set has {USAGES[usages[row]]} "
            f"({len(moved):,} such rows); the votes belong to fer2013.csv, row by row, as the challenge published it"
        )
    require_order(path, names)
    require_agreement(path, votes, labels)
    for usage in range(len(USAGES)):
        rows = np.flatnonzero(usages == usage)
        for part in np.array_split(rows, max(1, len(rows) // PART)):
            if len(part) >= FEW:
                require_agreement(path, votes[part], labels[part], f"rows {part[0] + 1:,} to {part[-1] + 1:,}: ")
    return votes


def parse_votes(content: bytes, path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], list[str]]:
    """Votes uint8 (N, 10), usages uint8 (N,) and image names of a file's bytes; the first row is row 1.

    Raises:
        InputError: no text, columns are missing, or rows are bad: the first ten are listed.
    """
    try:
        text = content.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text at byte {error.start}; give FER+'s fer2013new.csv") from None
    except csv.Error as error:
        raise InputError(f"{path}: no CSV ({error}); give FER+'s fer2013new.csv") from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    columns = [COLUMNS[vote] for vote in VOTE_CLASSES]
    wanted = ["usage", "image name", *columns]
    if any(header.count(name) != 1 for name in wanted):
        first = excerpt(content[:200].partition(b"\n")[0])
        raise InputError(
            f"{path}: the first line is {first}, expected Usage, Image name, and FER+'s ten columns of votes"
        )
    usage, name, *places = (header.index(column) for column in wanted)
    votes, usages, names, problems = [], [], [], []
    for number, fields in enumerate((row for row in rows[1:] if any(field.strip() for field in row)), 1):
        try:
            if len(fields) != len(header):
                raise BadRow(f"{len(fields)} fields, expected {len(header)}")
            usages.append(parse_usage(fields[usage]))
            names.append(parse_name(fields[name]))
            texts = [fields[place] for place in places]
            counts = [NUMBERS.get(text, -1) for text in texts]
            if min(counts) < 0 or not FEWEST <= sum(counts) <= ANNOTATORS:  # rare: with spaces, or wrong
                counts = parse_counts(dict(zip(columns, texts, strict=True)))
            votes.append(counts)
        except BadRow as error:
            problems.append(f"row {number}: {error}")
    if problems:
        raise InputError(list_problems(path, "row", problems))
    return np.array(votes, np.uint8).reshape(-1, len(VOTE_CLASSES)), np.array(usages, np.uint8), names


def parse_usage(text: str) -> int:
    """Position in `USAGES`, or `BadRow`."""
    if text.strip() not in USAGES:
        raise BadRow(f"Usage is {excerpt(text.encode())}, expected {', '.join(USAGES)}")
    return USAGES.index(text.strip())


def parse_name(text: str) -> str:
    """The name of an image, or '' for none, or `BadRow`."""
    name = text.strip()
    if name and not NAME.fullmatch(name):
        raise BadRow(f"Image name is {excerpt(text.encode())}, expected fer0000000.png or alike, or nothing")
    return name


def parse_counts(texts: dict[str, str]) -> list[int]:
    """The numbers of votes in {column: text}, or `BadRow`."""
    counts = []
    for column, text in texts.items():
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) < 4 and int(digits) <= ANNOTATORS):
            raise BadRow(f"{column} has {excerpt(text.encode())} votes, expected 0..{ANNOTATORS}")
        counts.append(int(digits))
    if not FEWEST <= sum(counts) <= ANNOTATORS:
        raise BadRow(f"{sum(counts)} votes in all, expected {ANNOTATORS}, or a few less")
    return counts


def require_order(path: Path, names: list[str]) -> None:
    """Raise an `InputError` where the names of images do not ascend as in FER+, or one occurs again and again."""
    numbers = np.array([int(name[3:10]) for name in names if name], np.int64)
    falls = np.flatnonzero(np.diff(numbers) < 0)
    often = max(Counter(numbers.tolist()).values(), default=0)
    if len(falls) > max(1, UNORDERED * len(numbers)) or often > max(4, UNORDERED * len(numbers)):
        raise InputError(
            f"{path}: image names are not in order ({len(falls):,} are lower than the one before); give the file as "
            "FER+ published it"
        )


def require_agreement(path: Path, votes: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], where: str = "") -> None:
    """Raise an `InputError` where the majority is the label no more often than by chance: a file of other rows."""
    majority = find_majority(votes)
    judged = majority >= 0
    count = int(judged.sum())
    if not count:
        raise InputError(f"{path}: {where}no row has a majority for an emotion; give FER+'s fer2013new.csv")
    said, true = majority[judged], labels[judged]
    shares = [np.bincount(classes, minlength=len(VOTED)) / count for classes in (said, true)]
    chance = float(shares[0] @ shares[1])
    found = float((said == true).mean())
    if found <= chance + DEVIATIONS * (chance * (1 - chance) / count) ** 0.5:
        raise InputError(
            f"{path}: {where}the annotators' majority is the label on {found:.0%} of {count:,} rows, where chance "
            f"alone gives {chance:.0%}: these votes belong to other rows, or to another order of them"
        )
