"""A PyTorch network in training (section 4, Table 3): its step, its epochs, and its state between them."""

import copy
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import trange

from fer_pipeline.core.record import Device, Precision
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.network import CROPS
from fer_pipeline.networks.pytorch.crops import EVALUATION_CROPS, as_input, autocast, score_views
from fer_pipeline.networks.pytorch.heads import HEADS
from fer_pipeline.params.schema import PyTorchTraining
from fer_pipeline.training.pytorch.data import TensorSplit, TrainingBatches, derive_seed
from fer_pipeline.training.pytorch.graph import Captured
from fer_pipeline.training.pytorch.processes import share_batchnorm
from fer_pipeline.training.pytorch.rates import find_rates

SMALL = 32 / 44  # by how much crops are scaled down in the first `small_epochs`, to half of their area


class Learner:
    """A network that sees crops of `size` pixels of faces in K `classes`, on one device, in one of `world` processes.

    Everything that a step reads or writes lies on the device, the learning rate included, so that a GPU never waits for
    the host, and can replay a step as one graph. An index of no dimensions would be read by the host.
    """

    def __init__(
        self, network: nn.Module, classes: int, size: int, settings: PyTorchTraining, precision: Precision,
        device: Device, seed: int, train: TensorSplit, val: TensorSplit, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.classes, self.size, self.settings, self.precision = classes, size, settings, precision
        self.device, self.seed, self.rank, self.world = device, seed, rank, world
        self.batches = TrainingBatches(
            train.to(device), classes, size, settings.augment, settings.batch_size, rank, world
        )
        self.val, self.val_count = val[rank::world].to(device), len(val)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.forward = self.network
        if world > 1:
            self.network = share_batchnorm(self.network)
            frozen = settings.freeze_epochs > 0  # the body then gets no gradients
            self.forward = DistributedDataParallel(self.network, find_unused_parameters=frozen)
        self.average = copy.deepcopy(self.network) if settings.ema else self.network  # what is validated and kept
        pairs = [*zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)]
        self.averaged = [*zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)]
        self.counted: Any = [*zip(*(pair for pair in pairs if not pair[0].is_floating_point()), strict=True)]
        steps, exact = len(self.batches), torch.float64 if device == "cpu" else torch.float32
        make: Any = {"device": device, "dtype": exact}
        self.rate, self.rates = torch.zeros((), **make), torch.zeros(steps, **make)
        self.forget, self.loss = torch.zeros(steps, device=device), torch.zeros((), device=device)
        self.number = torch.zeros(1, dtype=torch.int64, device=device)  # of the step in the epoch, from 0
        self.right = torch.zeros((), dtype=torch.int64, device=device)
        balanced = settings.class_weights == "balanced"
        self.class_weights = weigh_classes(train.labels, classes).to(device) if balanced else None
        self.optimizer = make_optimizer(self.network, settings, self.rate)
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "float16")
        self.captured: Captured | None = None
        self.history: list[dict[str, Any]] = []
        self.seconds: list[float] = []

    def train_epoch(self) -> None:
        """Train and validate for one epoch, and add it to the history."""
        started, epoch, settings, steps = time.perf_counter(), len(self.history), self.settings, len(self.batches)
        torch.manual_seed(derive_seed(self.seed, epoch, self.rank))  # of dropout
        self.batches.draw(derive_seed(self.seed, epoch))
        rates = find_rates(settings, self.history, steps)
        self.rates.copy_(torch.tensor(rates, dtype=self.rates.dtype))
        seen = torch.arange(epoch * steps, (epoch + 1) * steps)
        self.forget.copy_(1 - (seen / (9 + seen)).clamp_max(settings.ema))
        for tensor in (self.number, self.loss, self.right):
            tensor.zero_()
        step = self.prepare_step(epoch)
        for _ in trange(steps, desc=f"epoch {epoch + 1}", leave=False, disable=not sys.stderr.isatty()):
            step()
        loss, right = self.sum_up(self.loss / steps / self.world, self.right)
        train_accuracy = right / (steps * self.batches.batch_size)
        val_loss, val_accuracy = self.validate()
        self.history.append(
            {"epoch": epoch + 1, "learning_rate": rates[-1], "train_loss": loss, "train_accuracy": train_accuracy}
            | {"val_loss": val_loss, "val_accuracy": val_accuracy}
        )
        self.seconds.append(time.perf_counter() - started)

    def prepare_step(self, epoch: int) -> Any:
        """The function of an epoch's steps: `step`, captured as a graph where that is possible."""
        frozen = epoch < self.settings.freeze_epochs
        self.network.train(not frozen)  # a frozen body is in evaluation mode, its BatchNorms included
        self.network.get_submodule("dropout").train()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith(HEADS))
        self.small = epoch < self.settings.small_epochs
        if self.device != "cuda" or self.world > 1 or self.scaler.is_enabled():  # the scaler waits for the GPU
            return self.step
        if not self.captured or epoch in (self.settings.freeze_epochs, self.settings.small_epochs):
            self.captured = Captured(self.step)  # it computes something else from here on
        return self.captured

    def step(self) -> None:
        """One step of the optimizer, and of the average, on the next batch."""
        crops, targets, shares = self.batches.make(self.number)
        images = as_input(crops)
        if self.small:
            images = F.interpolate(images, size=round(SMALL * self.size), mode="bilinear", antialias=True)
        self.optimizer.zero_grad()
        with autocast(self.device, self.precision):
            outputs = self.forward(images)
        logits, votes = split_heads(outputs.float(), self.classes)
        loss = self.compute_loss(logits, votes, targets, shares)
        self.scaler.scale(loss).backward()
        self.rate.copy_(self.rates[self.number][0])
        self.clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.settings.ema:
            self.move_average()
        labels = targets if targets.dim() == 1 else targets.argmax(1)  # with mixup, the class with the larger share
        self.loss += loss.detach()
        self.right += (logits.argmax(1) == labels).sum()
        self.number += 1

    def compute_loss(
        self, logits: torch.Tensor, votes: torch.Tensor, targets: torch.Tensor, shares: torch.Tensor | None
    ) -> torch.Tensor:
        """The loss of a batch: cross-entropy to the labels, and to annotators' votes with the weight of the settings.

        Processes average their gradients, so that each divides by the mean of all their denominators.
        """
        smoothing, weights = self.settings.label_smoothing, self.class_weights
        loss = F.cross_entropy(logits, targets, weights, label_smoothing=smoothing)
        if weights is not None and targets.dim() == 1:
            own = weights[targets].sum()
            loss = loss * (own / self.average_over_processes(own))
        if votes.shape[1] and shares is not None:
            count = self.average_over_processes(shares.sum())
            loss = loss + self.settings.votes_weight * compute_votes_loss(votes, shares, count)
        return loss

    def average_over_processes(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of a number that each process has."""
        if self.world > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
        return value / self.world

    def clip(self) -> None:
        """Clip the gradients by value or by norm, if the settings say so."""
        self.scaler.unscale_(self.optimizer)
        if self.settings.clip:
            how = nn.utils.clip_grad_value_ if self.settings.clip_by == "value" else nn.utils.clip_grad_norm_
            how(self.network.parameters(), self.settings.clip)

    def move_average(self) -> None:
        """Move the exponential average of weights and BatchNorm statistics towards the network.

        It soon forgets the random start: after n steps its decay is n / (9 + n), until that reaches `ema` (0.998 after
        4,491 steps).
        """
        averages, values = self.averaged
        torch._foreach_lerp_(averages, values, [self.forget[self.number]] * len(averages))
        if self.counted:  # BatchNorm counts its batches
            torch._foreach_copy_(*self.counted)

    @torch.inference_mode()
    def validate(self) -> tuple[float, float]:
        """Loss (cross-entropy of the first head, in nats) and accuracy on val, of the average or of the network."""
        self.average.eval()
        loss, right = torch.zeros((), device=self.device), torch.zeros_like(self.right)
        views = CROPS[self.settings.val_crops]
        many = EVALUATION_CROPS[self.device] // len(views)
        for images, labels in zip(self.val.images.split(many), self.val.labels.split(many), strict=True):
            with autocast(self.device, self.precision):  # not compiled: other shapes
                (scores,) = score_views(self.average.forward, images, self.size, [views], self.classes)
            loss += F.nll_loss(scores[:, : self.classes], labels, reduction="sum")
            right += (scores[:, : self.classes].argmax(1) == labels).sum()
        total, correct = self.sum_up(loss, right)
        return total / self.val_count, correct / self.val_count

    def sum_up(self, *values: torch.Tensor) -> list[float]:
        """The sums of numbers over all processes."""
        if self.world > 1:
            for value in values:
                torch.distributed.all_reduce(value)
        return [value.item() for value in values]

    def state_dict(self) -> dict[str, Any]:
        """All that a training needs to go on after its last epoch."""
        parts = {key: getattr(self, key).state_dict() for key in ("network", "average", "optimizer", "scaler")}
        return {**parts, "history": self.history, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        for key in ("network", "average", "optimizer", "scaler"):
            getattr(self, key).load_state_dict(state[key])
        self.optimizer.param_groups[0]["lr"] = self.rate
        self.history, self.seconds = state["history"], state["seconds"]


def weigh_classes(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The weights of `class_weights: balanced`, float32 (K,): inverse to frequency, 0 for a class without rows."""
    counts = torch.bincount(labels, minlength=classes)
    return (counts > 0) * len(labels) / ((counts > 0).sum() * counts.clamp_min(1))


def compute_votes_loss(logits: torch.Tensor, shares: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of logits (N, V) to shares of votes (N, V) over `count` rows, those whose shares are not 0."""
    return F.cross_entropy(logits, shares, reduction="sum") / count.clamp_min(1)


def make_optimizer(network: nn.Module, settings: PyTorchTraining, rate: torch.Tensor) -> torch.optim.Optimizer:
    """The optimizer that the settings name; its learning rate is whatever the tensor `rate` holds at a step."""
    common: dict[str, Any] = {"lr": rate, "weight_decay": settings.weight_decay, "fused": rate.is_cuda or None}
    if settings.optimizer == "sgd":
        momentum: Any = {"momentum": settings.momentum, "nesterov": settings.nesterov}
        return torch.optim.SGD(network.parameters(), **momentum, **common)
    betas = settings.momentum, settings.beta2
    return torch.optim.AdamW(network.parameters(), betas=betas, capturable=rate.is_cuda, **common)
