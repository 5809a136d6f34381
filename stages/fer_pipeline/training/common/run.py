"""What a training of either framework returns, and the files that are written from it."""

import hashlib
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.core.record import Count, Device, Precision, Record, Share
from fer_pipeline.running.origin import list_versions
from fer_pipeline.running.timing import record_times

HISTORY = ("epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
"""Columns of history.csv: epoch counts from 1, accuracies are in [0, 1]."""


class Trained(NamedTuple):
    """A finished training; `Training` and `TrainingTimes` explain the fields without a comment."""

    model: bytes  # the file of the network, with the weights of the best epoch
    epochs: list[dict[str, Any]]  # the history: a dict with the keys `HISTORY` for each epoch
    checkpoints: Path  # the folder of its state, which is not needed once the outputs are written
    images: int  # training images that went through the network in all epochs
    seconds: float
    hardware: str
    stopped: str
    parameters: int
    device: Device
    precision: Precision
    backend: Literal["torch"] | None = None


class Training(Record):
    """metrics/train/<name>.json: the epoch that was kept, and how the training went."""

    best_epoch: Count  # from 1; the first epoch with the highest val accuracy
    train_loss: float  # of the best epoch: what is minimised, label smoothing and the second head's share included
    train_accuracy: Share  # of the best epoch, over its batches, with augmentation and dropout
    val_loss: float  # of the best epoch: cross-entropy of the first head, in nats
    val_accuracy: Share  # of the best epoch, by the first head
    epochs_run: Count
    stopped: str  # why the training ended, in words
    parameters: Count  # trainable parameters of the network
    device: Device
    precision: Precision
    backend: Literal["torch"] | None = Field(None, exclude_if=lambda one: one is None)  # of Keras, if not TensorFlow


class TrainingTimes(Record):
    """metrics/timing.json: train_<name>."""

    seconds: float  # wall time of all epochs, validation included, over all resumed parts
    images_per_second: float  # training images per second of that time
    hardware: str  # name of the processor or of the GPU
    md5: str | None = None  # of the model's file; older entries lack it and what follows
    start: str | None = None  # in UTC; this and what follows, of the last part if it was resumed
    commit: str | None = None  # None without Git
    clean: bool | None = None  # whether it ran just the code of this commit


def describe_origin(seed: int, device: str, hardware: str, libraries: Sequence[str]) -> dict[str, Any]:
    """What made a network, for its file: no more than is the same for equal trainings, whose files are the same."""
    return {"hardware": hardware, "device": device, "seed": seed, "versions": list_versions(libraries)}


def learns_votes(name: str, labels: str, has_votes: bool) -> bool:
    """Whether the network `name` gets a second head, by its setting `labels`; warns if it needs votes and has none."""
    if labels == "emotion+votes" and not has_votes:
        print(f"{name} learns the labels alone: the data have no votes", flush=True)
    return labels == "emotion+votes" and has_votes


def warn_if_slow(seconds: Sequence[float], threads: int | Literal["auto"]) -> None:
    """Say so on stderr if the last of epochs that do the same took more than twice as long as the fastest before it."""
    if threads != 1 and len(seconds) > 1 and (times := seconds[-1] / min(seconds[:-1])) > 2:
        advice = "something else uses this machine; compute.threads: 1 may be faster"
        print(f"this epoch took {times:.1f} times as long as the fastest: {advice}", file=sys.stderr, flush=True)


def require_finite(name: str, epoch: Mapping[str, Any]) -> None:
    """Raise an InputError if a loss of `epoch`, with the keys `HISTORY`, is not finite."""
    if not math.isfinite(epoch["train_loss"] + epoch["val_loss"]):
        remedy = f"lower learning_rate of {name} in its profile (profiles/)"
        raise InputError(f"the loss is not finite in epoch {epoch['epoch']}; {remedy}")


def say_too_large(name: str, batch_size: int) -> InputError:
    """The error of a training whose batches do not fit into memory."""
    return InputError(
        f"out of memory with batches of {batch_size} images; set batch_size of {name} in its profile (profiles/) to "
        f"{max(1, batch_size // 2)}"
    )


def to_history(epochs: Sequence[dict[str, Any]]) -> bytes:
    """history.csv of `epochs`, dicts with the keys `HISTORY`; six decimals."""
    formats = dict.fromkeys(HISTORY, ".6f") | {"epoch": "d", "learning_rate": ".6g"}
    lines = [",".join(format(row[column], form) for column, form in formats.items()) for row in epochs]
    return "\n".join([",".join(HISTORY), *lines, ""]).encode()


def save_training(
    name: str, trained: Trained, start: Mapping[str, Any], model: str, report: str, history: str, timing: str
) -> None:
    """Write the outputs of the training of `name` and its times, with `describe_start`; then remove its checkpoints."""
    best = max(trained.epochs, key=lambda epoch: epoch["val_accuracy"])  # the first if tied, as the checkpoints keep
    training = Training(
        best_epoch=best["epoch"],
        **{key: round(best[key], 6) for key in HISTORY[2:]},
        epochs_run=len(trained.epochs),
        stopped=trained.stopped,
        parameters=trained.parameters,
        device=trained.device,
        precision=trained.precision,
        backend=trained.backend,
    )
    write_files({model: trained.model, report: training.to_bytes(), history: to_history(trained.epochs)})
    times = TrainingTimes(
        seconds=round(trained.seconds, 1),
        images_per_second=round(trained.images / trained.seconds, 1),
        hardware=trained.hardware,
        md5=hashlib.md5(trained.model).hexdigest(),
        **start,
    )
    record_times(timing, f"train_{name}", times)
    shutil.rmtree(trained.checkpoints, ignore_errors=True)
