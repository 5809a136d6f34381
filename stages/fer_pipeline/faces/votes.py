"""What annotators' votes say of a face: the majority by the rules of FER+ (Barsoum et al. 2016), and shares."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fer_pipeline.faces.fer2013 import CLASSES, VOTED

Array = TypeVar("Array", bound=Any)

Votes = npt.NDArray[np.uint8]  # uint8 (N, 10), 0..10: how many annotators chose each of `VOTE_CLASSES`


def drop_single(votes: Votes) -> Votes:
    """`votes` without votes that one annotator alone gave, which FER+ takes for mistakes."""
    kept: Votes = np.where(votes > 1, votes, 0).astype(np.uint8)
    return kept


def find_majority(votes: Votes) -> npt.NDArray[np.int64]:
    """The class with more than half of the votes, after `drop_single`: int64 (N,), positions in `VOTED`.

    -1 for a row without a majority in FER+: no class has more than half, or it is 'unknown' or 'no face'.
    """
    kept = drop_single(votes)
    best = kept.argmax(axis=1)
    found = 2 * kept.max(axis=1).astype(np.int64) > kept.sum(axis=1)
    return np.where(found & (best < len(VOTED)), best, -1)


def to_shares(votes: Votes) -> npt.NDArray[np.float32]:
    """The shares of votes that a network learns: float32 (N, 8) over `VOTED`, after `drop_single`.

    Unlike FER+'s own training, rows without a majority are learnt as well. A row adds up to 1; or to 0, which leaves it
    out of the loss, if 'unknown' or 'no face' has at least as many votes as any emotion, or no two annotators agree.
    """
    kept = drop_single(votes)
    emotions = kept[:, : len(VOTED)].astype(np.float32)
    total = emotions.sum(axis=1, keepdims=True)
    valid = (total > 0) & (emotions.max(axis=1, keepdims=True) > kept[:, len(VOTED) :].max(axis=1, keepdims=True))
    return np.where(valid, emotions / np.maximum(total, 1), 0).astype(np.float32)


def split_heads(scores: Array) -> tuple[Array, Array]:
    """The scores of a network's two heads, arrays of any library: (N, 7) and (N, 8); (N, 0) without a second head."""
    return scores[:, : len(CLASSES)], scores[:, len(CLASSES) :]
