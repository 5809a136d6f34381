"""FER-2013 for PyTorch: the data set, and the crops that networks see of it in training and in evaluation."""

import math
from pathlib import Path

import torch
from torchvision.transforms.functional import center_crop, ten_crop

from fer.faces import SPLITS, read_faces
from fer.networks import CROP
from fer.training import has_fast_bf16

EVALUATION_CROPS = {"cpu": 60, "cuda": 6400}
"""Crops that go through the network at a time in evaluation: on a CPU, larger batches leave its caches."""


class FER2013(torch.utils.data.Dataset):
    """One split of FER-2013, held whole as uint8: 83 MB for all of it, so it lives on the device that uses it.

    Args:
        source: faces.h5, or FER-2013 in any form that `fer.source` reads (image folders, zip, CSV), which gets the
            official split.
        split: 'train', 'val' or 'test'.
        seed: see `fer.source.read_source`.

    Attributes:
        images: uint8 (N, 1, 48, 48), 0..255.
        labels: int64 (N,), 0..6.

    Raises:
        InputError: as `read_faces` and `read_source`.
    """

    def __init__(self, source, split, seed=0):
        if Path(source).suffix == ".h5":
            rows = read_faces(source)[0][split]
            images, labels = rows.images, rows.labels
        else:
            from fer.source import read_source  # not loaded by the stages: they read faces.h5, and do not depend on it

            rows = read_source(source, seed)
            mine = rows.usages == SPLITS.index(split)
            images, labels = rows.images[mine], rows.labels[mine]
        self.images = torch.from_numpy(images).unsqueeze(1)
        self.labels = torch.from_numpy(labels).long()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        """Image uint8 (1, 48, 48) and label; a slice or a tensor of indices gives a batch of them."""
        return self.images[index], self.labels[index]

    def to(self, device):
        """Move all rows to a device; returns itself."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self


def crop_for_training(images, generator):
    """RandomCrop(44) and horizontal flip, drawn per image.

    Args:
        images: uint8 (N, 1, 48, 48), on any device.
        generator: of the CPU, so that every device draws the same.

    Returns:
        uint8 (N, 1, 44, 44) on the same device.
    """
    count, _, height, width = images.shape
    top = torch.randint(height - CROP + 1, (count, 1), generator=generator)
    left = torch.randint(width - CROP + 1, (count, 1), generator=generator)
    flip = torch.randint(2, (count, 1), generator=generator, dtype=torch.bool)
    steps = torch.arange(CROP)
    rows = (top + steps).to(images.device)
    columns = (left + torch.where(flip, steps.flip(0), steps)).to(images.device)
    faces = torch.arange(count, device=images.device)
    return images[faces[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def crop_for_evaluation(images, crops):
    """TenCrop(44): corners and centre, each also flipped; or the centre alone.

    Args:
        images: uint8 (N, 1, 48, 48).
        crops: 10 or 1.

    Returns:
        uint8 (N * crops, 1, 44, 44), the crops of an image one after the other.
    """
    if crops == 1:
        return center_crop(images, CROP)
    return torch.stack(ten_crop(images, CROP), dim=1).flatten(0, 1)


def as_input(crops):
    """uint8 (N, 1, 44, 44) as the networks take it: float32 (N, 3, 44, 44) in [0, 1], grey repeated, channels last."""
    return (crops / 255).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def score(network, images, crops):
    """Log-probabilities (N, 7) of uint8 (N, 1, 48, 48): softmax, averaged over the crops (section 2)."""
    logits = network(as_input(crop_for_evaluation(images, crops))).float()
    return logits.log_softmax(1).unflatten(0, (-1, crops)).logsumexp(1) - math.log(crops)


def choose_precision(precision):
    """'float32' or 'bfloat16' for params.yaml's `precision`: auto is bfloat16 where the hardware multiplies it."""
    if precision != "auto":
        return precision
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else has_fast_bf16()
    return "bfloat16" if fast else "float32"
