"""OpenCV, which reads these environment variables once, as it is loaded: import `cv2` from here."""

import os
import unicodedata

os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = "100000000"
os.environ["OPENCV_LOG_LEVEL"] = os.environ.get("OPENCV_LOG_LEVEL", "SILENT")
os.environ["OPENCV_FFMPEG_LOGLEVEL"] = os.environ.get("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET

import cv2 as cv2

LARGEST_PICTURE = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
"""Pixels: twice what today's cameras have, 300 MB once decoded."""


def to_ascii(text: str) -> str:
    """A text as OpenCV can draw it: letters without their accents, and `?` for all that is not ASCII."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode()
