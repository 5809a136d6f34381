"""What FER-2013's labels are worth, told by ten annotators per face (FER+), and by networks that contradict them.

Favourites are those of `fer_pipeline.metrics.annotators`.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.faces.votes import Votes
from fer_pipeline.metrics.annotators import find_favourites
from fer_pipeline.metrics.mcnemar import McNemar, adjust_holm, apply_mcnemar
from fer_pipeline.metrics.scores import average, average_if_any, bound_accuracy
from fer_pipeline.predictions.predictions import Predictions

FAVOURITES = "annotators"
"""The name of what most annotators say, beside those of the networks."""
SURE = 8
"""Votes of ten from which annotators are taken to be sure."""
LEAST = 4
"""Votes of the least agreement that has a level of its own; below it a favourite means little."""


class LevelOfAgreement(Record):
    """Test images on whose emotion so many annotators agree."""

    votes: Count
    """For the favourite; the least number stands for all below it as well."""
    images: Count
    favourite_is_label: Share
    label: dict[str, Share]
    """{network: share of the images of which it says what the label is}."""
    favourite: dict[str, Share]
    """{network: share of the images of which it says what the favourite is}."""


class Labels(Record):
    """What the test labels are worth, by FER+'s annotators; see `fer_pipeline.metrics.annotators`."""

    accuracy: Share
    """Test images whose label is the annotators' favourite: what they score on FER-2013."""
    accuracy_ci95: Interval
    recall: dict[str, Share | None]
    """{emotion: the same of the images that are labelled so}."""
    unsupported: Share
    """Test images for whose label not one annotator voted."""
    mcnemar: list[McNemar]
    """Annotators beside each network."""
    levels: list[LevelOfAgreement]
    contradicted: Count
    """Test images of which all networks say the same against the label, and at least eight annotators with them."""


def judge_labels(
    votes: Votes | None, test: Mapping[str, Predictions], resamples: int, seed: int
) -> tuple[Labels | None, pd.DataFrame, pd.DataFrame]:
    """What the test labels are worth; None and empty tables where the data have no votes.

    Args:
        test: {network: its predictions}.
        resamples, seed: of the bootstrap.

    Returns:
        The record, `tabulate_levels` and `tabulate_contradicted`.
    """
    if votes is None:
        return None, pd.DataFrame({"votes": []}), pd.DataFrame({"index_in_test": []})
    actual = next(iter(test.values())).actual
    favourites = find_favourites(votes)
    right = favourites == actual
    for_label = votes[np.arange(len(actual)), actual]
    levels, contradicted = tabulate_levels(votes, test), tabulate_contradicted(votes, test)
    found = [apply_mcnemar(right, rows.correct) for rows in test.values()]
    adjusted = adjust_holm([one.p_value for one in found])
    return (
        Labels(
            accuracy=average(right),
            accuracy_ci95=bound_accuracy(right, resamples, seed),
            recall={name: average_if_any(right[actual == label]) for label, name in enumerate(CLASSES)},
            unsupported=average(for_label == 0),
            mcnemar=[
                McNemar(first=FAVOURITES, second=name, **one._asdict(), p_value_holm=p)
                for name, one, p in zip(test, found, adjusted, strict=True)
            ],
            levels=[
                LevelOfAgreement(
                    votes=int(row["votes"]),
                    images=int(row["images"]),
                    favourite_is_label=round(float(row["favourite_is_label"]), 6),
                    label={name: round(float(row[f"{name}_label"]), 6) for name in test},
                    favourite={name: round(float(row[f"{name}_favourite"]), 6) for name in test},
                )
                for _, row in levels.iterrows()
            ],
            contradicted=len(contradicted),
        ),
        levels,
        contradicted,
    )


def tabulate_levels(votes: Votes, test: Mapping[str, Predictions]) -> pd.DataFrame:
    """One row per number of annotators who agree, falling: how often the networks are right about such faces.

    Columns: votes (for the favourite; the last row holds all below 5 as well), images, favourite_is_label, and per
    network <network>_label and <network>_favourite, the shares of faces of which it says what the label, or the
    favourite, is. Faces whose favourite is no emotion of the seven are left out.
    """
    favourites, most = find_favourites(votes), np.maximum(votes.max(axis=1), LEAST)
    actual = next(iter(test.values())).actual
    rows = []
    for count in range(10, LEAST - 1, -1):
        chosen = (most == count) & (favourites < len(CLASSES))
        if chosen.any():
            row = {
                "votes": count,
                "images": int(chosen.sum()),
                "favourite_is_label": (favourites == actual)[chosen].mean(),
            }
            for name, one in test.items():
                row[f"{name}_label"] = one.correct[chosen].mean()
                row[f"{name}_favourite"] = (one.predicted == favourites)[chosen].mean()
            rows.append(row)
    shares = [f"{name}_{kind}" for name in test for kind in ("label", "favourite")]
    return pd.DataFrame(rows, columns=["votes", "images", "favourite_is_label", *shares])


def tabulate_contradicted(votes: Votes, test: Mapping[str, Predictions]) -> pd.DataFrame:
    """The faces of which all networks say one and the same against the label, and at least eight annotators with them.

    Columns: index_in_test, actual (the label), predicted, votes (for it), votes_for_label, said (all votes, as
    'happy 9, neutral 1') and confidence, the mean of the networks'. Most votes first, then the most confident.
    """
    rows = list(test.values())
    predicted, actual = rows[0].predicted, rows[0].actual
    same = np.all([one.predicted == predicted for one in rows], axis=0)
    places = np.arange(len(actual))
    chosen = np.flatnonzero(same & (predicted != actual) & (votes[places, predicted] >= SURE))
    names = np.array(CLASSES)
    table = pd.DataFrame(
        {
            "index_in_test": chosen,
            "actual": names[actual[chosen]],
            "predicted": names[predicted[chosen]],
            "votes": votes[chosen, predicted[chosen]],
            "votes_for_label": votes[chosen, actual[chosen]],
            "said": [describe_votes(votes[row]) for row in chosen],
            "confidence": np.mean([one.confidence[chosen] for one in rows], axis=0).round(6),
        }
    )
    return table.sort_values(
        ["votes", "confidence", "index_in_test"], ascending=[False, False, True], ignore_index=True
    )


def describe_votes(counts: npt.NDArray[np.uint8]) -> str:
    """The votes for one face, uint8 (10,), in words: 'happy 9, neutral 1', the most frequent first."""
    order = np.argsort(-counts.astype(int), kind="stable")
    return ", ".join(f"{VOTE_CLASSES[place]} {counts[place]}" for place in order if counts[place])


def count_favourites(votes: Votes, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How often annotators favour what for the faces of each label: int64 (7, 10)."""
    counts = np.zeros((len(CLASSES), len(VOTE_CLASSES)), np.int64)
    np.add.at(counts, (labels, find_favourites(votes)), 1)
    return counts
