"""McNemar's exact test: do two classifiers differ in accuracy on the same images?"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from fer_pipeline.core.record import Count, Record, Share

Bools = npt.NDArray[np.bool_]


class McNemar(Record):
    first: str
    second: str
    first_only: Count  # test images that only the first classifies correctly
    second_only: Count  # test images that only the second classifies correctly
    p_value: Share
    p_value_holm: Share  # adjusted for all tested pairs together


def apply_mcnemar(first: Bools, second: Bools) -> tuple[int, int, float]:
    """The images, bool (N,), that only `first` gets right, those that only `second` does, and the exact p-value.

    If both were equally accurate, each of these images would be a fair coin toss. Without such images p is 1.
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = first_only + second_only
    p_value = binomtest(first_only, discordant).pvalue if discordant else 1.0
    return first_only, second_only, round_significant(p_value)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p-values of several comparisons made together."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.array(p_values)[order] * factors))
    return [round_significant(p) for p in adjusted[np.argsort(order)]]


def round_significant(number: float) -> float:
    """`number` to six significant digits: p-values may be tiny."""
    return float(f"{number:.6g}")


def compare_pairs(correct: Mapping[str, Bools], pairs: Sequence[tuple[str, str]] | None = None) -> list[McNemar]:
    """McNemar's test of each pair in {classifier: bool (N,)}, or of `pairs` only, with Holm's adjustment for all."""
    pairs = list(combinations(correct, 2)) if pairs is None else pairs
    found = [apply_mcnemar(correct[first], correct[second]) for first, second in pairs]
    holm = adjust_holm([p_value for _, _, p_value in found])
    return [
        McNemar(first=first, second=second, first_only=one, second_only=other, p_value=p, p_value_holm=adjusted)
        for (first, second), (one, other, p), adjusted in zip(pairs, found, holm, strict=True)
    ]
