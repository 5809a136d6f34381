"""VGG19 and ResNet18 as `stages/evaluate.py` uses them: probabilities, cost and Grad-CAM of a trained network."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch.utils.flop_counter import FlopCounterMode

from fer.dataset import EVALUATION_CROPS, as_input, choose_precision, crop_for_evaluation, score
from fer.networks import CROP, load_network
from fer.training import name_cpu

SMALLEST_MAP = 5
"""Grad-CAM looks at the last block of convolutions with maps of this width: VGG19's last one has 2x2 pixels."""


class TorchModel(NamedTuple):
    """A trained network on the device that runs it."""

    network: torch.nn.Module
    name: str
    precision: str
    device: str

    def predict(self, images, crops):
        """Class probabilities float64 (N, 7) of images uint8 (N, 48, 48), averaged over 10 crops or of 1."""
        kind = self.network.head.weight.device.type
        parts = []
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16"):
            for batch in torch.from_numpy(images).unsqueeze(1).split(EVALUATION_CROPS[kind] // crops):
                parts.append(score(self.network, batch.to(kind), crops).double().exp().cpu())
        return torch.cat(parts).numpy()

    def count_parameters(self):
        """The number of trainable weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def count_macs(self):
        """Multiply-accumulates of convolutions and linear layers for one crop."""
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.network(torch.zeros(1, 3, CROP, CROP, device=self.network.head.weight.device))
        return counter.get_total_flops() // 2

    def explain(self, images, labels):
        """Grad-CAM: where the evidence for a class lies.

        Args:
            images: uint8 (N, 48, 48).
            labels: int (N,), 0..6, the class in question of each.

        Returns:
            The centre crops, uint8 (N, 44, 44), and heat float32 (N, 44, 44) in [0, 1], the highest of each image
            being 1, or all 0 where nothing speaks for the class.
        """
        device = self.network.head.weight.device
        crops = crop_for_evaluation(torch.from_numpy(images).unsqueeze(1), crops=1)
        layer = find_last_block(self.network, self.name)
        targets = torch.as_tensor(labels, device=device).long()
        maps = LayerGradCam(self.network, layer).attribute(as_input(crops.to(device)), targets, relu_attributions=True)
        heat = F.interpolate(maps.detach(), size=(CROP, CROP), mode="bilinear")[:, 0]
        highest = heat.amax((1, 2), keepdim=True)
        heat = torch.where(highest > 0, heat / highest, 0)
        return crops[:, 0].numpy(), heat.float().cpu().numpy()


def load_model(path, name, precision):
    """The trained network `name` ('vgg19' or 'resnet18') in a file of `fer.networks.pack_network`'s bytes.

    Args:
        precision: of params.yaml: 'auto', 'float32' or 'bfloat16'.

    Raises:
        InputError: the file is missing, damaged, or of another network or other classes.
    """
    network, _ = load_network(path, name)
    gpu = torch.cuda.is_available()
    network = network.to("cuda" if gpu else "cpu", memory_format=torch.channels_last)
    return TorchModel(network, name, choose_precision(precision), torch.cuda.get_device_name() if gpu else name_cpu())


def find_last_block(network, name):
    """The module after whose activation Grad-CAM reads the maps: of the last block at least 5 pixels wide."""
    if name == "resnet18":
        return network.layer4
    pools = [place for place, layer in enumerate(network.features) if isinstance(layer, torch.nn.MaxPool2d)]
    widths = np.array([CROP // 2**block for block in range(len(pools))])  # before each pool
    return network.features[pools[np.flatnonzero(widths >= SMALLEST_MAP)[-1]] - 1]
