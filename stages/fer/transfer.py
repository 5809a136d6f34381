"""How VGG19 and ResNet18 are trained (section 4, Table 3): Lightning's Trainer around a network, and what it writes."""

import hashlib
import logging
import math
import os
import shutil
import sys
import time
import warnings
from io import BytesIO

import lightning as L
import torch
import torch.nn.functional as F
from dvclive.lightning import DVCLiveLogger
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.plugins import TorchCheckpointIO, TorchSyncBatchNorm
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from fer.dataset import EVALUATION_CROPS, FER2013, as_input, choose_precision, crop_for_training, score
from fer.faces import CLASSES
from fer.networks import NETWORKS, load_start, pack_network
from fer.stage import InputError, replacing, write_files
from fer.training import (
    LAUNCHED,
    Run,
    find_checkpoints,
    name_cpu,
    to_history,
    to_report,
)

SMALL = 32
"""Height and width that crops are scaled down to in the first `small_epochs`, in pixels: half of 44x44's area."""


class Batches:
    """One pass over the rows of a split in batches, this process's share of each.

    Training batches are shuffled and cropped; both follow from seed and epoch alone, so that a resumed run and any
    number of processes see the same crops. Training rows beyond the last whole batch are left out of that epoch.
    """

    def __init__(self, data, batch_size, rank=0, world=1, training=None):
        """`batch_size` is that of all `world` processes together; `training` gives (seed, epoch), or is None."""
        self.data, self.rank, self.world, self.training = data, rank, world, training
        self.batch_size = min(batch_size, max(world, len(data) // world * world))

    def __len__(self):
        return len(self.data) // self.batch_size if self.training else math.ceil(len(self.data) / self.batch_size)

    def __iter__(self):
        count = len(self.data)
        order = torch.arange(count)
        if self.training:
            generator = torch.Generator().manual_seed(mix(*self.training()))
            order = torch.randperm(count, generator=generator)
        for batch in range(len(self)):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            images, labels = self.data[rows]
            if self.training:
                images = crop_for_training(images, generator)
            mine = slice(self.rank, None, self.world)
            yield images[mine], labels[mine]


def mix(*numbers):
    """One seed from several numbers, the same in every process."""
    return torch.tensor(hash(tuple(numbers))).abs().item()


class Transfer(L.LightningModule):
    """A network in training: loss, optimizer, schedule, frozen epochs, and the history that checkpoints carry."""

    def __init__(self, network, settings, seed, train, val):
        super().__init__()
        self.network, self.settings, self.seed = network, settings, seed
        self.train_rows, self.val_rows = train, val
        counts = torch.bincount(train.labels, minlength=len(CLASSES))
        balanced = (counts > 0) * len(train) / ((counts > 0).sum() * counts.clamp_min(1))
        weights = balanced if settings.class_weights == "balanced" else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.metrics = nn.ModuleDict(
            {
                f"{split}_{metric}": MeanMetric()
                if metric == "loss"
                else MulticlassAccuracy(len(CLASSES), average="micro")
                for split in ("training", "validation")
                for metric in ("loss", "accuracy")
            }
        )
        self.history = []
        self.seconds = 0.0

    def train_dataloader(self):
        batch_size = self.settings.batch_size
        return self.make_batches(self.train_rows, batch_size, training=lambda: (self.seed, self.current_epoch))

    def val_dataloader(self):
        images = EVALUATION_CROPS[self.device.type] // self.settings.val_crops
        return self.make_batches(self.val_rows, images * self.trainer.world_size)

    def make_batches(self, data, batch_size, training=None):
        return Batches(data.to(self.device), batch_size, self.global_rank, self.trainer.world_size, training)

    def configure_optimizers(self):
        settings = self.settings
        kind, options = {
            "sgd": (torch.optim.SGD, {"momentum": settings.momentum}),
            "adamw": (torch.optim.AdamW, {"betas": (settings.momentum, 0.999)}),
        }[settings.optimizer]
        optimizer = kind(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, **options
        )
        if settings.schedule == "one_cycle":
            steps = self.trainer.estimated_stepping_batches
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, settings.learning_rate, total_steps=steps, cycle_momentum=False
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: decay(epoch, settings))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self):
        self.started = time.perf_counter()
        torch.manual_seed(mix(self.seed, self.current_epoch, self.global_rank))  # dropout follows from the epoch
        self.frozen = self.current_epoch < self.settings.freeze_epochs
        if self.frozen:  # BatchNorm included: the body stays in evaluation mode
            self.network.eval()
            self.network.dropout.train()

    def training_step(self, batch):
        crops, labels = batch
        images = as_input(crops)
        if self.current_epoch < self.settings.small_epochs:
            images = F.interpolate(images, size=SMALL, mode="bilinear", antialias=True)
        logits = self.network(images).float()
        loss = F.cross_entropy(logits, labels, self.class_weights, label_smoothing=self.settings.label_smoothing)
        self.learning_rate = self.optimizers().param_groups[0]["lr"]
        if not loss.isfinite():
            raise InputError(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}, step {self.global_step + 1}, at "
                f"learning rate {self.learning_rate:.3g}; lower `learning_rate` (every finished epoch is kept)"
            )
        self.metrics["training_loss"].update(loss.detach(), len(labels))
        self.metrics["training_accuracy"].update(logits.detach(), labels)
        return loss

    def on_before_optimizer_step(self, optimizer):
        if self.frozen:
            for name, parameter in self.network.named_parameters():
                if not name.startswith("head."):
                    parameter.grad = None

    def validation_step(self, batch):
        images, labels = batch
        if not len(labels):  # of a last batch with fewer rows than processes
            return
        scores = score(self.network, images, self.settings.val_crops)
        self.metrics["validation_loss"].update(F.nll_loss(scores, labels), len(labels))
        self.metrics["validation_accuracy"].update(scores, labels)

    def on_validation_epoch_end(self):
        loss = self.metrics["validation_loss"].compute()
        if not loss.isfinite():
            raise InputError(
                f"the val loss is {loss.item()} after epoch {self.current_epoch + 1}, at learning rate "
                f"{self.learning_rate:.3g}; lower `learning_rate` (every epoch before is kept)"
            )
        self.log("val_loss", loss)
        self.log("val_accuracy", self.metrics["validation_accuracy"].compute(), prog_bar=True)

    def on_train_epoch_end(self):
        epoch = {"epoch": self.current_epoch + 1, "learning_rate": self.learning_rate}
        for split, name in (("training", "train"), ("validation", "val")):
            for metric in ("loss", "accuracy"):
                epoch[f"{name}_{metric}"] = self.metrics[f"{split}_{metric}"].compute().item()
        for metric in self.metrics.values():
            metric.reset()
        self.log("train_loss", epoch["train_loss"])
        self.log("train_accuracy", epoch["train_accuracy"])
        self.seconds += time.perf_counter() - self.started
        self.history.append(epoch)
        if not sys.stderr.isatty() and self.trainer.is_global_zero:
            print(" | ".join(f"{key} {value:.4g}" for key, value in epoch.items()), flush=True)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["history"], checkpoint["seconds"] = self.history, self.seconds

    def on_load_checkpoint(self, checkpoint):
        self.history, self.seconds = checkpoint["history"], checkpoint["seconds"]


