"""The second head of a network, which learns annotators' votes; the first head learns the label."""

from collections import OrderedDict

import torch
from torch import nn

from fer_pipeline.faces.fer2013 import VOTED

HEADS = ("head.", "votes.")  # prefixes of the names of the heads' tensors


class TwoHeads(nn.Sequential):
    """A network whose last two layers, `head` and `votes`, both see what comes before: logits (N, 7 + 8)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.compute_heads(images), dim=1)

    def compute_heads(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the two heads, (N, 7) and (N, 8)."""
        *body, head, votes = self
        for layer in body:
            images = layer(images)
        return head(images), votes(images)


def add_votes_head(network: nn.Module) -> nn.Module:
    """The network with a new second head, with random weights; all other tensors keep their names."""
    features = network.get_parameter("head.weight").shape[1]
    votes = nn.Linear(features, len(VOTED))
    return TwoHeads(OrderedDict([*network.named_children(), ("votes", votes)]))
