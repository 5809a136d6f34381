"""Parts of the PyTorch networks that torchvision does not have."""

import torch
from torch import nn


def scale_channels(channels: int, width: float) -> int:
    """`channels` times `width`, at least 4."""
    return max(4, round(channels * width))


class GlobalAverage(nn.Module):
    """The mean over height and width: (N, C, H, W) to (N, C)."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.mean((2, 3))


def initialise(network: nn.Module) -> nn.Module:
    """Draw the weights of the convolutions anew by He's method, as torchvision does; returns the network."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
