"""A network's predictions for every image of some splits, as CSV files from which all figures can be recomputed.

`<name>.csv` has one row per image, split by split: split, index (row in that split of faces.h5), actual, predicted,
confidence and the probability of each class with six decimals. `predicted` is the class with the highest rounded
probability (the first, if tied), and `confidence` is that probability. `<name>_votes.csv` has the same columns without
`actual`, for the classes of the second head; it has only a header if the network has one head.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Split

SCORED = ("val", "test")  # the splits whose rows are scored
WAYS = ("", "_single_crop", "_views")  # endings of files: by the test crops, the centre crop alone, `test_views`
COLUMNS = ("split", "index", "actual", "predicted", "confidence")  # and one column for each class
VOTE_COLUMNS = ("split", "index", "predicted", "confidence")  # likewise
DECIMALS = 6

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Predictions(NamedTuple):
    """A network's predictions for the N images of one split, in the order of faces.h5."""

    classes: tuple[str, ...]  # the names of the K classes
    actual: Bytes  # uint8 (N,), 0..K-1: the labels of the data set
    probabilities: Floats  # float64 (N, K), in [0, 1] with six decimals; each row adds up to 1 within 5e-6

    @property
    def predicted(self) -> Ints:
        """int64 (N,), 0..K-1: the most probable class (the first, if tied)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)

    @property
    def confidence(self) -> Floats:
        """float64 (N,): the probability of the predicted class."""
        return np.asarray(self.probabilities.max(axis=1), np.float64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """bool (N,): whether the predicted class is the actual one."""
        return np.equal(self.predicted, self.actual)


def as_written(classes: Sequence[str], labels: Bytes, probabilities: npt.ArrayLike) -> Predictions:
    """`Predictions` as the CSV will hold them: see `round_rows`."""
    return Predictions((*classes,), labels, round_rows(probabilities))


def round_rows(probabilities: npt.ArrayLike) -> Floats:
    """Each row of `probabilities` (N, K) divided by its sum and rounded to six decimals."""
    exact = np.asarray(probabilities, np.float64)
    return np.asarray((exact / exact.sum(axis=1, keepdims=True)).round(DECIMALS), np.float64)


def to_csv(splits: Mapping[str, Predictions]) -> bytes:
    """The CSV of {split: predictions}, as `as_written` makes them; the same content gives the same bytes."""
    tables = []
    for split, rows in splits.items():
        tables.append(tabulate(split, rows.classes, rows.probabilities))
        tables[-1].insert(2, "actual", np.array(rows.classes)[rows.actual])
    return pack((*COLUMNS, *rows.classes), tables)


def votes_to_csv(splits: Mapping[str, Floats], voted: Sequence[str]) -> bytes:
    """The CSV of {split: probabilities of the second head, float64 (N, V), over `voted`}; only a header for {}."""
    return pack((*VOTE_COLUMNS, *voted), [tabulate(split, voted, shares) for split, shares in splits.items()])


def tabulate(split: str, classes: Sequence[str], shares: Floats) -> pd.DataFrame:
    """The rows of a split, but `actual`, of its probabilities `shares`, float64 (N, classes)."""
    best = np.array(classes)[shares.argmax(axis=1)]
    head = {"split": split, "index": range(len(shares)), "predicted": best, "confidence": shares.max(axis=1)}
    return pd.DataFrame(head | dict(zip(classes, shares.T, strict=True)))


def pack(columns: Sequence[str], tables: Sequence[pd.DataFrame]) -> bytes:
    """Tables below one header, as CSV."""
    texts = [table.to_csv(index=False, header=False, float_format="%.6f", lineterminator="\n") for table in tables]
    return "".join([",".join(columns), "\n", *texts]).encode()


def read_predictions(
    path: str | Path, faces: Mapping[str, Split], classes: Sequence[str], splits: Sequence[str] = SCORED
) -> dict[str, Predictions]:
    """Read a CSV written by `to_csv`, with rows in any order: {split: predictions for the images in `faces`}.

    Raises `InputError` if the file is missing or not such a CSV, if a row is missing, repeated or not of an image in
    `faces`, or if probabilities do not add up to 1, or disagree with `predicted` or `confidence`.
    """
    found = read_shares(path, (*COLUMNS, *classes), {split: faces[split].labels for split in splits})
    return {split: Predictions((*classes,), faces[split].labels, shares) for split, shares in found.items()}


def read_votes(path: str | Path, faces: Mapping[str, Split], voted: Sequence[str]) -> dict[str, Floats]:
    """Read a CSV written by `votes_to_csv` likewise: {split: probabilities float64 (N, V)}; {} if only a header."""
    return read_shares(path, (*VOTE_COLUMNS, *voted), {split: faces[split].labels for split in SCORED})


def read_shares(path: str | Path, columns: Sequence[str], labels: Mapping[str, Bytes]) -> dict[str, Floats]:
    """The probabilities in a CSV with these columns, checked against {split: the labels of its images}."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *rows = [*csv.reader(file)] or [[]]
        if header != [*columns]:
            raise InputError(f"columns are {', '.join(header)!r:.100}, expected {', '.join(columns)}")
        for line, row in enumerate(rows, 2):
            if len(row) != len(columns):
                raise InputError(f"line {line} has {len(row)} fields, expected {len(columns)}")
        if not rows and "actual" not in columns:
            return {}
        return check(pd.DataFrame(rows, columns=[*columns], dtype=str).set_index(["split", "index"]), labels)
    except FileNotFoundError:
        problem = "not found"
    except (UnicodeDecodeError, csv.Error):
        problem = "no CSV in UTF-8"
    except InputError as error:
        problem = str(error)
    raise InputError(f"{path}: {problem}; run `dvc repro predict`")


