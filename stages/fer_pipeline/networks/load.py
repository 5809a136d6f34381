"""Load a trained network of either framework, and predict with it."""

from collections.abc import Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Facts
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.network import View, find_network

TOLERANCE = 0.01  # how far the sum of an image's probabilities may be from 1, as a softmax in bfloat16 is not exact


def load_model(name: str, path: str | Path, precision: str, facts: Facts) -> Any:
    """The trained network `name`, a `KerasModel` or a `TorchModel`; InputError if the file does not fit the data."""
    # the other framework is not imported: each takes seconds, and both in one process may crash
    module = import_module(f"fer_pipeline.networks.{find_network(name).FRAMEWORK}.model")
    return module.load_model(path, name, precision, facts)


def predict(
    model: Any, images: npt.NDArray[np.uint8], path: str | Path, *ways: Sequence[View]
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Mean probabilities of faces uint8 (N, S, S) or (N, S, S, 3) over the views of each list in `ways`.

    One pair per list: float64 (N, K), and the second head's (N, V) or (N, 0). InputError if rows do not add up to 1.
    """
    heads = [split_heads(said, model.classes) for said in model.predict(images, *ways)]
    for head in chain(*heads):
        sums = head.sum(axis=1)
        if head.shape[1] and not ((head >= 0).all() and (abs(sums - 1) < TOLERANCE).all()):  # False for NaN, too
            raise InputError(f"{path}: gives no probabilities; train it anew with `dvc repro -f -s train_<network>`")
    return heads
