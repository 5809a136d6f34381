"""Load a trained network of either framework, and predict with it."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Facts
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.network import find_network

TOLERANCE = 0.01  # how far the sum of an image's probabilities may be from 1, as a softmax in bfloat16 is not exact


def load_model(name: str, path: str | Path, precision: str, facts: Facts) -> Any:
    """The trained network `name`, a `KerasModel` or a `TorchModel`; InputError if the file does not fit the data."""
    # the other framework is not imported: each takes seconds, and both in one process may crash
    module = import_module(f"fer_pipeline.networks.{find_network(name).FRAMEWORK}.model")
    return module.load_model(path, name, precision, facts)


def predict(
    model: Any, images: npt.NDArray[np.uint8], crops: int, path: str | Path
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Probabilities of faces uint8 (N, S, S) or (N, S, S, 3), averaged over the crops, and by the centre crop alone.

    Both are each head's: float64 (N, K), and (N, V) or (N, 0).
    """
    both = [split_heads(said, model.classes) for said in model.predict_both(images, crops)]
    for head in (*both[0], *both[1]):
        sums = head.sum(axis=1)
        if head.shape[1] and not ((head >= 0).all() and (abs(sums - 1) < TOLERANCE).all()):  # False for NaN, too
            raise InputError(f"{path}: gives no probabilities; train it anew with `dvc repro -f -s train_<network>`")
    return both
