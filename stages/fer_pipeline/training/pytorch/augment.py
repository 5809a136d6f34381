"""How training faces are varied (section 2 of the paper, and more): drawn for a whole epoch at once, applied by batch.

All random numbers of an epoch come from one generator, so that a resumed run and any number of processes see the same
faces. Numbers and faces are on the device that trains, so that no step waits for the host.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from fer_pipeline.networks.pytorch.crops import resample, to_affine
from fer_pipeline.params.schema import Augment
from fer_pipeline.training.pytorch.photo import UNIT, draw_damage, pass_through

SMALLEST_BOX = 1 / 3  # smallest height and width of an erased box, as a share of the largest


class Variations(NamedTuple):
    """How each of N faces is varied; tensors of N entries on one device."""

    offset: torch.Tensor  # int64 (N, 2): top and left of the crop, in pixels
    flip: torch.Tensor  # bool (N,)
    affine: torch.Tensor  # float32 (N, 2, 3): from positions in the crop to those in the face, both in [-1, 1]
    contrast: torch.Tensor  # float32 (N,): the factor on the distance of each pixel from the crop's mean
    brightness: torch.Tensor  # float32 (N,): what is added to each pixel, in [0, 1]
    box: torch.Tensor  # int64 (N, 4): top, bottom, left and right of the erased box in the crop; it may be empty
    grey: torch.Tensor  # float32 (N,) in [0, 1): the value of the pixels in the erased box
    share: torch.Tensor  # float32 (N,) in [0.5, 1]: the share of the face itself when mixup blends it with another
    damage: torch.Tensor  # float32 (N, 7): what it goes through as a photo (`draw_damage`)


def draw_variations(count: int, face: int, size: int, augment: Augment, generator: torch.Generator) -> Variations:
    """How `count` faces of `face` pixels are varied in crops of `size`; drawn on the CPU: all devices see the same."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    room = face - size
    offset = torch.randint(room + 1, (count, 2), generator=generator)
    if augment.crop == "centre":
        offset = torch.full_like(offset, room // 2)
    flip = uniform(0, 1) < augment.flip
    angle = torch.deg2rad(uniform(-augment.rotation, augment.rotation))
    zoom = torch.exp(uniform(-1, 1) * math.log1p(augment.scale))
    shift = torch.stack([uniform(-augment.shift, augment.shift) for _ in range(2)], dim=1)
    affine = to_affine(angle, zoom, flip, (2 * offset.flip(1) - room) / face + 2 * shift, size / face)
    contrast = torch.exp(uniform(-1, 1) * math.log1p(augment.contrast))
    brightness = uniform(-augment.brightness, augment.brightness)
    erased = uniform(0, 1) < augment.erase
    sides = torch.stack([uniform(SMALLEST_BOX, 1) for _ in range(2)], dim=1) * (augment.erase_size * face / UNIT)
    sides = sides.round().long().clamp(1, size) * erased.unsqueeze(1)
    starts = (torch.stack([uniform(0, 1) for _ in range(2)], dim=1) * (size - sides + 1)).long()
    box = torch.stack([starts, starts + sides], dim=2).flatten(1)
    grey = uniform(0, 1)
    share = torch.ones(count)
    if augment.mixup:
        seed = int(torch.randint(2**62, (), generator=generator))
        drawn = np.random.default_rng(seed).beta(augment.mixup, augment.mixup, count)
        share = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float()
    damage = draw_damage(count, face, augment.photo, generator)
    return Variations(offset, flip, affine, contrast, brightness, box, grey, share, damage)


def vary(images: torch.Tensor, size: int, augment: Augment, variations: Variations) -> torch.Tensor:
    """Varied crops of faces uint8 (N, C, S, S), before mixup: float32 (N, C, size, size) in [0, 1]."""
    if augment.rotation or augment.scale or augment.shift:
        crops = resample(images, variations.affine, size)
    else:
        crops = cut(images, size, variations) / 255
    if augment.contrast or augment.brightness:
        mean = crops.mean((1, 2, 3), keepdim=True)
        contrast, brightness = (part.view(-1, 1, 1, 1) for part in (variations.contrast, variations.brightness))
        crops = torch.addcmul(mean + brightness, crops - mean, contrast).clamp_(0, 1)
    if augment.erase:
        steps = torch.arange(size, device=images.device)
        top, bottom, left, right = variations.box.unsqueeze(2).unbind(1)
        rows, columns = (steps >= top) & (steps < bottom), (steps >= left) & (steps < right)
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        crops = torch.where(inside, variations.grey.view(-1, 1, 1, 1), crops)
    if augment.photo.light or augment.photo.detail:
        crops = pass_through(crops, images.shape[2], augment.photo, variations.damage)
    return crops


def cut(images: torch.Tensor, size: int, variations: Variations) -> torch.Tensor:
    """Crops at the drawn places, flipped or not, with unchanged pixels: uint8 (N, C, size, size)."""
    steps = torch.arange(size, device=images.device)
    top, left = variations.offset.unsqueeze(2).unbind(1)
    columns = left + torch.where(variations.flip.unsqueeze(1), steps.flip(0), steps)
    faces = torch.arange(len(images), device=images.device)
    crops = images[faces[:, None, None], :, (top + steps)[:, :, None], columns[:, None, :]]  # (N, size, size, C)
    return crops.permute(0, 3, 1, 2)
