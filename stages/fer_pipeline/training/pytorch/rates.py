"""The learning rate of each step, and when a training stops (Table 3): functions of what has happened so far."""

import math
from collections.abc import Sequence

from fer_pipeline.params.schema import PyTorchTraining

START, END = 1 / 25, 1 / 250_000  # of the highest rate: where one cycle begins and ends
History = Sequence[dict[str, float]]


def find_rates(settings: PyTorchTraining, history: History, steps: int) -> list[float]:
    """The learning rate of each of the `steps` of the epoch that follows `history`."""
    epoch = len(history)
    if settings.schedule in ("step", "plateau"):
        return [settings.learning_rate * decay(settings, history)] * steps
    shape = anneal if settings.schedule == "cosine" else cycle
    seen = range(epoch * steps, (epoch + 1) * steps)
    return [settings.learning_rate * shape(step, settings.epochs * steps, settings.warm_up) for step in seen]


def decay(settings: PyTorchTraining, history: History) -> float:
    """The factor on the learning rate after `history`.

    `step`: after `decay_start` epochs it falls every `decay_every`. `plateau`: after every `decay_every` epochs in a
    row without a better val accuracy.
    """
    if settings.schedule == "step":
        times = max(0, (len(history) - settings.decay_start) // settings.decay_every)
    else:
        waits = count_waiting(history, settings.min_delta)
        times = sum(wait > 0 and wait % settings.decay_every == 0 for wait in waits)
    return settings.decay_rate**times


def anneal(step: int, steps: int, warm_up: float) -> float:
    """The factor on the learning rate at `step` (from 0) of `steps`: rises linearly, then falls to 0 along a cosine."""
    climb = max(1, round(warm_up * steps))
    if step < climb:
        return (step + 1) / climb
    return fall(1, 0, (step - climb) / max(1, steps - climb))


def cycle(step: int, steps: int, warm_up: float) -> float:
    """The same for one cycle, as in `torch.optim.lr_scheduler.OneCycleLR`: rises and falls along half cosines."""
    top = warm_up * steps - 1
    if step <= top:
        return fall(START, 1, step / top if top else 1)
    return fall(1, END, (step - top) / (steps - 1 - top))


def fall(start: float, end: float, way: float) -> float:
    """The half cosine from `start` to `end` at a share `way` of its length; it rises if the end is higher."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))


def count_waiting(history: History, min_delta: float) -> list[int]:
    """For each epoch, how many have passed since val accuracy last rose by more than `min_delta`."""
    best, waits = -math.inf, [0]
    for epoch in history:
        better = epoch["val_accuracy"] > best + min_delta
        best = epoch["val_accuracy"] if better else best
        waits.append(0 if better else waits[-1] + 1)
    return waits[1:]


def is_over(settings: PyTorchTraining, history: History) -> bool:
    """Whether a training ends after `history`: all epochs have run, or `patience` without a better val accuracy."""
    waits = count_waiting(history, settings.min_delta)
    return len(history) >= settings.epochs or (bool(waits) and waits[-1] >= settings.patience)
