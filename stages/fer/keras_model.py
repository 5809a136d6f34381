"""The baseline as `stages/evaluate.py` uses it: probabilities and cost of a trained Keras network."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer.faces import CLASSES, SIZE
from fer.quiet import quiet_stderr
from fer.stage import InputError
from fer.training import name_cpu

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")

BATCH = 256


class KerasModel(NamedTuple):
    """A trained network, and its forward pass as one graph."""

    network: keras.Model
    forward: tf.types.experimental.GenericFunction
    precision: str
    device: str

    def predict(self, images, crops=1):
        """Class probabilities float64 (N, 7) of images uint8 (N, 48, 48). The network sees them whole: no crops."""
        starts = range(0, len(images), BATCH)
        parts = [self.forward(images[start : start + BATCH, :, :, np.newaxis]).numpy() for start in starts]
        return np.concatenate(parts).astype(np.float64)

    def count_parameters(self):
        """The number of trainable weights."""
        return sum(int(np.prod(weights.shape)) for weights in self.network.trainable_weights)

    def count_macs(self):
        """Multiply-accumulates of convolutions and dense layers for one image."""
        macs = 0
        for layer in self.network.layers:
            if isinstance(layer, keras.layers.Conv2D):
                macs += int(np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape))
            elif isinstance(layer, keras.layers.Dense):
                macs += int(np.prod(layer.kernel.shape))
        return macs


def load_model(path, name, precision):
    """The trained network in a .keras file; it computes in the precision that it was trained in.

    Raises:
        InputError: the file is missing, damaged, or takes or gives something else than pixels (N, 48, 48, 1) and seven
            probabilities.
    """
    remedy = f"train it anew with `dvc repro -f train_{name}`"
    if not Path(path).is_file():
        raise InputError(f"{path}: not found; run `dvc repro`")
    tf.config.experimental.enable_op_determinism()
    for gpu in GPUS:
        tf.config.experimental.set_memory_growth(gpu, True)
    try:
        with quiet_stderr():
            network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises nearly everything on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: damaged, or no Keras file ({reason}); {remedy}") from None
    found = tuple(getattr(network, shape, "no one shape") for shape in ("input_shape", "output_shape"))
    if found != ((None, SIZE, SIZE, 1), (None, len(CLASSES))):
        raise InputError(
            f"{path}: takes {found[0]} and gives {found[1]}, expected (None, 48, 48, 1) and (None, 7); {remedy}"
        )
    types = {layer.compute_dtype for layer in network.layers}
    device = tf.config.experimental.get_device_details(GPUS[0])["device_name"] if GPUS else name_cpu()
    forward = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec((None, SIZE, SIZE, 1), tf.uint8)],
    )
    return KerasModel(network, forward, "bfloat16" if "bfloat16" in types else "float32", device)
