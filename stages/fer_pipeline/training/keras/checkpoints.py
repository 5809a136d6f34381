"""The state of a Keras training: one snapshot per epoch, so that a kill at any moment leaves a complete snapshot."""

import hashlib
import json
import shutil
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from fer_pipeline.core.files import replacing
from fer_pipeline.networks.keras.framework import keras


class Snapshots(keras.callbacks.Callback):
    """Takes a snapshot after each epoch: the files in folder/work, the history, and the time the training took.

    The callbacks that run before this one write to folder/work: Keras' BackupAndRestore writes weights and epoch number
    to two files, ModelCheckpoint the best weights to a third; a kill between them would leave a mixture. So after each
    epoch all of folder/work is copied, the copy is renamed to folder/epoch-<n> in one step, and older snapshots are
    removed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.epochs, self.seconds = restore(folder)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.began = time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if batch == self.params["steps"] - 1:
            self.learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.seconds += time.monotonic() - self.began
        self.epochs.append(
            {
                "epoch": epoch + 1,
                "learning_rate": self.learning_rate,
                "train_loss": float(logs["loss"]),
                "train_accuracy": float(logs["accuracy"]),
                "val_loss": float(logs["val_cross_entropy"]),
                "val_accuracy": float(logs["val_accuracy"]),
            }
        )
        older = find_snapshots(self.folder)
        unfinished = self.folder / "unfinished"
        copy_files(self.folder / "work", unfinished)
        state = json.dumps({"epochs": self.epochs, "seconds": self.seconds, "files": hash_files(unfinished)})
        digest = hashlib.sha256(state.encode()).hexdigest()
        (unfinished / "state.json").write_text(f"{digest}\n{state}", encoding="utf-8")
        unfinished.rename(self.folder / f"epoch-{epoch + 1:06}")
        for snapshot in older:
            shutil.rmtree(snapshot)


def find_snapshots(folder: Path) -> list[Path]:
    """The complete snapshots in `folder`, oldest first."""
    return sorted(folder.glob("epoch-??????"))


def list_files(folder: Path) -> list[str]:
    """The relative paths of the files below `folder`, sorted, without the state.json of a snapshot."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "state.json")
    return [str(path.relative_to(folder)) for path in paths]


def hash_files(folder: Path) -> dict[str, str]:
    """{relative path: sha256} of the files that `list_files` gives."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in list_files(folder)}


def copy_files(source: Path, target: Path) -> None:
    """Replace the folder `target` by `list_files(source)`; shutil.copytree would hide the reason of an error."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in list_files(source):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def save_weights(network: keras.Model, path: str | Path) -> None:
    """Write the same file as `network.save_weights(path)`, taken from a .keras file: Keras packs its weights in memory.

    If HDF5 itself writes to a file on a full disk, closing it prints a list of errors and crashes the process.
    """
    with replacing(path) as unfinished:
        archive = unfinished.with_suffix(".keras")
        network.save(archive)
        with zipfile.ZipFile(archive) as file:
            unfinished.write_bytes(file.read("model.weights.h5"))
        archive.unlink()


def restore(folder: Path) -> tuple[list[dict[str, Any]], float]:
    """Copy the latest snapshot to folder/work, where Keras' callbacks look for it.

    Returns:
        The history so far (dicts as for `to_history`) and the seconds it took. ([], 0.0) means a training from the
        start: there is no snapshot, or the latest one is damaged, which is reported on stderr.
    """
    work = folder / "work"
    snapshots = find_snapshots(folder)
    if snapshots:
        try:
            digest, _, content = (snapshots[-1] / "state.json").read_bytes().partition(b"\n")
            if hashlib.sha256(content).hexdigest().encode() != digest:
                raise ValueError("state.json differs from what was written")
            state = json.loads(content)
            if hash_files(snapshots[-1]) != state["files"]:
                raise ValueError("contents differ from what was written")
            epochs, seconds = state["epochs"], state["seconds"]
        except (OSError, ValueError, KeyError) as error:
            print(f"{snapshots[-1]}: damaged ({error}); training starts from the beginning", file=sys.stderr)
            for path in snapshots:
                shutil.rmtree(path, ignore_errors=True)
        else:
            copy_files(snapshots[-1], work)
            print(f"resuming after epoch {len(epochs)}", file=sys.stderr)
            return epochs, seconds
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    return [], 0.0
