"""Faces of a video, followed from frame to frame, numbered, and smoothed over time."""

import math

from fer_pipeline.answers.recognition import Face
from fer_pipeline.inference.photos import compute_iou

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
        """Number, from 1, the `faces` of a frame, `seconds` after the previous one; average each with its fading past.

        Faces are paired with earlier ones by their overlap, the largest first; a face without a pair is new.
        """
        keep = math.exp(-seconds / FADE)
        earlier = [(last, missed + seconds) for last, missed in self.tracks if missed < PATIENCE]
        overlaps = sorted(
            (-compute_iou(last.place.box, face.place.box), before, now)
            for before, (last, _) in enumerate(earlier)
            for now, face in enumerate(faces)
        )
        pairs: dict[int, int] = {}  # {place in `faces`: place in `earlier`}
        for overlap, before, now in overlaps:
            if -overlap >= LEAST_IOU and now not in pairs and before not in pairs.values():
                pairs[now] = before
        smoothed = []
        for now, face in enumerate(faces):
            if now not in pairs:
                self.seen += 1
                smoothed.append(face._replace(number=self.seen))
                continue
            old = earlier[pairs[now]][0]
            probabilities = keep * old.probabilities + (1 - keep) * face.probabilities
            shares = None if old.shares is None or face.shares is None else keep * old.shares + (1 - keep) * face.shares
            smoothed.append(face._replace(probabilities=probabilities, shares=shares, number=old.number))
        left = [track for before, track in enumerate(earlier) if before not in pairs.values()]
        self.tracks = [(face, 0.0) for face in smoothed] + left
        return smoothed
