"""How often each tone occurs in faces: mean and deviation of all pixels follow from it, without a copy of the faces."""

import numpy as np
import numpy.typing as npt
from PIL import Image

AT_ONCE = 256  # images


def count_tones(images: npt.NDArray[np.uint8]) -> list[int]:
    """How often each value 0, 1, ..., 255 occurs in images uint8 (N, S, S) or (N, S, S, 3)."""
    parts = (images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))
    counts = [Image.fromarray(part.reshape(len(part), -1)).histogram() for part in parts]
    return [sum(of_tone) for of_tone in zip(*counts, strict=True)]


def measure_tones(images: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation (that of a sample) of all values in images as in `count_tones`, in [0, 1]."""
    counts = count_tones(images)
    count, total, squares = (sum(tone**power * of_tone for tone, of_tone in enumerate(counts)) for power in range(3))
    return total / count / 255, ((count * squares - total**2) / (count * (count - 1))) ** 0.5 / 255
