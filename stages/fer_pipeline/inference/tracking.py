"""Faces of a video, followed from frame to frame, numbered, and smoothed over time."""

import math

from fer_pipeline.inference.photos import compute_iou
from fer_pipeline.inference.recognition import Face

FADE = 0.3
"""Seconds in which the weight of earlier frames decays to 1/e."""
PATIENCE = 0.5
"""Seconds for which a face that the detector misses is remembered."""
LEAST_IOU = 0.3
"""Two boxes with at least this intersection over union are the same face."""


class Tracker:
    """The faces that were seen last in a video."""

    def __init__(self) -> None:
        self.tracks: list[tuple[Face, float]] = []  # a smoothed face, and seconds since it was detected
        self.seen = 0

    def follow(self, faces: list[Face], seconds: float) -> list[Face]:
        """Number the `faces` of a frame, `seconds` after the previous one, and average each with its past.

        The average is exponential. Faces are paired with earlier ones by their overlap, the largest first; a face
        without a pair is new.
        """
        keep = math.exp(-seconds / FADE)
        earlier = [(last, missed + seconds) for last, missed in self.tracks if missed < PATIENCE]
        overlaps = sorted(
            (
                (compute_iou(last.place.box, face.place.box), before, now)
                for before, (last, _) in enumerate(earlier)
                for now, face in enumerate(faces)
            ),
            key=lambda pair: (-pair[0], *pair[1:]),
        )
        known: dict[int, Face] = {}
        free = set(range(len(earlier)))
        for overlap, before, now in overlaps:
            if overlap >= LEAST_IOU and before in free and now not in known:
                free.remove(before)
                known[now] = earlier[before][0]
        smoothed = []
        for now, face in enumerate(faces):
            if last := known.get(now):
                face = face._replace(
                    probabilities=keep * last.probabilities + (1 - keep) * face.probabilities,
                    shares=None
                    if last.shares is None or face.shares is None
                    else keep * last.shares + (1 - keep) * face.shares,
                    number=last.number,
                )
            else:
                face = face._replace(number=self.seen)
                self.seen += 1
            smoothed.append(face)
        self.tracks = [*((face, 0.0) for face in smoothed), *(earlier[before] for before in sorted(free))]
        return smoothed
