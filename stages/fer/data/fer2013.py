"""FER-2013's own terms: classes, parts, splits and size; and the embedded sample that stands in for it."""

from pathlib import Path

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The challenge's labels 0..6, in its order."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The challenge's three parts."""

SPLITS = ("train", "val", "test")

SIZE = 48
"""Height and width of a face, in pixels."""

SAMPLE = "data/raw/sample.csv"
"""The embedded data set of drawn faces, as `dataset` in params.yaml names it."""

DRAWN = "drawn faces"
"""What the networks of the embedded sample were trained on."""


def is_sample(dataset: str) -> bool:
    """Whether `dataset` in params.yaml names the embedded sample."""
    return Path(dataset).resolve() == Path(SAMPLE).resolve()
