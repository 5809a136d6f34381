"""How much of each emotion a video or a folder of photos shows: a table, and a picture over time."""

import csv
import io
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.answers.recognition import Description
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.inference.opencv import cv2, to_ascii
from fer_pipeline.inference.photos import Photo

UNCERTAIN, TOO_SMALL = "uncertain", "too small"
COLOURS = (
    (40, 70, 200), (60, 140, 90), (150, 80, 130), (40, 180, 230), (190, 120, 40), (60, 140, 250), (150, 150, 150),
    (190, 30, 70), (150, 240, 80), (240, 170, 240), (90, 0, 150), (240, 80, 240), (20, 50, 110), (120, 50, 40),
    (160, 200, 130), (110, 90, 160), (110, 240, 190), (190, 170, 30), (110, 150, 200), (160, 30, 120),
)  # fmt: skip
"""Colours of classes, in OpenCV's order (blue, green, red): first those of FER-2013's seven. Each further one differs
most from all before it, for people who see red and green alike as well."""
PALE, DARK = (225, 225, 225), (90, 90, 90)  # colours of faces that are uncertain or too small
MOST_DRAWN = 100  # videos in one picture
MOST_SPANS = 240  # most spans of time in the picture of a video
WIDTH, PLOT, ROW, EDGE, SWATCH = 1200, 320, 34, 24, 28
"""Pixels: width of the picture, height of its plot, height of a line of text, width of the border, and of the place for
a colour before its name."""
TEXT, LINE = (40, 40, 40), (150, 150, 150)
"""Colours of text and of lines."""


class EmotionSummary:
    """What was seen in one video, or in all photos together."""

    def __init__(self, name: str, classes: Sequence[str], video: bool) -> None:
        """Begin with no face; `classes` are the network's, in its order, `name` is that of the source."""
        self.name, self.video, self.until = name, video, 0.0
        self.colours = choose_colours(classes) | {UNCERTAIN: PALE, TOO_SMALL: DARK}
        self.seen: list[tuple[float, float, str]] = []  # seconds since the start, length of the frame, emotion

    def add(self, faces: list[Description], seconds: float = 0.0, length: float = 1.0, small: int = 0) -> None:
        """Add the faces of a photo, or those of a frame that is shown at `seconds` for `length` seconds.

        `small` further ones are too small to judge.
        """
        self.until = max(self.until, seconds + length)
        kinds = [UNCERTAIN if face["uncertain"] else face["emotion"] for face in faces]
        self.seen += [(seconds, length, kind) for kind in [*kinds, *[TOO_SMALL] * small]]

    def measure(self) -> dict[str, float]:
        """{emotion: seconds, or faces of photos}, `uncertain` and `too small` last.

        Two faces during one second count two.
        """
        amounts = dict.fromkeys(self.colours, 0.0)
        for _, length, emotion in self.seen:
            amounts[emotion] += length
        return amounts

    def spread(self) -> NDArray[np.float64]:
        """The shares of the K classes, `UNCERTAIN` and `TOO_SMALL` over time, (spans, K + 2).

        Each row adds up to 1, or to 0 if no face was seen.
        """
        spans = min(MOST_SPANS, max(1, math.ceil(self.until / 0.5)))
        amounts, kinds = np.zeros((spans, len(self.colours))), list(self.colours)
        for seconds, length, emotion in self.seen:
            start, end = (spans * time / self.until for time in (seconds, seconds + length))
            for place in range(int(start), min(spans, math.ceil(end))):
                amounts[place, kinds.index(emotion)] += min(end, place + 1) - max(start, place)
        total = amounts.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = np.divide(amounts, total, out=np.zeros_like(amounts), where=total > 0)
        return shares


