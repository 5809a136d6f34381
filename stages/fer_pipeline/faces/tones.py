"""How often each tone of grey, or of a colour, occurs in faces: from it follow mean and deviation, without a copy."""

import numpy as np
import numpy.typing as npt
from PIL import Image

AT_ONCE = 4096  # images


def count_tones(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """int64 (256,): the number of values 0, 1, ..., 255 in images uint8 (N, S, S) or (N, S, S, 3)."""
    parts = (images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE))
    counts = [Image.fromarray(part.reshape(len(part), -1)).histogram() for part in parts]
    return np.sum(counts, axis=0)
