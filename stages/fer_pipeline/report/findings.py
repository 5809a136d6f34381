"""What the report's sentences tell: the best and the worst, who wins how often, what leaving images out changes."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics.comparison import Agreement
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.paper import LITERATURE

Curve = list[tuple[float, float]]
"""[(coverage, accuracy), ...]"""


class Extremes(NamedTuple):
    """The ends of {name: number}, each with the names that reach it."""

    highest: list[str]
    most: float
    lowest: list[str]
    least: float

    @property
    def width(self) -> float:
        """From the least to the most."""
        return self.most - self.least


def find_extremes(values: Mapping[str, float | None], without: str = "") -> Extremes | None:
    """The ends of the numbers that are known, but for that of `without`; None if there are none."""
    known = {name: value for name, value in values.items() if value is not None and name != without}
    if not known:
        return None
    most, least = max(known.values()), min(known.values())
    highest, lowest = ([name for name, value in known.items() if value == end] for end in (most, least))
    return Extremes(highest, most, lowest, least)


def compare_f1(scores: Mapping[str, Scores]) -> dict[str, Extremes]:
    """{emotion: the networks with the highest and the lowest F1}, for the classes in which every network has one."""
    ends = {}
    for emotion in CLASSES:
        row = {name: one.per_class[emotion].f1 for name, one in scores.items()}
        if None not in row.values() and (found := find_extremes(row)):
            ends[emotion] = found
    return ends


def count_wins(ends: Mapping[str, Extremes], names: Iterable[str]) -> dict[str, int]:
    """{network: classes in which no network has a higher F1}, from `compare_f1`."""
    return {name: sum(name in found.highest for found in ends.values()) for name in names}


def leave_out(curve: Curve) -> Curve:
    """The points of a risk-coverage curve that leave out a tenth or more, and a half or more: the largest of each."""
    kept = ([point for point in curve if point[0] <= share] for share in (0.9, 0.5))
    return [max(points) for points in kept if points]


def list_pairs(agreement: Agreement, titles: Mapping[str, str]) -> dict[str, float]:
    """{'VGG19 with ResNet18': the share of test images on which both predict the same class, ...}"""
    return {f"{titles[pair.first]} with {titles[pair.second]}": pair.share for pair in agreement.pairs}


def count_passed(accuracy: float) -> tuple[int, int]:
    """Works of Table 1 on FER-2013 with a lower accuracy, and all of them that have an accuracy."""
    works = [work.accuracy for work in LITERATURE if work.accuracy is not None and work.dataset == "FER-2013"]
    return sum(known < accuracy for known in works), len(works)


FINDINGS = (find_extremes, compare_f1, count_wins, leave_out, list_pairs, count_passed, zip)
