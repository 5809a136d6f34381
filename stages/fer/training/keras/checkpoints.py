"""The state of a Keras training: one whole per epoch, so that a kill at any moment leaves the last one."""

import hashlib
import json
import shutil
import sys
import time
import zipfile

from fer.core.stage import replacing
from fer.training.keras.framework import keras


class Snapshots(keras.callbacks.Callback):
    """Keeps what the callbacks before it wrote to folder/work, the history and the time, as one whole per epoch.

    Keras' BackupAndRestore writes weights and epoch number to two files, ModelCheckpoint the best weights to a
    third; a kill between them would leave a mixture. So after each epoch all of folder/work is copied and takes its
    name, folder/epoch-<n>, in one step; older ones are removed after that.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.epochs, self.seconds = restore(folder)

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.params["steps"] - 1:
            self.learning_rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += time.monotonic() - self.began
        self.epochs.append(
            {
                "epoch": epoch + 1,
                "learning_rate": self.learning_rate,
                "train_loss": float(logs["loss"]),
                "train_accuracy": float(logs["accuracy"]),
                "val_loss": float(logs["val_loss"]),
                "val_accuracy": float(logs["val_accuracy"]),
            }
        )
        older = find_snapshots(self.folder)
        unfinished = self.folder / "unfinished"
        copy_files(self.folder / "work", unfinished)
        state = {"epochs": self.epochs, "seconds": self.seconds, "files": hash_files(unfinished)}
        (unfinished / "state.json").write_text(json.dumps(state), encoding="utf-8")
        unfinished.rename(self.folder / f"epoch-{epoch + 1:06}")
        for snapshot in older:
            shutil.rmtree(snapshot)


def find_snapshots(folder):
    """The whole snapshots in `folder`, oldest first."""
    return sorted(folder.glob("epoch-??????"))


def list_files(folder):
    """The relative paths of the files below `folder`, sorted, less state.json, which is ours."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "state.json")
    return [str(path.relative_to(folder)) for path in paths]


def hash_files(folder):
    """{relative path: sha256} of `list_files`."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in list_files(folder)}


def copy_files(source, target):
    """Make the folder `target` anew with `list_files(source)`; shutil.copytree's errors would not tell their reason."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for name in list_files(source):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def save_weights(network, path):
    """What `network.save_weights(path)` writes, by way of memory, where a .keras file takes its weights from as well.

    On a full disk, HDF5 writing to a file ends in a list of errors in closing it, and in a crash of the process.
    """
    with replacing(path) as unfinished:
        archive = unfinished.with_suffix(".keras")
        network.save(archive)
        with zipfile.ZipFile(archive) as file:
            unfinished.write_bytes(file.read("model.weights.h5"))
        archive.unlink()


def restore(folder):
    """Lay the latest snapshot out in folder/work, for Keras' callbacks to find there.

    Returns:
        The history so far (dicts as for `to_history`) and the seconds it took; ([], 0.0) to start anew: without a
        snapshot, or with one that is damaged, which is said on stderr.
    """
    work = folder / "work"
    snapshots = find_snapshots(folder)
    if snapshots:
        try:
            state = json.loads((snapshots[-1] / "state.json").read_text(encoding="utf-8"))
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
