"""What annotators' votes say of a face: the majority by the rules of FER+ (Barsoum et al. 2016), and shares."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = TypeVar("Array", bound=Any)

NO_CLASS = ("unknown", "no face")  # what else annotators could say: the last two columns of all votes

Votes = npt.NDArray[np.uint8]  # uint8 (N, V + 2): how many annotators chose each of V classes, and of `NO_CLASS`
"""The V classes that annotators choose from begin with the K classes of the labels (FER+: V is 8, K is 7)."""


def drop_single(votes: Votes) -> Votes:
    """`votes` without votes that one annotator alone gave, which FER+ takes for mistakes."""
    kept: Votes = np.where(votes > 1, votes, 0).astype(np.uint8)
    return kept


def find_majority(votes: Votes) -> npt.NDArray[np.int64]:
    """The class with more than half of the votes, after `drop_single`: int64 (N,), 0..V-1.

    -1 for a row without a majority in FER+: no class has more than half, or it is 'unknown' or 'no face'.
    """
    kept = drop_single(votes)
    best = kept.argmax(axis=1)
    found = 2 * kept.max(axis=1).astype(np.int64) > kept.sum(axis=1)
    return np.where(found & (best < votes.shape[1] - len(NO_CLASS)), best, -1)


def has_label(majority: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.bool_]:
    """Whether what `find_majority` found, (N,), is one of the `classes` classes of the labels: bool (N,)."""
    return (majority >= 0) & (majority < classes)


def to_shares(votes: Votes) -> npt.NDArray[np.float32]:
    """The shares of votes that a network learns: float32 (N, V), after `drop_single`.

    Unlike FER+'s own training, rows without a majority are learnt as well. A row adds up to 1; or to 0, which leaves it
    out of the loss, if 'unknown' or 'no face' has at least as many votes as any class, or no two annotators agree.
    """
    kept = drop_single(votes)
    voted, others = kept[:, : -len(NO_CLASS)].astype(np.float32), kept[:, -len(NO_CLASS) :]
    total = voted.sum(axis=1, keepdims=True)
    valid = (total > 0) & (voted.max(axis=1, keepdims=True) > others.max(axis=1, keepdims=True))
    return np.where(valid, voted / np.maximum(total, 1), 0).astype(np.float32)


def split_heads(scores: Array, classes: int) -> tuple[Array, Array]:
    """The scores of a network's two heads, arrays of any library: (N, classes) and (N, V), V = 0 without a second."""
    return scores[:, :classes], scores[:, classes:]