def decay(epoch, settings):
    """The factor on the learning rate in `epoch` (from 0): 1 to `decay_start`, then less every `decay_every` epochs."""
    return settings.decay_rate ** max(0, (epoch - settings.decay_start) // settings.decay_every)


class Patience(EarlyStopping):
    """Early stopping that also ends a resumed run, where the run before it had already decided to stop."""

    def on_train_start(self, trainer, module):
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it.

    Lightning goes by way of the system's temporary folder: where that is another disk, kill -9 can leave half a copy,
    and a full disk is reported under a wrong name.
    """

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        content = BytesIO()
        torch.save(checkpoint, content)
        write_files({path: content.getbuffer()})


class GlobalBatchNorm(TorchSyncBatchNorm):
    """BatchNorm over the batch of all processes: torch's own on GPUs; on CPUs, where torch has none, a plain one."""

    def apply(self, model):
        if torch.cuda.is_available():
            return super().apply(model)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = GlobalBatchNorm2d
        return model


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes' images; all hold as many."""

    def forward(self, images):
        if not self.training:
            return super().forward(images)
        world = torch.distributed.get_world_size()
        mean = all_reduce(images.float().mean((0, 2, 3))) / world
        variance = all_reduce((images - mean[:, None, None]).float().square().mean((0, 2, 3))) / world
        with torch.no_grad():
            count = world * images.numel() / images.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return images * scale[:, None, None] + shift[:, None, None]


def train(name, settings, compute, seed, args):
    """Train one network from start or from where an earlier run was stopped, and write model, report and history.

    Args:
        name: 'vgg19' or 'resnet18'.
        settings, compute: sections of params.yaml.
        args: the paths `data`, `model`, `report`, `history`, from `fer.training.parse_arguments`.

    Raises:
        InputError: data or starting weights that do not fit, a loss that is not finite, too little GPU memory.
    """
    quieten()
    train_rows, val_rows = (FER2013(args.data, split) for split in ("train", "val"))
    precision = choose_precision(compute.precision)
    torch.manual_seed(seed)
    network = NETWORKS[name](settings.width, settings.dropout)
    load_start(network, name, settings.weights)
    start = hashlib.sha256(pack_network(name, settings.width, network.state_dict())).hexdigest()
    checkpoints = find_checkpoints(name, [settings, compute, seed, start], args.data, ["torch", "lightning"])
    network = network.to(memory_format=torch.channels_last)
    if compute.compile:
        if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
            raise InputError("compute.compile: no C++ compiler found; install g++, or set it to false in params.yaml")
        network.compile()
    module = Transfer(network, settings, seed, train_rows, val_rows)
    keeper = ModelCheckpoint(
        checkpoints, "best", monitor="val_accuracy", mode="max", save_last=True, save_on_train_epoch_end=True,
        enable_version_counter=False,
    )  # fmt: skip
    # It shows the run under way, from where it was resumed on: its own files would not survive a kill at any moment.
    logger = DVCLiveLogger(dir=str(checkpoints / "live"), dvcyaml=False, save_dvc_exp=False)
    trainer = make_trainer(settings, compute, precision, callbacks=[keeper], logger=logger)
    try:
        trainer.fit(module, ckpt_path=find_last(checkpoints), weights_only=True)
    except SystemExit:  # Lightning's way to end on Ctrl-C
        raise KeyboardInterrupt from None
    except torch.cuda.OutOfMemoryError:
        half = max(1, settings.batch_size // 2)
        raise InputError(f"{name}: the GPU's memory is too small; try batch_size {half} in params.yaml") from None
    if not trainer.is_global_zero:
        return
    best = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    state = {key.removeprefix("network."): tensor for key, tensor in best.items() if key.startswith("network.")}
    early = len(module.history) < settings.epochs
    run = Run(
        stopped=f"val accuracy rose by less than {settings.min_delta:g} in {settings.patience} epochs"
        if early
        else f"after all {settings.epochs} epochs",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        seconds=module.seconds,
        images=len(module.history) * len(module.train_dataloader()) * min(settings.batch_size, len(module.train_rows)),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else name_cpu(),
        precision=precision,
    )
    write_files(
        {
            args.model: pack_network(name, settings.width, state),
            args.report: to_report(module.history, run),
            args.history: to_history(module.history),
        }
    )
    shutil.rmtree(checkpoints, ignore_errors=True)


def make_trainer(settings, compute, precision, callbacks, logger):
    """Lightning's Trainer as Table 3 and params.yaml have it; `precision` is 'float32' or 'bfloat16'.

    Without a logger (False) it keeps no checkpoints either, and writes nothing at all.
    """
    patience = Patience(
        "val_accuracy", mode="max", patience=settings.patience, min_delta=settings.min_delta,
        check_on_train_epoch_end=True,
    )  # fmt: skip
    if compute.num_nodes > 1 and not LAUNCHED & os.environ.keys():
        raise InputError(
            f"compute.num_nodes is {compute.num_nodes}; start this command on each machine under torchrun (README.md)"
        )
    several = compute.num_nodes > 1 or compute.devices not in ("auto", 1) or torch.cuda.device_count() > 1
    terminal = sys.stderr.isatty()
    try:
        trainer = L.Trainer(
            devices=compute.devices,
            num_nodes=compute.num_nodes,
            strategy=compute.strategy,
            precision={"float32": "32-true", "bfloat16": "bf16-mixed"}[precision],
            deterministic=compute.deterministic and torch.cuda.is_available(),  # the CPU repeats itself as it is
            max_epochs=settings.epochs,
            gradient_clip_val=settings.clip,
            gradient_clip_algorithm="value",
            callbacks=[patience, *callbacks, *([TQDMProgressBar()] if terminal else [])],
            enable_progress_bar=terminal,
            enable_checkpointing=bool(logger),
            enable_model_summary=False,
            logger=logger,
            plugins=[WholeCheckpoints(), *([GlobalBatchNorm()] if several else [])],
            use_distributed_sampler=False,  # `Batches` shares out the rows
            num_sanity_val_steps=0,
        )
    except (ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"params.yaml: compute: Lightning refuses it ({reason}); try strategy auto") from None
    if settings.batch_size % trainer.world_size:
        raise InputError(
            f"batch_size {settings.batch_size} cannot be shared alike by {trainer.world_size} processes; set a multiple"
        )
    return trainer


def quieten():
    """Keep Lightning's advertisements and advice on workers (there are none) from the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def find_last(checkpoints):
    """The checkpoint to resume from, or None; one that cannot be read is said so and ignored."""
    path = checkpoints / "last.ckpt"
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)
        (folder,) = {callback["dirpath"] for callback in state["callbacks"].values() if "dirpath" in callback}
    except Exception as error:  # torch.load raises nearly everything on a damaged file
        print(f"{path}: damaged ({str(error).splitlines()[0][:100]}); training starts anew", file=sys.stderr)
        return None
    if folder != str(checkpoints):  # the checkout was moved, and Lightning notes whole paths
        state["callbacks"] = replace_text(state["callbacks"], folder, str(checkpoints))
        with replacing(path) as unfinished:
            torch.save(state, unfinished)
    print(f"resuming after epoch {state['epoch'] + 1}", file=sys.stderr)
    return path


def replace_text(content, old, new):
    """`content` with `old` replaced in every string of it, below nested dicts too, as key or value."""
    if isinstance(content, dict):
        return {replace_text(key, old, new): replace_text(value, old, new) for key, value in content.items()}
    return content.replace(old, new) if isinstance(content, str) else content
