"""Compact: a small and fast residual network of our own, for deployment: two million weights."""

from typing import TYPE_CHECKING

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.networks.network import Shape

if TYPE_CHECKING:
    from torch import nn

TITLE = "Compact"
FRAMEWORK = "pytorch"
INPUT_SIZE = 44
TEST_CROPS = 10

STEM = 32
"""Channels of the first convolution, at full size."""
BLOCKS = (64, 128, 256)
"""Channels of the blocks, at 22, 11 and 6 pixels: a convolution, and a pair of convolutions beside a shortcut."""


def build(shape: Shape) -> "nn.Module":
    """The network: float (N, 3, 44, 44) in [0, 1], of which it sees one channel, to logits (N, 7)."""
    from collections import OrderedDict

    from torch import nn

    from fer_pipeline.networks.pytorch.layers import (
        FirstChannel,
        GlobalAverage,
        Residual,
        initialise,
        normed,
        scale_channels,
    )

    stem, *widths = (scale_channels(channels, shape.width) for channels in (STEM, *BLOCKS))
    layers: list[tuple[str, nn.Module]] = [
        ("grey", FirstChannel()),
        ("stem", normed(1, stem)),
        ("down", normed(stem, widths[0], stride=2)),
    ]
    before = widths[0]
    for place, channels in enumerate(widths, 1):
        if place > 1:
            layers.append((f"pool{place}", nn.MaxPool2d(2, ceil_mode=True)))
        layers += [(f"conv{place}", normed(before, channels)), (f"pair{place}", Residual(channels))]
        before = channels
    layers += [
        ("pool", GlobalAverage()),
        ("dropout", nn.Dropout(shape.dropout)),
        ("head", nn.Linear(before, len(CLASSES))),
    ]
    return initialise(nn.Sequential(OrderedDict(layers)))


def find_explained_layer(network: "nn.Module") -> "nn.Module":
    """The last block, whose maps are 6 pixels wide."""
    return network.get_submodule("pair3")
