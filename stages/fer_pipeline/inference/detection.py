"""Finding faces and how they are turned: YuNet finds them, BlazeFace says where the eyes are.

Both are small networks in `weights/`, whose README names their sources and licences. YuNet misses faces that are turned
far, and its own points stay upright. So it searches the photo as it is and turned both ways, and BlazeFace measures how
far a face is turned beyond that.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.exported.onnx import open_session
from fer_pipeline.faces.fer2013 import SIZE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import Box, Crop, Photo

WEIGHTS = Path(__file__).parent / "weights"
PHOTO_SIDE = 1024
"""Longest side in pixels of a photo that is searched; a larger photo is scaled down."""
FRAME_SIDE = 320
"""Longest side of a frame of a video, and of the second search of a photo: YuNet overlooks faces above 300 pixels."""
ANGLES = (0, 35, -35)
"""Degrees by which faces are turned clockwise that each search of the photo finds upright."""
LEAST_SCORE, LEAST_POINTS = 0.7, 0.5
"""Lowest score of a face, and of its points, in [0, 1]; a face without points counts as turned by its search."""
SAME_FACE, INSIDE = 0.3, 0.4
"""Two boxes are one face if their intersection over union is larger than the first, or if their middles are closer than
the second, as a share of the larger width and height: a search at another angle or size may see a face smaller."""
STRIDES = (8, 16, 32)
"""Pixels between two places at which YuNet looks for small, medium and large faces."""
POINTS_PIXELS, POINTS_WIDTH = 128, 1.6
"""Width of BlazeFace's input in pixels, and as a multiple of YuNet's box."""
BOX_HEIGHT, MIDDLE_OFFSET = 1.011, 0.012
"""Height of YuNet's box, and how far its middle lies above the crop's, both as shares of FER-2013's crop."""
UPRIGHT = 11
"""Degrees up to which a face is not turned upright: three of four faces of FER-2013 are turned by at most as much."""
EDGE = 0.03
"""A face counts as cut if this share of its box, or less, lies between the box and the photo's edge: YuNet's boxes
seldom cross the edge."""
Floats = NDArray[np.float32]


class Found(NamedTuple):
    """A face in a photo."""

    middle: tuple[float, float]
    """Of its box, in pixels from the left and the top."""
    size: tuple[float, float]
    """Width and height of its box, in pixels."""
    score: float
    """In [0, 1]."""
    roll: float
    """Degrees by which it is turned clockwise, seen from the viewer."""

    @property
    def box(self) -> Box:
        """In whole pixels."""
        (x, y), (width, height) = self.middle, self.size
        return Box(round(x - width / 2), round(y - height / 2), max(1, round(width)), max(1, round(height)))

    def is_cut(self, photo: Photo) -> bool:
        """Whether the photo's edge runs through it."""
        (x, y), (width, height) = self.middle, self.size
        beyond = (width / 2 - x, x + width / 2 - photo.shape[1], height / 2 - y, y + height / 2 - photo.shape[0])
        sides = (width, width, height, height)
        return any(outside > -EDGE * side for outside, side in zip(beyond, sides, strict=True))


