"""A trained PyTorch network as the evaluation uses it: probabilities, cost and Grad-CAM."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch.utils.flop_counter import FlopCounterMode

from fer_pipeline.networks.network import Network, find_network
from fer_pipeline.networks.precision import Precision, Wanted
from fer_pipeline.networks.pytorch.crops import (
    EVALUATION_CROPS,
    as_input,
    choose_precision,
    crop_for_evaluation,
    find_device,
    score,
)
from fer_pipeline.networks.pytorch.files import load_network


class TorchModel(NamedTuple):
    """A trained network on the device that runs it."""

    network: torch.nn.Module
    architecture: Network
    precision: Precision
    device: Literal["cpu", "cuda"]
    hardware: str  # name of the processor or of the GPU

    def predict(self, images: npt.NDArray[np.uint8], crops: int) -> npt.NDArray[np.float64]:
        """Probabilities float64 (N, 7), or (N, 15), of faces uint8 (N, 48, 48), averaged over the crops: 10, or 1."""
        device, size = self.device, self.architecture.INPUT_SIZE
        parts = []
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            for batch in torch.from_numpy(images).unsqueeze(1).split(EVALUATION_CROPS[device] // crops):
                parts.append(score(self.network, batch.to(device), size, crops).double().exp().cpu())
        return torch.cat(parts).numpy()

    def count_parameters(self) -> int:
        """The number of trainable weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def count_macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one crop."""
        size = self.architecture.INPUT_SIZE
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.network(torch.zeros(1, 3, size, size, device=self.device))
        return counter.get_total_flops() // 2

    def explain(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Grad-CAM: how much each pixel of faces uint8 (N, 48, 48) supports the classes `labels`, int (N,), 0..6.

        Returns the centre crops, uint8 (N, size, size), and heat maps, float32 (N, size, size) in [0, 1]: the maximum
        of each is 1; a map is all 0 if no pixel supports the class.
        """
        device, size = self.device, self.architecture.INPUT_SIZE
        crops = crop_for_evaluation(torch.from_numpy(images).unsqueeze(1), size, crops=1)
        layer = self.architecture.find_explained_layer(self.network)
        targets = torch.as_tensor(labels, device=device).long()
        maps = LayerGradCam(self.network, layer).attribute(as_input(crops.to(device)), targets, relu_attributions=True)
        heat = F.interpolate(maps.detach(), size=(size, size), mode="bilinear")[:, 0]
        highest = heat.amax((1, 2), keepdim=True)
        heat = torch.where(highest > 0, heat / highest, 0)
        return crops[:, 0].numpy(), heat.float().cpu().numpy()


def load_model(path: str | Path, name: str, precision: Wanted) -> TorchModel:
    """The trained network `name` in a .safetensors file, on the GPU if there is one; errors as for `load_network`."""
    device, hardware = find_device()
    network = load_network(path, name)[0].to(device).to(memory_format=torch.channels_last)
    return TorchModel(network, find_network(name), choose_precision(precision), device, hardware)
