"""A network's predictions for every image of some splits, as CSV files from which all figures can be recomputed.

`<name>.csv` has one row per image, split by split: split, index (row in that split of faces.h5), actual, predicted,
confidence and the seven class probabilities with six decimals. `predicted` is the class with the highest rounded
probability (the first, if tied), and `confidence` is that probability. `<name>_votes.csv` has the same columns without
`actual`, for the eight classes of the second head; it has only a header if the network has one head.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES, VOTED

SCORED = ("val", "test")
"""The splits whose rows are scored."""
COLUMNS = ("split", "index", "actual", "predicted", "confidence", *CLASSES)
VOTE_COLUMNS = ("split", "index", "predicted", "confidence", *VOTED)
DECIMALS = 6
TOLERANCE = 1e-5
"""How far from 1 the sum of a row's probabilities may be: rounding eight of them changes it by at most 4e-6."""
REMEDY = "run `dvc repro predict`"

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Predictions(NamedTuple):
    """A network's predictions for the N images of one split, in the order of faces.h5."""

    actual: Bytes
    """uint8 (N,), 0..6: the labels of the data set."""
    probabilities: Floats
    """float64 (N, 7), in [0, 1] with six decimals; each row adds up to 1 within 1e-5."""

    @property
    def predicted(self) -> Ints:
        """int64 (N,), 0..6: the most probable class (the first, if tied)."""
        best: Ints = self.probabilities.argmax(axis=1)
        return best

    @property
    def confidence(self) -> Floats:
        """float64 (N,): the probability of the predicted class."""
        highest: Floats = self.probabilities.max(axis=1)
        return highest

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """bool (N,): whether the predicted class is the actual one."""
        return np.equal(self.predicted, self.actual)


def as_written(labels: Bytes, probabilities: npt.ArrayLike) -> Predictions:
    """`Predictions` as the CSV will hold them: each row of `probabilities` (N, K) is divided by its sum and rounded."""
    exact = np.asarray(probabilities, np.float64)
    return Predictions(labels, (exact / exact.sum(axis=1, keepdims=True)).round(DECIMALS))


def to_csv(splits: Mapping[str, tuple[Bytes, npt.ArrayLike]]) -> bytes:
    """The CSV of {split: (labels uint8 (N,), probabilities (N, 7))}, see `as_written`; same content, same bytes."""
    rows = {split: as_written(*said) for split, said in splits.items()}
    lines = [line for split, one in rows.items() for line in format_rows(split, CLASSES, one.probabilities, one.actual)]
    return "\n".join([",".join(COLUMNS), *lines, ""]).encode()


def votes_to_csv(splits: Mapping[str, Floats]) -> bytes:
    """The CSV of {split: probabilities of the second head, float64 (N, 8) over `VOTED`}; only a header for {}."""
    lines = [line for split, shares in splits.items() for line in format_rows(split, VOTED, shares)]
    return "\n".join([",".join(VOTE_COLUMNS), *lines, ""]).encode()


def format_rows(split: str, classes: Sequence[str], shares: Floats, labels: Bytes | None = None) -> Iterator[str]:
    """Yield the CSV line of each row of a split's probabilities `shares`, float64 (N, classes)."""
    for index, row in enumerate(shares):
        best = int(row.argmax())
        actual = [] if labels is None else [classes[labels[index]]]
        numbers = (f"{number:.{DECIMALS}f}" for number in (row[best], *row))
        yield ",".join([split, str(index), *actual, classes[best], *numbers])


def read_predictions(
    path: str | Path, faces: Mapping[str, Split], splits: Sequence[str] = SCORED
) -> dict[str, Predictions]:
    """Read a CSV written by `to_csv`, with rows in any order: {split: predictions for the images in `faces`}.

    Raises:
        InputError: the file is missing or not such a CSV; a row is missing, repeated or not of an image in `faces`; a
            class is unknown; probabilities do not add up to 1, or disagree with `predicted` or `confidence`.
    """
    with naming(path):
        table = read_table(path, COLUMNS)
        places, shares = check(table, CLASSES, faces, splits)
        require_class(table, "actual", CLASSES)
        labels = pd.Categorical(table["actual"], CLASSES).codes.astype(np.uint8)
        found = {split: Predictions(labels[at], shares[at]) for split, at in places.items()}
        for split, rows in found.items():
            for row in np.flatnonzero(rows.actual != faces[split].labels):
                is_, should = CLASSES[rows.actual[row]], CLASSES[faces[split].labels[row]]
                raise InputError(f"row {row} of {split} is {is_}, but {should} in the data")
        return found


