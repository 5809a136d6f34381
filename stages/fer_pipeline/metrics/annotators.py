"""One network compared with the ten annotators of each face (FER+).

The votes for a face are read in two ways. Its *favourite* is the class with the most votes (the first, if tied): every
face has one, so the annotators can be scored like any other classifier. Its *majority* follows FER+ (`find_majority`):
one of the seven emotions or contempt, if it has more than half of the votes after `drop_single`. Faces without a
majority are left out, as in published accuracies on FER+.
"""

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.faces.votes import Votes, find_majority, to_shares
from fer_pipeline.metrics.scores import average
from fer_pipeline.predictions.calibration import SMALLEST, is_emotion
from fer_pipeline.predictions.predictions import Predictions

Floats = npt.NDArray[np.float64]


class Sides(Record):
    """Whether the annotators' favourite is the network's class, the label or neither: shares of its errors on test."""

    network: Share
    label: Share
    neither: Share


class Annotators(Record):
    """A network against FER+'s annotators on test; `fer_pipeline.metrics.annotators` defines favourite and majority."""

    rows: Count  # test images with a majority
    emotion_rows: Count  # test images with a majority for one of the seven emotions
    accuracy: Share | None  # accuracy of the network against the majority, on the images of `emotion_rows`
    cross_entropy: float | None
    """Cross-entropy of the network against the vote distribution over the seven emotions, in nats."""
    votes_accuracy: Share | None
    """Accuracy of the second head against the majority, on the images of `rows`; None if the network has one head."""
    votes_cross_entropy: float | None
    """Cross-entropy of the second head against the votes for eight classes, in nats; None if there is one head."""
    mistakes: Sides | None  # None if the network never contradicts a label


def find_favourites(votes: Votes) -> npt.NDArray[np.int64]:
    """The class with the most votes (the first, if tied): int64 (N,), positions in `VOTE_CLASSES`."""
    favourites: npt.NDArray[np.int64] = votes.argmax(axis=1)
    return favourites


def judge_network(test: Predictions, second: Floats | None, votes: Votes | None) -> Annotators | None:
    """Compare a network with the annotators, on test; None if the data have no votes.

    `second` holds the probabilities of its second head over `VOTED`, float64 (N, 8); None if it has one head.
    """
    if votes is None:
        return None
    majority, shares = find_majority(votes), to_shares(votes).astype(float)
    among_seven, among_eight = is_emotion(majority), majority >= 0
    wrong, favourites = ~test.correct, find_favourites(votes)
    network, label = (favourites[wrong] == classes[wrong] for classes in (test.predicted, test.actual))
    return Annotators(
        rows=int(among_eight.sum()),
        emotion_rows=int(among_seven.sum()),
        accuracy=average((test.predicted == majority)[among_seven]),
        cross_entropy=average_cross_entropy(shares[:, : len(CLASSES)], test.probabilities),
        votes_accuracy=None if second is None else average((second.argmax(axis=1) == majority)[among_eight]),
        votes_cross_entropy=None if second is None else average_cross_entropy(shares, second),
        mistakes=Sides(network=average(network), label=average(label), neither=average(~network & ~label))
        if wrong.any()
        else None,
    )


def average_cross_entropy(shares: Floats, probabilities: Floats) -> float | None:
    """The mean of -sum(share * ln(probability)), in nats; probabilities below 1e-6 count as 1e-6.

    Each row of `shares` (N, K) is divided by its sum; rows of zeros are left out. None if no row is left.
    """
    totals = shares.sum(axis=1, keepdims=True)
    known = totals[:, 0] > 0
    logarithms = np.log(np.clip(probabilities[known], SMALLEST, None))
    mean: float | None = average(-(shares[known] / totals[known] * logarithms).sum(axis=1))
    return mean
