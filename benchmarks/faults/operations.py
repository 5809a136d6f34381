"""Print, as JSON, the SHA-256 of what single operations of one library give on this processor.

    python benchmarks/faults/operations.py pytorch [OPERATION ...]      # leaves out the named operations

`benchmarks/faults/processor.py` runs it under several settings. Inputs are made of integers, so they are the same
everywhere; their sizes are those of the networks.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "stages"))

Operations = dict[str, Callable[[], Iterable[np.ndarray]]]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers in [-1, 1), multiples of 1/32768: exact in float32."""
    return np.asarray(np.random.default_rng(seed).integers(-32768, 32768, shape) / 32768, np.float32)


ROWS, MANY, PIXELS = draw(64, 512, seed=2), draw(100_000, seed=4), np.random.default_rng(0)


def list_pytorch() -> Operations:
    import torch
    from torch.nn import functional

    images, weights = torch.from_numpy(draw(16, 32, 22, 22)), torch.from_numpy(draw(64, 32, 3, 3, seed=1))
    rows, matrix, many = torch.from_numpy(ROWS), torch.from_numpy(draw(256, 512, seed=3)), torch.from_numpy(MANY)
    turn = torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.0]]] * 16)
    convolve, last = partial(functional.conv2d, padding=1), {"memory_format": torch.channels_last}

    def compute(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> Iterable[np.ndarray]:
        """The result and the gradients of the inputs."""
        leaves = [one.clone().requires_grad_() for one in inputs]
        result = function(*leaves)
        result.backward(torch.from_numpy(draw(*result.shape, seed=9)).to(result.dtype))
        return [one.detach().float().numpy() for one in (result, *(leaf.grad for leaf in leaves))]

    def resample(x: torch.Tensor) -> torch.Tensor:
        return functional.grid_sample(x, functional.affine_grid(turn, [16, 32, 22, 22], False), align_corners=False)

    def step() -> Iterable[np.ndarray]:
        weight = torch.nn.Parameter(matrix.clone())
        optimizer = torch.optim.AdamW([weight], lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            functional.linear(rows, weight).square().sum().backward()
            optimizer.step()
        return [weight.detach().numpy()]

    return {
        "convolution": partial(compute, convolve, images, weights),
        "convolution, channels last": partial(
            compute, lambda x, w: convolve(x.to(**last), w.to(**last)), images, weights
        ),
        "convolution, bfloat16": partial(compute, convolve, images.bfloat16(), weights.bfloat16()),
        "batch normalisation": partial(compute, lambda x: functional.batch_norm(x, None, None, training=True), images),
        "linear layer": partial(compute, functional.linear, rows, matrix),
        "softmax": partial(compute, partial(functional.log_softmax, dim=1), rows),
        "square root": partial(compute, torch.sqrt, many.abs() + 1),
        "exponential": partial(compute, torch.exp, many),
        "sum": partial(compute, torch.sum, many),
        "mean of pixels": partial(compute, partial(torch.mean, dim=(2, 3)), images),
        "three steps of AdamW": step,
        "resampling": partial(compute, resample, images),
    }


def list_keras() -> Operations:
    from fer_pipeline.networks.keras.framework import tf

    tf.config.experimental.enable_op_determinism()
    images, weights = tf.constant(draw(16, 22, 22, 32)), tf.constant(draw(3, 3, 32, 64, seed=1))
    rows, matrix = tf.constant(ROWS), tf.constant(draw(512, 256, seed=3))
    normalise = tf.compat.v1.nn.fused_batch_norm

    def compute(function: Callable[..., Any], *inputs: Any) -> Iterable[np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = function(*inputs)
        return [one.numpy() for one in (result, *tape.gradient(result, inputs))]

    return {
        "convolution": partial(compute, lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), images, weights),
        "moments": partial(compute, lambda x: tf.concat(tf.nn.moments(x, [0, 1, 2]), 0), images),
        "dense layer": partial(compute, tf.matmul, rows, matrix),
        "softmax": partial(compute, tf.nn.softmax, rows),
        "square root": partial(compute, tf.sqrt, tf.abs(rows) + 1),
        "reciprocal": partial(compute, tf.math.reciprocal, tf.abs(rows) + 1),
        "reciprocal square root": partial(compute, tf.math.rsqrt, tf.abs(rows) + 1),
        "batch normalisation": partial(compute, lambda x: normalise(x, tf.ones(32), tf.zeros(32))[0], images),
        "largest of 2x2": partial(compute, lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), images),
    }


def list_numpy() -> Operations:
    matrix, many = draw(512, 256, seed=3), MANY.astype(float)
    return {
        "product of matrices": lambda: [ROWS @ matrix, ROWS.astype(float) @ matrix.astype(float)],
        "exponential": lambda: [np.exp(many), np.exp(MANY)],
        "logarithm": lambda: [np.log(np.abs(many) + 1), np.log(np.abs(MANY) + 1)],
        "sum": lambda: [np.array([many.sum(), many.mean(), many.std()])],
    }


def list_onnxruntime() -> Operations:
    from fer_pipeline.exported.onnx import OUTPUT, load_exported

    faces = PIXELS.integers(0, 256, (8, 48, 48), np.uint8)
    files = {"float32": ROOT / "pretrained/compact.onnx", "int8": ROOT / "pretrained/compact.int8.onnx"}
    return {
        f"network in {kind}": lambda file=file: load_exported(file).compute(faces, OUTPUT).values()
        for kind, file in files.items()
        if file.exists()
    }


def list_opencv() -> Operations:
    from fer_pipeline.inference.opencv import cv2

    photo = PIXELS.integers(0, 256, (480, 640, 3), np.uint8)
    turned = cv2.getRotationMatrix2D((320, 240), 17, 0.9)
    return {
        "scaling": lambda: [cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA)],
        "turning": lambda: [cv2.warpAffine(photo, turned, (640, 480))],
    }


if __name__ == "__main__":
    library, *left_out = sys.argv[1:]
    operations = {name: run for name, run in globals()[f"list_{library}"]().items() if name not in left_out}
    parts = {name: b"".join(array.tobytes() for array in run()) for name, run in operations.items()}
    print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}))
