"""The baseline CNN of Table 2, in Keras."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

    from fer_pipeline.params.schema import KerasTraining

TITLE = "Baseline CNN"
FRAMEWORK = "keras"
CROP = 1
TEST_CROPS = 1

BLOCKS = ((32, 64), (128, 128), (256, 256))  # filters of the convolutions before each max pooling (Table 2)
DENSE_UNITS = 256


def build(
    settings: "KerasTraining",
    shape: Sequence[int],
    classes: int,
    normalization: "type[keras.layers.Layer] | None" = None,
    augmentation: "Sequence[keras.layers.Layer]" = (),
    votes: int = 0,
) -> "keras.Model":
    """The network of Table 2: pixels 0..255 (N, *shape) to probabilities float32 (N, classes + votes).

    "Batch normalization throughout" is read as after every ReLU, "dropout (ranging from 0.3 to 0.5)" as 0.3 after
    each pooling and 0.5 after the dense layer. The paper does not name the padding: `same` keeps 48, 24, 12
    and 6 pixels, as its 2x2 poolings suggest; `valid` can be tried as well.
    `normalization` is the class of the layers after each ReLU, by default Keras' own; `augmentation` comes before the
    network. With `votes`, a second head gives as many probabilities of annotators' votes, after those of the first.
    """
    import keras
    from keras import layers

    normalization = normalization or layers.BatchNormalization
    network = [layers.Input(tuple(shape), name="pixels"), *augmentation, layers.Rescaling(1 / 255, name="rescale")]
    for block, widths in enumerate(BLOCKS, 1):
        for position, filters in enumerate(widths, 1):
            name = f"conv{block}_{position}"
            filters = scale_units(filters, settings.width)
            network += [
                layers.Conv2D(filters, 3, padding=settings.padding, activation="relu", name=name),
                normalization(momentum=settings.norm_momentum, name=f"{name}_norm"),
            ]
        network += [layers.MaxPooling2D(2, name=f"pool{block}"), layers.Dropout(settings.dropout, name=f"drop{block}")]
    network += [
        layers.Flatten(name="flatten"),
        layers.Dense(scale_units(DENSE_UNITS, settings.width), activation="relu", name="dense"),
        normalization(momentum=settings.norm_momentum, name="dense_norm"),
        layers.Dropout(settings.dropout_dense, name="dense_drop"),
    ]
    heads = {"classes": classes} | ({"votes": votes} if votes else {})
    last = [layers.Dense(count, activation="softmax", dtype="float32", name=name) for name, count in heads.items()]
    if not votes:
        return keras.Sequential([*network, *last], name="baseline")
    pixels, *body = network
    maps = functools.reduce(lambda maps, layer: layer(maps), body, pixels)
    both = layers.Concatenate(dtype="float32", name="both")([head(maps) for head in last])
    return keras.Model(pixels, both, name="baseline")


def scale_units(count: int, width: float) -> int:
    """`count` filters or units times `width`, at least 4."""
    return max(4, round(count * width))
