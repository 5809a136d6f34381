"""A trained PyTorch network as the evaluation uses it: probabilities, cost and Grad-CAM."""

from collections.abc import Sequence
from itertools import chain
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch.utils.flop_counter import FlopCounterMode

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.record import Device, Precision
from fer_pipeline.faces.faces import Facts
from fer_pipeline.networks.network import CENTRE, Network, View, find_crop, find_network
from fer_pipeline.networks.precision import Wanted
from fer_pipeline.networks.pytorch.crops import (
    EVALUATION_CROPS,
    as_input,
    autocast,
    choose_device,
    choose_precision,
    cut_view,
    score_views,
    to_faces,
    to_images,
)
from fer_pipeline.networks.pytorch.files import load_network


class TorchModel(NamedTuple):
    """A trained network on the device that runs it."""

    network: torch.nn.Module
    architecture: Network
    classes: int  # K, the number of classes
    size: int  # height and width of its crops, in pixels
    precision: Precision
    device: Device
    hardware: str  # name of the processor or of the GPU

    def predict(self, images: npt.NDArray[np.uint8], *ways: Sequence[View]) -> npt.NDArray[np.float64]:
        """Probabilities of faces (images as in `Split`) by each of several lists of views: float64 (ways, N, K + V).

        On a CPU each thread has a batch of its own: threads that share one wait for each other after every layer, on a
        busy machine most of the time.
        """
        device = self.device
        batches = to_images(images).split(EVALUATION_CROPS[device] // len({*chain(*ways)}))

        def score(batch: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode(), autocast(device, self.precision):
                scores = score_views(self.network, batch.to(device), self.size, ways, self.classes)
                return scores.double().exp().cpu()

        if device == "cpu" and len(batches) > 1:
            with ThreadPool(torch.get_num_threads(), torch.set_num_threads, (1,)) as pool:
                parts = pool.map(score, batches, chunksize=1)
        else:
            parts = [*map(score, batches)]
        return torch.cat(parts, dim=1).numpy()

    def count_parameters(self) -> int:
        """The number of trainable weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def count_macs(self) -> int:
        """Multiply-accumulates of convolutions and linear layers for one crop."""
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            self.network(torch.zeros(1, 3, self.size, self.size, device=self.device))
        return counter.get_total_flops() // 2

    def explain(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Grad-CAM: how much each pixel of faces, as for `predict`, supports the classes `labels`, int (N,), 0..K-1.

        Returns the centre crops, uint8 (N, size, size), or (N, size, size, 3), and heat maps, float32 (N, size, size)
        in [0, 1]: the maximum of each is 1; a map is all 0 if no pixel supports the class.
        """
        device, size = self.device, self.size
        crops = cut_view(to_images(images), size, *CENTRE)
        layer = self.architecture.find_explained_layer(self.network, size)
        targets = torch.as_tensor(labels, device=device).long()
        maps = LayerGradCam(self.network, layer).attribute(as_input(crops.to(device)), targets, relu_attributions=True)
        heat = F.interpolate(maps.detach(), size=(size, size), mode="bilinear")[:, 0]
        highest = heat.amax((1, 2), keepdim=True)
        heat = torch.where(highest > 0, heat / highest, 0)
        return to_faces(crops), heat.float().cpu().numpy()


def load_model(path: str | Path, name: str, precision: Wanted, facts: Facts) -> TorchModel:
    """The trained network `name` in a .safetensors file, on the GPU if there is one.

    InputError as for `load_network`, or if it was trained for other classes, another size, or grey instead of colour.
    """
    trained = load_network(path, name)
    expected = {"classes": facts.classes, "crop": find_crop(name, facts.size), "colour": facts.colour}
    for key, value in expected.items():
        if (found := getattr(trained, key)) != value:
            remedy = f"train it anew with `dvc repro -f -s train_{name}`"
            raise InputError(f"{path}: {key} is {show(found)}, where the data have {show(value)}; {remedy}")
    device, hardware = choose_device(trained.network, trained.crop)
    network = trained.network.to(device).to(memory_format=torch.channels_last)
    precise = choose_precision(precision, device)
    return TorchModel(network, find_network(name), len(trained.classes), trained.crop, precise, device, hardware)


def show(value: object) -> str:
    """A fact of the data in words."""
    return ", ".join(value) if isinstance(value, tuple) else str(value).lower()
