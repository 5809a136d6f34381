"""How a PyTorch network is trained (section 4, Table 3), by Lightning."""

import hashlib
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, TQDMProgressBar, WeightAveraging
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.tones import measure_tones
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.network import Shape, find_crop, find_network
from fer_pipeline.networks.precision import Precision
from fer_pipeline.networks.pytorch.crops import EVALUATION_CROPS, as_input, choose_precision, find_device, score
from fer_pipeline.networks.pytorch.files import IMAGENET, Normalise, pack_network, prepend
from fer_pipeline.networks.pytorch.heads import HEADS, add_votes_head
from fer_pipeline.params.schema import Compute, PyTorchTraining
from fer_pipeline.training.common.checkpoints import find_checkpoints
from fer_pipeline.training.common.run import HISTORY, Trained, describe_origin, learns_votes
from fer_pipeline.training.pytorch.batchnorm import GlobalBatchNorm
from fer_pipeline.training.pytorch.checkpoints import MovableCheckpoint, WholeCheckpoints, find_last
from fer_pipeline.training.pytorch.data import TensorSplit, TrainingBatches, derive_seed, make_batches
from fer_pipeline.training.pytorch.weights import load_start

LAUNCHED = {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "MASTER_ADDR"}  # torchrun, SLURM or a cluster sets at least one
SMALL = 32 / 44  # by how much crops are scaled down in the first `small_epochs`, to half of their area
CHECK_EVERY = 100  # steps between two checks that all losses are finite