def choose_colours(classes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """{class: its colour}: FER-2013's classes have their own in any set, others take the rest of `COLOURS` in turn."""
    known = dict(zip(CLASSES, COLOURS, strict=False))
    rest = itertools.cycle([colour for colour in COLOURS if colour not in map(known.get, classes)])
    return {name: known.get(name) or next(rest) for name in classes}


def to_csv(summaries: Sequence[EmotionSummary]) -> str:
    """A row for each source and emotion: seconds in a video, faces in photos, and their share."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("source", "emotion", "seconds", "faces", "share"))
    for summary in summaries:
        amounts = summary.measure()
        total = sum(amounts.values())
        for emotion, amount in amounts.items():
            seconds, faces = (f"{amount:.3f}", "") if summary.video else ("", f"{amount:.0f}")
            table.writerow((summary.name, emotion, seconds, faces, f"{amount / total:.4f}" if total else ""))
    return text.getvalue()


def draw(summaries: Sequence[EmotionSummary]) -> Photo:
    """The picture: emotions over time for each video, a bar of shares for the photos, and amounts below both."""
    pictures = [draw_one(summary) for summary in summaries[:MOST_DRAWN]]
    if more := len(summaries) - len(pictures):
        pictures.append(np.full((2 * ROW, WIDTH, 3), 255, np.uint8))
        write(pictures[-1], f"{more:,} more: see the table", EDGE, 0, 0.75)
    return np.vstack(pictures)


def draw_one(summary: EmotionSummary) -> Photo:
    """The picture of one source, 1200 pixels wide."""
    amounts = summary.measure()
    total = sum(amounts.values())
    shown = {kind: amount for kind, amount in amounts.items() if amount}
    plot = PLOT if summary.video else PLOT // 4
    labels = {kind: f"{kind} {amount / total:.0%}" for kind, amount in shown.items()}
    longest = SWATCH + max((measure_text(to_ascii(label), 0.6) for label in labels.values()), default=0)
    columns = max(1, min(4, (WIDTH - 2 * EDGE) // longest))
    lines = 2 + summary.video + math.ceil(len(shown) / columns)
    picture = np.full((2 * EDGE + lines * ROW + plot, WIDTH, 3), 255, np.uint8)
    photos = f"{total:.0f} {'face' if total == 1 else 'faces'}"
    video = f"{total:.1f} seconds of faces" if total else "no face"
    write(picture, f"{summary.name}: {video if summary.video else photos}", EDGE, EDGE, 0.75)
    top = EDGE + ROW + ROW // 2
    place = picture[top : top + plot, EDGE : WIDTH - EDGE]
    if total:
        turned = np.rot90(place, -1) if summary.video else place  # time goes to the right
        plot_shares(turned, summary.spread(), [*summary.colours.values()])
    cv2.rectangle(picture, (EDGE, top), (WIDTH - EDGE - 1, top + plot - 1), LINE)
    below = top + plot + ROW // 2
    if summary.video:
        for part in range(5):
            seconds = summary.until * part / 4
            minutes = f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
            label = f"{seconds:.1f} s" if summary.until < 60 else minutes
            left = EDGE + round(place.shape[1] * part / 4 - measure_text(label, 0.6) * part / 4)
            write(picture, label, left, below, 0.6)
        below += ROW
    for number, (kind, label) in enumerate(labels.items()):
        left, row = EDGE + (number % columns) * place.shape[1] // columns, below + (number // columns) * ROW
        cv2.rectangle(picture, (left, row + 3), (left + 18, row + 21), summary.colours[kind], cv2.FILLED)
        cv2.rectangle(picture, (left, row + 3), (left + 18, row + 21), LINE)
        write(picture, label, left + SWATCH, row, 0.6)
    return picture


def plot_shares(place: Photo, shares: NDArray[np.float64], colours: list[tuple[int, int, int]]) -> None:
    """Fill a part of a picture with shares (spans, kinds): spans from top to bottom, kinds side by side."""
    height, width = place.shape[:2]
    heights = np.diff(np.linspace(0, height, len(shares) + 1).round().astype(int))
    ends = np.repeat((np.cumsum(shares, axis=1) * width).round(), heights, axis=0)[:, :, np.newaxis]
    with_white = np.array([*colours, (255, 255, 255)])  # for a span without faces
    place[:] = with_white[(ends <= np.arange(width)).sum(axis=1)]


def measure_text(text: str, size: float) -> int:
    """The width of a text in pixels."""
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def write(picture: Photo, text: str, left: int, top: int, size: float) -> None:
    """Write a line of text; a line that is too long ends in dots."""
    text = to_ascii(text)
    while len(text) > 4 and left + measure_text(text, size) > WIDTH - EDGE:
        text = text[:-4] + "..."
    cv2.putText(picture, text, (left, top + ROW // 2), cv2.FONT_HERSHEY_SIMPLEX, size, TEXT, 1, cv2.LINE_AA)
