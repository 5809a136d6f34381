"""Photos and frames with their faces marked: a box, the class, and a bar per class."""

import math

from fer_pipeline.answers.recognition import Description, tell_answer
from fer_pipeline.inference.opencv import cv2, to_ascii
from fer_pipeline.inference.photos import Box, Photo, compute_iou

Colour = tuple[int, int, int]
SMALLEST_DRAWN, LARGEST_ENLARGED = 240, 4000
"""Pixels: a photo with a shorter side is enlarged, unless its longer side would then exceed the second."""
CERTAIN, UNCERTAIN, BACKGROUND, WHITE = (60, 150, 30), (120, 120, 120), (60, 60, 60), (255, 255, 255)
"""Colours in OpenCV's order: blue, green, red."""
MOST_BARS = 8
"""A face has so many bars at most, those of its most probable classes, where there is no place for all."""


def draw_photo(photo: Photo, faces: list[Description]) -> Photo:
    """Draw faces into a copy of a photo by `draw_faces`.

    A small photo is enlarged, and a single face that fills it has its bars below it.
    """
    factor = math.ceil(SMALLEST_DRAWN / min(photo.shape[:2]))
    if factor > 1 and factor * max(photo.shape) <= LARGEST_ENLARGED:
        photo = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        faces = [{**face, "box": [factor * pixels for pixels in face["box"]]} for face in faces]
    return draw_faces(photo, faces, extend=len(faces) == 1)


def draw_faces(photo: Photo, faces: list[Description], extend: bool = False) -> Photo:
    """A copy of a photo with a box around each face, its class above, and a bar per class below or beside it.

    Several faces are numbered in their order from 1, and those of a video as there. Where there is no free place for
    all bars, there are `MOST_BARS`, or none, unless `extend` allows to put them below the picture. Names are cut where
    they would cover other faces.
    """
    drawn, boxes = photo.copy(), [Box(*face["box"]) for face in faces]
    taken = boxes.copy()
    for position, (face, box) in enumerate(zip(faces, boxes, strict=True), 1):
        row, line = measure_text(box.width)
        colour = UNCERTAIN if face["uncertain"] else CERTAIN
        cv2.rectangle(drawn, (box.left, box.top), (box.left + box.width, box.top + box.height), colour, line)
        most = drawn.shape[1] if len(faces) == 1 else max(box.width, 8 * row)
        number = f"{face.get('number', position)} " if len(faces) > 1 or "number" in face else ""
        label = number + " ".join(tell_answer(face))
        if measure_row(label, row) > (most if len(faces) == 1 else box.width):
            label = number + shorten("uncertain" if face["uncertain"] else face["emotion"], row, most, number)
        taken.append(draw_row(drawn, label, box.left, max(0, box.top - row - line), row, colour))
    for face, box in zip(faces, boxes, strict=True):
        row, line = measure_text(box.width)
        bars, least = face["probabilities"], max(box.width, 6 * row)
        best = sorted(bars, key=lambda name: -bars[name])[:MOST_BARS]
        fewer = {name: share for name, share in bars.items() if name in best}
        whole, some = (max(least, *(measure_row(name, row) for name in names)) for names in (bars, fewer))
        for shown, width in ((bars, whole), (fewer, some), (fewer, least)):
            if place := find_place(drawn.shape, box, width, len(shown) * row, taken):
                break
        if not place and extend:
            shown, width, place = bars, drawn.shape[1], (0, drawn.shape[0])
            drawn = cv2.copyMakeBorder(drawn, 0, len(bars) * row, 0, 0, cv2.BORDER_CONSTANT, value=BACKGROUND)
        if not place:
            continue
        left, top = place
        taken.append(Box(left, top, width, len(shown) * row))
        for name, share in shown.items():
            colour = CERTAIN if name == face["emotion"] and not face["uncertain"] else UNCERTAIN
            draw_row(drawn, shorten(name, row, width), left, top, row, colour, width, share)
            top += row
    return drawn


def measure_text(width: int) -> tuple[int, int]:
    """The height of a row of text and the thickness of lines, in pixels, for a face `width` pixels wide."""
    return max(14, width // 10), max(2, width // 80)


def find_place(shape: tuple[int, ...], box: Box, width: int, height: int, taken: list[Box]) -> tuple[int, int] | None:
    """(left, top) where bars of `width` by `height` pixels fit below the `box` of a face, beside or above it, or None.

    They stay inside a picture of `shape` (height, width, 3) and touch none of the boxes `taken`.
    """
    row, line = measure_text(box.width)
    places = [
        (box.left, box.top + box.height + line),
        (box.left + box.width + line, box.top),
        (box.left - width - line, box.top),
        (box.left, box.top - row - 2 * line - height),
    ]
    for left, top in places:
        inside = min(left, top) >= 0 and left + width <= shape[1] and top + height <= shape[0]
        if inside and not any(compute_iou(Box(left, top, width, height), other) for other in taken):
            return left, top
    return None


def measure_row(text: str, height: int) -> int:
    """The width in pixels of a row of this height that holds a text."""
    scale, thickness = height / 34, max(1, height // 20)
    return int(cv2.getTextSize(to_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0]) + height // 2


def shorten(text: str, height: int, most: int, rest: str = "") -> str:
    """A text of which dots replace the end, so that a row of this height with it and `rest` has `most` pixels."""
    short = text
    while len(short) > 4 and measure_row(short + rest, height) > most:
        short = short.removesuffix("...")[:-1].rstrip() + "..."
    return short


def draw_row(
    photo: Photo, text: str, left: int, top: int, height: int, colour: Colour, width: int = 0, share: float = 1.0
) -> Box:
    """Draw white text into `photo`, on a bar of `colour` that covers this `share` of a background; returns its box.

    `width` is that of the background in pixels; 0 takes that of the text.
    """
    text, scale, thickness = to_ascii(text), height / 34, max(1, height // 20)
    (_, above), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    width = width or measure_row(text, height)
    left = max(0, min(left, photo.shape[1] - width))
    for part, filling in ((1.0, BACKGROUND), (share, colour)):
        if part:
            right = left + round(part * width)
            cv2.rectangle(photo, (left, top), (right, top + height - 1), filling, cv2.FILLED)
    start = left + height // 4, top + (height + above - below) // 2  # leaves room for descenders
    cv2.putText(photo, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, WHITE, thickness, cv2.LINE_AA)
    return Box(left, top, width, height)
