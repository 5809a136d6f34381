"""What a PyTorch network sees of a face in evaluation, and the scores that it gives."""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.functional import center_crop, ten_crop

from fer_pipeline.networks.precision import Precision, Wanted, has_fast_bf16
from fer_pipeline.running.hardware import name_cpu

EVALUATION_CROPS = {"cpu": 60, "cuda": 6400}  # crops per batch; larger batches do not fit a CPU's caches


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


def choose_precision(precision: Wanted) -> Precision:
    """`precision`; auto becomes bfloat16 if the hardware multiplies it, else float32."""
    if precision != "auto":
        return precision
    gpu = torch.cuda.is_available()  # a T4 only emulates bfloat16, so it gets float32
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else has_fast_bf16()
    return "bfloat16" if fast else "float32"


def find_device() -> tuple[Literal["cpu", "cuda"], str]:
    """Where PyTorch computes, and the name of that processor or GPU."""
    return ("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else ("cpu", name_cpu())
