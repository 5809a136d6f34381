"""Where the pixels of a turned, scaled or mirrored face come from; training and evaluation use it alike."""

from collections.abc import Sequence
from typing import Any

from fer_pipeline.networks.keras.framework import keras

Tensor = Any  # the backend's


def to_transforms(angle: Tensor, zoom: Tensor, mirror: Tensor, shifts: Sequence[Tensor], size: int) -> Tensor:
    """Transforms of images of `size` pixels, varied to original: float32 (N, 8), as `affine_transform` takes them.

    Angles (N,) are in radians, `mirror` is -1 or 1, `shifts` (down, right) are in pixels.
    """
    ops, middle = keras.ops, (size - 1) / 2
    cosine, sine, none = ops.cos(angle) / zoom, ops.sin(angle) / zoom, ops.zeros_like(angle)
    rows = []
    for (first, second), shift in zip(((cosine * mirror, -sine), (sine * mirror, cosine)), shifts, strict=True):
        rows += [first, second, middle - middle * (first + second) + shift]
    return ops.stack([*rows, none, none], axis=1)


def resample(images: Tensor, transforms: Tensor) -> Tensor:
    """Images (N, S, S, C) by transforms from `to_transforms`: bilinear, repeating the border."""
    return keras.ops.image.affine_transform(images, transforms, "bilinear", "nearest")