class TrainingModule(L.LightningModule):
    """A network that sees crops of `size` pixels of faces in K `classes`: its loss, optimizer, schedule and history."""

    class_weights: torch.Tensor | None

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        size: int,
        settings: PyTorchTraining,
        seed: int,
        train: TensorSplit,
        val: TensorSplit,
    ) -> None:
        super().__init__()
        self.network, self.classes, self.size, self.settings, self.seed = network, classes, size, settings, seed
        self.train_rows, self.val_rows = train, val
        counts = torch.bincount(train.labels, minlength=classes)
        balanced = (counts > 0) * len(train) / ((counts > 0).sum() * counts.clamp_min(1))
        weights = balanced if settings.class_weights == "balanced" else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.metrics: Any = nn.ModuleDict(
            {
                name: MeanMetric(nan_strategy="disable")  # no checks of inputs: they wait for the GPU
                if name.endswith("loss")
                else MulticlassAccuracy(classes, average="micro", validate_args=False)
                for name in HISTORY[2:]
            }
        )
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0

    def train_dataloader(self) -> TrainingBatches:
        rows, augment, batch_size = self.train_rows.to(self.device), self.settings.augment, self.settings.batch_size
        place = self.global_rank, self.trainer.world_size
        seeds = lambda: (self.seed, self.current_epoch)  # noqa: E731
        return TrainingBatches(rows, self.classes, self.size, augment, batch_size, seeds, *place)

    def val_dataloader(self) -> Any:
        world = self.trainer.world_size
        images = EVALUATION_CROPS[self.device.type] // self.settings.val_crops * world
        return make_batches(self.val_rows.to(self.device), images, self.global_rank, world)

    def configure_optimizers(self) -> Any:
        settings, parameters = self.settings, self.network.parameters()
        common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(parameters, momentum=settings.momentum, nesterov=settings.nesterov, **common)
        else:
            optimizer = torch.optim.AdamW(parameters, betas=(settings.momentum, settings.beta2), **common)
        return {"optimizer": optimizer, "lr_scheduler": self.make_schedule(optimizer)}

    def make_schedule(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The schedule of the learning rate, as the dict that Lightning expects."""
        settings, schedulers = self.settings, torch.optim.lr_scheduler
        if settings.schedule == "step":
            return {"scheduler": schedulers.LambdaLR(optimizer, lambda epoch: decay(epoch, settings))}
        if settings.schedule == "plateau":
            better: Any = {"mode": "max", "threshold": settings.min_delta, "threshold_mode": "abs"}
            patience = settings.decay_every - 1
            plateau = schedulers.ReduceLROnPlateau(optimizer, factor=settings.decay_rate, patience=patience, **better)
            never = settings.epochs + 1  # `on_train_epoch_end` steps it, before the checkpoint is written
            return {"scheduler": plateau, "monitor": "val_accuracy", "frequency": never}
        steps, warm_up = int(self.trainer.estimated_stepping_batches), settings.warm_up
        if settings.schedule == "cosine":
            cosine = schedulers.LambdaLR(optimizer, lambda step: anneal(step, steps, warm_up))
            return {"scheduler": cosine, "interval": "step"}
        peak = settings.learning_rate
        one_cycle = schedulers.OneCycleLR(optimizer, peak, steps, pct_start=warm_up, cycle_momentum=False)
        return {"scheduler": one_cycle, "interval": "step"}

    def on_train_epoch_start(self) -> None:
        self.started = time.perf_counter()
        torch.manual_seed(derive_seed(self.seed, self.current_epoch, self.global_rank))  # of dropout
        frozen = self.current_epoch < self.settings.freeze_epochs
        self.network.train(not frozen)  # a frozen body is in evaluation mode, its BatchNorms included
        self.network.get_submodule("dropout").train()
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(not frozen or name.startswith(HEADS))
        self.losses: list[tuple[int, float, torch.Tensor]] = []  # step, learning rate and loss since the last check

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None], batch_idx: int
    ) -> torch.Tensor:
        crops, targets, shares = batch
        images = as_input(crops)
        if self.current_epoch < self.settings.small_epochs:
            images = F.interpolate(images, size=round(SMALL * self.size), mode="bilinear", antialias=True)
        logits, votes = split_heads(self.network(images).float(), self.classes)
        loss = F.cross_entropy(logits, targets, self.class_weights, label_smoothing=self.settings.label_smoothing)
        if votes.shape[1] and shares is not None:
            loss = loss + self.settings.votes_weight * compute_votes_loss(votes, shares)
        labels = targets if targets.dim() == 1 else targets.argmax(1)  # with mixup, the class with the larger share
        self.learning_rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.losses.append((self.global_step + 1, self.learning_rate, loss.detach()))
        self.add_batch("train", loss.detach(), logits.detach(), labels)
        if len(self.losses) == CHECK_EVERY:
            self.check_losses()
        return loss

    def add_batch(self, split: str, loss: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a batch to the metrics; a plain number of labels would have to be copied to the GPU."""
        self.metrics[f"{split}_loss"].update(loss, labels.new_full((), len(labels)))
        self.metrics[f"{split}_accuracy"].update(scores, labels)

    def check_losses(self) -> None:
        """Raise an InputError about the first loss that is not finite; each such check waits for the GPU."""
        steps, rates, losses = zip(*self.losses, strict=True)
        self.losses = []
        for step, rate, loss in zip(steps, rates, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss is {loss} in epoch {self.current_epoch + 1}, step {step}, at learning rate {rate:.3g}; "
                    "lower `learning_rate` (every finished epoch is kept)"
                )

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        images, labels = batch
        if not len(labels):  # the last batch may have fewer rows than processes
            return
        network = self.network.forward  # not compiled: other shapes
        scores = score(network, images, self.size, self.settings.val_crops, self.classes)[:, : self.classes]
        self.add_batch("val", F.nll_loss(scores, labels), scores, labels)

    def on_validation_epoch_start(self) -> None:
        if self.losses:
            self.check_losses()

    def on_validation_epoch_end(self) -> None:
        loss = self.metrics["val_loss"].compute()
        if not loss.isfinite():
            raise InputError(
                f"the val loss is {loss.item()} after epoch {self.current_epoch + 1}, at learning rate "
                f"{self.learning_rate:.3g}; lower `learning_rate` (every epoch before is kept)"
            )
        self.log("val_accuracy", self.metrics["val_accuracy"].compute(), prog_bar=True)

    def on_train_epoch_end(self) -> None:
        epoch = {"epoch": self.current_epoch + 1, "learning_rate": self.learning_rate}
        for name, metric in self.metrics.items():
            epoch[name] = metric.compute().item()
            metric.reset()
        if self.settings.schedule == "plateau":
            self.lr_schedulers().step(epoch["val_accuracy"])  # type: ignore[union-attr, call-arg]
        self.seconds += time.perf_counter() - self.started
        self.history.append(epoch)
        if not sys.stderr.isatty() and self.trainer.is_global_zero:
            print(" | ".join(f"{key} {value:.4g}" for key, value in epoch.items()), flush=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["seconds"] = self.history, self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history, self.seconds = checkpoint["history"], checkpoint["seconds"]


def compute_votes_loss(logits: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy of logits (N, V) to shares of votes (N, V), without rows whose shares are all 0."""
    return F.cross_entropy(logits, shares, reduction="sum") / shares.sum().clamp_min(1)


def decay(epoch: int, settings: PyTorchTraining) -> float:
    """The factor on the learning rate in `epoch` (from 0): after `decay_start` it falls every `decay_every` epochs."""
    return settings.decay_rate ** max(0, (epoch - settings.decay_start) // settings.decay_every)


def anneal(step: int, steps: int, warm_up: float) -> float:
    """The factor on the learning rate at `step` (from 0) of `steps`: rises linearly, then falls to 0 along a cosine."""
    climb = max(1, round(warm_up * steps))
    if step < climb:
        return (step + 1) / climb
    return 0.5 * (1 + math.cos(math.pi * (step - climb) / max(1, steps - climb)))


class MovingAverage(WeightAveraging):
    """An exponential moving average of weights and BatchNorm statistics, which is validated, kept and resumed.

    It soon forgets the random start: after n steps its decay is n / (9 + n), until that reaches `decay` (0.998 after
    4,491 steps).
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device  # Lightning moves the module there after this call
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._average_model is not None
        states = self._average_model.module.state_dict(), pl_module.state_dict()
        pairs = [*zip(*(state.values() for state in states), strict=True)]
        self.weights: Any = [*zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)]
        self.counts: Any = [*zip(*(pair for pair in pairs if not pair[0].is_floating_point()), strict=True)]

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Update the average; Lightning's own code reads a count from the GPU at every step, and so waits for it."""
        seen = trainer.global_step - 1
        torch._foreach_lerp_(self.weights[0], self.weights[1], 1 - min(self.decay, seen / (9 + seen)))
        if self.counts:  # BatchNorm counts its batches
            torch._foreach_copy_(*self.counts)


class Patience(EarlyStopping):
    """Early stopping that also ends a resumed run whose patience had run out before it was stopped."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


def train(name: str, settings: PyTorchTraining, compute: Compute, seed: int, data: str | Path) -> Trained | None:
    """Train a network on faces.h5 from the start, or from where an earlier run was stopped.

    Returns None in all but the first of several processes.
    Raises InputError if data or starting weights do not fit, the loss is not finite, or the GPU's memory is too small.
    """
    splits, facts = read_faces(data, ("train", "val"))
    train_rows, val_rows = (TensorSplit.of(splits[split]) for split in ("train", "val"))
    precision = choose_precision(compute.precision)
    torch.manual_seed(seed)
    architecture = find_network(name)
    classes = len(facts.classes)
    network: nn.Module = architecture.build(Shape(settings.width, settings.dropout, classes, facts.channels))
    if learns_votes(name, settings.labels, train_rows.shares is not None):
        network = add_votes_head(network, len(facts.voted))
    if settings.normalisation == "imagenet":
        network = prepend(Normalise(*IMAGENET), network)
    elif settings.normalisation == "train":
        mean, deviation = measure_tones(splits["train"].images)
        network = prepend(Normalise((mean,) * 3, (deviation,) * 3), network)
    load_start(network, name, settings.weights, settings.width, facts)
    start = hashlib.sha256(pack_network(name, settings.width, network.state_dict(), facts)).hexdigest()
    checkpoints = find_checkpoints(name, [settings, compute, seed, start], data, ["torch", "lightning"])
    network = network.to(memory_format=torch.channels_last)
    if compute.compile:
        compile_network(network)
    module = TrainingModule(network, classes, find_crop(name, facts.size), settings, seed, train_rows, val_rows)
    keep = partial(MovableCheckpoint, checkpoints, save_on_train_epoch_end=True, enable_version_counter=False)
    best, last = keep("best", monitor="val_accuracy", mode="max"), keep("last")  # `save_last` skips epochs not the best
    trainer = make_trainer(settings, compute, precision, [best, last])
    try:
        trainer.fit(module, ckpt_path=find_last(checkpoints), weights_only=True)
    except SystemExit:  # Lightning raises it on Ctrl-C
        raise KeyboardInterrupt from None
    except torch.cuda.OutOfMemoryError:
        half = max(1, settings.batch_size // 2)
        raise InputError(f"{name}: the GPU's memory is too small; try batch_size {half} in params.yaml") from None
    if not trainer.is_global_zero:
        return None
    kept = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    state = {key.removeprefix("network."): tensor for key, tensor in kept.items() if key.startswith("network.")}
    stopped = f"after all {settings.epochs} epochs"
    if len(module.history) < settings.epochs:
        stopped = f"val accuracy rose by less than {settings.min_delta:g} in {settings.patience} epochs"
    device, hardware = find_device()
    origin = describe_origin(seed, device, hardware, ("torch", "lightning", "numpy"))
    return Trained(
        model=pack_network(name, settings.width, state, facts, origin),
        epochs=module.history,
        checkpoints=checkpoints,
        stopped=stopped,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        seconds=module.seconds,
        images=len(module.history) * len(module.train_dataloader()) * min(settings.batch_size, len(module.train_rows)),
        device=device,
        hardware=hardware,
        precision=precision,
    )


def compile_network(network: nn.Module) -> None:
    """Compile the network's training passes; on a GPU into CUDA graphs, as small batches would leave it idle."""
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise InputError("compute.compile: no C++ compiler found; install g++, or set it to false in params.yaml")
    network.compile(mode="reduce-overhead" if torch.cuda.is_available() else "default")


def make_trainer(
    settings: PyTorchTraining, compute: Compute, precision: Precision, callbacks: Sequence[L.Callback]
) -> L.Trainer:
    """Lightning's Trainer; InputError if `compute` does not fit Lightning or the batches."""
    wait: Any = {"patience": settings.patience, "min_delta": settings.min_delta}
    patience = Patience("val_accuracy", mode="max", check_on_train_epoch_end=True, **wait)
    if compute.num_nodes > 1 and not LAUNCHED & os.environ.keys():
        advice = "start this command on each machine under torchrun (docs/training.md)"
        raise InputError(f"compute.num_nodes is {compute.num_nodes}; {advice}")
    several = compute.num_nodes > 1 or compute.devices not in ("auto", 1) or torch.cuda.device_count() > 1
    terminal = sys.stderr.isatty()
    strategy = compute.strategy
    if several and settings.freeze_epochs and strategy in ("auto", "ddp"):
        strategy = "ddp_find_unused_parameters_true"  # the body gets no gradients while it is frozen
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # all memory is written before it is read
    averages = [MovingAverage(settings.ema)] if settings.ema else []
    try:
        trainer = L.Trainer(
            devices=compute.devices,
            num_nodes=compute.num_nodes,
            strategy=strategy,
            precision="bf16-mixed" if precision == "bfloat16" else "32-true",
            deterministic=compute.deterministic and torch.cuda.is_available(),  # the CPU always repeats its results
            max_epochs=settings.epochs,
            gradient_clip_val=settings.clip or None,
            gradient_clip_algorithm=settings.clip_by,
            callbacks=[*averages, patience, *callbacks, *([TQDMProgressBar()] if terminal else [])],
            enable_progress_bar=terminal,
            enable_checkpointing=any(isinstance(one, MovableCheckpoint) for one in callbacks),
            enable_model_summary=False,
            logger=False,
            plugins=[WholeCheckpoints(), *([GlobalBatchNorm()] if several else [])],
            use_distributed_sampler=False,  # `make_batches` shares out the rows
            num_sanity_val_steps=0,
        )
    except (ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"params.yaml: compute: Lightning refuses it ({reason}); try strategy auto") from None
    if settings.batch_size % trainer.world_size:
        shared = f"batch_size {settings.batch_size} cannot be shared equally by {trainer.world_size} processes"
        raise InputError(f"{shared}; set a multiple of {trainer.world_size}")
    return trainer
