"""Parts of the PyTorch networks that torchvision does not offer."""

from collections import OrderedDict

import torch
from torch import nn


def scale_channels(channels: int, width: float) -> int:
    """`channels` times `width`, at least 8.

    With fewer, oneDNN on processors without AVX-512 gets the gradients of 1x1 convolutions with a stride wrong, and
    writes outside its memory (issue 6035 of uxlfoundation/oneDNN).
    """
    return max(8, round(channels * width))


class GlobalAverage(nn.Module):
    """The mean over height and width: (N, C, H, W) to (N, C)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(1) if maps.shape[2:] == (1, 1) else maps.mean((2, 3))


def assemble(**parts: nn.Module) -> nn.Sequential:
    """A network of parts that run one after the other; convolutions get weights by He's method."""
    network = nn.Sequential(OrderedDict(parts))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


class FirstChannels(nn.Module):
    """Keeps the first `count` channels, as all channels of a grey image are equal: (N, C, H, W) to (N, count, H, W)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, : self.count]


def normed(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, BatchNorm and ReLU; (N, in, H, W) to (N, out, H / stride, W / stride)."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the last BatchNorm starts at 0, so the pair starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = normed(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(maps + self.norm(self.second(self.first(maps))))
