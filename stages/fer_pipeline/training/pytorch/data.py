"""Faces for PyTorch: the rows of a split as tensors, and the batches of training and evaluation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

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

    def __deepcopy__(self, _: Any) -> Self:
        """Itself: the moving average copies the whole `TrainingModule`, and would double the memory for faces."""
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move all rows to a device; returns itself."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.shares = None if self.shares is None else self.shares.to(device)
        return self


def make_batches(data: TensorSplit, batch_size: int, rank: int = 0, world: int = 1) -> Any:
    """An iterable of (images uint8 (n, C, S, S), labels int64 (n,)); the other arguments as in `TrainingBatches`."""
    batches: Any = [
        (images[rank::world], labels[rank::world])
        for images, labels in zip(data.images.split(batch_size), data.labels.split(batch_size), strict=True)
    ]
    return DataLoader(batches, batch_size=None)


@dataclass
class TrainingBatches:
    """The rows of a split in shuffled batches of varied crops.

    `batch_size` counts the rows of all `world` processes; each process gets its share of every batch, this one that of
    number `rank`, from 0.

    Order and variations follow from (seed, epoch), which `find_epoch` returns, so that a resumed run and any number of
    processes see the same crops. They are drawn for the whole epoch at once, on the device of the data, so that no
    batch waits for the host. Each epoch leaves out the rows beyond its last full batch.

    Yields (crops, labels, votes): crops float32 (n, C, size, size) in [0, 1]; labels int64 (n,), or, with mixup, the
    shares of the classes, float32 (n, K); votes float32 (n, V), shares as in `TensorSplit`, or None.
    """

    data: TensorSplit
    classes: int
    size: int
    augment: Augment
    batch_size: int
    find_epoch: Callable[[], tuple[int, int]]
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        self.batch_size = min(self.batch_size, max(self.world, len(self.data) // self.world * self.world))

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        generator = torch.Generator().manual_seed(derive_seed(*self.find_epoch()))
        device = self.data.images.device
        order = torch.randperm(len(self.data), generator=generator).to(device)
        drawn = draw_variations(len(order), self.data.images.shape[2], self.size, self.augment, generator)
        variations = Variations(*(part.to(device) for part in drawn))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            own = slice(start + self.rank, start + self.batch_size, self.world)
            crops, labels, shares = self.make_crops(order, variations, own)
            if self.augment.mixup:  # blends the first crop with the last, the second with the one before the last, ...
                places = torch.arange(start + self.batch_size - 1, start - 1, -1, device=device)
                others, their_labels, their_shares = self.make_crops(order, variations, places[self.rank :: self.world])
                part = variations.share[own].unsqueeze(1)
                crops = torch.lerp(others, crops, part[:, :, None, None])
                labels, theirs = (F.one_hot(one, self.classes).float() for one in (labels, their_labels))
                labels = torch.lerp(theirs, labels, part)
                if shares is not None and their_shares is not None:
                    shares = torch.lerp(their_shares, shares, part)
            yield crops, labels, shares

    def make_crops(
        self, order: torch.Tensor, variations: Variations, places: slice | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The varied crops, the labels and the shares of votes of the rows at `places` in `order`."""
        rows = order[places]
        shares = None if self.data.shares is None else self.data.shares[rows]
        chosen = Variations(*(part[places] for part in variations))
        crops = vary(self.data.images[rows], self.size, self.augment, chosen)
        return crops, self.data.labels[rows], shares


def vary_faces(faces: npt.NDArray[np.uint8], size: int, augment: Augment, seed: int) -> npt.NDArray[np.uint8]:
    """Faces uint8 (N, S, S), or (N, S, S, 3), varied as in training but without mixup, as crops of `size` pixels."""
    images = to_images(faces)
    variations = draw_variations(len(images), images.shape[2], size, augment, torch.Generator().manual_seed(seed))
    return to_faces((vary(images, size, augment, variations) * 255).round().to(torch.uint8))


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, the same in every process."""
    return abs(hash(numbers))
