"""A trained Keras network as the evaluation uses it: probabilities and cost."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_pipeline.faces.faces import Facts
from fer_pipeline.networks.keras.files import load_network
from fer_pipeline.networks.keras.framework import keras, tf
from fer_pipeline.networks.precision import Precision
from fer_pipeline.running.hardware import name_cpu

BATCH = 256  # images in a batch


class KerasModel(NamedTuple):
    """A trained network, and its forward pass as one graph; there is no Grad-CAM in Keras here."""

    network: keras.Model
    classes: int  # K, the number of classes
    forward: tf.types.experimental.GenericFunction
    precision: Precision
    device: Literal["cpu", "cuda"]
    hardware: str  # name of the processor or of the GPU

    def predict(self, images: npt.NDArray[np.uint8], crops: int = 1) -> npt.NDArray[np.float64]:
        """Probabilities float64 (N, K + V) of whole faces uint8 (N, S, S) or (N, S, S, 3); `crops` is ignored."""
        images = images.reshape(-1, *self.network.input_shape[1:])
        starts = range(0, len(images), BATCH)
        parts = [self.forward(images[start : start + BATCH]).numpy() for start in starts]
        return np.concatenate(parts).astype(np.float64)

    def predict_both(self, images: npt.NDArray[np.uint8], crops: int = 1) -> npt.NDArray[np.float64]:
        """`predict` twice, (2, N, K + V), as PyTorch's networks have it: by all crops, and by the centre crop."""
        return np.stack([self.predict(images)] * 2)

    def count_parameters(self) -> int:
        """The number of trainable weights."""
        return sum(int(np.prod(weights.shape)) for weights in self.network.trainable_weights)

    def count_macs(self) -> int:
        """Multiply-accumulates of convolutions and dense layers for one image."""
        layers = [layer for layer in self.network.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
        return sum(int(np.prod(layer.output.shape[1:-1]) * np.prod(layer.kernel.shape)) for layer in layers)


def load_model(path: str | Path, name: str, precision: str, facts: Facts) -> KerasModel:
    """The trained network `name` in a .keras file, in the precision of its training; errors as for `load_network`."""
    tf.config.experimental.enable_op_determinism()
    network = load_network(path, name, facts)
    fast = any(layer.compute_dtype == "bfloat16" for layer in network.layers)
    forward = tf.function(
        lambda images: network(images, training=False),
        input_signature=[tf.TensorSpec(network.input_shape, tf.uint8)],
    )
    # TensorFlow sees no GPUs outside Keras' own environment
    return KerasModel(network, len(facts.classes), forward, "bfloat16" if fast else "float32", "cpu", name_cpu())
