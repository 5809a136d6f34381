"""FER-2013 for PyTorch: the data set, its batches, and the crops that networks see in training and in evaluation."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torchvision.transforms.functional import center_crop, ten_crop

from fer.core.hardware import has_fast_bf16
from fer.data.faces import read_faces
from fer.data.fer2013 import SPLITS

EVALUATION_CROPS = {"cpu": 60, "cuda": 6400}
"""Crops in a batch in evaluation, by kind of device: on a CPU, larger batches do not fit its caches."""


class FER2013(torch.utils.data.Dataset):
    """One split of FER-2013, all of it in memory as uint8 (83 MB for the three), on the device that uses it.

    Args:
        source: faces.h5, or FER-2013 in any form that `fer.data.source` reads (image folders, zip, CSV), which gets the
            official split.
        split: 'train', 'val' or 'test'.
        seed: see `fer.data.source.read_source`.

    Attributes:
        images: uint8 (N, 1, 48, 48), 0..255.
        labels: int64 (N,), 0..6.

    Raises:
        InputError: as `read_faces` and `read_source`.
    """

    def __init__(self, source: str | Path, split: str, seed: int = 0) -> None:
        if Path(source).suffix == ".h5":
            rows = read_faces(source)[0][split]
            images, labels = rows.images, rows.labels
        else:
            from fer.data.source import read_source  # here, as stages read faces.h5 and do not depend on it

            raw = read_source(source, seed)
            chosen = raw.usages == SPLITS.index(split)
            images, labels = raw.images[chosen], raw.labels[chosen]
        self.images = torch.from_numpy(images).unsqueeze(1)
        self.labels = torch.from_numpy(labels).long()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Image uint8 (1, 48, 48) and label; a slice or a tensor of indices gives a batch of them."""
        return self.images[index], self.labels[index]

    def to(self, device: torch.device | str) -> Self:
        """Move all rows to a device; returns itself."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        return self


class Batches:
    """The rows of a split in batches, and of each the share of this process.

    Training batches are shuffled and cropped; both follow from seed and epoch alone, so that a resumed run and any
    number of processes see the same crops. Training rows beyond the last whole batch are left out of that epoch.
    """

    def __init__(
        self,
        data: FER2013,
        size: int,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        training: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """`size` is that of the training crops; `batch_size` that of all `world` processes together.

        `training` is a function that gives (seed, epoch), or None for evaluation.
        """
        self.size = size
        self.data, self.rank, self.world, self.training = data, rank, world, training
        self.batch_size = min(batch_size, max(world, len(data) // world * world))

    def __len__(self) -> int:
        return len(self.data) // self.batch_size if self.training else math.ceil(len(self.data) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count = len(self.data)
        order = torch.arange(count)
        if self.training:
            generator = torch.Generator().manual_seed(derive_seed(*self.training()))
            order = torch.randperm(count, generator=generator)
        for batch in range(len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            images, labels = self.data[rows]
            if self.training:
                images = crop_for_training(images, self.size, generator)
            share = slice(self.rank, None, self.world)
            yield images[share], labels[share]


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, the same in every process."""
    return int(torch.tensor(hash(numbers)).abs())


def crop_for_training(images: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """RandomCrop(size), 44 in the paper, and horizontal flip, drawn per image.

    Args:
        images: uint8 (N, 1, 48, 48), on any device.
        size: height and width of the crops, in pixels.
        generator: of the CPU, so that every device draws the same.

    Returns:
        uint8 (N, 1, size, size) on the same device.
    """
    count, _, height, width = images.shape
    top = torch.randint(height - size + 1, (count, 1), generator=generator)
    left = torch.randint(width - size + 1, (count, 1), generator=generator)
    flip = torch.randint(2, (count, 1), generator=generator, dtype=torch.bool)
    steps = torch.arange(size)
    rows = (top + steps).to(images.device)
    columns = (left + torch.where(flip, steps.flip(0), steps)).to(images.device)
    faces = torch.arange(count, device=images.device)
    return images[faces[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def crop_for_evaluation(images: torch.Tensor, size: int, crops: int) -> torch.Tensor:
    """TenCrop(size), 44 in the paper: corners and centre, each also flipped; or the centre alone.

    Args:
        images: uint8 (N, 1, 48, 48).
        size: height and width of the crops, in pixels.
        crops: 10 or 1.

    Returns:
        uint8 (N * crops, 1, size, size), the crops of an image one after the other.
    """
    if crops == 1:
        return center_crop(images, size)
    return torch.stack(ten_crop(images, size), dim=1).flatten(0, 1)


def as_input(crops: torch.Tensor) -> torch.Tensor:
    """uint8 (N, 1, H, W) as the networks take them: float32 (N, 3, H, W) in [0, 1], grey repeated, channels last."""
    return (crops / 255).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def score(network: torch.nn.Module, images: torch.Tensor, size: int, crops: int) -> torch.Tensor:
    """Log-probabilities (N, 7) of uint8 (N, 1, 48, 48), the probabilities averaged over the crops (section 2)."""
    logits = network(as_input(crop_for_evaluation(images, size, crops))).float()
    return logits.log_softmax(1).unflatten(0, (-1, crops)).logsumexp(1) - math.log(crops)


def choose_precision(precision: Literal["auto", "float32", "bfloat16"]) -> Literal["float32", "bfloat16"]:
    """`precision`, where auto is bfloat16 if the hardware multiplies it."""
    if precision != "auto":
        return precision
    fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else has_fast_bf16()
    return "bfloat16" if fast else "float32"
