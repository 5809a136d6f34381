"""FER-2013 for Keras: batches in an order that follows from seed and epoch, and the augmentation."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from fer.data.faces import Split
from fer.data.fer2013 import CLASSES, SIZE
from fer.training.keras.framework import keras, tf

VAL_BATCH = 256
"""Val rows at once: without gradients, four times a training batch takes no more memory."""


def build_augmentation(shift: float) -> list[keras.layers.Layer]:
    """Layers that change images in training only (section 2): float32 (N, 48, 48, 1), 0..255, to the same.

    Each image is shifted in height and in width by its own uniform share of up to ±`shift` of the size, bilinear,
    its border pixels repeated, and flipped left to right half of the time: what ImageDataGenerator did with
    height_shift_range, width_shift_range and horizontal_flip. They compute in float32, as bfloat16 has no room for
    256 grey levels and what lies between them.
    """
    move = keras.layers.RandomTranslation(shift, shift, fill_mode="nearest", dtype="float32", name="shift")
    return [move, keras.layers.RandomFlip("horizontal", dtype="float32", name="flip")]


def to_arrays(rows: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """`rows` as Keras takes them: images uint8 (N, 48, 48, 1), one-hot labels float32 (N, 7)."""
    return rows.images[..., np.newaxis], np.eye(len(CLASSES), dtype=np.float32)[rows.labels]


def draw_batches(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.float32],
    batch_size: int,
    seed: int,
    epochs: Iterable[int],
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]:
    """Yield (images, labels) of every batch of `epochs`, each of which has an order of its own.

    The order follows from `seed` and the epoch alone. The last batch of an epoch has what is left over.
    """
    for epoch in epochs:
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield images[rows], labels[rows]


def make_datasets(
    splits: Mapping[str, Split], batch_size: int, seed: int, epochs: Iterable[int]
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """tf.data sets of (images uint8 (n, 48, 48, 1), labels float32 (n, 7)): train over all `epochs`, and val once."""
    train, val = to_arrays(splits["train"]), to_arrays(splits["val"])
    signature = (
        tf.TensorSpec((None, SIZE, SIZE, 1), tf.uint8),
        tf.TensorSpec((None, len(CLASSES)), tf.float32),
    )
    batches = tf.data.Dataset.from_generator(
        lambda: draw_batches(*train, batch_size, seed, epochs), output_signature=signature
    )
    return batches.prefetch(tf.data.AUTOTUNE), tf.data.Dataset.from_tensor_slices(val).batch(VAL_BATCH)
