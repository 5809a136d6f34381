"""The arguments of every training, and what it reports, whatever its framework."""

import argparse
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from fer_pipeline.core.files import write_files
from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.running.paths import check_writable
from fer_pipeline.running.timing import record_times

HISTORY = ("epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
"""Columns of history.csv: epoch counts from 1, accuracies are in [0, 1]."""


def parse_arguments(description: str | None) -> argparse.Namespace:
    """The `name` of the network, and the paths `data`, `model`, `report`, `history` and `timing`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the network, a file of stages/fer_pipeline/networks/")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--model", required=True, help="the trained network to write")
    parser.add_argument("--report", required=True, help="JSON to write: best epoch, accuracy, loss, why it stopped")
    parser.add_argument("--history", required=True, help="CSV to write: one row per epoch")
    parser.add_argument("--timing", required=True, help="JSON to add to: how long it took")
    args = parser.parse_args()
    for path in (args.model, args.report, args.history, args.timing):
        check_writable(path)
    return args


def to_history(epochs: Sequence[dict[str, Any]]) -> bytes:
    """history.csv of `epochs`, dicts with the keys `HISTORY`; six decimals."""
    lines = [",".join(HISTORY)]
    for row in epochs:
        decimals = [f"{row[column]:.6f}" for column in HISTORY[2:]]
        lines.append(",".join([str(row["epoch"]), f"{row['learning_rate']:.6g}", *decimals]))
    return ("\n".join(lines) + "\n").encode()


class Run(NamedTuple):
    """A finished training, beside its history."""

    stopped: str
    """Why it ended, in words."""
    parameters: int
    """Trainable parameters of the network."""
    seconds: float
    """Wall time of all epochs, validation included, over all resumed parts."""
    images: int
    """Training images that went through the network in that time."""
    device: Literal["cpu", "cuda"]
    hardware: str
    """Name of the processor or of the GPU."""
    precision: Literal["float32", "bfloat16"]


class Training(Record):
    """metrics/train/<name>.json: the epoch that was kept, and how the training went."""

    best_epoch: Count
    """From 1; the first of those with the highest val accuracy."""
    train_loss: float
    """Of that epoch, as the next three: what is minimised, so with label smoothing and the second head's share."""
    train_accuracy: Share
    """Over its batches, with augmentation and dropout."""
    val_loss: float
    val_accuracy: Share
    epochs_run: Count
    stopped: str
    parameters: Count
    """Trainable ones."""
    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]


class TrainingTimes(Record):
    """metrics/timing.json: train_<name>."""

    seconds: float
    """Of all epochs, validation included."""
    images_per_second: float
    """Training images."""
    hardware: str
    """Name of the processor or of the GPU."""


def learns_votes(name: str, labels: str, there: bool) -> bool:
    """Whether a network's second head is to learn annotators' votes; says so where it cannot, without any `there`."""
    if labels == "emotion+votes" and not there:
        print(f"{name} learns the labels alone: the data have no votes", flush=True)
    return labels == "emotion+votes" and there


def summarise(epochs: Sequence[dict[str, Any]], run: Run) -> Training:
    """The record of a training whose history is `epochs` (as for `to_history`)."""
    best = max(epochs, key=lambda epoch: epoch["val_accuracy"])  # the first of equals, as the checkpoints keep
    return Training(
        best_epoch=best["epoch"],
        **{key: round(best[key], 6) for key in HISTORY[2:]},
        epochs_run=len(epochs),
        stopped=run.stopped,
        parameters=run.parameters,
        device=run.device,
        precision=run.precision,
    )


def save_training(args: argparse.Namespace, model: bytes, epochs: Sequence[dict[str, Any]], run: Run) -> None:
    """Write the outputs of a finished training: model, history and report, and the time it took.

    Args:
        args: from `parse_arguments`.
        model: the bytes of the model's file.
        epochs: as for `to_history`.
    """
    write_files({args.model: model, args.report: summarise(epochs, run).to_bytes(), args.history: to_history(epochs)})
    times = TrainingTimes(
        seconds=round(run.seconds, 1),
        images_per_second=round(run.images / run.seconds, 1),
        hardware=run.hardware,
    )
    record_times(args.timing, f"train_{args.name}", times)
