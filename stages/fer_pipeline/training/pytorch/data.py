"""Faces for PyTorch: the rows of a split as tensors, and the batches of training and evaluation."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.votes import to_shares
from fer_pipeline.networks.pytorch.crops import to_faces, to_images
from fer_pipeline.params.schema import Augment
from fer_pipeline.training.pytorch.augment import Variations, draw_variations, vary


@dataclass
class TensorSplit:
    """The rows of one split, all in memory (FER-2013's three splits take 83 MB), on the device that uses them."""

    images: torch.Tensor  # uint8 (N, C, S, S), 0..255; C is 1, or 3 in colour
    labels: torch.Tensor  # int64 (N,), 0..K-1
    shares: torch.Tensor | None = None  # float32 (N, V): the shares of votes (`to_shares`); None for data without votes

    @classmethod
    def of(cls, rows: Split) -> Self:
        """The same rows as tensors, on the CPU."""
        shares = None if rows.votes is None else torch.from_numpy(to_shares(rows.votes))
        return cls(to_images(rows.images), torch.from_numpy(rows.labels).long(), shares)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Self:
        return replace(self, images=self.images[rows], labels=self.labels[rows], shares=None)

    def to(self, device: torch.device | str) -> Self:
        """The same rows on a device."""
        shares = None if self.shares is None else self.shares.to(device)
        return replace(self, images=self.images.to(device), labels=self.labels.to(device), shares=shares)


@dataclass
class TrainingBatches:
    """The rows of a split in shuffled batches of varied crops.

    `batch_size` counts the rows of all `world` processes; each process gets its share of every batch, this one that of
    number `rank`, from 0.

    Order and variations are drawn on the CPU for a whole epoch at once and copied to the data's device, so that no
    batch waits for the host; they follow from a seed, so that a resumed run and any number of processes see the same
    crops. Each epoch leaves out the rows beyond its last full batch.
    """

    data: TensorSplit
    classes: int
    size: int
    augment: Augment
    batch_size: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, max(self.world, len(self.data) // self.world * self.world))
        self.drawn: tuple[torch.Tensor, ...] = ()  # the order of the rows, then the `Variations`
        self.places = torch.arange(self.rank, self.batch_size, self.world, device=self.data.images.device)

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def draw(self, seed: int) -> None:
        """Draw the epoch that follows from `seed`, into the memory of the one before."""
        generator, images = torch.Generator().manual_seed(seed), self.data.images
        order = torch.randperm(len(self.data), generator=generator)
        drawn = (order, *draw_variations(len(order), images.shape[2], self.size, self.augment, generator))
        if self.drawn:
            for old, new in zip(self.drawn, drawn, strict=True):
                old.copy_(new)
        else:
            self.drawn = tuple(part.to(images.device) for part in drawn)

    def make(self, number: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """This process' share of the batch of a `number` from 0, int64 (1,) on the device of the data.

        Returns (crops, labels, votes): crops float32 (n, C, size, size) in [0, 1]; labels int64 (n,), or, with mixup,
        the shares of the classes, float32 (n, K); votes float32 (n, V), shares as in `TensorSplit`, or None.
        """
        start = number * self.batch_size
        crops, labels, shares = self.make_crops(start + self.places)
        if self.augment.mixup:  # blends the first crop with the last, the second with the one before the last, ...
            last = start + self.batch_size - 1
            others, their_labels, their_shares = self.make_crops(last - self.places)
            part = Variations(*self.drawn[1:]).share[start + self.places].unsqueeze(1)
            crops = torch.lerp(others, crops, part[:, :, None, None])
            labels, theirs = (F.one_hot(one, self.classes).float() for one in (labels, their_labels))
            labels = torch.lerp(theirs, labels, part)
            if shares is not None and their_shares is not None:
                shares = torch.lerp(their_shares, shares, part)
        return crops, labels, shares

    def make_crops(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The varied crops, the labels and the shares of votes of the rows at `places` in the epoch's order."""
        rows, *variations = (part[places] for part in self.drawn)
        shares = None if self.data.shares is None else self.data.shares[rows]
        crops = vary(self.data.images[rows], self.size, self.augment, Variations(*variations))
        return crops, self.data.labels[rows], shares


def vary_faces(faces: npt.NDArray[np.uint8], size: int, augment: Augment, seed: int) -> npt.NDArray[np.uint8]:
    """Faces uint8 (N, S, S), or (N, S, S, 3), varied as in training but without mixup, as crops of `size` pixels."""
    images = to_images(faces)
    variations = draw_variations(len(images), images.shape[2], size, augment, torch.Generator().manual_seed(seed))
    return to_faces((vary(images, size, augment, variations) * 255).round().to(torch.uint8))


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, the same in every process."""
    return abs(hash(numbers))