def check(table: pd.DataFrame, labels: Mapping[str, Bytes]) -> dict[str, Floats]:
    """The probabilities in a table of text with the index (split, index), see `read_shares`."""
    images = pd.MultiIndex.from_tuples([(split, str(row)) for split in labels for row in range(len(labels[split]))])
    for problem, places in {
        "is there more than once": table.index[table.index.duplicated()],
        "is not in the data": table.index.difference(images, sort=False),
        "is missing": images.difference(table.index, sort=False),
    }.items():
        for split, row in places:
            raise InputError(f"row {row:.40} of {split:.40} {problem}")
    table = table.loc[images]
    classes = table.columns[table.columns.get_loc("confidence") + 1 :]
    # NaN where a field is not a number; rounded because pandas' last bit may be wrong
    numbers = table[["confidence", *classes]].apply(pd.to_numeric, errors="coerce").to_numpy(float).round(DECIMALS)
    for place, column in np.argwhere(~np.isfinite(numbers)):
        (split, row), name = images[place], ("confidence", *classes)[column]
        raise InputError(f"row {row} of {split}: {name} is {table[name].iat[place]!r:.40}, expected a number")
    shares, lowest = numbers[:, 1:], numbers[:, 1:].min(axis=1)
    stated = {  # what a row says, and what it should say
        "the sum of its probabilities": (shares.sum(axis=1).round(DECIMALS - 1), np.ones(len(shares))),
        "its lowest probability": (lowest, lowest.clip(0)),
        "predicted": (table["predicted"].to_numpy(), classes.to_numpy()[shares.argmax(axis=1)]),
        "confidence": (numbers[:, 0], shares.max(axis=1)),
    }
    if "actual" in table:
        stated["actual"] = table["actual"].to_numpy(), classes.to_numpy()[np.concatenate([*labels.values()])]
    for what, (found, expected) in stated.items():
        for place in np.flatnonzero(found != expected):
            split, row = images[place]
            raise InputError(f"row {row} of {split}: {what} is {found[place]!s:.40}, expected {expected[place]}")
    ends = np.cumsum([len(one) for one in labels.values()])
    return dict(zip(labels, np.split(shares, ends[:-1]), strict=True))
