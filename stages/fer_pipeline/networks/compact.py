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

STEM = 32  # channels of the first convolution, at full size
BLOCKS = (64, 128, 256)  # channels at 22, 11 and 6 pixels: a convolution, and a pair of them beside a shortcut


def build(shape: Shape) -> "nn.Module":
    """The network: float (N, 3, 44, 44) in [0, 1], of which it sees one channel, to logits (N, 7)."""
    from torch import nn

    from fer_pipeline.networks.pytorch import layers

    stem, first, second, third = (layers.scale_channels(channels, shape.width) for channels in (STEM, *BLOCKS))
    return layers.assemble(
        grey=layers.FirstChannel(),
        stem=layers.normed(1, stem),
        down=layers.normed(stem, first, stride=2),
        conv1=layers.normed(first, first),
        pair1=layers.Residual(first),
        pool2=nn.MaxPool2d(2, ceil_mode=True),
        conv2=layers.normed(first, second),
        pair2=layers.Residual(second),
        pool3=nn.MaxPool2d(2, ceil_mode=True),
        conv3=layers.normed(second, third),
        pair3=layers.Residual(third),
        pool=layers.GlobalAverage(),
        dropout=nn.Dropout(shape.dropout),
        head=nn.Linear(third, len(CLASSES)),
    )


def find_explained_layer(network: "nn.Module") -> "nn.Module":
    """The last block, whose maps are 6 pixels wide."""
    return network.get_submodule("pair3")
