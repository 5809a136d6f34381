"""What the parts of `benchmarks/fire.py` share: what they are given, the rows that they report, a small network."""

import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnx.parser

from fer_pipeline.faces.fer2013 import CLASSES

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
"""The environment in which PyTorch and TensorFlow compute with one thread."""
GRAPH = """
<ir_version: 10, opset_import: ["": 17]>
network (float[faces, 44, 44] pixels) => (float[faces, 7] logits, float[faces, 7] probabilities) {
  flat = Flatten(pixels)
  logits = MatMul(flat, weights)
  calibrated = Div(logits, temperature)
  probabilities = Softmax<axis = 1>(calibrated)
}
"""


class Settings(NamedTuple):
    """What a part is given."""

    seed: int
    count: int | None
    """How much to draw; None for the part's own number."""
    folder: Path
    """Empty, for everything that the part writes; removed when the part has ended."""
    finished: Path | None = None
    """A finished run of the pipeline, if the part need not run it."""


class Row(NamedTuple):
    """A line of a part's table."""

    what: str
    """What was done, in a few words: `dvc and the stage killed`."""
    tried: int
    held: int
    """How often the promise was kept."""
    seconds: float
    found: tuple[str, ...] = ()
    """A sentence for each failure, with what is needed to repeat it."""


def make_row(what: str, told: list[str], began: float) -> Row:
    """A row of what began at `began` (`time.monotonic`); `told` has a sentence for each failure, else empty strings."""
    found = tuple(fault for fault in told if fault)
    return Row(what, len(told), len(told) - len(found), time.monotonic() - began, found)


def write_network(path: Path, seed: int, **metadata: str) -> Path:
    """Write a network in the form of `stages/export.py`: one dense layer with random weights on 44x44 pixels."""
    model = onnx.parser.parse_model(GRAPH)
    weights = np.random.default_rng(seed).normal(0, 2e-3, (44 * 44, 7)).astype(np.float32)
    for name, array in (("weights", weights), ("temperature", np.array(1.5, np.float32))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    known = {"classes": json.dumps(CLASSES), "crop": "44", "temperature": "1.5", **metadata}
    onnx.helper.set_model_props(model, known)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
