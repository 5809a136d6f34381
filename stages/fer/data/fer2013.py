"""The terms of FER-2013: classes, parts, splits and image size; and the embedded sample that replaces it."""

from pathlib import Path

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The challenge's labels 0..6, in its order."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The challenge's three parts."""

SPLITS = ("train", "val", "test")

SIZE = 48
"""Height and width of a face, in pixels."""

SAMPLE = "data/raw/sample.csv"
"""The embedded data set of drawn faces: its path, as `dataset` in params.yaml gives it."""

DRAWN = "drawn faces"
"""What the networks of the embedded sample were trained on."""


def is_sample(dataset: str) -> bool:
    """Whether `dataset` in params.yaml names the embedded sample."""
    return Path(dataset).resolve() == Path(SAMPLE).resolve()
