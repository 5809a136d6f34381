"""From a photo to faces as in FER-2013: decoding, detecting and cropping with OpenCV.

OpenCV rotates a photo as its EXIF data say, takes the first frame of an animation, reduces 16 bits to 8, and drops
transparency. Other modules import `cv2` from this one: it reads the environment variables below once, as it is loaded.
"""

import os

LARGEST_PICTURE = 100_000_000
"""Pixels: twice what today's cameras have, 300 MB once decoded."""
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(LARGEST_PICTURE)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
LARGEST_FILE = 1_000_000_000
"""Bytes: more than a picture of `LARGEST_PICTURE` pixels takes in any format."""

from pathlib import Path  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import cv2 as cv2  # noqa: E402 (`as` declares that other modules may import it from here)
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from fer.core.quiet import quiet_stderr  # noqa: E402
from fer.core.stage import InputError, explain  # noqa: E402
from fer.data.fer2013 import SIZE  # noqa: E402

MARGIN = 0.02
"""Added to the detector's box on each side, as a share of it: so FER-2013 is cropped (`benchmarks/margin.py`)."""
CASCADE = "haarcascade_frontalface_alt2.xml"
"""Comes with OpenCV. Its boxes are close to how FER-2013's authors cropped their faces."""
PHOTO_SIDE = 1024
"""Photos with a longer side are searched scaled down to it, in pixels."""
FRAME_SIDE = 320
"""The same for the frames of a video: a quarter of the time at 640x480."""
SMALLEST_FACE = 48
"""Width in pixels below which faces are not searched for: they would have to be enlarged to 48x48."""
SMALLEST_WINDOW = 24
"""Width of the smallest face that the detector finds reliably, in pixels of the picture that it searches."""
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff"),
    ".webp",
)
"""Of pictures in a folder. OpenCV cannot read HEIC: such files are reported rather than skipped."""

Photo = NDArray[Any]
"""uint8 (height, width, 3): blue, green, red. OpenCV's type hints leave the dtype open."""
Crop = NDArray[np.uint8]
"""uint8 (48, 48), grey: a face as in FER-2013."""


class Box(NamedTuple):
    """Where a face is, in pixels of its picture; it may extend beyond the picture's edge."""

    left: int
    top: int
    width: int
    height: int


def compute_iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0, width) * max(0, height)
    return shared / (one.width * one.height + other.width * other.height - shared)


def read_photo(path: str | Path) -> Photo:
    """A picture file as uint8 (height, width, 3), blue, green, red.

    Raises:
        InputError: the file is missing, empty, too large, damaged, not a picture, or may not be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: not found")
    if not path.is_file():
        raise InputError(f"{path}: not a file; give a picture")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: more than {LARGEST_FILE // 1_000_000:,} MB; scale it down")
        return decode_photo(np.fromfile(path, np.uint8), path)
    except OSError as error:
        raise InputError(explain(error)) from None


def decode_photo(content: NDArray[np.uint8], name: str | Path) -> Photo:
    """The bytes of a picture file (uint8 (N,)) as uint8 (height, width, 3), blue, green, red.

    Raises:
        InputError: it is empty, too large, damaged, or not a picture; the message names it by `name`.
    """
    if not len(content):
        raise InputError(f"{name}: empty, expected a picture")
    too_large = False
    with quiet_stderr():  # libpng and others write their complaints there
        try:
            photo = cv2.imdecode(content, cv2.IMREAD_COLOR)
        except cv2.error as error:
            photo, too_large = None, "CV_IO_MAX_IMAGE_PIXELS" in str(error)  # raised before a pixel is decoded
    if too_large:
        raise InputError(f"{name}: more than {LARGEST_PICTURE:,} pixels; scale it down")
    if photo is None:
        raise InputError(f"{name}: not a readable picture, or damaged; give a JPEG, PNG, WebP, GIF, TIFF or BMP")
    return photo


def open_detector() -> cv2.CascadeClassifier:
    """OpenCV's detector of frontal faces. It must not be shared between threads."""
    return cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)  # type: ignore[attr-defined]


def find_faces(detector: cv2.CascadeClassifier, photo: Photo, longest_side: int = PHOTO_SIDE) -> list[Box]:
    """The boxes of the faces in a photo, the largest first; a photo with a side above `longest_side` pixels is searched
    scaled down to it.
    """
    scale = min(1, longest_side / max(photo.shape[:2]))
    smallest = max(SMALLEST_WINDOW, round(SMALLEST_FACE * scale))
    if min(photo.shape[:2]) * scale < smallest:
        return []
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo
    grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    found = detector.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(smallest, smallest))
    boxes = [Box(*(round(int(number) / scale) for number in box)) for box in found]
    return sorted(boxes, key=lambda box: (-box.width * box.height, box))


def crop_face(photo: Photo, box: Box, margin: float = MARGIN) -> Crop:
    """A face as in FER-2013, grey uint8 (48, 48): `box` made square, widened by `margin` on each side, and scaled.

    Outside the photo, its border is repeated.
    """
    side = max(1, round(max(box.width, box.height) * (1 + 2 * margin)))
    left, top = (box.left + (box.width - side) // 2, box.top + (box.height - side) // 2)
    height, width = photo.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    part = photo[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    part = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)[(rows - rows[0])[:, None], columns - columns[0]]
    face: Crop = cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR)
    return face


def frame_whole(photo: Photo) -> Box:
    """The box in a picture that is one cropped face already: the square in its centre."""
    height, width = photo.shape[:2]
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side, side)