def read_votes(path: str | Path, faces: Mapping[str, Split]) -> dict[str, Floats]:
    """Read a CSV written by `votes_to_csv`: {split: probabilities float64 (N, 8)} of val and test; {} if only a header.

    Raises:
        InputError: as `read_predictions`.
    """
    with naming(path):
        table = read_table(path, VOTE_COLUMNS)
        if table.empty:
            return {}
        places, shares = check(table, VOTED, faces, SCORED)
        return {split: shares[at] for split, at in places.items()}


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Add the path of a file and the remedy to an error about its content."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {REMEDY}") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: no CSV in UTF-8; {REMEDY}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; {REMEDY}") from None


def read_table(path: str | Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV that must have these columns, as a data frame of text."""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if header != [*columns]:
            raise InputError(f"columns are {', '.join(header)!r:.100}, expected {', '.join(columns)}")
        rows = []
        for row in reader:
            if len(row) != len(columns):
                raise InputError(f"line {reader.line_num} has {len(row)} fields, expected {len(columns)}")
            rows.append(row)
    return pd.DataFrame(rows, columns=list(columns), dtype=str)


def check(
    table: pd.DataFrame, classes: Sequence[str], faces: Mapping[str, Split], splits: Sequence[str]
) -> tuple[dict[str, Ints], Floats]:
    """Check a table of text except its column `actual`; an InputError names the line (`naming` adds file and remedy).

    Returns {split: positions of its rows, sorted by `index`}, and the probabilities float64 (N, classes).
    """
    expected = " or ".join(splits)
    require(table, table["split"].isin(splits), lambda row: f"split is {row['split']!r:.40}, expected {expected}")
    whole = table["index"].str.fullmatch("[0-9]{1,9}")
    require(table, whole, lambda row: f"index is {row['index']!r:.40}, expected 0, 1, …")
    require_class(table, "predicted", classes)
    # NaN where a field is not a number; rounded because pandas' last bit may be wrong
    numbers = table[["confidence", *classes]].apply(pd.to_numeric, errors="coerce").to_numpy(float).round(DECIMALS)
    confidence, shares = numbers[:, 0], numbers[:, 1:]
    require(table, ((shares >= 0) & (shares <= 1)).all(axis=1), lambda _: "a probability is not a number in [0, 1]")
    sums, best = shares.sum(axis=1), np.array(classes)[shares.argmax(axis=1)]
    add_up = abs(sums - 1) <= TOLERANCE
    require(table, add_up, lambda row: f"the probabilities add up to {sums[row.name]:.6f}, expected 1")
    highest = "but the highest probability is"
    right, same = table["predicted"] == best, confidence == shares.max(axis=1)
    require(table, right, lambda row: f"predicted is {row['predicted']}, {highest} that of {best[row.name]}")
    require(table, same, lambda row: f"confidence is {row['confidence']}, {highest} {row[row['predicted']]}")
    index = table["index"].astype(int).to_numpy()
    places = {split: np.flatnonzero(table["split"] == split) for split in splits}
    return {split: order_rows(split, index, at, len(faces[split].labels)) for split, at in places.items()}, shares


def require(table: pd.DataFrame, holds: Any, describe: Callable[[Any], str]) -> None:
    """Raise an InputError with line and `describe(row)` of the first row for which `holds`, bool (N,), is false."""
    for place in np.flatnonzero(~np.asarray(holds, bool)):
        raise InputError(f"line {place + 2}: {describe(table.iloc[place])}")


def require_class(table: pd.DataFrame, column: str, classes: Sequence[str]) -> None:
    """Raise an InputError about the first row whose `column` is not one of `classes`."""
    unknown = f"under {column}; expected {', '.join(classes)}"
    require(table, table[column].isin(classes), lambda row: f"unknown class {row[column]!r:.40} {unknown}")


def order_rows(split: str, index: Ints, places: Ints, count: int) -> Ints:
    """Sort `places`, the positions of a split's rows, by `index`, which must hold each of 0..`count` - 1 once."""
    if not len(places):
        raise InputError(f"there is no row of {split}")
    indices, times = np.unique(index[places], return_counts=True)
    if times.max() > 1:
        raise InputError(f"row {indices[times.argmax()]} of {split} is there more than once")
    for row in np.setdiff1d(np.arange(count), indices):
        raise InputError(f"row {row} of {split} is missing")
    if len(places) > count:
        raise InputError(f"{split} has {len(places)} rows, but the data only {count}: it is of another data set")
    ordered: Ints = places[np.argsort(index[places])]
    return ordered
