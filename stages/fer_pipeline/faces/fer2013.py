"""The terms of FER-2013: classes, parts, splits and image size; and the embedded sample that replaces it."""

import os

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The challenge's labels 0..6, in its order."""

ANNOTATORS = 10
"""Of each face, in FER+."""

VOTE_CLASSES = (*CLASSES, "contempt", "unknown", "no face")
"""What FER+'s annotators could say of a face, in the order that votes have here."""

VOTED = VOTE_CLASSES[:8]
"""Of them those that a network learns: the seven emotions, and contempt."""

FERPLUS_COLUMNS = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "contempt",
    "unknown": "unknown",
    "NF": "no face",
}
"""{column of FER+'s file: name in `VOTE_CLASSES`}, in the file's order."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The challenge's three parts."""

SPLITS = ("train", "val", "test")

SIZE = 48
"""Height and width of a face, in pixels."""

SAMPLE = "data/raw/sample.csv"
"""The embedded data set of drawn faces: its path, as `dataset` in params.yaml gives it."""

SAMPLE_VOTES = "data/raw/sample_votes.csv"
"""The votes for it, as `prepare.votes` gives their path."""

DRAWN = "drawn faces"
"""What the networks of the embedded sample were trained on."""


def is_sample(dataset: str) -> bool:
    """Whether `dataset` in params.yaml names the embedded sample."""
    return os.path.realpath(dataset) == os.path.realpath(SAMPLE)