class Detector:
    """The two networks. It must not be shared between threads."""

    def __init__(self) -> None:
        self.boxes, self.points = (open_session(str(WEIGHTS / f"{name}.onnx")) for name in ("yunet", "blazeface"))

    def find(self, photo: Photo, longest_side: int = PHOTO_SIDE) -> list[Found]:
        """The faces of a photo, the largest first; its longer side is scaled down to `longest_side` pixels."""
        sides = {min(side, max(photo.shape[:2])) for side in (longest_side, min(longest_side, FRAME_SIDE))}
        searches = [search for side in sorted(sides) for search in self.search(photo, side)]
        middle, size, score, turns = (np.concatenate(part) for part in zip(*searches, strict=True))
        half = size.max(axis=1, keepdims=True) / 2
        faces = []
        for best in suppress(np.hstack([middle - half, middle + half]), score):
            (x, y), (width, height) = middle[best].tolist(), size[best].tolist()
            roll = self.measure_roll(photo, (x, y), max(width, height), float(turns[best]))
            faces.append(Found((x, y), (width, height), float(score[best]), roll))
        return sorted(faces, key=lambda face: (-face.size[0] * face.size[1], face.middle))

    def search(self, photo: Photo, side: int) -> Iterator[tuple[Floats, Floats, Floats, Floats]]:
        """Search the photo, its longer side scaled to `side` pixels, at each of `ANGLES`.

        Yields:
            The middles (N, 2), sizes (N, 2), scores (N,) and angles (N,) of the boxes found, in pixels of the photo.
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
        height, width = (-(-side // 32) * 32 for side in photo.shape[:2])
        padded = np.zeros((1, 3, height, width), np.float32)
        padded[0, :, : photo.shape[0], : photo.shape[1]] = photo.transpose(2, 0, 1)
        names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox")]
        found = dict(zip(names, self.boxes.run(names, {"input": padded}), strict=True))
        parts = []
        for stride in STRIDES:
            face, object_ = (found[f"{kind}_{stride}"][0, :, 0].clip(0, 1) for kind in ("cls", "obj"))
            score = np.sqrt(face * object_)
            likely = score >= LEAST_SCORE
            box = found[f"bbox_{stride}"][0][likely]
            rows, columns = np.divmod(np.flatnonzero(likely), width // stride)
            middle = (box[:, :2] + np.stack([columns, rows], axis=1)) * stride
            half = np.exp(box[:, 2:]) * stride / 2
            parts.append((np.hstack([middle - half, middle + half]), score[likely]))
        boxes, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        kept = suppress(boxes, scores)
        return boxes[kept], scores[kept]

    def measure_roll(self, photo: Photo, middle: tuple[float, float], side: float, expected: float) -> float:
        """The degrees by which a face is turned clockwise; `expected` if its points are not found.

        `middle` and `side` are those of its box, in pixels.
        """
        crop = cut(photo, middle, POINTS_WIDTH * side, expected, POINTS_PIXELS)
        (regressed,), (logits,) = self.points.run(
            ["regressors", "classificators"],
            {"input": (crop[np.newaxis, :, :, ::-1].astype(np.float32) - 127.5) / 127.5},
        )
        best = int(logits[:, 0].argmax())
        if 1 / (1 + np.exp(-float(logits[best, 0]))) < LEAST_POINTS:
            return expected
        points = regressed[best].reshape(8, 2)[2:4] / POINTS_PIXELS + list_anchors()[best]
        (x, y) = points[1] - points[0]  # from the eye on the viewer's left to the other
        return expected + float(np.degrees(np.arctan2(y, x)))


@cache
def list_anchors() -> Floats:
    """The places (896, 2), as shares of the crop, to which BlazeFace's answers refer."""
    parts = []
    for cells, each in ((16, 2), (8, 6)):
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        parts.append(np.repeat((np.stack([columns, rows], axis=1) + 0.5) / cells, each, axis=0))
    return np.concatenate(parts).astype(np.float32)


def suppress(boxes: Floats, scores: Floats) -> list[int]:
    """The positions of the boxes (N, 4) that are kept, one for each face, the best first: non-maximum suppression."""
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


def crop_face(photo: Photo, face: Found) -> Crop:
    """A face as in FER-2013, grey uint8 (48, 48), upright; outside the photo its border is repeated."""
    side = max(face.size) / BOX_HEIGHT
    roll = face.roll if abs(face.roll) > UPRIGHT else 0.0
    angle = np.radians(roll)
    (x, y), down = face.middle, MIDDLE_OFFSET * side
    middle = x - down * float(np.sin(angle)), y + down * float(np.cos(angle))
    return np.asarray(cv2.cvtColor(cut(photo, middle, side, roll, SIZE), cv2.COLOR_BGR2GRAY), np.uint8)


def turn(photo: Photo, angle: int) -> tuple[Photo, NDArray[np.float64]]:
    """A photo turned so that faces turned clockwise by `angle` degrees are upright, and the matrix (2, 3) back."""
    if not angle:
        return photo, np.eye(2, 3)
    height, width = photo.shape[:2]
    side = round(float(np.hypot(height, width)))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1), float)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(photo, matrix, (side, side)), np.asarray(cv2.invertAffineTransform(matrix), float)


def cut(photo: Photo, middle: tuple[float, float], side: float, roll: float, pixels: int) -> Photo:
    """A square of a photo around `middle`, `side` pixels wide and turned by `roll` degrees, as (pixels, pixels, 3).

    Outside the photo its border is repeated. A square that is scaled down is averaged.
    """
    reach = 0.75 * side + 2  # half of the diagonal, and a pixel to interpolate
    limits = []
    for place, length in zip(middle, photo.shape[1::-1], strict=True):
        low, high = int(np.floor(place - reach)), int(np.ceil(place + reach))
        limits.append((min(max(0, low), length - 1), max(min(length, high), 1)))
    (left, right), (top, bottom) = limits
    part = photo[top : max(bottom, top + 1), left : max(right, left + 1)]
    x, y = middle[0] - left, middle[1] - top
    scale = pixels / side
    if scale < 0.5:  # a linear interpolation would leave pixels out
        width, height = (max(1, round(length * 2 * scale)) for length in part.shape[1::-1])
        x, y = x * width / part.shape[1], y * height / part.shape[0]
        scale *= part.shape[1] / width
        part = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    matrix = np.asarray(cv2.getRotationMatrix2D((x, y), roll, scale), float)
    matrix[:, 2] += pixels / 2 - np.array([x, y])
    return cv2.warpAffine(part, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
