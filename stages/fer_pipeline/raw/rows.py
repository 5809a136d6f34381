"""The terms of raw data: the challenge's and FER+'s words, and the rows that every form is read into."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

USAGES = ("Training", "PublicTest", "PrivateTest")  # the challenge's three parts

ANNOTATORS = 10  # how many people voted on each face in FER+

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


class Rows(NamedTuple):
    """All rows of a source, in its order."""

    images: npt.NDArray[np.uint8]  # uint8 (N, 48, 48), 0..255
    labels: npt.NDArray[np.uint8]  # uint8 (N,), 0..6, positions in `CLASSES`
    usages: npt.NDArray[np.uint8]  # uint8 (N,), 0..2, positions in `USAGES`
    kind: Literal["table", "images"]  # the challenge's CSV, or pictures in folders
    md5: str  # hex digest of the file; for a folder, of its names and bytes
    challenge_file: str | None = None  # the challenge's file that the table is, byte for byte, however packed
    conversions: Mapping[str, int] = {}  # pictures converted to grey, by Pillow's mode
    left_out: Mapping[str, int] = {}  # {folder: pictures} of another data set that are below no emotion's folder
    scaled: int = 0  # pictures of another data set that had another size than 48x48
