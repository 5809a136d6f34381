"""FER-2013 for PyTorch: the data set, its batches, and the crops that networks see in training and in evaluation."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import CLASSES, SPLITS
from fer_pipeline.faces.votes import to_shares
from fer_pipeline.params.schema import Augment
from fer_pipeline.training.pytorch.augment import Variations, draw_variations, vary


class FER2013(torch.utils.data.Dataset):
    """One split of FER-2013, all of it in memory as uint8 (83 MB for the three), on the device that uses it.

    Args:
        source: faces.h5, or FER-2013 in any form that `read_source` reads (image folders, zip, CSV), with the official split.
        split: 'train', 'val' or 'test'.
        seed: see `fer_pipeline.raw.source.read_source`.

    Attributes:
        images: uint8 (N, 1, 48, 48), 0..255.
        labels: int64 (N,), 0..6.
        shares: float32 (N, 8), what annotators said, by `to_shares`; None where the data set has no votes.

    Raises:
        InputError: as `read_faces` and `read_source`.
    """

    shares: torch.Tensor | None = None

    def __init__(self, source: str | Path, split: str, seed: int = 0) -> None:
        if Path(source).suffix == ".h5":
            rows = read_faces(source)[0][split]
            images, labels, votes = rows.images, rows.labels, rows.votes
        else:
            from fer_pipeline.raw.source import read_source  # here, as stages read faces.h5 and do not depend on it

            raw = read_source(source, seed)
            chosen = raw.usages == SPLITS.index(split)
            images, labels, votes = raw.images[chosen], raw.labels[chosen], None
        self.images = torch.from_numpy(images).unsqueeze(1)
        self.labels = torch.from_numpy(labels).long()
        self.shares = None if votes is None else torch.from_numpy(to_shares(votes))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Image uint8 (1, 48, 48) and label; a slice or a tensor of indices gives a batch of them."""
        return self.images[index], self.labels[index]

    def to(self, device: torch.device | str) -> Self:
        """Move all rows to a device; returns itself."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.shares = None if self.shares is None else self.shares.to(device)
        return self


class Batches:
    """The rows of a split in batches for evaluation, and of each the share of this process.

    Gives images uint8 (n, 1, 48, 48) and labels int64 (n,).
    """

    def __init__(self, data: FER2013, batch_size: int, rank: int = 0, world: int = 1) -> None:
        """`batch_size` is that of all `world` processes together."""
        self.data, self.batch_size, self.rank, self.world = data, batch_size, rank, world

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(self.data), self.batch_size):
            stop = min(start + self.batch_size, len(self.data))
            yield self.data[slice(start + self.rank, stop, self.world)]


class TrainingBatches:
    """The rows of a split in shuffled batches of varied crops, and of each the share of this process.

    Order and variations follow from seed and epoch alone, so that a resumed run and any number of processes see the
    same crops. They are drawn for the whole epoch at once, and lie on the device of the data, so that no batch waits
    for the host. Rows beyond the last whole batch are left out of that epoch.

    Gives crops float32 (n, 1, size, size) in [0, 1], labels: int64 (n,), or with mixup float32 (n, 7), the shares of
    the classes, and what annotators said of them: float32 (n, 8), or None where the data set has no votes.
    """

    def __init__(
        self,
        data: FER2013,
        size: int,
        augment: Augment,
        batch_size: int,
        find_epoch: Callable[[], tuple[int, int]],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`batch_size` is that of all `world` processes together; `find_epoch` gives (seed, epoch)."""
        self.data, self.size, self.augment, self.find_epoch = data, size, augment, find_epoch
        self.rank, self.world = rank, world
        self.batch_size = min(batch_size, max(world, len(data) // world * world))

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        generator = torch.Generator().manual_seed(derive_seed(*self.find_epoch()))
        device = self.data.images.device
        order = torch.randperm(len(self.data), generator=generator).to(device)
        variations = draw_variations(len(order), self.size, self.augment, generator).to(device)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            own = slice(start + self.rank, start + self.batch_size, self.world)
            crops, labels, shares = self.make_crops(order, variations, own)
            if self.augment.mixup:  # with the crop at the same place from the batch's end
                places = torch.arange(start + self.batch_size - 1, start - 1, -1, device=device)
                others, their_labels, their_shares = self.make_crops(order, variations, places[self.rank :: self.world])
                part = variations.share[own].unsqueeze(1)
                crops = torch.lerp(others, crops, part[:, :, None, None])
                labels, theirs = (F.one_hot(classes, len(CLASSES)).float() for classes in (labels, their_labels))
                labels = torch.lerp(theirs, labels, part)
                if shares is not None and their_shares is not None:
                    shares = torch.lerp(their_shares, shares, part)
            yield crops, labels, shares

    def make_crops(
        self, order: torch.Tensor, variations: Variations, places: slice | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The varied crops, the labels and what annotators said at some places of `order`."""
        rows = order[places]
        images, labels = self.data[rows]
        shares = None if self.data.shares is None else self.data.shares[rows]
        return vary(images, self.size, self.augment, variations.select(places)), labels, shares


def vary_faces(faces: npt.NDArray[np.uint8], size: int, augment: Augment, seed: int) -> npt.NDArray[np.uint8]:
    """Faces uint8 (N, 48, 48) as a network is trained on them, before mixup: uint8 (N, size, size)."""
    variations = draw_variations(len(faces), size, augment, torch.Generator().manual_seed(seed))
    crops = vary(torch.from_numpy(faces).unsqueeze(1), size, augment, variations)[:, 0]
    return (crops * 255).round().to(torch.uint8).numpy()


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, the same in every process."""
    return int(torch.tensor(hash(numbers)).abs())
