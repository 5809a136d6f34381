"""From photos to expressions: what `apps/predict.py` and `apps/serve.py` share."""

from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from fer.core.stage import ROOT, InputError
from fer.data.fer2013 import DRAWN
from fer.inference.onnx import load_exported, read_val_accuracy
from fer.inference.photos import PHOTO_SIDE, Box, Crop, Photo, crop_face, find_faces, frame_whole, open_detector

FOLDER = ROOT / "models" / "export"
THRESHOLD = 0.6
"""A face whose emotion has less confidence is uncertain: low confidence in the sense of Table 6."""


class Face(NamedTuple):
    """One face of a photo, and what a network predicts for it."""

    box: Box
    probabilities: NDArray[np.float64]
    """(7,), calibrated, in the order of the network's classes."""


class Description(TypedDict):
    """A face in words and plain numbers, as it goes into JSON, CSV and drawings."""

    box: list[int]
    """Left, top, width, height, in pixels."""
    emotion: str
    """The class with the highest probability."""
    confidence: float
    """Its probability, four decimals, as all probabilities here."""
    uncertain: bool
    """Whether the confidence is below the threshold."""
    probabilities: dict[str, float]
    """By class."""


class Recogniser:
    """A network, a face detector and a threshold. It must not be shared between threads.

    Attributes:
        model: `fer.inference.onnx.OnnxModel`.
        warning: a sentence where its predictions on photos mean nothing, else None.
    """

    def __init__(self, name: str, whole: bool = False, threshold: float = THRESHOLD) -> None:
        """`name` is that of a network or a path, as for `find_model`. With `whole`, each photo is one cropped face.

        Raises:
            InputError: as `find_model` and `fer.inference.onnx.load_exported`.
        """
        self.model = load_exported(find_model(name))
        drawn = self.model.metadata.get("trained_on") == DRAWN
        self.warning = f"{self.model.name} knows {DRAWN} only: for photos, train on FER-2013" if drawn else None
        self.detector = None if whole else open_detector()
        self.threshold = threshold

    def find(self, photo: Photo, longest_side: int = PHOTO_SIDE) -> list[tuple[Box, Crop]]:
        """The faces of a photo, the largest first; `longest_side` as in `fer.inference.photos.find_faces`."""
        if self.detector is None:
            box = frame_whole(photo)
            return [(box, crop_face(photo, box, margin=0))]
        return [(box, crop_face(photo, box)) for box in find_faces(self.detector, photo, longest_side)]

    def judge(self, found: list[list[tuple[Box, Crop]]]) -> list[list[Face]]:
        """For several photos what `find` gave, each with its predictions; all faces in one batch."""
        crops = [crop for photo in found for _, crop in photo]
        probabilities = iter(self.model.predict(np.stack(crops)) if crops else ())
        return [[Face(box, next(probabilities)) for box, _ in photo] for photo in found]

    def describe(self, face: Face) -> Description:
        """A `Face` as a dict that JSON can hold."""
        confidence = float(face.probabilities.max())
        shares = zip(self.model.classes, face.probabilities, strict=True)
        return {
            "box": [*face.box],
            "emotion": self.model.classes[int(face.probabilities.argmax())],
            "confidence": round(confidence, 4),
            "uncertain": confidence < self.threshold,
            "probabilities": {emotion: round(float(share), 4) for emotion, share in shares},
        }


def list_models() -> list[str]:
    """The names of the exported networks, sorted."""
    return sorted(path.name.removesuffix(".onnx") for path in FOLDER.glob("[!.]*.onnx"))


def tell_models() -> str:
    """The end of a sentence: which exported networks there are, or how to make them."""
    names = list_models()
    return f"there are {', '.join(names)}" if names else f"{FOLDER} is empty: run `dvc repro`"


def choose_model() -> str:
    """The exported network to use where none is named: of the int8 ones, that with the best accuracy on val.

    The accuracies stand in the files. Of equal ones the first by name is taken; where there is no int8 network, all
    take part.

    Raises:
        InputError: there is no exported network.
    """
    names = list_models()
    if not names:
        raise InputError(f"no exported network; {tell_models()}")
    small = [name for name in names if name.endswith(".int8")]
    return max(small or names, key=lambda name: read_val_accuracy(find_model(name)))


def find_model(name: str) -> Path:
    """The path of an exported network: `name` is one of `list_models()`, or the path of an .onnx file.

    Raises:
        InputError: it is neither.
    """
    if name.endswith(".onnx"):
        return Path(name)
    check_name(name)
    return FOLDER / f"{name}.onnx"


def check_name(name: str) -> None:
    """Raise an `InputError` if `name` is not one of `list_models()`."""
    if name not in list_models():
        raise InputError(f"no network named {name!r:.100}; {tell_models()}")
