"""What a Keras training asks of TensorFlow itself, on the CPU; by_torch.py has the same names."""

import random
from typing import Any, Literal

from fer_pipeline.networks.keras.framework import tf
from fer_pipeline.networks.keras.geometry import resample as resample
from fer_pipeline.networks.precision import has_fast_bf16
from fer_pipeline.running.hardware import name_cpu

OutOfMemory = tf.errors.ResourceExhaustedError
make_deterministic = tf.config.experimental.enable_op_determinism
seed_all = random.seed  # Keras draws from it the seeds of all else


def find_device() -> tuple[Literal["cpu", "cuda"], str, bool]:
    """Where the training computes, the name of that processor, and whether it multiplies bfloat16."""
    return "cpu", name_cpu(), has_fast_bf16()


def normalise(inputs: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Inputs (N, H, W, C) normalised, in one operation; their mean and biased variance (C,)."""
    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=epsilon)
    count = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
    return outputs, mean, variance * ((count - 1) / count)  # that of TensorFlow is unbiased
