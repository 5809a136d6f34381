"""From photos to expressions: what `apps/predict.py` and `apps/serve.py` share."""

import contextlib
import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.exported.onnx import (
    DRAWN,
    MAJORITY,
    load_exported,
    read_accuracy,
    read_answers_accuracy,
    read_metadata,
    read_names,
)
from fer_pipeline.inference.detection import LEAST_SCORE, PHOTO_SIDE, Detector, Found, crop_face, crop_whole
from fer_pipeline.inference.photos import Photo

PACKAGED = Path(__file__).parents[1] / "pretrained"
OWN, PRETRAINED = ROOT / "models" / "export", PACKAGED if PACKAGED.is_dir() else ROOT / "pretrained"
"""Folders of the user's own networks, and of the pretrained ones: in the installed package, or in a clone."""
PREFIX = "pretrained/"
"""Prefix of the names of pretrained networks."""
PHOTO = "photo"
"""Name of the file in `PRETRAINED` that `photo_file.build_photo` makes; it takes photos, so it is not listed."""
THRESHOLD = 0.6
"""A face with less confidence is uncertain; the paper's Table 6 calls it low confidence."""


class Face(NamedTuple):
    """One face of a photo, and what a network predicts for it."""

    place: Found
    probabilities: NDArray[np.float64]
    """(K,), calibrated, in the order of the network's classes."""
    shares: NDArray[np.float64] | None
    """(V,): share of annotators expected to choose each class that is voted on; None if the network has one head."""
    number: int | None = None
    """Number of the face in a video, from 1, the same in each frame; None in a photo."""


class Description(TypedDict):
    """A face in words and plain numbers, as it goes into JSON, CSV and drawings."""

    box: Annotated[list[int], "left, top, width, height in pixels"]
    roll: Annotated[int, "degrees by which the face is turned clockwise; beyond 11 it was turned upright to be judged"]
    cut: Annotated[bool, "whether the picture's edge cuts the face"]
    emotion: Annotated[str, "the class with the highest probability"]
    confidence: Annotated[float, "probability of that emotion, calibrated on validation faces"]
    uncertain: Annotated[bool, "whether the confidence is below the threshold (0.6)"]
    annotators: Annotated[int | None, "how many of ten people would likely say so; null if the network learnt no votes"]
    probabilities: Annotated[dict[str, float], "by class"]
    number: NotRequired[Annotated[int, "number of the face in a video, from 1, the same in each frame"]]


class Recogniser:
    """A network, a face detector and a threshold. A recogniser must not be shared between threads."""

    def __init__(
        self, name: str, whole: bool = False, threshold: float = THRESHOLD, least_score: float = LEAST_SCORE
    ) -> None:
        """Load the network `name`, as in `find_model`; `whole` treats each photo as one cropped face.

        The detector leaves out what it gives less than `least_score`.
        """
        self.model = load_exported(find_model(name))
        self.warning = warn(self.model.name, self.model.metadata.get("trained_on"))
        self.detector = None if whole else Detector(least_score)
        self.threshold = threshold

    def recognise(self, photo: Photo, longest_side: int = PHOTO_SIDE) -> list[Face]:
        """The faces of a photo, the largest first; `longest_side` as in `Detector.find`."""
        form = self.model.shape[0], self.model.colour
        if self.detector is None:
            found = [crop_whole(photo, *form)]
        else:
            found = [(face, crop_face(photo, face, *form)) for face in self.detector.find(photo, longest_side)]
        if not found:
            return []
        probabilities, shares = self.model.answer(np.stack([crop for _, crop in found]))
        answers = zip(probabilities, [None] * len(found) if shares is None else shares, strict=True)
        return [Face(place, *answer) for (place, _), answer in zip(found, answers, strict=True)]

    def describe(self, face: Face) -> Description:
        """A `Face` as a dict that JSON can hold."""
        best = int(face.probabilities.argmax())
        confidence = round(float(face.probabilities[best]), 4)  # as it is told, so that it fits `uncertain`
        probabilities = zip(self.model.classes, face.probabilities, strict=True)
        known: Description = {
            "box": [*face.place.box],
            "roll": round(face.place.roll),
            "cut": face.place.cut,
            "emotion": self.model.classes[best],
            "confidence": confidence,
            "uncertain": confidence < self.threshold,
            "annotators": None if face.shares is None else round(10 * float(face.shares[best])),
            "probabilities": {emotion: round(float(share), 4) for emotion, share in probabilities},
        }
        return known if face.number is None else {**known, "number": face.number}


