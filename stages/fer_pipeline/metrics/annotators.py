"""Networks and labels compared with the annotators of each face: FER+'s ten, or those of another data set.

The votes for a face are read in two ways. Its *favourite* is the class with the most votes (the first, if tied): every
face has one, so the annotators can be scored like any other classifier. Its *majority* follows FER+ (`find_majority`):
a class that has more than half of the votes after `drop_single`. Faces without a majority are left out, as in published
accuracies on FER+. How many agree is counted in tenths of a face's votes, of which FER+ has ten.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.faces.votes import Votes, find_majority, has_label, to_shares
from fer_pipeline.metrics.scores import McNemar, average, bound_accuracy, compare_pairs
from fer_pipeline.predictions.calibration import SMALLEST
from fer_pipeline.predictions.predictions import Bytes, Floats, Ints, Predictions

FAVOURITES = "annotators"  # the name of the annotators' favourite where it is compared with networks
SURE = 8  # the annotators count as sure of a class if at least this many of ten chose it
LEAST = 4  # the lowest level of agreement; it also holds images whose favourite has fewer votes and so means little


class Annotators(Record):
    """A network against the annotators, on test."""

    rows: Count  # test images with a majority
    emotion_rows: Count  # test images with a majority for a class of the labels
    accuracy: Share | None  # accuracy of the network against the majority, on the images of `emotion_rows`
    cross_entropy: float | None  # of the network against the vote distribution over the classes of the labels, in nats
    votes_accuracy: Share | None  # of the second head against the majority, on `rows`; None if there is one head
    votes_cross_entropy: float | None  # of the second head, over all classes of votes, in nats; None likewise
    mistakes: dict[str, Share] | None  # shares of its errors: the favourite is `network`'s, the `label` or `neither`


class LevelOfAgreement(Record):
    """The test images on which this many annotators agree on a class of the labels."""

    votes: Count  # for the favourite, in tenths, rounded down; the level `LEAST` also holds the images with fewer
    images: Count
    favourite_is_label: Share
    label: dict[str, Share]  # {network: share of the images on which it predicts the label}
    favourite: dict[str, Share]  # {network: share of the images on which it predicts the favourite}


class Labels(Record):
    """How reliable the test labels are according to the annotators."""

    accuracy: Share  # share of the test images whose label is the annotators' favourite: the accuracy of the annotators
    accuracy_ci95: Interval
    recall: dict[str, Share | None]  # {emotion: `accuracy` on the images with this label}; None if there are none
    unsupported: Share  # share of the test images whose label got no vote at all
    mcnemar: list[McNemar]  # the annotators compared with each network
    levels: list[LevelOfAgreement]
    contradicted: Count  # test images on which all networks and `SURE` annotators or more agree on another class


def find_favourites(votes: Votes) -> Ints:
    """The class with the most votes (the first, if tied): int64 (N,), 0..V+1."""
    return np.asarray(votes.argmax(axis=1), np.int64)


def judge_network(test: Predictions, second: Floats | None, votes: Votes | None) -> Annotators | None:
    """Compare a network with the annotators, on test; None if the data have no votes.

    `second` holds the probabilities of its second head, float64 (N, V); None if it has one head.
    """
    if votes is None:
        return None
    majority, shares = find_majority(votes), to_shares(votes).astype(float)
    labelled, any_class = has_label(majority, len(test.classes)), majority >= 0
    wrong, favourites = ~test.correct, find_favourites(votes)
    network, label = (favourites[wrong] == classes[wrong] for classes in (test.predicted, test.actual))
    sides = {"network": average(network), "label": average(label), "neither": average(~network & ~label)}
    return Annotators(
        rows=int(any_class.sum()),
        emotion_rows=int(labelled.sum()),
        accuracy=average((test.predicted == majority)[labelled]),
        cross_entropy=average_cross_entropy(shares[:, : len(test.classes)], test.probabilities),
        votes_accuracy=None if second is None else average((second.argmax(axis=1) == majority)[any_class]),
        votes_cross_entropy=None if second is None else average_cross_entropy(shares, second),
        mistakes=sides if wrong.any() else None,
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


def judge_labels(
    votes: Votes | None,
    vote_classes: Sequence[str],
    test: Mapping[str, Predictions],
    images: pd.DataFrame,
    resamples: int,
    seed: int,
) -> tuple[Labels | None, dict[str, pd.DataFrame]]:
    """The record, and {'levels', 'contradicted': table}; None and empty tables if the data have no votes.

    `vote_classes` are the names of the columns of `votes`, `images` is `tabulate_images` of `test`; `resamples` and
    `seed` are for the bootstrap.
    """
    if votes is None:
        return None, {"levels": pd.DataFrame({"votes": []}), "contradicted": pd.DataFrame({"index_in_test": []})}
    classes, actual, _ = next(iter(test.values()))
    right = find_favourites(votes) == actual
    contradicted = tabulate_contradicted(votes, vote_classes, next(iter(test.values())), images)
    tables = {"levels": tabulate_levels(votes, test), "contradicted": contradicted}
    levels = [
        {key: row[key] for key in ("votes", "images", "favourite_is_label")}
        | {kind: {name: row[f"{name}_{kind}"] for name in test} for kind in ("label", "favourite")}
        for row in tables["levels"].round(6).to_dict("records")
    ]
    correct = {FAVOURITES: right, **{name: rows.correct for name, rows in test.items()}}
    labels = Labels(
        accuracy=average(right),
        accuracy_ci95=bound_accuracy(right, resamples, seed),
        recall={name: average(right[actual == label]) for label, name in enumerate(classes)},
        unsupported=average(votes[np.arange(len(actual)), actual] == 0),
        mcnemar=compare_pairs(correct, [(FAVOURITES, name) for name in test]),
        levels=[LevelOfAgreement(**level) for level in levels],
        contradicted=len(contradicted),
    )
    return labels, tables


def count_tenths(votes: Votes, chosen: Ints) -> Ints:
    """The votes for the `chosen` classes, int (N,), in tenths of each row's votes, rounded down: int64 (N,), 0..10."""
    given = votes[np.arange(len(votes)), chosen].astype(np.int64)
    return np.asarray(10 * given // np.maximum(votes.sum(axis=1, dtype=np.int64), 1), np.int64)


def tabulate_levels(votes: Votes, test: Mapping[str, Predictions]) -> pd.DataFrame:
    """Accuracy of the networks by the number of annotators who agree: one row for each, from ten down to `LEAST`.

    Columns as in `LevelOfAgreement`, but `label` and `favourite` are one column per network: <network>_label and
    <network>_favourite. Images whose favourite is not a class of the labels and empty levels are left out.
    """
    favourites = find_favourites(votes)
    most = np.maximum(count_tenths(votes, favourites), LEAST)
    network = next(iter(test.values()))
    columns = {"favourite_is_label": favourites == network.actual}
    for name, rows in test.items():
        columns |= {f"{name}_label": rows.correct, f"{name}_favourite": rows.predicted == favourites}
    table = pd.DataFrame({"votes": most, "images": 1, **columns})[favourites < len(network.classes)]
    levels = table.groupby("votes").agg({"images": "sum", **dict.fromkeys(columns, "mean")})
    return levels[::-1].reset_index()


def tabulate_contradicted(
    votes: Votes, vote_classes: Sequence[str], network: Predictions, images: pd.DataFrame
) -> pd.DataFrame:
    """The faces on which all networks and at least `SURE` annotators agree on a class other than the label.

    `network` is any of the networks, `images` from `tabulate_images`.

    They are sorted by falling `votes` for the predicted class, then by the networks' falling confidence.
    """
    sure = count_tenths(votes, network.predicted) >= SURE
    table = images[images["same"] & (images["right"] == 0) & sure]
    places = table["index"].to_numpy()
    predicted, actual = network.predicted[places], network.actual[places]
    table = table.assign(
        index_in_test=places,
        predicted=np.array(network.classes)[predicted],
        votes=votes[places, predicted],
        votes_for_label=votes[places, actual],
        said=[describe_votes(row, vote_classes) for row in votes[places]],
    )
    table = table.sort_values(["votes", "confidence"], ascending=False, kind="stable", ignore_index=True)
    return table[["index_in_test", "actual", "predicted", "votes", "votes_for_label", "said", "confidence"]]


def describe_votes(counts: Bytes, vote_classes: Sequence[str]) -> str:
    """The votes for one face, uint8 (V + 2,), in words: 'happy 9, neutral 1', the most frequent first."""
    given = [(name, count) for name, count in zip(vote_classes, counts.tolist(), strict=True) if count]
    return ", ".join(f"{name} {count}" for name, count in sorted(given, key=lambda one: -one[1]))


def count_favourites(votes: Votes, labels: Bytes, classes: int) -> Ints:
    """The annotators' confusion matrix: int64 (K, V + 2), images by label (rows) and favourite (columns)."""
    counts = confusion_matrix(labels, find_favourites(votes), labels=range(votes.shape[1]))
    return np.array(counts[:classes])
