"""Damages to faces as photos suffer them: each kind in five strengths, from hardly visible to hard for people too.

A function damages one face, uint8 (S, S) in grey or (S, S, 3) in RGB, by an amount, and keeps its shape. Amounts in
pixels are those of a face of 48: they grow with the face. What differs between faces (a direction, the pattern of
noise) comes from `rng`, by equally many draws at every amount. The strengths of a kind therefore differ in the amount
alone.
"""

from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple
from zlib import crc32

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Face = npt.NDArray[np.uint8]
UNIT = 48
EYES, EYES_ACROSS, MOUTH = 18, (15.5, 32.5), 38
"""Pixels from the top, from the left and from the top, on the mean of FER-2013's val faces."""
LENS, INK = 7, 20  # the radius of a lens in pixels, and the grey of a frame

HELD_OUT = ("motion", "dead_pixels", "jpeg", "glasses")
"""Kinds that no training may ever vary its faces by. They show how a network does on what it was not prepared for, and
tell nothing any more once a training has used them. The other kinds may serve as augmentation."""


def to_face(values: npt.ArrayLike) -> Face:
    """Values of pixels, rounded and limited to 0..255."""
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def find_places(face: Face) -> tuple[Any, Any]:
    """x (1, S) and y (S, 1) of the pixels' centres, in pixels of a face of 48."""
    steps = (np.arange(len(face)) + 0.5) * UNIT / len(face)
    return steps[np.newaxis], steps[:, np.newaxis]


def apply_gamma(face: Face, gamma: float, rng: np.random.Generator) -> Face:
    """Brighter where gamma is below 1, darker above."""
    return to_face(255 * (np.arange(256) / 255) ** gamma)[face]


def light_side(face: Face, slope: float, rng: np.random.Generator) -> Face:
    """Light that falls off across the face in a drawn direction, by a factor of 1 + slope to 1 - slope."""
    (x, y), angle = find_places(face), rng.uniform(0, 2 * np.pi)
    factor = 1 + slope * ((x - UNIT / 2) * np.cos(angle) + (y - UNIT / 2) * np.sin(angle)) / (UNIT / 2)
    return to_face((face.T * factor.T).T)


def lower_contrast(face: Face, lost: float, rng: np.random.Generator) -> Face:
    """Pixels nearer to the face's mean, by a share of their distance from it."""
    return to_face(face + lost * (face.mean() - face))


def blur(face: Face, kernel: npt.NDArray[np.float64]) -> Face:
    """Each point becomes the kernel, which is scaled to add up to 1."""
    return np.asarray(cv2.filter2D(face, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def defocus(face: Face, radius: float, rng: np.random.Generator) -> Face:
    """Each point becomes a disk."""
    radius *= len(face) / UNIT
    steps = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    return blur(face, np.clip(radius + 0.5 - np.hypot(steps, steps[:, np.newaxis]), 0, 1))


def move_camera(face: Face, length: float, rng: np.random.Generator) -> Face:
    """Each point becomes a line in a drawn direction."""
    length, angle = length * len(face) / UNIT, rng.uniform(0, np.pi)
    x = np.arange(-np.ceil(length / 2), np.ceil(length / 2) + 1)
    along, across = (x * np.cos(a) + x[:, np.newaxis] * np.sin(a) for a in (angle, angle + np.pi / 2))
    return blur(face, np.clip(1 - abs(across), 0, 1) * np.clip(length / 2 + 0.5 - abs(along), 0, 1))


def add_noise(face: Face, deviation: float, rng: np.random.Generator) -> Face:
    """Gaussian noise; its standard deviation is a share of white."""
    return to_face(face + 255 * deviation * rng.normal(size=face.shape))


def kill_pixels(face: Face, share: float, rng: np.random.Generator) -> Face:
    """A share of the pixels becomes black or white ("salt and pepper")."""
    dead, white = rng.random(face.shape[:2]) < share, rng.random(face.shape[:2]) < 0.5
    damaged = face.copy()
    damaged[dead & white], damaged[dead & ~white] = 255, 0
    return damaged


def compress(face: Face, quality: float, rng: np.random.Generator) -> Face:
    """As JPEG of a quality in 1..95."""
    content = BytesIO()
    Image.fromarray(face).save(content, "JPEG", quality=round(quality))
    return np.asarray(Image.open(content), np.uint8)


def lower_resolution(face: Face, pixels: float, rng: np.random.Generator) -> Face:
    """As of a face of so many pixels, enlarged as `predict` enlarges small faces."""
    small = cv2.resize(face, (round(pixels * len(face) / UNIT),) * 2, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, face.shape[:2], interpolation=cv2.INTER_LINEAR), np.uint8)


def warp(face: Face, degrees: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)) -> Face:
    """Turned and scaled about its middle, then moved by `shift` (x, y); what the crop lacks repeats its edge."""
    matrix = cv2.getRotationMatrix2D(((len(face) - 1) / 2,) * 2, degrees, zoom)
    matrix[:, 2] += np.multiply(shift, len(face) / UNIT)
    return np.asarray(cv2.warpAffine(face, matrix, face.shape[:2], borderMode=cv2.BORDER_REPLICATE), np.uint8)


