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
    from torch import nn

    from fer_pipeline.networks.pytorch.layers import (
        FirstChannel,
        GlobalAverage,
        Residual,
        assemble,
        normed,
        scale_channels,
    )

    stem, first, second, third = (scale_channels(channels, shape.width) for channels in (STEM, *BLOCKS))
    return assemble(
        grey=FirstChannel(),
        stem=normed(1, stem),
        down=normed(stem, first, stride=2),
        conv1=normed(first, first),
        pair1=Residual(first),
        pool2=nn.MaxPool2d(2, ceil_mode=True),
        conv2=normed(first, second),
        pair2=Residual(second),
        pool3=nn.MaxPool2d(2, ceil_mode=True),
        conv3=normed(second, third),
        pair3=Residual(third),
        pool=GlobalAverage(),
        dropout=nn.Dropout(shape.dropout),
        head=nn.Linear(third, len(CLASSES)),
    )


def find_explained_layer(network: "nn.Module") -> "nn.Module":
    """The last block, whose maps are 6 pixels wide."""
    return network.get_submodule("pair3")
