"""Faces for Keras: the augmentation, and batches whose order follows from seed and epoch alone."""

import math
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.faces.faces import Facts, Split
from fer_pipeline.faces.votes import to_shares
from fer_pipeline.networks.keras.framework import keras
from fer_pipeline.networks.keras.geometry import to_transforms
from fer_pipeline.params.schema import KerasAugment

VAL_BATCH = 256  # val rows in a batch: without gradients, four times a training batch takes no more memory
backend = import_module(f"fer_pipeline.training.keras.by_{keras.backend.backend()}")
Tensor = Any  # the backend's


class Vary(keras.layers.Layer):
    """Varies images in training only (section 2): float32 (N, S, S, C), 0..255, to the same shape and range.

    Each image is shifted, rotated, scaled and flipped by random numbers of its own, as far as `augment` turns these on.
    One bilinear resampling does all of it, because several would blur the image; border pixels are repeated. The layer
    computes in float32, because bfloat16 cannot hold 256 grey levels and the values between them.
    """

    def __init__(self, augment: KerasAugment) -> None:
        super().__init__(dtype="float32", name="vary")
        self.augment = augment
        self.generator = keras.random.SeedGenerator()

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        if not training:
            return images
        transforms = self.draw_transforms(keras.ops.shape(images)[0], images.shape[1])
        return backend.resample(images, transforms)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"augment": self.augment.model_dump()}

    def draw_transforms(self, count: int, size: int) -> Tensor:
        """Transforms of images of `size` pixels, varied to original: float32 (N, 8), as `affine_transform` takes."""
        ops, augment = keras.ops, self.augment

        def uniform(limit: float) -> Tensor:
            return keras.random.uniform((count,), -limit, limit, seed=self.generator)

        angle, zoom = uniform(math.radians(augment.rotation)), ops.exp(uniform(math.log1p(augment.scale)))
        mirror = ops.where(uniform(1.0) < 0, -1.0, 1.0) if augment.flip else ops.ones((count,))
        return to_transforms(angle, zoom, mirror, [uniform(augment.shift) * size for _ in range(2)], size)


def build_augmentation(augment: KerasAugment) -> list[keras.layers.Layer]:
    """The layers that vary training images: `Vary`, or no layer if `augment` turns everything off."""
    return [Vary(augment)] if any((augment.flip, augment.shift, augment.rotation, augment.scale)) else []


def vary_faces(faces: npt.NDArray[np.uint8], size: int, augment: KerasAugment, seed: int) -> npt.NDArray[np.uint8]:
    """Faces uint8 (N, S, S), or (N, S, S, 3), varied as in training; `size` is S, as Keras networks see whole faces."""
    backend.seed_all(seed)
    images = faces.reshape(len(faces), size, size, -1).astype(np.float32)
    for layer in build_augmentation(augment):
        images = layer(images, training=True)
    return keras.ops.convert_to_numpy(images).reshape(faces.shape).round().astype(np.uint8)


def to_arrays(rows: Split, facts: Facts, votes: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Images uint8 (N, S, S, C) and one-hot labels float32 (N, K); `votes` adds the shares of votes: (N, K + V)."""
    targets = np.eye(len(facts.classes), dtype=np.float32)[rows.labels]
    if votes and rows.votes is not None:
        targets = np.concatenate([targets, to_shares(rows.votes)], axis=1)
    return rows.images.reshape(-1, facts.size, facts.size, facts.channels), targets


class Batches(keras.utils.PyDataset):
    """Batches of the arrays from `to_arrays`: (images, targets), in their own order, or in that of an epoch."""

    def __init__(self, images: npt.NDArray[np.uint8], targets: npt.NDArray[np.float32], batch_size: int) -> None:
        super().__init__()
        self.images, self.targets, self.batch_size = images, targets, batch_size
        self.order = np.arange(len(images))

    def shuffle(self, seed: int, epoch: int) -> None:
        """Take the order of an epoch, which follows from `seed` and its number alone."""
        self.order = np.random.default_rng([seed, epoch]).permutation(len(self.images))

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, step: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        rows = self.order[step * self.batch_size :][: self.batch_size]
        return self.images[rows], self.targets[rows]
