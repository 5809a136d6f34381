"""McNemar's exact test: are two classifiers right equally often on the same images?"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from fer_pipeline.core.record import Count, Record, Share

Bools = npt.NDArray[np.bool_]


class McNemar(Record):
    """The exact test: are two networks equally often right?"""

    first: str
    second: str
    first_only: Count
    """Test images that only the first gets right."""
    second_only: Count
    p_value: Share
    p_value_holm: Share
    """Adjusted for all pairs together."""


class Discordant(NamedTuple):
    """What McNemar's test makes of the images that just one of two networks gets right."""

    first_only: int
    second_only: int
    p_value: float


def apply_mcnemar(first: Bools, second: Bools) -> Discordant:
    """McNemar's exact test: are two networks, right on `first` and `second` (bool (N,)), equally often right?

    Under that hypothesis the images that just one of them gets right fall to either like a fair coin. The p-value is 1
    where there are none.
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = first_only + second_only
    p_value = binomtest(first_only, discordant).pvalue if discordant else 1.0
    return Discordant(first_only, second_only, round_significant(p_value))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: p-values that hold for all of these comparisons together."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.array(p_values)[order] * factors))
    return [round_significant(p) for p in adjusted[np.argsort(order, kind="stable")]]


def round_significant(number: float) -> float:
    """`number` to six significant digits: p-values may be tiny."""
    return float(f"{number:.6g}")


def compare_pairs(right: Mapping[str, Bools]) -> list[McNemar]:
    """McNemar's test between each pair of {network: bool (N,)}, with Holm's p-values for all pairs together."""
    pairs = list(combinations(right, 2))
    found = [apply_mcnemar(right[first], right[second]) for first, second in pairs]
    adjusted = adjust_holm([one.p_value for one in found])
    return [
        McNemar(first=first, second=second, **one._asdict(), p_value_holm=p)
        for (first, second), one, p in zip(pairs, found, adjusted, strict=True)
    ]
