"""How a network stands to the ten annotators of each face (FER+).

Two readings of the votes are used. A *favourite* is the class with the most votes, the first of equals: every face has
one, and it makes the annotators a classifier like any other. A *majority* is FER+'s (`find_majority`): more than half
of the votes, single ones dropped, for one of the seven emotions or contempt; faces without one are left out, which is
how accuracies on FER+ are published.
"""

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.faces.votes import Votes, find_majority, to_shares
from fer_pipeline.metrics.scores import average, average_if_any
from fer_pipeline.predictions.calibration import SMALLEST, is_emotion
from fer_pipeline.predictions.predictions import Predictions

Floats = npt.NDArray[np.float64]


class Sides(Record):
    """With whom annotators side where a network contradicts the label: shares of these test images."""

    network: Share
    label: Share
    neither: Share


class Annotators(Record):
    """How a network stands to FER+'s annotators, on test; see `fer_pipeline.metrics.annotators`."""

    rows: Count
    """Test images with a majority for one of the seven emotions or contempt."""
    emotion_rows: Count
    """Of them those for one of the seven."""
    accuracy: Share | None
    """Of the network on the latter, against the majority."""
    cross_entropy: float | None
    """In nats, to the shares of votes among the seven."""
    votes_accuracy: Share | None
    """Of the second head on the former; None without one, as the next."""
    votes_cross_entropy: float | None
    """In nats, to the shares of votes among the eight."""
    mistakes: Sides | None
    """None for a network that never contradicts a label."""


def find_favourites(votes: Votes) -> npt.NDArray[np.int64]:
    """The class with the most votes, the first of equals: int64 (N,), positions in `VOTE_CLASSES`."""
    favourites: npt.NDArray[np.int64] = votes.argmax(axis=1)
    return favourites


def judge_network(test: Predictions, second: Floats | None, votes: Votes | None) -> Annotators | None:
    """How a network stands to the annotators, on test; None where the data have no votes.

    Args:
        second: float64 (N, 8), the probabilities of its second head over `VOTED`; None where it has none.
    """
    if votes is None:
        return None
    majority, shares = find_majority(votes), to_shares(votes).astype(float)
    among_seven = is_emotion(majority)
    told = shares.sum(axis=1) > 0
    sevens = shares[:, : len(CLASSES)]
    told_seven = sevens.sum(axis=1) > 0
    return Annotators(
        rows=int((majority >= 0).sum()),
        emotion_rows=int(among_seven.sum()),
        accuracy=average_if_any((test.predicted == majority)[among_seven]),
        cross_entropy=average_cross_entropy(
            sevens[told_seven] / sevens[told_seven].sum(axis=1, keepdims=True), test.probabilities[told_seven]
        ),
        votes_accuracy=None if second is None else average_if_any((second.argmax(axis=1) == majority)[majority >= 0]),
        votes_cross_entropy=None if second is None else average_cross_entropy(shares[told], second[told]),
        mistakes=find_sides(test, find_favourites(votes)),
    )


def average_cross_entropy(shares: Floats, probabilities: Floats) -> float | None:
    """The mean of -sum(share * ln(probability)), in nats, probabilities being at least 1e-6; None of no rows."""
    logarithms = np.log(np.clip(probabilities, SMALLEST, None))
    return average_if_any(-(shares * logarithms).sum(axis=1))


def find_sides(test: Predictions, favourites: npt.NDArray[np.int64]) -> Sides | None:
    """With whom the annotators' favourite sides where a network contradicts the label; None without such faces."""
    wrong = ~test.correct
    if not wrong.any():
        return None
    network, label = (favourites[wrong] == said[wrong] for said in (test.predicted, test.actual))
    return Sides(network=average(network), label=average(label), neither=average(~network & ~label))
