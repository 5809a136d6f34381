"""From photos to emotions: what `stages/predict.py` and `stages/serve.py` share."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.core.stage import ROOT, InputError
from fer.data.fer2013 import DRAWN
from fer.inference.onnx import load_model
from fer.inference.photos import SEARCHED, Box, crop_face, find_faces, frame_whole, open_detector

FOLDER = ROOT / "models" / "export"
DEFAULT = "resnet18.int8"
THRESHOLD = 0.6
"""A face whose emotion has less confidence is uncertain: the low confidence of Table 6."""


class Face(NamedTuple):
    """One face of a photo, and what a network says of it."""

    box: Box
    probabilities: np.ndarray
    """float64 (7,), calibrated, in the order of the network's classes."""


class Recogniser:
    """A network and a detector; not safe to share between threads.

    Attributes:
        model: `fer.inference.onnx.OnnxModel`.
        warning: a sentence, where what the network says of photos means nothing; else None.
    """

    def __init__(self, name, whole=False):
        """`name` is that of a network, or a path: see `find_model`. With `whole` each photo is one cropped face.

        Raises:
            InputError: as `find_model` and `fer.inference.onnx.load_model`.
        """
        self.model = load_model(find_model(name))
        drawn = self.model.metadata.get("trained_on") == DRAWN
        self.warning = f"{self.model.name} knows {DRAWN} only: for photos, train on FER-2013" if drawn else None
        self.detector = None if whole else open_detector()

    def find(self, photo, searched=SEARCHED):
        """[(Box, grey face uint8 (48, 48))] of a photo uint8 (height, width, 3), the largest first.

        `searched` is that of `fer.inference.photos.find_faces`.
        """
        if self.detector is None:
            box = frame_whole(photo)
            return [(box, crop_face(photo, box, margin=0))]
        return [(box, crop_face(photo, box)) for box in find_faces(self.detector, photo, searched)]

    def judge(self, found):
        """The `Face`s of several photos, one list each, of what `find` gave for each; all faces in one batch."""
        crops = [crop for photo in found for _, crop in photo]
        probabilities = iter(self.model.predict(np.stack(crops)) if crops else ())
        return [[Face(box, next(probabilities)) for box, _ in photo] for photo in found]

    def describe(self, face, threshold=THRESHOLD):
        """A `Face` as a dict for JSON: box [left, top, width, height] in pixels, emotion, confidence, uncertain (bool),
        and all seven probabilities by name.
        """
        confidence = float(face.probabilities.max())
        shares = zip(self.model.classes, face.probabilities, strict=True)
        return {
            "box": [*face.box],
            "emotion": self.model.classes[int(face.probabilities.argmax())],
            "confidence": round(confidence, 4),
            "uncertain": confidence < threshold,
            "probabilities": {emotion: round(float(share), 4) for emotion, share in shares},
        }


def list_models():
    """The names of the exported networks."""
    return sorted(path.name.removesuffix(".onnx") for path in FOLDER.glob("[!.]*.onnx"))


def find_model(name):
    """The path of an exported network: `name` is one of `list_models()`, or the path of an .onnx file.

    Raises:
        InputError: it is neither.
    """
    if name.endswith(".onnx"):
        return Path(name)
    check_name(name)
    return FOLDER / f"{name}.onnx"


def check_name(name):
    """Raise an `InputError` where `name` is not one of `list_models()`."""
    known = list_models()
    if name not in known:
        there = f"there are {', '.join(known)}" if known else f"{FOLDER} is empty: run `dvc repro`"
        raise InputError(f"no network named {name!r:.100}; {there}")
