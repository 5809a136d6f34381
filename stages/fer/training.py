"""What the three trainings share, whatever their framework: resuming, and what they report.

A training keeps its state in `.checkpoints/<name>-<hash>/`, outside DVC, which deletes the outputs of a stage before
it runs. The hash covers params, data, code and library versions, so that a changed run never resumes an old one.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from fer.stage import InputError, to_json, try_place

STAGES = Path(__file__).parents[1]
CHECKPOINTS = STAGES.parent / ".checkpoints"
HISTORY = ("epoch", "learning_rate", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
"""Columns of history.csv: epoch counts from 1, accuracies are in [0, 1]."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Environment variables by which launchers number the processes of one training, from 0."""
LAUNCHED = {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "MASTER_ADDR"}
"""Environment variables of which torchrun, SLURM or a cluster sets one."""


def parse_arguments(description):
    """The paths that every training is given: `data`, `model`, `report`, `history`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--model", required=True, help="the trained network to write")
    parser.add_argument("--report", required=True, help="JSON to write: best epoch, accuracy, loss, time")
    parser.add_argument("--history", required=True, help="CSV to write: one row per epoch")
    args = parser.parse_args()
    for path in (args.model, args.report, args.history):
        try_place(path)
    return args


@contextlib.contextmanager
def alone(name):
    """Hold the training `name` against a second one of this folder, which would share and remove its state.

    Of several processes under torchrun or SLURM the first one does so for all.

    Raises:
        InputError: another process trains it now.
    """
    if any(int(os.environ.get(rank, 0)) for rank in RANKS):
        yield
        return
    CHECKPOINTS.mkdir(exist_ok=True)
    with open(CHECKPOINTS / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it goes with the process, also after kill -9
        except BlockingIOError:
            raise InputError(f"{name}: another process trains it; wait for its end or stop it and run again") from None
        yield


def find_checkpoints(name, params, data, libraries):
    """The folder for the state of the training `name`, made where it is missing.

    Args:
        params: a list of what the training was given (numbers, strings, sections of params.yaml).
        data: the prepared file; its bytes count, not its name.
        libraries: names of installed packages whose version decides the result.
    """
    digest = hashlib.sha256()
    with open(data, "rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    plain = [param.model_dump() if hasattr(param, "model_dump") else param for param in params]
    digest.update(json.dumps([plain, [version(library) for library in libraries]], sort_keys=True).encode())
    for path in list_code():
        digest.update(path.read_bytes())
    folder = CHECKPOINTS / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def list_code():
    """The files below stages/ that this process has loaded, sorted; the running script is among them."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(Path(file) for file in files if file and Path(file).is_relative_to(STAGES))


def to_history(epochs):
    """history.csv (bytes) of `epochs`, dicts with the keys `HISTORY`; six decimals."""
    lines = [",".join(HISTORY)]
    for row in epochs:
        decimals = [f"{row[column]:.6f}" for column in HISTORY[2:]]
        lines.append(",".join([str(row["epoch"]), f"{row['learning_rate']:.6g}", *decimals]))
    return ("\n".join(lines) + "\n").encode()


class Run(NamedTuple):
    """What a finished training tells about itself, beside its history."""

    stopped: str
    """Why it ended, in words."""
    parameters: int
    """Trainable parameters of the network."""
    seconds: float
    """Wall time of all epochs, validation included, over all resumed parts."""
    images: int
    """Training images that went through the network in that time."""
    device: str
    precision: str


def to_report(epochs, run):
    """metrics/train/<name>.json (bytes) from the history (as `to_history`) and a `Run`."""
    best = max(epochs, key=lambda epoch: epoch["val_accuracy"])  # the first of equals, as checkpoints keep it
    return to_json(
        {
            "best_epoch": best["epoch"],
            **{key: round(best[key], 6) for key in HISTORY[2:]},
            "epochs_run": len(epochs),
            "stopped": run.stopped,
            "parameters": run.parameters,
            "seconds": round(run.seconds, 1),
            "images_per_second": round(run.images / run.seconds, 1),
            "device": run.device,
            "precision": run.precision,
        }
    )


def name_cpu():
    """The CPU's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def has_fast_bf16():
    """Whether this CPU multiplies bfloat16 in hardware (avx512_bf16 or amx_bf16, as Linux tells it)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
