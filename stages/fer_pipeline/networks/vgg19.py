"""VGG19 for faces (section 3.2): torchvision's convolutions, five max pools, dropout and one linear layer.

Five pools leave one pixel of the study's 44; what they leave of larger faces is averaged.
"""

from typing import TYPE_CHECKING

from fer_pipeline.networks.network import Shape

if TYPE_CHECKING:
    from torch import nn

TITLE = "VGG19"
FRAMEWORK = "pytorch"
CROP = 11 / 12
TEST_CROPS = 10
PRETRAINED = "VGG19_BN_Weights.IMAGENET1K_V1"

CONFIGURATION: tuple[int | str, ...] = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M")
"""Channels of the 16 convolutions, each followed by BatchNorm and ReLU; M is a 2x2 max pool."""
SMALLEST_MAP = 5
"""Pixels. Grad-CAM takes the last block whose maps are at least this wide; for crops of 44, the last has 2x2."""


def build(shape: Shape) -> "nn.Module":
    """The network: float (N, 3, size, size) in [0, 1] to logits (N, K)."""
    from torch import nn
    from torchvision.models.vgg import make_layers

    from fer_pipeline.networks.pytorch.layers import GlobalAverage, assemble, scale_channels

    channels = [layer if isinstance(layer, str) else scale_channels(layer, shape.width) for layer in CONFIGURATION]
    return assemble(
        features=make_layers(channels, batch_norm=True),
        flatten=GlobalAverage(),
        dropout=nn.Dropout(shape.dropout),
        head=nn.Linear(scale_channels(512, shape.width), shape.classes),
    )


def find_explained_layer(network: "nn.Module", crop: int) -> "nn.Module":
    """The end of the last block of convolutions whose maps are at least 5 pixels wide."""
    from torch import nn

    layers = list(network.get_submodule("features").children())
    pools = [place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    wide = [pool for block, pool in enumerate(pools) if crop // 2**block >= SMALLEST_MAP]
    return layers[wide[-1] - 1]
