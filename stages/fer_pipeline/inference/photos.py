"""Photos as people have them, decoded, and boxes in them.

OpenCV decodes them, rotates a photo as its EXIF data say, takes the first frame of an animation, reduces 16 bits to 8,
and drops transparency. Pillow does the same for AVIF, whose rotation OpenCV ignores.
"""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.inference.opencv import LARGEST_PICTURE, cv2
from fer_pipeline.running.quiet import no_stderr
from fer_pipeline.running.stage import explain

LARGEST_FILE = 1_000_000_000
"""Bytes: more than a picture of `LARGEST_PICTURE` pixels takes in any format."""
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
"""Of pictures in a folder. OpenCV cannot read HEIC: such files are reported rather than skipped."""

Photo = NDArray[Any]
"""uint8 (height, width, 3): blue, green, red. OpenCV's type hints leave the dtype open."""
Crop = NDArray[np.uint8]
"""A face as a network takes it: uint8 (size, size), grey, or (size, size, 3), RGB."""


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


def walk_files(folder: str | Path, complain: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """The files in a folder and in the folders in it, without hidden ones; links are followed, each folder read once.

    `complain` is called with the error about a folder that cannot be read.
    """
    known = set()
    for inside, below, names in os.walk(folder, onerror=complain, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if (real := os.path.realpath(inside)) in known:
            below.clear()
        else:
            known.add(real)
            yield from (Path(inside, name) for name in names if not name.startswith("."))


def read_photo(path: str | Path) -> Photo:
    """The photo in a picture file; an `InputError` says why it cannot be read."""
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'not a file; give a picture' if path.exists() else 'not found'}")
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path} has more than {LARGEST_FILE // 1_000_000:,} MB; scale it down")
        return decode_photo(np.fromfile(path, np.uint8), path)
    except OSError as error:
        raise InputError(explain(error)) from None


def decode_photo(content: NDArray[np.uint8], name: str | Path) -> Photo:
    """The photo in the bytes of a picture file, uint8 (N,); an `InputError` about `name` says why it cannot be read."""
    if not len(content):
        raise InputError(f"{name} is empty; give a picture")
    photo: Photo | None = None
    try:
        with no_stderr():  # libpng and others write their complaints there
            avif = content[4:8].tobytes() == b"ftyp"
            photo = decode_avif(content.tobytes()) if avif else cv2.imdecode(content, cv2.IMREAD_COLOR)
    except Exception as error:  # Pillow has no public base of what it raises; both count pixels before they decode any
        if isinstance(error, OverflowError) or "CV_IO_MAX_IMAGE_PIXELS" in str(error):
            raise InputError(f"{name} has more than {LARGEST_PICTURE:,} pixels; scale it down") from None
    if photo is None:
        formats = "JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP"
        raise InputError(f"{name} is not a readable picture or is damaged; use {formats}")
    return photo


def decode_avif(content: bytes) -> Photo:
    """The bytes of an AVIF as a photo, rotated and mirrored as its file says; too many pixels raise OverflowError."""
    from PIL import AvifImagePlugin, ImageOps  # here, as other photos do not need it

    picture = AvifImagePlugin.AvifImageFile(io.BytesIO(content))
    if picture.width * picture.height > LARGEST_PICTURE:
        raise OverflowError
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1])


def open_video(source: str | Path | int) -> tuple[Any, float]:
    """OpenCV's reader of a video file or of the camera with that number, and its frames per second.

    These are 30 where the file says nothing sensible. Raises `InputError` as `check_video_name` does.
    """
    if not isinstance(source, int):
        check_video_name(source)
        if Path(source).exists():
            source = Path(source).absolute()  # FFmpeg takes a relative path with a colon for an address
    with no_stderr():
        video = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    rate = video.get(cv2.CAP_PROP_FPS)
    return video, rate if 0.1 <= rate <= 240 else 30


def read_frames(video: Any, rate: float) -> Iterator[tuple[float, float, Photo]]:
    """(seconds since the start, seconds until the next, frame) of each frame of a video file from `open_video`.

    The file says when each is shown; where these times do not rise, and after the last frame, `rate` counts.
    """
    waiting: tuple[float, Photo] | None = None
    while (photo := video.read()[1]) is not None:
        seconds = max(0.0, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        if waiting:
            before, shown = waiting
            seconds = seconds if seconds > before else before + 1 / rate
            yield before, seconds - before, shown
        waiting = seconds, photo
    if waiting:
        yield waiting[0], 1 / rate, waiting[1]


def check_video_name(path: str | Path) -> None:
    """Raise an `InputError` if OpenCV would abort the process at the name of a video file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: the name is not UTF-8; rename it") from None
