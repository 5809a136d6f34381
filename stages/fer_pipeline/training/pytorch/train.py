"""How a PyTorch network is trained (section 4, Table 3): from data and settings to the weights of the best epoch."""

import hashlib
import os
import shutil
from pathlib import Path

import torch
from torch import nn

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.tones import measure_tones
from fer_pipeline.networks.network import Shape, find_crop, find_network
from fer_pipeline.networks.pytorch.crops import choose_device, choose_precision
from fer_pipeline.networks.pytorch.files import IMAGENET, Normalise, pack_network, prepend
from fer_pipeline.networks.pytorch.heads import add_votes_head
from fer_pipeline.params.schema import Compute, PyTorchTraining
from fer_pipeline.training.common.checkpoints import find_checkpoints
from fer_pipeline.training.common.run import (
    Trained,
    describe_origin,
    learns_votes,
    require_finite,
    say_too_large,
    warn_if_slow,
)
from fer_pipeline.training.pytorch.checkpoints import find_last, load, save
from fer_pipeline.training.pytorch.data import TensorSplit
from fer_pipeline.training.pytorch.learner import Learner
from fer_pipeline.training.pytorch.processes import join
from fer_pipeline.training.pytorch.rates import is_over
from fer_pipeline.training.pytorch.weights import load_start


def train(name: str, settings: PyTorchTraining, compute: Compute, seed: int, data: str | Path) -> Trained | None:
    """Train a network on faces.h5 from the start, or from where an earlier run was stopped.

    Returns None in all but the first of several processes.
    Raises InputError if data or starting weights do not fit, the loss is not finite, or the GPU's memory is too small.
    """
    splits, facts = read_faces(data, ("train", "val"))
    train_rows, val_rows = (TensorSplit.of(splits[split]) for split in ("train", "val"))
    torch.manual_seed(seed)
    classes, size = len(facts.classes), find_crop(name, facts.size)
    network: nn.Module = find_network(name).build(Shape(settings.width, settings.dropout, classes, facts.channels))
    layers = dict(network.named_children())
    ends = [*layers][-2:] == ["dropout", "head"] and isinstance(layers["head"], nn.Linear)
    if not (ends and type(network) is nn.Sequential):  # a subclass may have a forward of its own
        where = f"stages/fer_pipeline/networks/{name}.py"
        raise InputError(f"{where}: build() makes no plain nn.Sequential that ends in `dropout` and a linear `head`")
    if learns_votes(name, settings.labels, train_rows.shares is not None):
        network = add_votes_head(network, len(facts.voted))
    if settings.normalisation == "imagenet":
        network = prepend(Normalise(*IMAGENET), network)
    elif settings.normalisation == "train":
        mean, deviation = measure_tones(splits["train"].images)
        network = prepend(Normalise((mean,) * 3, (deviation,) * 3), network)
    load_start(network, name, settings.weights, settings.width, facts)
    start = hashlib.sha256(pack_network(name, settings.width, network.state_dict(), facts)).hexdigest()
    checkpoints = find_checkpoints(name, [settings, compute, seed, start], data, ["torch"])
    device, hardware = choose_device(network, size)
    precision = choose_precision(compute.precision, device)
    rank, world = join(1 if compute.devices == "auto" else compute.devices, settings.batch_size)
    repeat_results(compute.deterministic and device == "cuda")  # the CPU always does
    learner = Learner(network, classes, size, settings, precision, device, seed, train_rows, val_rows, rank, world)
    if compute.compile:
        compile_network(network)
    if state := find_last(checkpoints):
        learner.load_state_dict(state)
    try:
        while not is_over(settings, learner.history):
            learner.train_epoch()
            require_finite(name, learner.history[-1])
            if rank == 0:
                keep(learner, checkpoints)
                whole = max(settings.freeze_epochs, settings.small_epochs)  # the epochs before do less
                if device == "cpu":
                    warn_if_slow(learner.seconds[whole:], compute.threads)
    except torch.cuda.OutOfMemoryError:
        raise say_too_large(name, settings.batch_size) from None
    if rank:
        return None
    stopped = f"after all {settings.epochs} epochs"
    if len(learner.history) < settings.epochs:
        stopped = f"val accuracy rose by less than {settings.min_delta:g} in {settings.patience} epochs"
    batches = learner.batches
    origin = describe_origin(seed, device, hardware, ("torch", "numpy"))
    return Trained(
        model=pack_network(name, settings.width, load(checkpoints, "best"), facts, origin),
        epochs=learner.history,
        checkpoints=checkpoints,
        stopped=stopped,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        seconds=sum(learner.seconds),
        images=len(learner.history) * len(batches) * batches.batch_size,
        device=device,
        hardware=hardware,
        precision=precision,
    )


def keep(learner: Learner, checkpoints: Path) -> None:
    """Print the last epoch, and write the state after it; its weights too if it has the best val accuracy so far."""
    *before, last = learner.history
    print(" | ".join(f"{key} {value:.4g}" for key, value in last.items()), flush=True)
    if all(last["val_accuracy"] > epoch["val_accuracy"] for epoch in before):
        save(checkpoints, "best", learner.average.state_dict())
    save(checkpoints, "last", learner.state_dict())


def repeat_results(deterministic: bool) -> None:
    """Have CUDA repeat its results from run to run, or choose whatever is fastest."""
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # all memory is written before it is read
    torch.backends.cudnn.benchmark = not deterministic


def compile_network(network: nn.Module) -> None:
    """Compile the network's training passes."""
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise InputError("compute.compile: no C++ compiler found; install g++, or set it to false in params.yaml")
    network.compile()
