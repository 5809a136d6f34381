"""ResNet18 for faces (section 3.3): 3x3 stem, BasicBlocks [2, 2, 2, 2], global average pool, dropout, linear layer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_pipeline.networks.network import Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

TITLE = "ResNet18"
FRAMEWORK = "pytorch"
CROP = 11 / 12
TEST_CROPS = 10
PRETRAINED = "ResNet18_Weights.IMAGENET1K_V1"


def build(shape: Shape) -> "nn.Module":
    """The network: float (N, 3, size, size) in [0, 1] to logits (N, K)."""
    from torch import nn

    from fer_pipeline.networks.pytorch.layers import GlobalAverage, assemble, scale_channels

    first, second, third, fourth = (scale_channels(channels, shape.width) for channels in (64, 128, 256, 512))
    return assemble(
        conv1=nn.Conv2d(3, first, kernel_size=3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(first),
        relu=nn.ReLU(inplace=True),
        layer1=make_stage(first, first, stride=1),
        layer2=make_stage(first, second, stride=2),
        layer3=make_stage(second, third, stride=2),
        layer4=make_stage(third, fourth, stride=2),
        pool=GlobalAverage(),
        dropout=nn.Dropout(shape.dropout),
        head=nn.Linear(fourth, shape.classes),
    )


def make_stage(channels_in: int, channels_out: int, stride: int) -> "nn.Sequential":
    """Two of torchvision's BasicBlocks; if the shape changes, the first has a 1x1 convolution on its shortcut."""
    from torch import nn
    from torchvision.models.resnet import BasicBlock

    shortcut = None
    if stride != 1 or channels_in != channels_out:
        convolution = nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels_out))
    first = BasicBlock(channels_in, channels_out, stride, shortcut)
    return nn.Sequential(first, BasicBlock(channels_out, channels_out))


def adapt_weights(state: "dict[str, Tensor]", body: "dict[str, Tensor]") -> None:
    """Resample the stem to 3x3; it is 7x7 in ImageNet's weights, as ImageNet's images are 224 pixels wide."""
    stem = state.get("conv1.weight")
    if stem is not None and stem.dim() == 4 and min(stem.shape):
        state["conv1.weight"] = resample(stem.float(), body["conv1.weight"].shape[2:])


def resample(kernels: "Tensor", size: Sequence[int]) -> "Tensor":
    """Convolution kernels (out, in, h, w) resampled to `size` (height, width); same response to a uniform patch."""
    import torch.nn.functional as F

    if kernels.shape[2:] == size:
        return kernels
    area = kernels.shape[2] * kernels.shape[3] / (size[0] * size[1])
    return area * F.interpolate(kernels, size=tuple(size), mode="bicubic", antialias=True, align_corners=False)


def find_explained_layer(network: "nn.Module", crop: int) -> "nn.Module":
    """The last stage of blocks, with maps of 6x6 pixels for crops of 44."""
    return network.get_submodule("layer4")
