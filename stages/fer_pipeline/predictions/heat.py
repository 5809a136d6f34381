"""<network>_heat.npz: Grad-CAM heat maps of test faces, of each class the first correct and the most confident error.

Its arrays, of M such faces: `row` int64 (M,) in test, `crops` uint8 (M, size, size), or (M, size, size, 3), and
`heat` float32 (M, size, size) in [0, 1], the evidence for the predicted class.
"""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.predictions.predictions import Predictions

Example = tuple[NDArray[np.uint8], NDArray[np.float32], int]
"""A crop uint8 (size, size), or (size, size, 3), its heat map (size, size) in [0, 1], and the predicted class."""
Examples = dict[str, list[Example | None]]  # {'correct', 'incorrect': an example of each class, or None}


def pack_heat(model: Any, images: NDArray[np.uint8], test: Predictions) -> bytes:
    """The file of a model and its predictions for `images`; the same content gives the same bytes."""
    rows: list[int] = []
    for label in range(len(test.classes)):
        right, wrong = (np.flatnonzero((test.actual == label) & kind) for kind in (test.correct, ~test.correct))
        rows += [*right[:1], *wrong[np.argsort(-test.confidence[wrong], kind="stable")][:1]]
    found = [model.explain(images[[row]], test.predicted[[row]]) for row in rows]
    crops, heat = (np.concatenate(parts) for parts in zip(*found, strict=True))
    content = BytesIO()
    np.savez(content, row=np.array(rows, np.int64), crops=crops, heat=heat)
    return content.getvalue()


def read_heat(path: str | Path, test: Predictions) -> Examples:
    """The heat maps in a file; InputError if it is missing, damaged or not that of the predictions `test`."""
    examples: Examples = {kind: [None] * len(test.classes) for kind in ("correct", "incorrect")}
    try:
        with np.load(path) as file:
            for row, crop, heat in zip(file["row"], file["crops"], file["heat"], strict=True):
                kind = "correct" if test.correct[row] else "incorrect"
                examples[kind][test.actual[row]] = (crop, heat, int(test.predicted[row]))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro predict`") from None
    except (ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())[:99]}); run `dvc repro -f predict`") from None
    return examples
