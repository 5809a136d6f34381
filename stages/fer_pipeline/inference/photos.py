"""Photos as people have them, decoded by OpenCV, and boxes in them.

OpenCV rotates a photo as its EXIF data say, takes the first frame of an animation, reduces 16 bits to 8, and drops
transparency. An AVIF says in another place how it is turned, which OpenCV does not read.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import SIZE
from fer_pipeline.inference.avif import list_properties
from fer_pipeline.inference.opencv import LARGEST_PICTURE, cv2
from fer_pipeline.running.quiet import no_stderr
from fer_pipeline.running.stage import explain

LARGEST_FILE = 1_000_000_000
"""Bytes: more than a picture of `LARGEST_PICTURE` pixels takes in any format."""
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
    turned = content[4:12].tobytes() in (b"ftypavif", b"ftypavis")
    too_large = False
    with no_stderr():  # libpng and others write their complaints there
        try:
            photo = cv2.imdecode(content, cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if turned else 0))
        except cv2.error as error:
            photo, too_large = None, "CV_IO_MAX_IMAGE_PIXELS" in str(error)  # raised before a pixel is decoded
    if too_large:
        raise InputError(f"{name}: more than {LARGEST_PICTURE:,} pixels; scale it down")
    if photo is None:
        raise InputError(f"{name}: not a readable picture, or damaged; give a JPEG, PNG, WebP, GIF, TIFF or BMP")
    return turn_avif(photo, content.tobytes()) if turned else photo


def turn_avif(photo: Photo, content: bytes) -> Photo:
    """A decoded AVIF, turned and mirrored as its file says."""
    for kind, value in list_properties(content):
        if kind == b"irot":
            photo = np.rot90(photo, value & 3)  # counter-clockwise, as NumPy's
        elif kind == b"imir":
            photo = photo[:, ::-1] if value & 1 else photo[::-1]
    return np.ascontiguousarray(photo)


def crop_whole(photo: Photo) -> tuple[Box, Crop]:
    """Of a picture that is one cropped face already: the square in its centre, and that as grey uint8 (48, 48)."""
    height, width = photo.shape[:2]
    side = min(height, width)
    box = Box((width - side) // 2, (height - side) // 2, side, side)
    part = cv2.cvtColor(photo[box.top : box.top + side, box.left : box.left + side], cv2.COLOR_BGR2GRAY)
    method = cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR
    return box, np.asarray(cv2.resize(part, (SIZE, SIZE), interpolation=method), np.uint8)
