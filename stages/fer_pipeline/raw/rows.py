"""The terms of raw data: the challenge's and FER+'s words, and the rows that every form is read into."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_pipeline.faces.fer2013 import CLASSES, NAME

USAGES = ("Training", "PublicTest", "PrivateTest")  # the challenge's three parts: train, val and test
NOWHERE = 255  # in place of a position in `USAGES`: a row that is left out of all splits

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

Pixels = npt.NDArray[np.uint8]
Wanted = Literal["auto"] | Sequence[str] | Mapping[str, Sequence[str | int]] | None  # as `prepare.classes` has it


class Options(NamedTuple):
    """How to read a source, by default as FER-2013: the section `prepare` of params.yaml, and its seed."""

    seed: int = 0  # of the rows that are drawn for val and test, where the source does not say
    classes: Wanted = None
    size: int | None = None  # height and width of a face in pixels; None: 48, and no picture is scaled
    colour: bool = False
    crop: Callable[[bytes], Pixels | None] | None = None  # a picture's bytes to its largest face; None: no face
    by_votes: bool = False  # whether the annotators' majority is the label
    votes: str | None = None  # FER+'s file of votes
    all_test: bool = False  # for a set to be judged on: all rows are test rows, and it may lack classes

    @property
    def plain(self) -> bool:
        """Whether FER-2013 is read as it is."""
        return self.classes is None and self.size is None and not (self.colour or self.crop or self.all_test)


FER2013 = Options()


class Rows(NamedTuple):
    """All rows of a source; S is the size of a face, K the number of classes, V that of the classes of votes."""

    images: Pixels  # uint8 (N, S, S), or (N, S, S, 3) in colour, 0..255
    labels: npt.NDArray[np.uint8]  # uint8 (N,), 0..K-1, positions in `classes`; any where the usage is `NOWHERE`
    usages: npt.NDArray[np.uint8]  # uint8 (N,), 0..2, positions in `USAGES`, or `NOWHERE`
    kind: Literal["table", "images"]  # the challenge's CSV, or pictures in folders or named by a table
    md5: str  # hex digest of the file; for a folder, of its names and bytes
    challenge_file: str | None = None  # the challenge's file that the table is, byte for byte, however packed
    conversions: Mapping[str, int] = {}  # pictures converted to grey, or to colour, by Pillow's mode
    left_out: Mapping[str, int] = {}  # {name: rows} of other classes, which are left out
    scaled: int = 0  # pictures that had another size
    name: str = NAME  # of the data set
    classes: tuple[str, ...] = CLASSES
    numbers: tuple[str, ...] = ()  # the numbers that are the labels in the source, where they were taken for FER-2013's
    split: Literal["official", "made"] = "official"  # 'made' where `prepare` drew val or test
    note: str | None = None  # what to know of the split; None for the challenge's
    votes: npt.NDArray[np.uint8] | None = None  # uint8 (N, V + 2), see `Split`
    voted: tuple[str, ...] = ()  # the V classes of votes
    groups: Mapping[str, tuple[npt.NDArray[np.uint16], tuple[str, ...]]] = {}
    """{what groups tell, such as age: (uint16 (N,), positions in the names, and the names)}."""
    no_majority: Mapping[str, int] = {}  # {split, or 'all' before there were any: rows without a majority of votes}
    without_face: int = 0  # photos in which no face was found
