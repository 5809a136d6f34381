"""How reliable FER-2013's labels are, judged by ten annotators per face (FER+) and by networks that contradict them.

`fer_pipeline.metrics.annotators` defines the annotators' favourite.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import confusion_matrix

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.faces.votes import Votes
from fer_pipeline.metrics.annotators import find_favourites
from fer_pipeline.metrics.mcnemar import McNemar, compare_pairs
from fer_pipeline.metrics.scores import average, bound_accuracy, tabulate_images
from fer_pipeline.predictions.predictions import Predictions

FAVOURITES = "annotators"  # the name of the annotators' favourite where it is compared with networks
SURE = 8  # the annotators count as sure of a class if at least this many of the ten chose it
LEAST = 4  # the lowest level of agreement; it also holds images whose favourite has fewer votes and so means little


class LevelOfAgreement(Record):
    """The test images on which this many annotators agree on an emotion."""

    votes: Count  # votes for the favourite; the level `LEAST` also holds the images with fewer
    images: Count
    favourite_is_label: Share
    label: dict[str, Share]  # {network: share of the images on which it predicts the label}
    favourite: dict[str, Share]  # {network: share of the images on which it predicts the favourite}


class Labels(Record):
    """How reliable the test labels are according to FER+'s annotators."""

    accuracy: Share  # share of the test images whose label is the annotators' favourite: the accuracy of the annotators
    accuracy_ci95: Interval
    recall: dict[str, Share | None]  # {emotion: `accuracy` on the images with this label}; None if there are none
    unsupported: Share  # share of the test images whose label got no vote at all
    mcnemar: list[McNemar]  # the annotators compared with each network
    levels: list[LevelOfAgreement]
    contradicted: Count
    """Test images on which all networks and at least eight annotators agree on a class other than the label."""


def judge_labels(
    votes: Votes | None, test: Mapping[str, Predictions], resamples: int, seed: int
) -> tuple[Labels | None, dict[str, pd.DataFrame]]:
    """The record, and {'levels', 'contradicted': table}; None and empty tables if the data have no votes.

    `test` is {network: its predictions}; `resamples` and `seed` are for the bootstrap.
    """
    if votes is None:
        return None, {"levels": pd.DataFrame({"votes": []}), "contradicted": pd.DataFrame({"index_in_test": []})}
    actual = next(iter(test.values())).actual
    right = find_favourites(votes) == actual
    tables = {"levels": tabulate_levels(votes, test), "contradicted": tabulate_contradicted(votes, test)}
    levels = [
        {key: row[key] for key in ("votes", "images", "favourite_is_label")}
        | {kind: {name: row[f"{name}_{kind}"] for name in test} for kind in ("label", "favourite")}
        for row in tables["levels"].round(6).to_dict("records")
    ]
    correct = {FAVOURITES: right, **{name: rows.correct for name, rows in test.items()}}
    labels = Labels(
        accuracy=average(right),
        accuracy_ci95=bound_accuracy(right, resamples, seed),
        recall={name: average(right[actual == label]) for label, name in enumerate(CLASSES)},
        unsupported=average(votes[np.arange(len(actual)), actual] == 0),
        mcnemar=compare_pairs(correct, [(FAVOURITES, name) for name in test]),
        levels=[LevelOfAgreement(**level) for level in levels],
        contradicted=len(tables["contradicted"]),
    )
    return labels, tables


def tabulate_levels(votes: Votes, test: Mapping[str, Predictions]) -> pd.DataFrame:
    """Accuracy of the networks by the number of annotators who agree: one row for each, from ten down to `LEAST`.

    Columns as in `LevelOfAgreement`, but `label` and `favourite` are one column per network: <network>_label and
    <network>_favourite. Images whose favourite is not one of the seven emotions and empty levels are left out.
    """
    favourites, most = find_favourites(votes), np.maximum(votes.max(axis=1), LEAST)
    columns = {"favourite_is_label": favourites == next(iter(test.values())).actual}
    for name, rows in test.items():
        columns |= {f"{name}_label": rows.correct, f"{name}_favourite": rows.predicted == favourites}
    table = pd.DataFrame({"votes": most, "images": 1, **columns})[favourites < len(CLASSES)]
    levels = table.groupby("votes").agg({"images": "sum", **dict.fromkeys(columns, "mean")})
    return levels[::-1].reset_index()


def tabulate_contradicted(votes: Votes, test: Mapping[str, Predictions]) -> pd.DataFrame:
    """The faces on which all networks and at least eight annotators agree on a class other than the label.

    Columns: index_in_test, actual (the label), predicted, votes (for the predicted class), votes_for_label, said (all
    votes, as 'happy 9, neutral 1') and confidence (the networks' mean). Rows are sorted by falling votes, then by
    falling confidence.
    """
    images, network = tabulate_images(test), next(iter(test.values()))
    table = pd.DataFrame(
        {
            "index_in_test": images["index"],
            "actual": images["actual"],
            "predicted": images[next(iter(test))],
            "votes": votes[images["index"], network.predicted],
            "votes_for_label": votes[images["index"], network.actual],
            "said": [describe_votes(row) for row in votes],
            "confidence": images["confidence"],
        }
    )
    table = table[images["same"] & (images["right"] == 0) & (table["votes"] >= SURE)]
    return table.sort_values(["votes", "confidence"], ascending=False, kind="stable", ignore_index=True)


def describe_votes(counts: npt.NDArray[np.uint8]) -> str:
    """The votes for one face, uint8 (10,), in words: 'happy 9, neutral 1', the most frequent first."""
    order = np.argsort(-counts.astype(int), kind="stable")
    return ", ".join(f"{VOTE_CLASSES[place]} {counts[place]}" for place in order if counts[place])


def count_favourites(votes: Votes, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The annotators' confusion matrix: int64 (7, 10), images by label (rows) and favourite (columns)."""
    counts = confusion_matrix(labels, find_favourites(votes), labels=range(len(VOTE_CLASSES)))
    return np.array(counts[: len(CLASSES)])
