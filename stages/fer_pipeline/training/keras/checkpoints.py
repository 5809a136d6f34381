"""The state of a Keras training: one file, replaced after each epoch, so that a kill never leaves half of one."""

import json
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.files import write_files
from fer_pipeline.networks.keras.framework import keras
from fer_pipeline.training.common.checkpoints import resume
from fer_pipeline.training.common.run import require_finite, warn_if_slow

Arrays = list[npt.NDArray[Any]]


class Snapshots(keras.callbacks.Callback):
    """Keeps the history of the network `name`, the seconds that the epochs took, and the weights of the best epoch.

    After each epoch it writes them to the file `path`, with the weights and the optimizer's variables, from which a
    training starts if the file exists.
    """

    def __init__(self, name: str, path: Path, threads: int | Literal["auto"]) -> None:
        super().__init__()
        self.name, self.path, self.threads = name, path, threads
        self.state: dict[str, Arrays] = {"weights": [], "optimizer": [], "best": []}
        self.epochs: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        if found := resume(path, read_snapshot):
            self.state, self.epochs, self.seconds = found

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        if self.epochs:
            optimizer = self.model.optimizer
            optimizer.build(self.model.trainable_variables)
            self.model.set_weights(self.state["weights"])
            optimizer.load_own_variables({str(i): array for i, array in enumerate(self.state["optimizer"])})

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.began = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if batch == self.params["steps"] - 1:
            self.learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.seconds.append(time.monotonic() - self.began)
        warn_if_slow(self.seconds, self.threads)
        names = {"train_loss": "loss", "train_accuracy": "accuracy"}
        names |= {"val_loss": "val_cross_entropy", "val_accuracy": "val_accuracy"}
        numbers = {key: float(logs[name]) for key, name in names.items()}
        row = {"epoch": epoch + 1, "learning_rate": self.learning_rate, **numbers}
        require_finite(self.name, row)
        self.epochs.append(row)
        optimizer: dict[str, npt.NDArray[Any]] = {}
        self.model.optimizer.save_own_variables(optimizer)
        self.state |= {"weights": self.model.get_weights(), "optimizer": [*optimizer.values()]}
        if all(earlier["val_accuracy"] < numbers["val_accuracy"] for earlier in self.epochs[:-1]):
            self.state["best"] = self.state["weights"]
        arrays: Any = {f"{part}/{i}": array for part, some in self.state.items() for i, array in enumerate(some)}
        content = BytesIO()
        np.savez(content, progress=np.array(json.dumps([self.epochs, self.seconds])), **arrays)
        write_files({self.path: content.getbuffer()})


def read_snapshot(path: Path) -> tuple[tuple[dict[str, Arrays], list[dict[str, Any]], list[float]], int]:
    """What `Snapshots` wrote: (state, history, seconds), and the number of epochs."""
    with np.load(path) as file:
        arrays = dict(file)
    epochs, seconds = json.loads(str(arrays.pop("progress")))
    state: dict[str, Arrays] = {}
    for name, array in arrays.items():
        state.setdefault(name.split("/")[0], []).append(array)
    return (state, epochs, seconds), len(epochs)
