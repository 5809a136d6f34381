"""What a network says of every val and test image, as a CSV. All figures come from it, so anyone can recompute them.

One row per image, those of val first: split, index (row in that split of faces.h5), actual, predicted, confidence and
the seven class probabilities with six decimals. `predicted` is the class of the highest probability as written, the
first of equals, and `confidence` is that probability.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
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
DECIMALS = 6
TOLERANCE = 1e-5
"""How far from 1 probabilities may add up: seven of them, rounded, miss it by 3.5e-6 at most."""
REMEDY = "run `dvc repro evaluate`"

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Predictions(NamedTuple):
    """What a network says of the N images of one split, in the order of faces.h5."""

    actual: Bytes
    """uint8 (N,), 0..6: the labels of the data set."""
    probabilities: Floats
    """float64 (N, 7), in [0, 1] with six decimals; each row adds up to 1 within 1e-5."""

    @property
    def predicted(self) -> Ints:
        """int64 (N,), 0..6: the most probable class, the first of equals."""
        best: Ints = self.probabilities.argmax(axis=1)
        return best

    @property
    def confidence(self) -> Floats:
        """float64 (N,): the probability of the predicted class."""
        highest: Floats = self.probabilities.max(axis=1)
        return highest

    @property
    def correct(self) -> Bools:
        """bool (N,): whether each image is predicted right."""
        return np.equal(self.predicted, self.actual)


def as_written(labels: Bytes, probabilities: npt.ArrayLike) -> Predictions:
    """The `Predictions` that the CSV will hold: `probabilities` (N, 7) divided by their sum, and rounded."""
    exact = np.asarray(probabilities, np.float64)
    return Predictions(labels, (exact / exact.sum(axis=1, keepdims=True)).round(DECIMALS))


def to_csv(splits: Mapping[str, tuple[Bytes, npt.ArrayLike]]) -> bytes:
    """The CSV of {'val': (labels, probabilities), 'test': …}; the same content gives the same bytes.

    `labels` are uint8 (N,), 0..6; `probabilities` float (N, 7); see `as_written`.
    """
    lines = [",".join(COLUMNS)]
    for split in SCORED:
        rows = as_written(*splits[split])
        columns = zip(rows.actual, rows.predicted, rows.probabilities, strict=True)
        for index, (actual, predicted, shares) in enumerate(columns):
            numbers = ",".join(f"{number:.{DECIMALS}f}" for number in (shares[predicted], *shares))
            lines.append(f"{split},{index},{CLASSES[actual]},{CLASSES[predicted]},{numbers}")
    return ("\n".join(lines) + "\n").encode()


def votes_to_csv(splits: Mapping[str, Floats]) -> bytes:
    """The CSV of {'val': what a second head says, float (N, 8) over `VOTED`, 'test': …}, or a header alone of {}.

    Columns: split, index, predicted, confidence, and the eight probabilities with six decimals.
    """
    lines = [",".join(("split", "index", "predicted", "confidence", *VOTED))]
    for split, probabilities in splits.items():
        for index, shares in enumerate(probabilities):
            best = shares.argmax()
            numbers = ",".join(f"{number:.{DECIMALS}f}" for number in (shares[best], *shares))
            lines.append(f"{split},{index},{VOTED[best]},{numbers}")
    return ("\n".join(lines) + "\n").encode()


def read_predictions(path: str | Path, faces: Mapping[str, Split] | None = None) -> dict[str, Predictions]:
    """Read a CSV of `to_csv`, in whatever order its rows are, and check every row.

    Args:
        faces: {'val', 'test': rows}; where given, the file has to hold exactly these images, with their labels.

    Returns:
        {'val', 'test': predictions}, in the order of `index`.

    Raises:
        InputError: the file is missing or no such CSV; a row is missing, there twice or of another data set; a class is
            unknown; probabilities do not add up to 1, or disagree with `predicted` or `confidence`.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return check(read_table(file), faces)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {REMEDY}") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path}: no CSV in UTF-8; {REMEDY}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}; {REMEDY}") from None


