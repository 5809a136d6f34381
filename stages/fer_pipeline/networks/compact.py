"""Compact: a small and fast residual network of our own, for deployment: two million weights."""

from typing import TYPE_CHECKING

from fer_pipeline.networks.network import Shape

if TYPE_CHECKING:
    from torch import nn

TITLE = "Compact"
FRAMEWORK = "pytorch"
CROP = 11 / 12
TEST_CROPS = 10

STEM = 32  # channels of the first convolution, at full size
BLOCKS = (64, 128, 256)  # channels at 22, 11 and 6 pixels of 44: a convolution, and a pair of them beside a shortcut


def build(shape: Shape) -> "nn.Module":
    """The network: float (N, 3, size, size) in [0, 1], of which it sees one channel if faces are grey, to (N, K)."""
    from torch import nn

    from fer_pipeline.networks.pytorch import layers

    stem, first, second, third = (layers.scale_channels(channels, shape.width) for channels in (STEM, *BLOCKS))
    return layers.assemble(
        grey=layers.FirstChannels(shape.channels),
        stem=layers.normed(shape.channels, stem),
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
        head=nn.Linear(third, shape.classes),
    )


def find_explained_layer(network: "nn.Module", crop: int) -> "nn.Module":
    """The last block, whose maps are 6 pixels wide for crops of 44."""
    return network.get_submodule("pair3")