def warn(name: str, trained_on: str | None) -> str | None:
    """A sentence if the network `name` is of no use for photographs."""
    return f"{name} knows {DRAWN} only: for photos, train on photographs" if trained_on == DRAWN else None


def tell_answer(face: Description) -> tuple[str, str]:
    """The emotion and the confidence as people read them: `sad`, `61%`, or `uncertain: sad`, `59%`.

    The percentage of an uncertain face is rounded down, so that it is below any threshold in whole percent.
    """
    if face["uncertain"]:
        return f"uncertain: {face['emotion']}", f"{math.floor(round(100 * face['confidence'], 2))}%"
    return face["emotion"], f"{face['confidence']:.0%}"


def list_models() -> list[str]:
    """The names of the networks: first the pretrained ones, then the user's own, each sorted."""
    places = ((PREFIX, PRETRAINED), ("", OWN))
    names = [prefix + name for prefix, folder in places for name in sorted(p.stem for p in folder.glob("[!.]*.onnx"))]
    return [name for name in names if name != PREFIX + PHOTO]


def tell_models() -> str:
    """The second half of an error message: the names of the networks, or how to make some."""
    names = list_models()
    return f"there are {', '.join(names)}" if names else f"{PRETRAINED} and {OWN} are empty: run `dvc repro`"


def choose_model() -> str:
    """The name of the default network: the best of your own that know photographs, else the best pretrained one.

    int8 files come before others; the best is right most often on val (`read_answers_accuracy`), and the first of
    equals. Networks of drawn faces are chosen only if there are no others. Raises `InputError` if there is no network.
    """

    def rank(name: str) -> tuple[bool, bool, bool, float]:
        metadata = read_metadata(find_model(name))
        photographs = metadata.get("trained_on", DRAWN) != DRAWN
        accuracy = read_answers_accuracy(metadata)[0] or 0.0
        return photographs, not name.startswith(PREFIX), name.endswith(".int8"), accuracy

    if not (names := list_models()):
        raise InputError(f"no network; {tell_models()}")
    return max(names, key=rank)


def find_model(name: str) -> Path:
    """The path of a network: `name` is one of `list_models()` or the path of an .onnx file; otherwise `InputError`."""
    if name.endswith(".onnx"):
        return Path(name)
    check_name(name)
    folder = PRETRAINED if name.startswith(PREFIX) else OWN
    return folder / f"{name.removeprefix(PREFIX)}.onnx"


def check_name(name: str) -> None:
    """Raise an `InputError` if `name` is not one of `list_models()`."""
    if name not in list_models():
        raise InputError(f"no network named {name!r:.100}; {tell_models()}")


def describe_model(name: str) -> dict[str, Any]:
    """What a network's file says about it; `ModelFacts` in apps/serve.py explains the keys."""
    metadata = read_metadata(find_model(name))
    accuracy, reference = read_answers_accuracy(metadata)
    return {
        "name": name,
        "trained_on": metadata.get("trained_on", "unknown"),
        "answers_accuracy": accuracy,
        "answers_compared_with": reference,
        "val_accuracy": read_accuracy(metadata),
        "classes": [*read_names(metadata)],
    }


def describe_models() -> list[dict[str, Any]]:
    """`describe_model` of all networks, those of drawn faces last."""
    known = []
    for name in list_models():
        with contextlib.suppress(InputError):  # it has just been removed
            known.append(describe_model(name))
    return sorted(known, key=lambda model: bool(model["trained_on"] == DRAWN))


def tabulate_models() -> list[str]:
    """A table: each network's name, what it was trained on, its classes, how often its answers are right, its size."""
    if not (models := describe_models()):
        return [f"no network; {tell_models()}"]
    default = choose_model()
    rows = [("network", "trained on", "classes", "right on val", "compared with", "MB", "")]
    for name, trained_on, accuracy, reference, _, classes in (model.values() for model in models):
        right = "unknown" if accuracy is None else f"{accuracy:.1%}"
        where = f"{reference}, if there is one" if reference == MAJORITY else reference
        mark = "(default)" if name == default else "(not for photos)" if trained_on == DRAWN else ""
        size = f"{find_model(name).stat().st_size / 1e6:.1f}"
        rows.append((name, trained_on, str(len(classes) or "unknown"), right, where, size, mark))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
