"""From a photo to faces as FER-2013 has them: decoding, finding, cropping, by OpenCV.

OpenCV turns a photo as its EXIF says, takes the first frame of an animation, 8 of 16 bits, and leaves transparency out.
Who needs `cv2` beside this module takes it from here: the limit below holds only where it is set before cv2 is loaded.
"""

import os

LARGEST_PICTURE = 100_000_000
"""Pixels: twice what today's cameras take, 300 MB once decoded."""
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(LARGEST_PICTURE)  # read while cv2 is loaded
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its word for silence
LARGEST_FILE = 1_000_000_000
"""Bytes: more than any picture of `LARGEST_PICTURE` takes."""

from pathlib import Path  # noqa: E402
from typing import NamedTuple  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from fer.core.quiet import quiet_stderr  # noqa: E402
from fer.core.stage import InputError, explain  # noqa: E402
from fer.data.fer2013 import SIZE  # noqa: E402

MARGIN = 0.02
"""Added to the found box on each side, as a share of it: what FER-2013 has (`benchmarks/margin.py`)."""
CASCADE = "haarcascade_frontalface_alt2.xml"
"""Ships with OpenCV. It found FER-2013's own faces nearly as their authors cropped them."""
SEARCHED = 1024
"""Larger photos are searched scaled down to this width or height, in pixels."""
SMALLEST_FACE = 48
"""Width of a face worth finding, in pixels: a smaller one would be blown up to 48x48."""
SMALLEST_WINDOW = 24
"""Width of the smallest face that the detector finds surely, in pixels of the searched picture."""
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff"),
    ".webp",
)
"""What a folder is searched for. OpenCV cannot read HEIC: those are named, and not passed over."""


class Box(NamedTuple):
    """Where a face is, in pixels of its picture; it may reach over the picture's edge."""

    left: int
    top: int
    width: int
    height: int


def read_photo(path):
    """A picture file as uint8 (height, width, 3), blue, green, red.

    Raises:
        InputError: the file is missing, empty, too large, damaged, no picture, or not ours to read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: not found")
    if not path.is_file():
        raise InputError(f"{path}: no file; give a picture")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: more than {LARGEST_FILE // 1_000_000:,} MB; scale it down")
        return decode_photo(np.fromfile(path, np.uint8), path)
    except OSError as error:
        raise InputError(explain(error)) from None


def decode_photo(content, name):
    """The bytes of a picture file (uint8 (N,)) as uint8 (height, width, 3), blue, green, red.

    Raises:
        InputError: as `read_photo`; `name` says which picture.
    """
    if not len(content):
        raise InputError(f"{name}: empty, expected a picture")
    too_large = False
    with quiet_stderr():  # the decoders complain there
        try:
            photo = cv2.imdecode(content, cv2.IMREAD_COLOR)
        except cv2.error as error:
            photo, too_large = None, "CV_IO_MAX_IMAGE_PIXELS" in str(error)  # known before a pixel is decoded
    if too_large:
        raise InputError(f"{name}: more than {LARGEST_PICTURE:,} pixels; scale it down")
    if photo is None:
        raise InputError(f"{name}: no picture that can be read, or damaged; give a JPEG, PNG, WebP, GIF, TIFF or BMP")
    return photo


def open_detector():
    """OpenCV's detector for frontal faces. It is not safe to share between threads."""
    return cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)


def find_faces(detector, photo, searched=SEARCHED):
    """The faces in a photo (uint8 (height, width, 3)): a list of `Box`, the largest first.

    Args:
        searched: the width and height to which a larger photo is scaled down, in pixels.
    """
    scale = min(1, searched / max(photo.shape[:2]))
    smallest = max(SMALLEST_WINDOW, round(SMALLEST_FACE * scale))
    if min(photo.shape[:2]) * scale < smallest:
        return []
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else photo
    grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    found = detector.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(smallest, smallest))
    boxes = [Box(*(round(int(number) / scale) for number in box)) for box in found]
    return sorted(boxes, key=lambda box: (-box.width * box.height, box))


def crop_face(photo, box, margin=MARGIN):
    """A face as FER-2013 has it, grey uint8 (48, 48): `box` squared, widened by `margin`, and scaled.

    What lies outside the photo repeats its border.
    """
    side = max(1, round(max(box.width, box.height) * (1 + 2 * margin)))
    left, top = (box.left + (box.width - side) // 2, box.top + (box.height - side) // 2)
    height, width = photo.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    part = photo[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    part = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)[(rows - rows[0])[:, None], columns - columns[0]]
    return cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR)


def frame_whole(photo):
    """The box of a picture that is one cropped face already: the square in its middle."""
    height, width = photo.shape[:2]
    side = min(height, width)
    return Box((width - side) // 2, (height - side) // 2, side, side)
