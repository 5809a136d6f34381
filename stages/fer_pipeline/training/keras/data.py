"""FER-2013 for Keras: batches in an order that follows from seed and epoch, and the augmentation."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES, SIZE
from fer_pipeline.faces.votes import to_shares
from fer_pipeline.networks.keras.framework import keras, tf
from fer_pipeline.params.schema import KerasAugment

VAL_BATCH = 256
"""Val rows at once: without gradients, four times a training batch takes no more memory."""


class Vary(keras.layers.Layer):
    """Changes images in training only (section 2): float32 (N, 48, 48, 1), 0..255, to the same.

    Each image is shifted in height and in width by its own uniform shares of the size, turned and scaled by its own
    numbers, and flipped left to right half of the time, each where `augment` turns it on: all in one resampling, as
    several would blur it; bilinear, border pixels repeated. It computes in float32, as bfloat16 has no room for 256
    grey levels and what lies between them.
    """

    def __init__(self, augment: KerasAugment) -> None:
        super().__init__(dtype="float32", name="vary")
        self.augment = augment
        self.generator = keras.random.SeedGenerator()

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return images
        transforms = self.draw_transforms(keras.ops.shape(images)[0])
        return keras.ops.image.affine_transform(images, transforms, "bilinear", "nearest")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"augment": self.augment.model_dump()}

    def draw_transforms(self, count: int) -> tf.Tensor:
        """float32 (N, 8): where a pixel of the varied image lies in the image, as `affine_transform` takes it."""
        ops, augment, middle = keras.ops, self.augment, (SIZE - 1) / 2

        def uniform(limit: float) -> tf.Tensor:
            return keras.random.uniform((count,), -limit, limit, seed=self.generator)

        angle, zoom = uniform(math.radians(augment.rotation)), ops.exp(uniform(math.log1p(augment.scale)))
        mirror = ops.where(uniform(1.0) < 0, -1.0, 1.0) if augment.flip else ops.ones((count,))
        cosine, sine, none = ops.cos(angle) / zoom, ops.sin(angle) / zoom, ops.zeros((count,))
        rows = []
        for first, second in ((cosine * mirror, -sine), (sine * mirror, cosine)):
            rows += [first, second, middle - middle * (first + second) + uniform(augment.shift) * SIZE]
        return ops.stack([*rows, none, none], axis=1)


def build_augmentation(augment: KerasAugment) -> list[keras.layers.Layer]:
    """The layers that vary training images: `Vary`, or none where `augment` turns everything off."""
    return [Vary(augment)] if any((augment.flip, augment.shift, augment.rotation, augment.scale)) else []


def vary_faces(faces: npt.NDArray[np.uint8], size: int, augment: KerasAugment, seed: int) -> npt.NDArray[np.uint8]:
    """Faces uint8 (N, 48, 48) as a network is trained on them: the same, as it sees them whole (`size` is 48)."""
    keras.utils.set_random_seed(seed)
    images = faces[..., np.newaxis].astype(np.float32)
    for layer in build_augmentation(augment):
        images = layer(images, training=True)
    return np.asarray(images)[..., 0].round().astype(np.uint8)


def to_arrays(rows: Split, votes: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """`rows` as Keras takes them: images uint8 (N, 48, 48, 1) and targets float32 (N, 7 or 15).

    Targets are the one-hot labels and, with `votes`, what annotators said, by `to_shares`.
    """
    targets = np.eye(len(CLASSES), dtype=np.float32)[rows.labels]
    if votes and rows.votes is not None:
        targets = np.concatenate([targets, to_shares(rows.votes)], axis=1)
    return rows.images[..., np.newaxis], targets


def draw_batches(
    images: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.float32],
    batch_size: int,
    seed: int,
    epochs: Iterable[int],
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
    """Yield (images, targets) of every batch of `epochs`, each of which has an order of its own.

    The order follows from `seed` and the epoch alone. The last batch of an epoch has what is left over.
    """
    for epoch in epochs:
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield images[rows], targets[rows]


def make_datasets(
    splits: Mapping[str, Split], votes: bool, batch_size: int, seed: int, epochs: Iterable[int]
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """tf.data sets of what `to_arrays` gives, in batches: train over all `epochs`, and val once."""
    train, val = to_arrays(splits["train"], votes), to_arrays(splits["val"], votes)
    signature = (
        tf.TensorSpec((None, SIZE, SIZE, 1), tf.uint8),
        tf.TensorSpec((None, train[1].shape[1]), tf.float32),
    )
    batches = tf.data.Dataset.from_generator(
        lambda: draw_batches(*train, batch_size, seed, epochs), output_signature=signature
    )
    return batches.prefetch(tf.data.AUTOTUNE), tf.data.Dataset.from_tensor_slices(val).batch(VAL_BATCH)
