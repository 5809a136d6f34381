"""Faces of pictures, folders and videos from Python: `from fer_pipeline import Faces`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fer_pipeline.answers.recognition import THRESHOLD, Recogniser, choose_model
from fer_pipeline.answers.tracking import Tracker
from fer_pipeline.core.errors import InputError
from fer_pipeline.inference.detection import FRAME_SIDE, LEAST_SCORE, PHOTO_SIDE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import SUFFIXES, Photo, open_video, read_frames, read_photo, walk_files


class Answer(NamedTuple):
    """One face, and what the network says of it."""

    emotion: str  # the most probable class
    confidence: float  # its probability, calibrated, in [0, 1]
    uncertain: bool  # whether the confidence is below the threshold
    annotators: int | None  # how many of ten people would likely say so; None if the network learnt no votes
    probabilities: dict[str, float]  # by class
    box: tuple[int, int, int, int]  # left, top, width, height in pixels
    roll: int  # degrees by which the face is turned clockwise; beyond 11 it was turned upright to be judged
    cut: bool  # whether the picture's edge cuts the face
    number: int | None = None  # of the face in a video, from 1, the same in each frame


class Faces:
    """Finds faces and recognises their expressions. One object must not be shared between threads.

    `model` is a name that `fer-predict --list` prints, or the path of an .onnx file; by default the best network
    answers. A face with a confidence below `threshold`, in [0, 1], is uncertain; faces that the detector scores below
    `detector_score`, in (0, 1], are left out. InputError if there is no such network, or a number is another.
    """

    def __init__(
        self, model: str | Path | None = None, threshold: float = THRESHOLD, detector_score: float = LEAST_SCORE
    ) -> None:
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is {threshold}, expected 0 to 1")
        if not 0 < detector_score <= 1:
            raise InputError(f"detector_score is {detector_score}, expected more than 0, at most 1")
        self.recogniser = Recogniser(str(model or choose_model()), False, threshold, detector_score)

    def find(self, picture: Any) -> list[Answer]:
        """The faces of a picture, the largest first.

        `picture` is the path of a picture file, an image of Pillow, or an array, uint8 (height, width) in grey or
        (height, width, 3) in RGB. Files and images are turned as their EXIF data say. InputError if it is none of them,
        or cannot be read.
        """
        return self.judge(read_picture(picture), PHOTO_SIDE)

    def search(self, folder: str | Path) -> Iterator[tuple[Path, list[Answer]]]:
        """(picture file, its faces) of a folder and the folders in it, sorted by path, without hidden ones.

        InputError if there is no such folder, or at the first picture that cannot be read.
        """
        if not Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder; name another")
        for path in sorted(path for path in walk_files(folder) if path.suffix.lower() in SUFFIXES):
            yield path, self.find(path)

    def watch(self, video: str | Path) -> Iterator[tuple[float, list[Answer]]]:
        """(seconds, faces) of each frame of a video; probabilities are smoothed over time. InputError if unreadable."""
        tracker, before = Tracker(), None
        for seconds, _, photo in read_frames(*open_video(video)):
            passed = 0.0 if before is None else seconds - before
            yield seconds, self.judge(photo, FRAME_SIDE, tracker, passed)
            before = seconds
        if before is None:
            raise InputError(f"{video} is not there or not a readable video; name another file")

    def judge(self, photo: Photo, longest_side: int, tracker: Tracker | None = None, passed: float = 0) -> list[Answer]:
        """The faces of a photo; with a `tracker`, of the frame that follows the last one after `passed` seconds."""
        faces = self.recogniser.recognise(photo, longest_side)
        known = [self.recogniser.describe(face) for face in (tracker.follow(faces, passed) if tracker else faces)]
        return [Answer(**{**one, "box": (*one["box"],)}) for one in known]  # type: ignore[arg-type]


def read_picture(picture: Any) -> Photo:
    """A picture in any form of `Faces.find` as a `Photo`."""
    if isinstance(picture, str | Path):
        return read_photo(picture)
    if hasattr(picture, "convert"):
        from PIL import ImageOps

        try:
            picture = ImageOps.exif_transpose(picture)
            deep = picture.mode.startswith("I")  # 16 bits, which Pillow would clip
            picture = (np.asarray(picture) >> 8).astype(np.uint8) if deep else picture.convert("RGB")
        except OSError as error:  # it is read only now
            raise InputError(f"the picture is damaged ({error}); give another") from None
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or not pixels.size or pixels.shape[2:] not in ((), (3,)) or pixels.ndim < 2:
        raise InputError(
            f"the picture is an array of {pixels.dtype} {pixels.shape}; give a path, an image of Pillow, or uint8 "
            "(height, width) or (height, width, 3)"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_RGB2BGR)
