"""FER+: the votes of ten annotators for each row of fer2013.csv (Barsoum et al. 2016, the study's reference [11]).

Its file has no pixels: row i belongs to row i of fer2013.csv, so everything that can tell whether it does is checked.
"""

import csv
import io
import re
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import VOTE_CLASSES, VOTED
from fer_pipeline.faces.votes import find_majority
from fer_pipeline.raw.parsing import excerpt, find_usage, name_columns, name_fields, parse_all, refuse
from fer_pipeline.raw.rows import ANNOTATORS, FERPLUS_COLUMNS, USAGES, Rows

FOR_NONE = "no_votes.csv"  # the file that says that there are no votes: FER+'s header and no rows; any other has rows
COLUMNS = [{vote: column for column, vote in FERPLUS_COLUMNS.items()}[vote].lower() for vote in VOTE_CLASSES]
"""FER+'s columns of votes in the order of `VOTE_CLASSES`, in small letters: the file may write them in any case."""
FEWEST = 7  # votes of a row: a few annotators' may be missing (FER+ has 9 of one face, 10 of all others)
NUMBERS = {f"{number:0{width}}": number for number in range(ANNOTATORS + 1) for width in (1, 2, 3)}
"""{how a file may write a number of votes: the number}."""
NAME = re.compile(r"fer\d{7}\.png", re.ASCII)  # an image's, by its place; empty where nearly all annotators saw no face
LARGEST_FILE = 1 << 26  # bytes; FER+ has 1.6 million
UNORDERED = 0.01  # share of names that may be lower than the one before: FER+ has 1 in 800, named by a face's twin
DEVIATIONS = 4.0  # by how many standard deviations majority and labels have to agree more often than by chance
PART = 1000  # rows of a Usage in which majority and labels have to agree too: a file may be shifted in part
FEW = 100  # parts with fewer rows are not checked: in so few, chance alone gives a low agreement


def read_votes(path: str | Path, source: str, rows: Rows) -> npt.NDArray[np.uint8] | None:
    """Read the votes for the rows of `source`: uint8 (N, 10), 0..10, in the order of `VOTE_CLASSES`.

    None for a file `FOR_NONE` without rows. Raises `InputError`: the file is missing or has another form; the rows of
    `source` are in another order than fer2013.csv; a row's Usage, image name or votes do not fit; the count differs; or
    the votes agree with the labels no better than another face's would.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: not found; put FER+'s fer2013new.csv there, or set prepare.votes in params.yaml")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path}: over {LARGEST_FILE >> 20} MiB, so not FER+'s votes; check prepare.votes")
    votes, found, names = parse_votes(path.read_bytes(), path)
    if path.name == FOR_NONE and not len(votes):
        return None
    if rows.kind == "images" or rows.challenge_file == "icml_face_data.csv":
        what = "pictures" if rows.kind == "images" else "icml_face_data.csv"
        raise InputError(
            f"{source}: {what} in another order than fer2013.csv, to whose rows the votes in {path} belong; give "
            f"fer2013.csv, or set prepare.votes to data/{FOR_NONE} in params.yaml"
        )
    labels, usages = rows.labels, rows.usages
    if len(votes) != len(labels):
        raise InputError(f"{path}: {len(votes):,} rows, where the data set has {len(labels):,}; give its own votes")
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
        places = np.flatnonzero(usages == usage)
        for part in np.array_split(places, max(1, len(places) // PART)):
            if len(part) >= FEW:
                require_agreement(path, votes[part], labels[part], f"rows {part[0] + 1:,} to {part[-1] + 1:,}: ")
    return votes


def parse_votes(content: bytes, path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], list[str]]:
    """Votes uint8 (N, 10), usages uint8 (N,) and image names of a file; InputError lists the first ten bad rows."""
    try:
        text = content.decode("utf-8-sig")
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text at byte {error.start}; give FER+'s fer2013new.csv") from None
    except csv.Error as error:
        raise InputError(f"{path}: not CSV ({error}); give FER+'s fer2013new.csv") from None
    names = name_columns(header, ("usage", "image name", *COLUMNS))
    if names is None:
        first = excerpt(text[:200].partition("\n")[0])
        raise InputError(f"{path}: the first line is {first}, expected Usage, Image name, and FER+'s ten columns")
    filled = (row for row in rows if any(field.strip() for field in row))
    numbered = ((f"row {number}", row) for number, row in enumerate(filled, 1))
    parsed, problems = parse_all(numbered, partial(parse_row, names=names))
    refuse(path, "row", problems)
    votes = np.array([counts for _, _, counts in parsed], np.uint8).reshape(-1, len(COLUMNS))
    return votes, np.array([usage for usage, _, _ in parsed], np.uint8), [name for _, name, _ in parsed]


def parse_row(fields: list[str], names: list[str]) -> tuple[int, str, list[int]]:
    """The position in `USAGES`, the image name or '', and the ten votes of a row; ValueError if they do not fit."""
    texts = name_fields(names, fields)
    usage, name = find_usage(texts["usage"]), texts["image name"].strip()
    if name and not NAME.fullmatch(name):
        raise ValueError(f"Image name is {excerpt(texts['image name'])}, expected one like fer0000000.png, or nothing")
    counts = []
    for column in COLUMNS:
        if (count := NUMBERS.get(texts[column].strip())) is None:
            raise ValueError(f"{column} has {excerpt(texts[column])} votes, expected 0..{ANNOTATORS}")
        counts.append(count)
    if not FEWEST <= sum(counts) <= ANNOTATORS:
        raise ValueError(f"{sum(counts)} votes in all, expected {ANNOTATORS}, or a few less")
    return usage, name, counts


def require_order(path: Path, names: list[str]) -> None:
    """Raise `InputError` if the names of images do not ascend as in FER+, or one of them occurs again and again."""
    numbers = np.array([int(name[3:10]) for name in names if name], np.int64)
    falls = np.flatnonzero(np.diff(numbers) < 0)
    often = np.unique(numbers, return_counts=True)[1].max(initial=0)
    if len(falls) > max(1, UNORDERED * len(numbers)) or often > max(4, UNORDERED * len(numbers)):
        raise InputError(
            f"{path}: image names are not in order ({len(falls):,} are lower than the one before); give the file as "
            "FER+ published it"
        )


def require_agreement(path: Path, votes: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], where: str = "") -> None:
    """Raise `InputError` if the majority is the label no more often than by chance: the votes belong to other rows."""
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
