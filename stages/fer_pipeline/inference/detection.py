"""Find faces and how far they are turned: YuNet finds the faces, BlazeFace locates their eyes.

Both are small networks in `weights/`, whose README names their sources and licences. YuNet misses faces that are turned
far, and the eyes that it gives stay level. So it searches the photo as it is and turned both ways; BlazeFace's points
then show how far a face is turned beyond that.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.exported.onnx import open_session
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import Box, Crop, Photo

WEIGHTS = Path(__file__).parent / "weights"
PHOTO_SIDE = 1024  # longest side in pixels of a photo that is searched; a larger photo is scaled down
FRAME_SIDE = 320
"""Longest side in pixels of a video frame, and in a second search of a photo: YuNet misses faces over 300 pixels."""
ANGLES = (0, 35, -35)
"""Each search turns the photo so that faces turned clockwise by one of these angles (degrees) are upright."""
LEAST_SCORE, LEAST_POINTS = 0.7, 0.5
"""Lowest score in [0, 1] of a face, and of its points; a face without points gets the angle of its search."""
SAME_FACE, INSIDE = 0.3, 0.4
"""Two boxes are one face if their intersection over union exceeds SAME_FACE, or if their middles differ by less than
INSIDE times the larger width and height: a search at another angle or size may give a smaller box."""
STRIDES = (8, 16, 32)  # pixels between two places at which YuNet looks for small, medium and large faces
POINTS_PIXELS, POINTS_WIDTH = 128, 1.6
"""Side of BlazeFace's input in pixels, and as a multiple of the longer side of YuNet's box."""
BOX_HEIGHT, MIDDLE_OFFSET = 1.011, 0.012
"""Height of YuNet's box, and how far its middle lies above the crop's, as shares of the side of FER-2013's crop."""
UPRIGHT = 11
"""Faces turned by at most this many degrees are left so: three of four faces of FER-2013 are turned no further."""
EDGE = 0.03
"""A face counts as cut if the gap between its box and the photo's edge is less than this share of the box's side:
YuNet's boxes seldom cross the edge."""
Floats = NDArray[np.float32]


class Found(NamedTuple):
    """A face in a photo, with a score in [0, 1]."""

    middle: tuple[float, float]  # middle of its box, in pixels from the left and the top
    size: tuple[float, float]  # width and height of its box, in pixels
    score: float
    roll: float = 0.0  # degrees by which it is turned clockwise, as the viewer sees it
    cut: bool = False  # whether the photo's edge runs through it

    @property
    def box(self) -> Box:
        """Its box in whole pixels."""
        (x, y), (width, height) = self.middle, self.size
        return Box(round(x - width / 2), round(y - height / 2), max(1, round(width)), max(1, round(height)))


