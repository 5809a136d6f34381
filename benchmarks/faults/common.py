"""What the parts of `benchmarks/fire.py` share: what they are given, and the rows that they report."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
"""The environment in which PyTorch and TensorFlow compute with one thread."""


class Settings(NamedTuple):
    """What a part is given."""

    seed: int
    count: int | None
    """How much to draw; None for the part's own number."""
    folder: Path
    """Empty, for everything that the part writes; removed when the part has ended."""
    finished: Path | None = None
    """A finished run of the pipeline, if the part need not run it."""


class Row(NamedTuple):
    """A line of a part's table."""

    what: str
    """What was done, in a few words: `dvc and the stage killed`."""
    tried: int
    held: int
    """How often the promise was kept."""
    seconds: float
    """Since the row before it; the benchmark itself fills it in."""
    found: tuple[str, ...]
    """A sentence for each failure, with what is needed to repeat it."""


def make_row(what: str, told: Iterable[str]) -> Row:
    """A row; `told` has a sentence for each failure, else empty strings."""
    tried = list(told)
    found = tuple(filter(None, tried))
    return Row(what, len(tried), len(tried) - len(found), 0.0, found)
