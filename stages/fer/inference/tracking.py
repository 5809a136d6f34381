"""Faces of a video, followed from frame to frame and smoothed over time."""

import math

from fer.inference.photos import compute_iou
from fer.inference.recognition import Face

FADE = 0.3
"""Seconds in which the weight of earlier frames decays to 1/e."""
PATIENCE = 0.5
"""Seconds for which a face that the detector misses is remembered."""
LEAST_IOU = 0.3
"""Two boxes with at least this intersection over union are the same face."""


class Tracker:
    """The faces that were seen last in a video."""

    def __init__(self) -> None:
        self.tracks: list[tuple[Face, float]] = []  # the face as last smoothed, and seconds since it was detected

    def follow(self, faces: list[Face], seconds: float) -> list[Face]:
        """The `faces` of the next frame, `seconds` after the last, each averaged with what it showed before.

        The average is exponential. A face that overlaps none of the earlier ones starts anew.
        """
        keep = math.exp(-seconds / FADE)
        free = [(last, missed + seconds) for last, missed in self.tracks if missed < PATIENCE]
        smoothed = []
        for face in faces:
            nearest = max(free, key=lambda track: compute_iou(track[0].box, face.box), default=None)
            if nearest and compute_iou(nearest[0].box, face.box) >= LEAST_IOU:
                free = [track for track in free if track is not nearest]
                blend = keep * nearest[0].probabilities + (1 - keep) * face.probabilities
                face = face._replace(probabilities=blend)
            smoothed.append(face)
        self.tracks = [*((face, 0.0) for face in smoothed), *free]
        return smoothed
