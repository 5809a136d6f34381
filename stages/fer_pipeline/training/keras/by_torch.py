"""What a Keras training asks of PyTorch itself, on a GPU or on the CPU; by_tensorflow.py has the same names."""

import os
from typing import Literal

import torch
from torch.nn import functional as F

from fer_pipeline.networks.keras.framework import keras
from fer_pipeline.networks.precision import has_fast_bf16
from fer_pipeline.running.hardware import name_cpu

OutOfMemory = torch.OutOfMemoryError
seed_all = keras.utils.set_random_seed


def make_deterministic() -> None:
    """Have the same training give the same bytes."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it PyTorch refuses products of matrices
    torch.use_deterministic_algorithms(True)


def find_device() -> tuple[Literal["cpu", "cuda"], str, bool]:
    """Where the training computes, the name of that processor, and whether it multiplies bfloat16."""
    if not torch.cuda.is_available():
        return "cpu", name_cpu(), has_fast_bf16()
    fast = torch.cuda.is_bf16_supported(including_emulation=False)  # a T4 only emulates it
    return "cuda", torch.cuda.get_device_name(), fast


def resample(images: torch.Tensor, transforms: torch.Tensor) -> torch.Tensor:
    """Images (N, S, S, C) by `transforms` (N, 8) as `affine_transform` takes them: bilinear, repeating the border.

    Keras' own loops over the images. Its coordinates count pixels; PyTorch's go from -1, the first, to 1, the last.
    """
    turn, shift = transforms[:, :6].reshape(-1, 2, 3).split([2, 1], dim=2)
    shift = turn.sum(dim=2, keepdim=True) - 1 + shift * 2 / (images.shape[1] - 1)
    images = images.permute(0, 3, 1, 2)
    grid = F.affine_grid(torch.cat([turn, shift], dim=2), list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, "bilinear", "border", align_corners=True).permute(0, 2, 3, 1)


def normalise(
    inputs: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs (N, H, W, C) normalised, in one operation; their mean and biased variance (C,)."""
    mean, variance = torch.zeros_like(scale), torch.zeros_like(scale)  # as momentum is 1, nothing of them remains
    outputs = F.batch_norm(inputs.permute(0, 3, 1, 2), mean, variance, scale, offset, True, 1.0, epsilon)
    count = inputs.numel() // inputs.shape[-1]
    return outputs.permute(0, 2, 3, 1), mean, variance * ((count - 1) / count)  # that of PyTorch is unbiased
