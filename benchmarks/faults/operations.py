"""Print, as JSON, the SHA-256 of what single operations of one library give on this processor.

    python benchmarks/faults/operations.py pytorch [OPERATION ...]      # leaves out the named operations

`benchmarks/faults/processor.py` runs it under several settings. Inputs are made of integers, so they are the same
everywhere; their sizes are those of the networks.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2] / "stages"))

Floats = NDArray[np.float32]
Operations = dict[str, Callable[[], list[NDArray[np.generic]]]]


def draw(*shape: int, seed: int = 0) -> Floats:
    """Numbers in [-1, 1), multiples of 1/32768: exact in float32."""
    return np.asarray(np.random.default_rng(seed).integers(-32768, 32768, shape) / 32768, np.float32)


def list_pytorch() -> Operations:
    import torch
    from torch.nn import functional

    def call(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> list[NDArray[np.generic]]:
        """The result and the gradients of the inputs."""
        leaves = [one.clone().requires_grad_() for one in inputs]
        result = function(*leaves)
        result.backward(torch.from_numpy(draw(*result.shape, seed=9)).to(result.dtype))
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        return [one.detach().float().numpy() for one in (result, *gradients)]

    images, weights = torch.from_numpy(draw(16, 32, 22, 22)), torch.from_numpy(draw(64, 32, 3, 3, seed=1))
    rows, matrix = torch.from_numpy(draw(64, 512, seed=2)), torch.from_numpy(draw(256, 512, seed=3))
    many, last = torch.from_numpy(draw(100_000, seed=4)), torch.channels_last
    turn = torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.0]]] * 16)

    def convolve(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, w, padding=1)

    def convolve_last(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return convolve(x.to(memory_format=last), w.to(memory_format=last))

    def resample(x: torch.Tensor) -> torch.Tensor:
        return functional.grid_sample(x, functional.affine_grid(turn, [16, 32, 22, 22], False), align_corners=False)

    def step() -> list[NDArray[np.generic]]:
        weight = torch.nn.Parameter(matrix.clone())
        optimizer = torch.optim.AdamW([weight], lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            functional.linear(rows, weight).square().sum().backward()
            optimizer.step()
        return [weight.detach().numpy()]

    return {
        "convolution": lambda: call(convolve, images, weights),
        "convolution, channels last": lambda: call(convolve_last, images, weights),
        "convolution, bfloat16": lambda: call(convolve, images.bfloat16(), weights.bfloat16()),
        "batch normalisation": lambda: call(lambda x: functional.batch_norm(x, None, None, training=True), images),
        "linear layer": lambda: call(functional.linear, rows, matrix),
        "softmax": lambda: call(lambda x: functional.log_softmax(x, dim=1), rows),
        "square root": lambda: call(torch.sqrt, many.abs() + 1),
        "exponential": lambda: call(torch.exp, many),
        "sum": lambda: call(lambda x: x.sum(), many),
        "mean of pixels": lambda: call(lambda x: x.mean(dim=(2, 3)), images),
        "three steps of AdamW": step,
        "resampling": lambda: call(resample, images),
    }


def list_keras() -> Operations:
    from fer_pipeline.networks.keras.framework import tf

    tf.config.experimental.enable_op_determinism()
    images, weights = tf.constant(draw(16, 22, 22, 32)), tf.constant(draw(3, 3, 32, 64, seed=1))
    rows, matrix = tf.constant(draw(64, 512, seed=2)), tf.constant(draw(512, 256, seed=3))

    def call(function: Callable[..., "tf.Tensor"], *inputs: "tf.Tensor") -> list[NDArray[np.generic]]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            result = function(*inputs)
        return [one.numpy() for one in (result, *tape.gradient(result, inputs))]

    def normalise(x: "tf.Tensor") -> "tf.Tensor":
        return tf.compat.v1.nn.fused_batch_norm(x, tf.ones(32), tf.zeros(32))[0]

    return {
        "convolution": lambda: call(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), images, weights),
        "moments": lambda: call(lambda x: tf.concat(tf.nn.moments(x, [0, 1, 2]), 0), images),
        "dense layer": lambda: call(tf.matmul, rows, matrix),
        "softmax": lambda: call(tf.nn.softmax, rows),
        "square root": lambda: call(tf.sqrt, tf.abs(rows) + 1),
        "reciprocal": lambda: call(tf.math.reciprocal, tf.abs(rows) + 1),
        "reciprocal square root": lambda: call(tf.math.rsqrt, tf.abs(rows) + 1),
        "batch normalisation": lambda: call(normalise, images),
        "largest of 2x2": lambda: call(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), images),
    }


def list_numpy() -> Operations:
    rows, matrix = draw(64, 512, seed=2), draw(512, 256, seed=3)
    many = draw(100_000, seed=4).astype(float)
    return {
        "product of matrices": lambda: [rows @ matrix, rows.astype(float) @ matrix.astype(float)],
        "exponential": lambda: [np.exp(many), np.exp(many.astype(np.float32))],
        "logarithm": lambda: [np.log(np.abs(many) + 1), np.log(np.abs(many.astype(np.float32)) + 1)],
        "sum": lambda: [np.array([many.sum(), many.mean(), many.std()])],
    }


def list_onnxruntime() -> Operations:
    from fer_pipeline.exported.onnx import OUTPUT, load_exported

    folder = Path(__file__).parents[2] / "pretrained"
    faces = np.random.default_rng(0).integers(0, 256, (8, 48, 48), np.uint8)
    return {
        f"network in {kind}": lambda file=file: [load_exported(folder / file).compute(faces, OUTPUT)[OUTPUT]]
        for kind, file in (("float32", "compact.onnx"), ("int8", "compact.int8.onnx"))
        if (folder / file).exists()
    }


def list_opencv() -> Operations:
    from fer_pipeline.inference.opencv import cv2

    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    turned = cv2.getRotationMatrix2D((320, 240), 17, 0.9)
    return {
        "scaling": lambda: [cv2.resize(photo, (320, 240), interpolation=cv2.INTER_AREA)],
        "turning": lambda: [cv2.warpAffine(photo, turned, (640, 480))],
    }


LIBRARIES = {
    "pytorch": list_pytorch,
    "keras": list_keras,
    "numpy": list_numpy,
    "onnxruntime": list_onnxruntime,
    "opencv": list_opencv,
}

if __name__ == "__main__":
    library, *left_out = sys.argv[1:]
    operations = {name: operation for name, operation in LIBRARIES[library]().items() if name not in left_out}
    parts = {name: b"".join(array.tobytes() for array in operation()) for name, operation in operations.items()}
    print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}))
