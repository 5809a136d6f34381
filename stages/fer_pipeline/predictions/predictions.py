"""A network's predictions for every image of some splits, as CSV files from which all figures can be recomputed.

`<name>.csv` has one row per image, split by split: split, index (row in that split of faces.h5), actual, predicted,
confidence and the probability of each class with six decimals. `predicted` is the class with the highest rounded
probability (the first, if tied), and `confidence` is that probability. `<name>_votes.csv` has the same columns without
`actual`, for the classes of the second head; it has only a header if the network has one head.
"""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
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
    probabilities: Floats  # float64 (N, K), in [0, 1] with six decimals; each row adds up to 1 within K * 5e-7

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
    """Read a CSV written by `to_csv`: {split: predictions for the images in `faces`}.

    Raises `InputError` if the file is missing or not, byte for byte, what `to_csv` writes for these images.
    """

    def fill(shares: Mapping[str, Floats]) -> dict[str, Predictions]:
        return {split: Predictions((*classes,), faces[split].labels, one) for split, one in shares.items()}

    return fill(read_shares(path, faces, splits, classes, lambda shares: to_csv(fill(shares)) if shares else b""))


def read_votes(path: str | Path, faces: Mapping[str, Split], voted: Sequence[str]) -> dict[str, Floats]:
    """Read a CSV written by `votes_to_csv` likewise: {split: probabilities float64 (N, V)}; {} if only a header."""
    return read_shares(path, faces, SCORED, voted, lambda shares: votes_to_csv(shares, voted))


def read_shares(
    path: str | Path,
    faces: Mapping[str, Split],
    splits: Sequence[str],
    columns: Sequence[str],
    to_bytes: Callable[[Mapping[str, Floats]], bytes],
) -> dict[str, Floats]:
    """The probabilities in a CSV, by split, if there is a row for each image and `to_bytes` gives the same bytes."""
    problem = "not what `predict` writes for these faces"
    try:
        content = Path(path).read_bytes()
        table = pd.read_csv(BytesIO(content), usecols=["split", *columns])
        # rounded because pandas' last bit may be wrong
        shares = {
            str(split): rows[[*columns]].to_numpy(float).round(DECIMALS)
            for split, rows in table.groupby("split", sort=False)
        }
        all_there = [*shares] in ([], [*splits]) and all(
            len(one) == len(faces[split].labels)
            and one.min() >= 0
            and (abs(one.sum(axis=1) - 1) <= len(columns) * 1e-6).all()
            for split, one in shares.items()
        )
        if all_there and to_bytes(shares) == content:
            return shares
    except FileNotFoundError:
        problem = "not found"
    except ValueError:  # no text, no CSV, no such column, no number
        pass
    raise InputError(f"{path}: {problem}; run `dvc repro predict`")
