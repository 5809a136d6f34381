"""What each part of `benchmarks/fire.py` is given, and what it reports."""

from pathlib import Path
from typing import NamedTuple

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
"""The environment in which PyTorch and TensorFlow compute with one thread."""
Row = tuple[str, list[str]]
"""What was done, in a few words; and for each try a sentence with what is needed to repeat it if a promise was broken,
else an empty string."""


class Settings(NamedTuple):
    seed: int
    count: int | None
    """How much to draw; None for the part's own number."""
    folder: Path
    """Empty, for everything that the part writes; removed when the part has ended."""
    finished: Path | None
    """A finished run of the pipeline, if the part need not run it."""
