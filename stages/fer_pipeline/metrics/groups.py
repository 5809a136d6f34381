"""How a network does on groups of people or pictures that a data set names, such as ages or cameras."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.metrics.scores import average, bound_accuracy, sum_calibration_error
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import Predictions

ENOUGH = 30  # test images of a group, to count in the largest gap: its interval is some 30 points wide even then

Names = Mapping[str, NDArray[np.str_]]
"""{what the groups tell, such as 'age': the group of each test image, str (N,)}."""


class GroupScores(Record):
    """On the test images of one group."""

    name: str
    images: Count
    accuracy: Share
    accuracy_ci95: Interval  # 95 % bootstrap interval
    calibration_error: Share  # expected calibration error
    uncertain: Share  # share of the answers with a confidence below `evaluate.threshold`
    uncertain_ci95: Interval  # 95 % bootstrap interval


class Gap(Record):
    """The largest difference of accuracy between two groups that have `ENOUGH` test images."""

    best: str
    worst: str
    points: float
    points_ci95: list[float]  # [low, high]: its 95 % bootstrap interval


class Groups(Record):
    """All groups of one kind that have test images."""

    kind: str  # such as 'age'
    groups: list[GroupScores]  # in the order of their names
    gap: Gap | None  # None if fewer than two groups have enough test images


def read_groups(path: str | Path) -> Names:
    """The groups of the test rows of a faces.h5 that `read_faces` has read; {} if the data set names none."""
    with h5py.File(path, "r") as file:
        kinds = [key.removeprefix("group_") for key in file.attrs if key.startswith("group_")]
        return {kind: np.array(file.attrs[f"group_{kind}"], str)[file[f"test/group_{kind}"][()]] for kind in kinds}


def judge_groups(test: Predictions, names: Names, settings: Evaluate, seed: int) -> list[Groups]:
    """The scores of a network by each kind of groups; `seed` is for the bootstrap."""
    return [judge_kind(kind, test, of, settings, seed) for kind, of in names.items()]


def judge_kind(kind: str, test: Predictions, names: NDArray[np.str_], settings: Evaluate, seed: int) -> Groups:
    """The scores by the group of each test image, `names`, str (N,)."""
    groups = []
    for name in sorted({*names.tolist()}):
        of = names == name
        rows = test._replace(actual=test.actual[of], probabilities=test.probabilities[of])
        groups.append(
            GroupScores(
                name=name,
                images=len(rows.actual),
                accuracy=average(rows.correct),
                accuracy_ci95=bound_accuracy(rows.correct, settings.bootstrap, seed),
                calibration_error=sum_calibration_error(rows, settings.bins),
                uncertain=average(rows.confidence < settings.threshold),
                uncertain_ci95=bound_accuracy(rows.confidence < settings.threshold, settings.bootstrap, seed),
            )
        )
    ranked = sorted((one for one in groups if one.images >= ENOUGH), key=lambda one: one.accuracy)
    gap = measure_gap(ranked[-1], ranked[0], settings.bootstrap, seed) if len(ranked) > 1 else None
    return Groups(kind=kind, groups=groups, gap=gap)


def measure_gap(best: GroupScores, worst: GroupScores, resamples: int, seed: int) -> Gap:
    """By how much one group is more accurate than another; both are resampled, each by itself.

    The interval is that of these two groups: it does not count that they were picked among all.
    """
    draws = np.random.default_rng(seed)
    drawn = [draws.binomial(one.images, one.accuracy, resamples) / one.images for one in (best, worst)]
    ends = np.percentile(100 * (drawn[0] - drawn[1]), [2.5, 97.5])
    points = round(100 * (best.accuracy - worst.accuracy), 4)
    return Gap(best=best.name, worst=worst.name, points=points, points_ci95=[round(float(end), 4) for end in ends])