def turn(face: Face, degrees: float, rng: np.random.Generator) -> Face:
    """To the left or to the right, as drawn."""
    return warp(face, degrees=degrees * rng.choice([-1, 1]))


def shift_crop(face: Face, pixels: float, rng: np.random.Generator) -> Face:
    """In a drawn direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return warp(face, shift=(pixels * np.cos(angle), pixels * np.sin(angle)))


def scale_crop(face: Face, growth: float, rng: np.random.Generator) -> Face:
    """Larger or smaller by a factor of 1 + growth, as drawn."""
    return warp(face, zoom=(1 + growth) ** rng.choice([-1, 1]))


def cover(face: Face, outside: npt.NDArray[np.float64], grey: float) -> Face:
    """Grey where `outside`, (S, S), is below 0: the distance to the edge of what covers the face, in pixels of 48."""
    mask = np.clip(0.5 - outside * len(face) / UNIT, 0, 1)
    return to_face(((1 - mask.T) * face.T + mask.T * grey).T)


def cover_box(face: Face, height: float, rng: np.random.Generator, *, middle: float, width: float) -> Face:
    """A box in a drawn grey, its middle so many pixels from the top."""
    x, y = find_places(face)
    box = np.maximum(abs(x - UNIT / 2) - width / 2, abs(y - middle) - height / 2)
    return cover(face, box, rng.uniform(0, 255))


cover_eyes = partial(cover_box, middle=EYES, width=34)
cover_mouth = partial(cover_box, middle=MOUTH, width=24)


def add_glasses(face: Face, width: float, rng: np.random.Generator) -> Face:
    """Dark frames around the eyes of an aligned face, with a bridge and temples: lines of a width."""
    x, y = find_places(face)
    from_eye = np.minimum(*(np.hypot(x - eye, y - EYES) for eye in EYES_ACROSS))
    bars = np.maximum(abs(y - EYES) - width / 2, LENS - from_eye)
    return cover(face, np.minimum(abs(from_eye - LENS) - width / 2, bars), INK)


class Damage(NamedTuple):
    title: str
    apply: Callable[[Face, float, np.random.Generator], Face]
    amounts: tuple[float, float, float, float, float]  # by strength, 1 to 5
    unit: str  # what the amounts are, as a format of the least and the most

    @property
    def extent(self) -> str:
        """The amounts in words: 'gamma 0.8 to 0.3'."""
        return self.unit.format(self.amounts[0], self.amounts[-1])


DAMAGES = {
    "brighter": Damage("brighter", apply_gamma, (0.8, 0.65, 0.5, 0.4, 0.3), "gamma {} to {}"),
    "darker": Damage("darker", apply_gamma, (1.3, 1.6, 2.0, 2.5, 3.2), "gamma {} to {}"),
    "side_light": Damage("light from a side", light_side, (0.2, 0.35, 0.5, 0.65, 0.8), "{:.0%} to {:.0%} off"),
    "low_contrast": Damage("low contrast", lower_contrast, (0.3, 0.5, 0.65, 0.75, 0.85), "{:.0%} to {:.0%} lost"),
    "defocus": Damage("defocus", defocus, (1, 1.5, 2, 2.6, 3.2), "radius {} to {} px"),
    "motion": Damage("motion blur", move_camera, (3, 5, 7, 9, 12), "{} to {} px"),
    "noise": Damage("noise", add_noise, (0.03, 0.05, 0.08, 0.11, 0.15), "{:.0%} to {:.0%}"),
    "dead_pixels": Damage("dead pixels", kill_pixels, (0.01, 0.03, 0.06, 0.1, 0.15), "{:.0%} to {:.0%}"),
    "jpeg": Damage("JPEG", compress, (60, 40, 25, 15, 8), "quality {} to {}"),
    "resolution": Damage("low resolution", lower_resolution, (32, 28, 24, 20, 16), "{} to {} px"),
    "turn": Damage("turn", turn, (6, 12, 18, 24, 30), "{}° to {}°"),
    "shift": Damage("shift", shift_crop, (1.5, 3, 4.5, 6, 8), "{} to {} px"),
    "scale": Damage("scale", scale_crop, (0.06, 0.12, 0.2, 0.3, 0.4), "{:.0%} to {:.0%}"),
    "eyes_covered": Damage("eyes covered", cover_eyes, (4, 7, 10, 13, 16), "{} to {} px"),
    "mouth_covered": Damage("mouth covered", cover_mouth, (4, 7, 10, 13, 16), "{} to {} px"),
    "glasses": Damage("glasses", add_glasses, (0.6, 1.2, 1.8, 2.5, 3.5), "{} to {} px"),
}
"""{kind: damage}, in the order of tables and figures."""
STRENGTHS = range(1, 6)


def damage(faces: Face, kind: str, strength: int, seed: int, split: str) -> Face:
    """Faces uint8 (N, S, S) or (N, S, S, 3), each damaged: of the same shape, and the same bytes for equal arguments.

    A face has the same direction or pattern in all strengths of a kind, and another one in another split or kind.
    """
    rng, one = np.random.default_rng([seed, crc32(f"{split} {kind}".encode())]), DAMAGES[kind]
    return np.stack([one.apply(face, one.amounts[strength - 1], rng) for face in faces])
