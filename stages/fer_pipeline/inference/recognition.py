"""From photos to expressions: what `apps/predict.py` and `apps/serve.py` share."""

from itertools import repeat
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.exported.onnx import DRAWN, load_exported, read_accuracy, read_metadata
from fer_pipeline.inference.detection import PHOTO_SIDE, Detector, crop_face
from fer_pipeline.inference.photos import Box, Crop, Photo, crop_whole

OWN, PRETRAINED = ROOT / "models" / "export", ROOT / "pretrained"
"""Where the networks of one's own run lie, and the one that a clone comes with."""
COMES_WITH = "pretrained/"
"""Begins the names of the latter."""
THRESHOLD = 0.6
"""A face whose emotion has less confidence is uncertain: low confidence in the sense of Table 6."""


class Place(NamedTuple):
    """Where a face is in a photo."""

    box: Box
    roll: float = 0.0
    """Degrees by which it is turned clockwise."""
    cut: bool = False
    """Whether the photo's edge runs through it."""


class Face(NamedTuple):
    """One face of a photo, and what a network predicts for it."""

    place: Place
    probabilities: NDArray[np.float64]
    """(7,), calibrated, in the order of the network's classes."""
    shares: NDArray[np.float64] | None
    """(8,): share of annotators expected to choose each class of `VOTED`; None for a network without that head."""
    number: int | None = None
    """From 0, the same from frame to frame of a video; None in a photo."""


class Description(TypedDict):
    """A face in words and plain numbers, as it goes into JSON, CSV and drawings."""

    box: list[int]
    """Left, top, width, height, in pixels."""
    roll: int
    """Degrees by which the face is turned clockwise; it was judged upright."""
    cut: bool
    """Whether the photo's edge runs through it."""
    emotion: str
    """The class with the highest probability."""
    confidence: float
    """Its probability, four decimals, as all probabilities here."""
    uncertain: bool
    """Whether the confidence is below the threshold."""
    annotators: int | None
    """How many of ten annotators would likely say so; None of a network that has not learnt it."""
    probabilities: dict[str, float]
    """By class."""
    number: NotRequired[int]
    """In a video: of the same face the same from frame to frame, from 0."""


class Recogniser:
    """A network, a face detector and a threshold. It must not be shared between threads.

    Attributes:
        model: `fer_pipeline.exported.onnx.OnnxModel`.
        warning: a sentence where its predictions on photos mean nothing, else None.
    """

    def __init__(self, name: str, whole: bool = False, threshold: float = THRESHOLD) -> None:
        """`name` is that of a network or a path, as for `find_model`. With `whole`, each photo is one cropped face.

        Raises:
            InputError: as `find_model` and `fer_pipeline.exported.onnx.load_exported`.
        """
        self.model = load_exported(find_model(name))
        drawn = self.model.metadata.get("trained_on") == DRAWN
        self.warning = f"{self.model.name} knows {DRAWN} only: for photos, train on FER-2013" if drawn else None
        self.detector = None if whole else Detector()
        self.threshold = threshold

    def find(self, photo: Photo, longest_side: int = PHOTO_SIDE) -> list[tuple[Place, Crop]]:
        """The faces of a photo, the largest first; `longest_side` as in `Detector.find`."""
        if self.detector is None:
            box, crop = crop_whole(photo)
            return [(Place(box), crop)]
        found = self.detector.find(photo, longest_side)
        return [(Place(face.box, face.roll, face.is_cut(photo)), crop_face(photo, face)) for face in found]

    def judge(self, found: list[list[tuple[Place, Crop]]]) -> list[list[Face]]:
        """For several photos what `find` gave, each with its predictions; all faces in one batch."""
        crops = [crop for photo in found for _, crop in photo]
        if not crops:
            return [[] for _ in found]
        probabilities, shares = self.model.answer(np.stack(crops))
        answers = zip(probabilities, repeat(None) if shares is None else shares)  # noqa: B905 (repeat has no end)
        return [[Face(place, *next(answers)) for place, _ in photo] for photo in found]

    def describe(self, face: Face) -> Description:
        """A `Face` as a dict that JSON can hold."""
        best = int(face.probabilities.argmax())
        confidence = float(face.probabilities[best])
        probabilities = zip(self.model.classes, face.probabilities, strict=True)
        known: Description = {
            "box": [*face.place.box],
            "roll": round(face.place.roll),
            "cut": face.place.cut,
            "emotion": self.model.classes[best],
            "confidence": round(confidence, 4),
            "uncertain": confidence < self.threshold,
            "annotators": None if face.shares is None else round(10 * float(face.shares[best])),
            "probabilities": {emotion: round(float(share), 4) for emotion, share in probabilities},
        }
        return known if face.number is None else {**known, "number": face.number}


def list_models() -> list[str]:
    """The names of the networks that can be used: the one that a clone comes with, then one's own, sorted."""
    return [
        f"{prefix}{name}"
        for prefix, folder in ((COMES_WITH, PRETRAINED), ("", OWN))
        for name in sorted(path.name.removesuffix(".onnx") for path in folder.glob("[!.]*.onnx"))
    ]


def tell_models() -> str:
    """The end of a sentence: which networks there are, or how to make them."""
    names = list_models()
    return f"there are {', '.join(names)}" if names else f"{PRETRAINED} and {OWN} are empty: run `dvc repro`"


def choose_model() -> str:
    """The network to use where none is named: the int8 one that a clone comes with.

    Where there is none, of one's own int8 networks that with the best accuracy on val, which stands in the files; of
    equal ones the first by name. Where there is no int8 network either, all take part.

    Raises:
        InputError: there is no network.
    """
    names = list_models()
    if not names:
        raise InputError(f"no network; {tell_models()}")
    small = [name for name in names if name.endswith(".int8")] or names
    given = [name for name in small if name.startswith(COMES_WITH)]
    return max(given or small, key=lambda name: read_accuracy(read_metadata(find_model(name))))


def find_model(name: str) -> Path:
    """The path of a network: `name` is one of `list_models()`, or the path of an .onnx file.

    Raises:
        InputError: it is neither.
    """
    if name.endswith(".onnx"):
        return Path(name)
    check_name(name)
    folder = PRETRAINED if name.startswith(COMES_WITH) else OWN
    return folder / f"{name.removeprefix(COMES_WITH)}.onnx"


def check_name(name: str) -> None:
    """Raise an `InputError` if `name` is not one of `list_models()`."""
    if name not in list_models():
        raise InputError(f"no network named {name!r:.100}; {tell_models()}")


def describe_models() -> list[str]:
    """A line for each network that there is: its name, what it was trained on, how good it is, its size."""
    names = list_models()
    default = choose_model() if names else ""
    rows = [("network", "trained on", "accuracy on val", "MB")]
    for name in names:
        path = find_model(name)
        known = read_metadata(path)
        accuracy, size = f"{read_accuracy(known):.1%}", f"{path.stat().st_size / 1e6:.1f}"
        rows.append((name, known.get("trained_on", "unknown"), accuracy, size))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + ("  <- without --model" if row[0] == default else "")
        for row in rows
    ]
