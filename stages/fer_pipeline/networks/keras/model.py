"""A trained Keras network as the evaluation uses it: probabilities and cost."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.record import Device, Precision
from fer_pipeline.faces.faces import Facts
from fer_pipeline.networks.keras.files import load_network
from fer_pipeline.networks.keras.framework import keras, tf
from fer_pipeline.networks.keras.geometry import resample, to_transforms
from fer_pipeline.networks.network import View
from fer_pipeline.running.hardware import name_cpu

BATCH = 256  # images in a batch


class KerasModel(NamedTuple):
    """A trained network, and its forward pass as one graph; there is no Grad-CAM in Keras here."""

    network: keras.Model
    classes: int  # K, the number of classes
    forward: tf.types.experimental.GenericFunction
    precision: Precision
    device: Device
    hardware: str  # name of the processor or of the GPU

    def predict(self, images: npt.NDArray[np.uint8], *ways: Sequence[View]) -> npt.NDArray[np.float64]:
        """Probabilities of faces (images as in `Split`) by each of several lists of views: float64 (ways, N, K + V)."""
        images = images.reshape(-1, *self.network.input_shape[1:])
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        said = {
            view: np.concatenate([self.forward(see(batch, view)).numpy() for batch in batches]).astype(np.float64)
            for view in {*chain(*ways)}
        }
        return np.stack([np.mean([said[view] for view in way], axis=0) for way in ways])

    def count_parameters(self) -> int:
        """The number of trainable weights."""
        return sum(int(np.prod(weights.shape)) for weights in self.network.trainable_weights)

    def count_macs(self) -> int:
        """Multiply-accumulates of convolutions and dense layers for one image."""
        layers = [layer for layer in self.network.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
        return sum(int(np.prod(layer.output.shape[1:-1]) * np.prod(layer.kernel.shape)) for layer in layers)


def see(images: npt.NDArray[np.uint8], view: View) -> npt.NDArray[np.uint8]:
    """A view of whole faces uint8 (N, S, S, C), of the same shape."""
    if view.plain:
        return images[:, :, ::-1] if view.mirrored else images
    angle, zoom = (np.full(len(images), value, np.float32) for value in (np.deg2rad(view.turn), view.scale))
    transforms = to_transforms(angle, zoom, -1.0 if view.mirrored else 1.0, (0, 0), images.shape[1])
    turned = keras.ops.convert_to_numpy(resample(images.astype(np.float32), transforms))
    return np.asarray(turned.round(), np.uint8)


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