class Detector:
    """YuNet and BlazeFace. A detector must not be shared between threads."""

    def __init__(self, least_score: float = LEAST_SCORE) -> None:
        self.least_score = least_score
        self.boxes, self.points = (open_session(str(WEIGHTS / f"{name}.onnx")) for name in ("yunet", "blazeface"))

    def find(self, photo: Photo, longest_side: int = PHOTO_SIDE) -> list[Found]:
        """The faces of a photo, the largest first; a longer side over `longest_side` pixels is scaled down to it."""
        sides = {min(side, max(photo.shape[:2])) for side in (longest_side, min(longest_side, FRAME_SIDE))}
        searches = [search for side in sorted(sides) for search in self.search(photo, side)]
        middle, size, score, turns = (np.concatenate(part) for part in zip(*searches, strict=True))
        half, reach = size.max(axis=1, keepdims=True) / 2, (0.5 + EDGE) * size
        cut_off = np.any((middle < reach) | (middle + reach > photo.shape[1::-1]), axis=1)
        faces = []
        for best in suppress(np.hstack([middle - half, middle + half]), score):
            (x, y), (width, height) = middle[best].tolist(), size[best].tolist()
            roll = self.measure_roll(photo, (x, y), max(width, height), float(turns[best]))
            faces.append(Found((x, y), (width, height), float(score[best]), roll, bool(cut_off[best])))
        return sorted(faces, key=lambda face: (-face.size[0] * face.size[1], face.middle))

    def search(self, photo: Photo, side: int) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
        """Search the photo, its longer side scaled to `side` pixels, at each of `ANGLES`.

        Yields middles (N, 2) and sizes (N, 2) in pixels of the photo, scores (N,) and angles (N,) of the boxes found.
        """
        scale = side / max(photo.shape[:2])
        small = photo
        if scale < 1:
            width, height = (max(1, round(length * scale)) for length in photo.shape[1::-1])
            small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        for angle in ANGLES:
            turned, back = turn(small, angle)
            boxes, scores = self.find_boxes(turned)
            middle = np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, np.ones((len(boxes), 1))]) @ back.T
            yield middle / scale, (boxes[:, 2:] - boxes[:, :2]) / scale, scores, np.full(len(scores), angle)

    def find_boxes(self, photo: Photo) -> tuple[Floats, Floats]:
        """Boxes (N, 4), left, top, right and bottom in pixels, and their scores (N,)."""
        height, width = photo.shape[:2]
        padding = (0, 0), (0, 0), (0, -height % 32), (0, -width % 32)
        padded = np.pad(photo.transpose(2, 0, 1)[np.newaxis].astype(np.float32), padding)
        names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")]
        found, parts = iter(self.boxes.run(names, {"input": padded})), []
        for stride in STRIDES:
            face, object_ = (next(found)[0, :, 0].clip(0, 1) for _ in ("cls", "obj"))
            score = np.sqrt(face * object_)
            likely = score >= self.least_score
            box = next(found)[0][likely]
            rows, columns = np.divmod(np.flatnonzero(likely), padded.shape[3] // stride)
            middle = (box[:, :2] + np.stack([columns, rows], axis=1)) * stride
            half = np.exp(box[:, 2:]) * stride / 2
            parts.append((np.hstack([middle - half, middle + half]), score[likely]))
        boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        kept = suppress(boxes, scores)
        return boxes[kept], scores[kept]

    def measure_roll(self, photo: Photo, middle: tuple[float, float], side: float, expected: float) -> float:
        """The roll, in degrees, of the face with this box (in pixels); `expected` if its points are not found."""
        crop = cut(photo, middle, POINTS_WIDTH * side, expected, POINTS_PIXELS)
        pixels = (crop[np.newaxis, :, :, ::-1].astype(np.float32) - 127.5) / 127.5
        (regressed,), (logits,) = self.points.run(["regressors", "classificators"], {"input": pixels})
        best = int(logits[:, 0].argmax())
        if 1 / (1 + np.exp(-float(logits[best, 0]))) < LEAST_POINTS:
            return expected
        eyes = regressed[best].reshape(8, 2)[2:4]  # both measured from one place in the crop
        x, y = eyes[1] - eyes[0]  # from the eye on the viewer's left to the other
        return expected + float(np.degrees(np.arctan2(y, x)))


def suppress(boxes: Floats, scores: Floats) -> list[int]:
    """Non-maximum suppression: the positions of the boxes (N, 4) to keep, one per face, the highest score first."""
    size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    area = size.prod(axis=1)
    order, kept = np.argsort(-scores, kind="stable"), []
    while len(order):
        best, order = int(order[0]), order[1:]
        kept.append(best)
        corners = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = (corners[1] - corners[0]).clip(0).prod(axis=1)
        same = shared / (area[best] + area[order] - shared) > SAME_FACE
        distance = np.abs(middle[order] - middle[best])
        inside = (distance < INSIDE * np.maximum(size[best], size[order])).all(axis=1)
        order = order[~(same | inside)]
    return kept


def crop_whole(photo: Photo, size: int, colour: bool) -> tuple[Found, Crop]:
    """The square in the centre of a picture of one cropped face, and its `size` times `size` pixels."""
    height, width = photo.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    part = recolour(photo[top : top + side, left : left + side], colour)
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    crop = np.asarray(cv2.resize(part, (size, size), interpolation=method), np.uint8)
    return Found((left + side / 2, top + side / 2), (side, side), 1.0), crop


def crop_face(photo: Photo, face: Found, size: int, colour: bool) -> Crop:
    """Crop a face as in FER-2013, upright, to `size` times `size` pixels; outside the photo its border is repeated."""
    side = max(face.size) / BOX_HEIGHT
    roll = face.roll if abs(face.roll) > UPRIGHT else 0.0
    (x, y), angle, down = face.middle, float(np.radians(roll)), MIDDLE_OFFSET * side
    middle = x - down * math.sin(angle), y + down * math.cos(angle)
    return recolour(cut(photo, middle, side, roll, size), colour)


def recolour(photo: Photo, colour: bool) -> Crop:
    """A photo as networks take it: RGB, or, without `colour`, grey."""
    return np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB if colour else cv2.COLOR_BGR2GRAY), np.uint8)


def turn(photo: Photo, angle: int) -> tuple[Photo, NDArray[np.float64]]:
    """Turn a photo so that faces turned clockwise by `angle` degrees are upright, and the matrix (2, 3) to undo it."""
    if not angle:
        return photo, np.eye(2, 3)
    height, width = photo.shape[:2]
    side = round(float(np.hypot(height, width)))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1), float)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(photo, matrix, (side, side)), np.asarray(cv2.invertAffineTransform(matrix), float)


def cut(photo: Photo, middle: tuple[float, float], side: float, roll: float, pixels: int) -> Photo:
    """A square of a photo around `middle`, `side` pixels wide and turned by `roll` degrees, as (pixels, pixels, 3)."""
    reach = 0.75 * side + 2  # half of the diagonal, and a pixel to interpolate
    whole = np.array(photo.shape[1::-1])
    low = np.floor(np.subtract(middle, reach)).astype(int).clip(0, whole - 1)
    high = np.ceil(np.add(middle, reach)).astype(int).clip(low + 1, whole)
    part = photo[low[1] : high[1], low[0] : high[0]]
    place, scale = middle - low, pixels / side
    if scale < 0.5:  # linear interpolation would skip pixels
        size = np.maximum(1, ((high - low) * 2 * scale).round().astype(int))
        place, scale = place * size / (high - low), scale * float((high - low)[0] / size[0])
        part = cv2.resize(part, size.tolist(), interpolation=cv2.INTER_AREA)
    matrix = np.asarray(cv2.getRotationMatrix2D(place.tolist(), roll, scale), float)
    matrix[:, 2] += pixels / 2 - place
    return cv2.warpAffine(part, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
