"""A trained network of either framework, and what it says."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.network import find_network

TOLERANCE = 0.01
"""Of the sum of an image's probabilities, which a softmax in bfloat16 may miss."""


def load_model(name: str, path: str | Path, precision: str) -> Any:
    """The trained network `name` in a file: a `KerasModel` or a `TorchModel`.

    Only the framework of that network is loaded: either takes seconds, and both in one process may crash.
    """
    return import_module(f"fer_pipeline.networks.{find_network(name).FRAMEWORK}.model").load_model(
        path, name, precision
    )


def predict(
    model: Any, images: npt.NDArray[np.uint8], crops: int, path: str | Path
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Class probabilities float64 (N, 7) of faces uint8 (N, 48, 48), and those of the second head, (N, 8) or (N, 0).

    Args:
        model: of `load_model`.
        crops: 10 or 1.
        path: its file, for the message.

    Raises:
        InputError: these are no probabilities.
    """
    heads = split_heads(model.predict(images, crops))
    for head in heads:
        sums = head.sum(axis=1)
        if head.shape[1] and not ((head >= 0).all() and (abs(sums - 1) < TOLERANCE).all()):  # not so for NaN either
            raise InputError(f"{path}: gives no probabilities; train it anew with `dvc repro -f -s train_<network>`")
    return heads