def read_table(lines: Iterable[str]) -> pd.DataFrame:
    """The lines of the CSV as a data frame of text with the columns `COLUMNS`."""
    reader = csv.reader(lines)
    header = next(reader, [])
    if tuple(header) != COLUMNS:
        raise InputError(f"columns are {', '.join(header)!r:.100}, expected {', '.join(COLUMNS)}")
    rows = []
    for row in reader:
        if len(row) != len(COLUMNS):
            raise InputError(f"line {reader.line_num} has {len(row)} fields, expected {len(COLUMNS)}")
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def check(table: pd.DataFrame, faces: Mapping[str, Split] | None) -> dict[str, Predictions]:
    """As `read_predictions`, from a table of text; the errors name the line, but neither file nor remedy."""
    require(table, table["split"].isin(SCORED), lambda row: f"split is {row['split']!r:.40}, expected val or test")
    whole = table["index"].str.fullmatch("[0-9]{1,9}")
    require(table, whole, lambda row: f"index is {row['index']!r:.40}, expected 0, 1, …")
    for column in ("actual", "predicted"):
        require(
            table,
            table[column].isin(CLASSES),
            lambda row, column=column: (  # type: ignore[misc]
                f"unknown class {row[column]!r:.40} under {column}; expected {', '.join(CLASSES)}"
            ),
        )
    shares, confidence = to_numbers(table[list(CLASSES)]), to_numbers(table[["confidence"]])[:, 0]
    require(table, ((shares >= 0) & (shares <= 1)).all(axis=1), lambda _: "a probability is no number in [0, 1]")
    sums = shares.sum(axis=1)
    require(
        table, abs(sums - 1) <= TOLERANCE, lambda row: f"the probabilities add up to {sums[row.name]:.6f}, expected 1"
    )
    rows = Predictions(pd.Categorical(table["actual"], CLASSES).codes.astype(np.uint8), shares)
    best = np.array(CLASSES)[rows.predicted]
    require(
        table,
        table["predicted"] == best,
        lambda row: f"predicted is {row['predicted']}, but the highest probability is that of {best[row.name]}",
    )
    require(
        table,
        confidence == rows.confidence,
        lambda row: f"confidence is {row['confidence']}, but the highest probability is {row[row['predicted']]}",
    )
    index = table["index"].astype(int).to_numpy()
    return {
        split: select(
            split, rows, index, np.flatnonzero(table["split"] == split), faces[split].labels if faces else None
        )
        for split in SCORED
    }


def require(table: pd.DataFrame, holds: Any, describe: Callable[[Any], str]) -> None:
    """InputError about the first row of `table` for which `holds` (bool, N) is false: its line, and `describe(row)`."""
    broken = np.flatnonzero(~np.asarray(holds, bool))
    if len(broken):
        raise InputError(f"line {broken[0] + 2}: {describe(table.iloc[broken[0]])}")


def to_numbers(columns: pd.DataFrame) -> Floats:
    """Columns of text as float64 (N, columns), each the number nearest to its six decimals; NaN where there is none."""
    numbers: Floats = columns.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    return numbers.round(DECIMALS)  # pandas may miss the nearest number by a bit


def select(split: str, rows: Predictions, index: Ints, places: Ints, labels: Bytes | None) -> Predictions:
    """The `Predictions` at `places`, in the order of `index`, which has to count from 0; `labels` may be None."""
    if not len(places):
        raise InputError(f"there is no row of {split}")
    found = index[places]
    indices, times = np.unique(found, return_counts=True)
    if times.max() > 1:
        raise InputError(f"row {indices[times.argmax()]} of {split} is there more than once")
    count = len(places) if labels is None else len(labels)
    missing = np.setdiff1d(np.arange(count), found)
    if len(missing):
        raise InputError(f"row {missing[0]} of {split} is missing")
    if len(places) > count:
        raise InputError(f"{split} has {len(places)} rows, but the data only {count}: it is of another data set")
    ordered = places[np.argsort(found)]
    picked = Predictions(rows.actual[ordered], rows.probabilities[ordered])
    if labels is not None and (picked.actual != labels).any():
        first = np.flatnonzero(picked.actual != labels)[0]
        raise InputError(
            f"row {first} of {split} is {CLASSES[picked.actual[first]]}, but {CLASSES[labels[first]]} in the data"
        )
    return picked
