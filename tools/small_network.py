"""A small exported network for tests and benchmarks, written in a moment."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

import checkout
from fer_pipeline.faces.fer2013 import CLASSES

GRAPH = """
<ir_version: 10, opset_import: ["": 17]>
network (float[faces, {shape}] pixels) => (float[faces, {classes}] logits, float[faces, {classes}] probabilities) {{
  flat = Flatten(pixels)
  logits = MatMul(flat, weights)
  calibrated = Div(logits, temperature)
  probabilities = Softmax<axis = 1>(calibrated)
}}
"""


def write_network(
    path: Path,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    shape: tuple[int, ...] = (44, 44),
    **metadata: str,
) -> Path:
    """Write a network in the form of `stages/export.py`: one dense layer with random weights on pixels of a `shape`.

    A shape is (crop, crop), in colour (crop, crop, 3); `metadata` are added, `size` where it is not 48.
    """
    graph = GRAPH.format(shape=", ".join(map(str, shape)), classes=len(classes))
    model = onnx.parser.parse_model(graph)
    pixels = int(np.prod(shape))
    weights = np.random.default_rng(seed).normal(0, 2e-3 * 44 / pixels**0.5, (pixels, len(classes))).astype(np.float32)
    for name, array in (("weights", weights), ("temperature", np.array(1.5, np.float32))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    told = {"classes": json.dumps(classes), "crop": str(shape[0]), "temperature": "1.5"}
    onnx.helper.set_model_props(model, told | metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
