"""What a PyTorch network sees of a face in evaluation, and the scores that it gives."""

import copy
import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.record import Device, Precision
from fer_pipeline.networks.network import View
from fer_pipeline.networks.precision import Wanted, has_fast_bf16
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


def cut_view(images: torch.Tensor, size: int, view: View) -> torch.Tensor:
    """A view of faces uint8 (N, C, S, S): (N, C, size, size), uint8 where it is a plain crop, else as `resample`."""
    if view.plain:
        images = images.flip(3) if view.mirrored else images
        top, left = ((1 + place) * (images.shape[2] - size) // 2 for place in (view.y, view.x))
        return images[:, :, top : top + size, left : left + size]
    one = torch.ones(1)
    angle, mirrored = torch.deg2rad(view.turn * one), torch.tensor([view.mirrored])
    affine = to_affine(angle, view.scale * one, mirrored, torch.zeros(1, 2), size / images.shape[2])
    return resample(images, affine.to(images.device).expand(len(images), -1, -1), size)


def to_affine(
    angle: torch.Tensor, zoom: torch.Tensor, mirrored: torch.Tensor, middle: torch.Tensor, share: float
) -> torch.Tensor:
    """From positions in a crop to those in the face, both in [-1, 1]: float32 (N, 2, 3).

    Angles (N,) are in radians; `middle` (N, 2) is the crop's middle in the face, `share` its size beside the face's.
    """
    extent, mirror = share / zoom, torch.where(mirrored, -1.0, 1.0)
    x = torch.stack([extent * angle.cos() * mirror, -extent * angle.sin()], dim=1)
    y = torch.stack([extent * angle.sin() * mirror, extent * angle.cos()], dim=1)
    return torch.cat([torch.stack([x, y], dim=1), middle.unsqueeze(2)], dim=2)


def resample(images: torch.Tensor, affine: torch.Tensor, size: int) -> torch.Tensor:
    """Crops of faces uint8 (N, C, S, S), placed by `to_affine`: float32 (N, C, size, size) in [0, 1].

    One bilinear resampling, which repeats the border; several would blur the face.
    """
    grid = F.affine_grid(affine, [*images.shape[:2], size, size], align_corners=False)
    return F.grid_sample(images / 255, grid, mode="bilinear", padding_mode="border", align_corners=False)


def to_unit(crops: torch.Tensor) -> torch.Tensor:
    """Crops, uint8 or already float32 in [0, 1], as float32 in [0, 1]."""
    return crops if crops.is_floating_point() else crops / 255


def as_input(crops: torch.Tensor) -> torch.Tensor:
    """Crops (N, C, H, W), uint8 or float32 in [0, 1], as networks take them: float32 (N, 3, H, W), channels last."""
    return to_unit(crops).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def score_views(
    network: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    size: int,
    ways: Sequence[Sequence[View]],
    classes: int,
) -> torch.Tensor:
    """Logarithms of the mean probabilities of faces uint8 (N, C, S, S) over each list of views in `ways` (section 2).

    `network` maps float32 (N, 3, size, size) to logits. The result is float32 (ways, N, K), K being `classes`, or
    (ways, N, K + V) if the network has a second head. A view that several lists have is computed once.
    """
    views = [*dict.fromkeys(view for way in ways for view in way)]
    crops = torch.stack([to_unit(cut_view(images, size, view)) for view in views], dim=1).flatten(0, 1)
    logits = network(as_input(crops)).float().unflatten(0, (-1, len(views)))
    heads = [head.log_softmax(2) for head in logits.split([classes, logits.shape[2] - classes], dim=2)]
    places = [[views.index(view) for view in way] for way in ways]
    averaged = [[head[:, place].logsumexp(1) - math.log(len(place)) for head in heads] for place in places]
    return torch.stack([torch.cat(both, dim=1) for both in averaged])


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
