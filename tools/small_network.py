"""A small exported network for tests and benchmarks, written in a moment."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

import checkout
from fer_pipeline.faces.fer2013 import CLASSES

GRAPH = """
<ir_version: 10, opset_import: ["": 17]>
network (float[faces, 44, 44] pixels) => (float[faces, 7] logits, float[faces, 7] probabilities) {
  flat = Flatten(pixels)
  logits = MatMul(flat, weights)
  calibrated = Div(logits, temperature)
  probabilities = Softmax<axis = 1>(calibrated)
}
"""


def write_network(path: Path, seed: int = 0, **metadata: str) -> Path:
    """Write a network in the form of `stages/export.py`: one dense layer with random weights on 44x44 pixels."""
    model = onnx.parser.parse_model(GRAPH)
    weights = np.random.default_rng(seed).normal(0, 2e-3, (44 * 44, 7)).astype(np.float32)
    for name, array in (("weights", weights), ("temperature", np.array(1.5, np.float32))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.helper.set_model_props(model, {"classes": json.dumps(CLASSES), "crop": "44", "temperature": "1.5", **metadata})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
