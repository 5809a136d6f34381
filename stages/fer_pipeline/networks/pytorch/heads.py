"""The second head of a network, which learns annotators' votes; the first head learns the label."""

from collections import OrderedDict

import torch
from torch import nn

HEADS = ("head.", "votes.")  # prefixes of the names of the heads' tensors


class TwoHeads(nn.Sequential):
    """A network whose last two layers, `head` and `votes`, both see what comes before: logits (N, K + V)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.compute_heads(images), dim=1)

    def compute_heads(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the two heads, (N, K) and (N, V)."""
        *body, head, votes = self
        for layer in body:
            images = layer(images)
        return head(images), votes(images)


def add_votes_head(network: nn.Module, voted: int) -> nn.Module:
    """The network with a new second head for `voted` classes, random at first; all other tensors keep their names."""
    features = network.get_parameter("head.weight").shape[1]
    votes = nn.Linear(features, voted)
    return TwoHeads(OrderedDict([*network.named_children(), ("votes", votes)]))
