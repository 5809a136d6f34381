"""What a PyTorch network sees of a face in evaluation, and the scores that it gives."""

import copy
import math
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torchvision.transforms.functional import center_crop, ten_crop

from fer_pipeline.core.errors import InputError
from fer_pipeline.networks.precision import Device, Precision, Wanted, has_fast_bf16
from fer_pipeline.running.hardware import name_cpu

EVALUATION_CROPS = {"cpu": 60, "cuda": 6400, "mps": 600}  # crops per batch; larger batches do not fit a CPU's caches
SAME = 1e-3  # how far probabilities on Apple's GPU may be from the CPU's


def to_images(faces: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Faces uint8 (N, S, S), or (N, S, S, 3), as PyTorch has them, without a copy: uint8 (N, C, S, S), C = 1 or 3."""
    images = torch.from_numpy(faces)
    return images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)


def to_faces(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """The inverse of `to_images`."""
    faces: npt.NDArray[np.uint8] = images.permute(0, 2, 3, 1).squeeze(3).numpy()
    return faces


def crop_for_evaluation(images: torch.Tensor, size: int, crops: int) -> torch.Tensor:
    """TenCrop, or for one crop the centre: uint8 (N, C, S, S) to (N * crops, C, size, size), image after image."""
    if crops == 1:
        return center_crop(images, size)
    return torch.stack(ten_crop(images, size), dim=1).flatten(0, 1)  # the fifth is the centre


def as_input(crops: torch.Tensor) -> torch.Tensor:
    """Crops (N, C, H, W), uint8 or float32 in [0, 1], as networks take them: float32 (N, 3, H, W), channels last."""
    pixels = crops if crops.is_floating_point() else crops / 255
    return pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def score(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, size: int, crops: int, classes: int
) -> torch.Tensor:
    """Log-probabilities of faces uint8 (N, C, S, S), with probabilities averaged over the crops (section 2).

    `network` maps float32 (N, 3, size, size) to logits. The result is float32 (N, classes), or (N, classes + V) if the
    network has a second head.
    """
    return score_both(network, images, size, crops, classes)[0]


def score_both(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, size: int, crops: int, classes: int
) -> torch.Tensor:
    """Two results of `score` from one pass, (2, N, classes + V): over all crops, and by the centre crop alone."""
    logits = network(as_input(crop_for_evaluation(images, size, crops))).float().unflatten(0, (-1, crops))
    heads = [head.log_softmax(2) for head in logits.split([classes, logits.shape[2] - classes], dim=2)]
    average = torch.cat([head.logsumexp(1) - math.log(crops) for head in heads], dim=1)
    return torch.stack([average, torch.cat(heads, dim=2)[:, min(4, crops - 1)]])


def choose_precision(wanted: Wanted, device: Device) -> Precision:
    """`wanted`; auto is bfloat16 if the hardware multiplies it, float16 on other GPUs with tensor cores, else float32.

    InputError for float16 elsewhere than on an NVIDIA GPU.
    """
    if wanted == "float16" and device != "cuda":
        raise InputError("compute.precision is float16, which needs an NVIDIA GPU, and there is none; set it to auto")
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "bfloat16" if has_fast_bf16() else "float32"
    if device == "mps":
        return "float32"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16" if torch.cuda.get_device_capability() >= (7, 0) else "float32"  # T4, V100, RTX 20


def autocast(device: Device, precision: Precision) -> torch.autocast:
    """The context in which networks compute in a precision."""
    return torch.autocast(device, getattr(torch, precision), enabled=precision != "float32")


def choose_device(network: nn.Module, size: int) -> tuple[Device, str]:
    """Where PyTorch computes a network of crops of `size` pixels, and the name of that processor or GPU.

    Apple's GPU computes only what it predicts as the CPU does; else one line on stderr says so.
    """
    if torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        crops = torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            copies = {device: copy.deepcopy(network).eval().to(device) for device in ("cpu", "mps")}
            ours, theirs = (one(crops.to(device)).softmax(1).cpu() for device, one in copies.items())
        if (difference := (ours - theirs).abs().max().item()) <= SAME:
            return "mps", name_cpu()
        print(f"the CPU computes: Apple's GPU gives probabilities that differ by {difference:.2g}", file=sys.stderr)
    return "cpu", name_cpu()
