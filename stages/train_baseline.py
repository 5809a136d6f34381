"""Train the baseline CNN of Table 2 in Keras, with the training of Table 3.

Reads   data/prepared/faces.h5 (its train and val rows).
Writes  models/baseline.keras, metrics/train/baseline.json, plots/baseline/history.csv.
Alone   python stages/train_baseline.py --data data/prepared/faces.h5 --model models/baseline.keras
        --report metrics/train/baseline.json --history plots/baseline/history.csv

models/baseline.keras takes grey pixels as they are, 0..255, float or uint8 of shape (N, 48, 48, 1), and gives class
probabilities, float32 (N, 7). The division by 255 is its first layer; the augmentation is not in it.

Train loss and accuracy are Keras' running values: over the augmented batches of the epoch, with dropout, while the
weights move. Val values are of the finished epoch on plain images, the learning rate is that of its last step.
A stopped training goes on from its last finished epoch and, on a CPU, ends with the very bytes of one that was never
stopped.
"""

import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from fer.faces import CLASSES, SIZE, read_faces
from fer.params import read_params
from fer.quiet import quiet_stderr
from fer.stage import InputError, replacing, run, write_files
from fer.training import (
    Run,
    alone,
    find_checkpoints,
    has_fast_bf16,
    name_cpu,
    parse_arguments,
    to_history,
    to_report,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import keras
    import tensorflow as tf
    from keras import layers

    tf.config.list_physical_devices()

BLOCKS = ((32, 64), (128, 128), (256, 256))
"""Filters of the convolutions before each max pooling (Table 2)."""
DENSE_UNITS = 256
FEWEST = 4
"""Filters or units that a narrow layer keeps at least."""
WARM_UP = 0.3
"""Share of all steps in which one_cycle climbs, from 1/25 of its peak."""
VAL_BATCH = 256
"""Val rows at once: without gradients, four times a training batch takes no more memory."""


class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' batch normalisation, trained by TensorFlow's fused operation: the same numbers, up to rounding.

    Keras' own spells it out in float32, also under bfloat16; after convolutions that took a third of each step on
    a CPU. Only the training uses this class, the exported network has Keras' own.
    """

    def call(self, inputs, training=None, mask=None):
        if not training or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, tf.cast(self.gamma, "float32"), tf.cast(self.beta, "float32"), epsilon=self.epsilon
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        variance *= (count - 1) / count  # the fused operation reports the unbiased variance, Keras averages the plain
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + current * (1 - self.momentum))
        return outputs


def build_network(baseline, normalization=layers.BatchNormalization, augmentation=()):
    """The network of Table 2: pixels 0..255 (N, 48, 48, 1) to probabilities float32 (N, 7).

    "Batch normalization throughout" is read as after every ReLU, "dropout (ranging from 0.3 to 0.5)" as 0.3 after
    each pooling and 0.5 after the dense layer. The paper does not name the padding: `same` keeps 48, 24, 12 and
    6 pixels, as its 2x2 poolings suggest; `valid` is there to try.

    Args:
        baseline: `fer.params.Baseline`.
        normalization: class of the layers after each ReLU.
        augmentation: layers that precede the network.
    """
    network = [layers.Input((SIZE, SIZE, 1), name="pixels"), *augmentation, layers.Rescaling(1 / 255, name="rescale")]
    for block, widths in enumerate(BLOCKS, 1):
        for position, filters in enumerate(widths, 1):
            name = f"conv{block}_{position}"
            filters = scale(filters, baseline.width)
            network += [
                layers.Conv2D(filters, 3, padding=baseline.padding, activation="relu", name=name),
                normalization(momentum=baseline.norm_momentum, name=f"{name}_norm"),
            ]
        network += [layers.MaxPooling2D(2, name=f"pool{block}"), layers.Dropout(baseline.dropout, name=f"drop{block}")]
    network += [
        layers.Flatten(name="flatten"),
        layers.Dense(scale(DENSE_UNITS, baseline.width), activation="relu", name="dense"),
        normalization(momentum=baseline.norm_momentum, name="dense_norm"),
        layers.Dropout(baseline.dropout_dense, name="dense_drop"),
        layers.Dense(len(CLASSES), activation="softmax", dtype="float32", name="classes"),
    ]
    return keras.Sequential(network, name="baseline")


def scale(count, width):
    """`count` filters or units at `width`."""
    return max(FEWEST, round(count * width))


def build_augmentation(shift):
    """Layers that change images in training only (section 2): float32 (N, 48, 48, 1), 0..255, to the same.

    Each image is shifted in height and in width by its own uniform share of up to ±`shift` of the size, bilinear,
    its border pixels repeated, and flipped left to right half of the time: what ImageDataGenerator did with
    height_shift_range, width_shift_range and horizontal_flip. They compute in float32, as bfloat16 has no room for
    256 grey levels and what lies between them.
    """
    move = layers.RandomTranslation(shift, shift, fill_mode="nearest", dtype="float32", name="shift")
    return [move, layers.RandomFlip("horizontal", dtype="float32", name="flip")]


def make_learning_rate(baseline, steps):
    """What Adam takes as learning rate over `steps` steps: a number, or for one_cycle a schedule.

    one_cycle climbs in a line from 1/25 to the full rate over the first 30 % of the steps, then falls to zero along
    a cosine. Being a function of the optimizer's step count, it goes on where a restored optimizer stands.
    """
    if baseline.schedule == "constant":
        return baseline.learning_rate
    warm_up = max(1, round(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        baseline.learning_rate / 25,
        decay_steps=max(1, steps - warm_up),
        warmup_target=baseline.learning_rate,
        warmup_steps=warm_up,
    )


def to_arrays(rows):
    """What Keras takes for a `fer.faces.Split`: images uint8 (N, 48, 48, 1), one-hot labels float32 (N, 7)."""
    return rows.images[..., np.newaxis], np.eye(len(CLASSES), dtype=np.float32)[rows.labels]


def draw_batches(images, labels, batch_size, seed, epochs):
    """Yield (images, labels) of every batch of `epochs` (a range); each epoch has an order of its own.

    The order follows from `seed` and the epoch alone. The last batch of an epoch has what is left over.
    """
    for epoch in epochs:
        order = np.random.default_rng([seed, epoch]).permutation(len(images))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield images[rows], labels[rows]


def make_datasets(splits, batch_size, seed, epochs):
    """tf.data sets of (images uint8 (n, 48, 48, 1), labels float32 (n, 7)): train over all `epochs`, and val once."""
    train, val = to_arrays(splits["train"]), to_arrays(splits["val"])
    signature = (
        tf.TensorSpec((None, SIZE, SIZE, 1), tf.uint8),
        tf.TensorSpec((None, len(CLASSES)), tf.float32),
    )
    batches = tf.data.Dataset.from_generator(
        lambda: draw_batches(*train, batch_size, seed, epochs), output_signature=signature
    )
    return batches.prefetch(tf.data.AUTOTUNE), tf.data.Dataset.from_tensor_slices(val).batch(VAL_BATCH)


class Reseed(keras.callbacks.Callback):
    """Starts the random streams of dropout and augmentation anew from (`seed`, epoch) at the start of each epoch.

    Keras' saved weights leave them out, so a resumed training would repeat those of the first epoch.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        generator = np.random.default_rng([self.seed, epoch, 1])  # 1: not the stream that orders the rows
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                variable.assign(generator.integers(2**31, size=2))


class Guard(keras.callbacks.Callback):
    """Stops a training whose loss is no longer finite, before anything of that epoch is kept."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.step = epoch + 1, 0

    def on_train_batch_end(self, batch, logs=None):
        self.step = batch + 1
        self.check(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.check(logs["val_loss"])

    def check(self, loss):
        if not math.isfinite(loss):
            raise InputError(
                f"the loss became {loss} in epoch {self.epoch}, step {self.step}, at learning rate "
                f"{float(self.model.optimizer.learning_rate):.3g}; lower learning_rate of profiles.<profile>.baseline"
            )


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


def choose_gpus(devices):
    """The GPUs to train on (TensorFlow's, maybe none), at most `devices` ('auto': all); the others are hidden."""
    gpus = tf.config.list_physical_devices("GPU")[: None if devices == "auto" else devices]
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


def choose_precision(wanted, gpus):
    """'float32' or 'bfloat16': `wanted`, where 'auto' is bfloat16 on hardware that multiplies it."""
    if wanted != "auto":
        return wanted
    capabilities = [tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus]
    fast = min(capabilities) >= (8, 0) if gpus else has_fast_bf16()
    return "bfloat16" if fast else "float32"


def name_device(gpus):
    """The hardware's name, as '2 x NVIDIA H100' or the CPU's."""
    if not gpus:
        return name_cpu()
    name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    return name if len(gpus) == 1 else f"{len(gpus)} x {name}"


def train(splits, seed, compute, baseline, folder):
    """Train with what `folder` holds of an earlier attempt, and keep the weights of the best val accuracy.

    Of `compute`, Keras follows precision, deterministic and devices; the rest is for the PyTorch stages.

    Returns:
        The network to export (keras.Sequential), its history (dicts as for `to_history`) and a `Run`.

    Raises:
        InputError: the loss is not finite, or memory ran out.
    """
    gpus = choose_gpus(compute.devices)
    precision = choose_precision(compute.precision, gpus)
    strategy = tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()
    if compute.deterministic or not gpus:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")

    snapshots = Snapshots(folder)
    best = folder / "work" / "best.weights.h5"
    best_accuracy = max((epoch["val_accuracy"] for epoch in snapshots.epochs), default=None)
    callbacks = [
        Reseed(seed),
        Guard(),
        keras.callbacks.ModelCheckpoint(
            best, "val_accuracy", mode="max", save_best_only=True, save_weights_only=True,
            initial_value_threshold=best_accuracy,
        ),
        keras.callbacks.BackupAndRestore(folder / "work" / "backup", delete_checkpoint=False),
        snapshots,
    ]  # fmt: skip
    train_rows = len(splits["train"].labels)
    steps = math.ceil(train_rows / baseline.batch_size)
    epochs = range(len(snapshots.epochs), baseline.epochs)
    train_set, val_set = make_datasets(splits, baseline.batch_size, seed, epochs)
    with strategy.scope():
        trained = build_network(baseline, FusedBatchNormalization, build_augmentation(baseline.shift))
        trained.compile(
            keras.optimizers.Adam(make_learning_rate(baseline, steps * baseline.epochs)),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,  # on a CPU, XLA's convolutions take three times as long as oneDNN's
        )
    trained.save_weights = lambda filepath, overwrite: save_weights(trained, filepath)  # called by Keras' callbacks
    try:
        trained.fit(
            train_set, validation_data=val_set, steps_per_epoch=steps, epochs=baseline.epochs,
            shuffle=False, callbacks=callbacks, verbose=1 if sys.stdout.isatty() else 2,
        )  # fmt: skip
    except tf.errors.ResourceExhaustedError:
        raise InputError(
            f"out of memory with batches of {baseline.batch_size} images; set batch_size of "
            f"profiles.<profile>.baseline to {max(1, baseline.batch_size // 2)}"
        ) from None
    trained.load_weights(best)
    network = build_network(baseline)
    network.set_weights(trained.get_weights())
    summary = Run(
        stopped=f"after all {baseline.epochs} epochs",
        parameters=sum(math.prod(weights.shape) for weights in network.trainable_weights),
        seconds=snapshots.seconds,
        images=train_rows * baseline.epochs,
        device=name_device(gpus),
        precision=precision,
    )
    return network, snapshots.epochs, summary


def pack_network(network):
    """The bytes of a .keras file; the same weights give the same ones, for DVC goes by them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return normalize(path.read_bytes())


def normalize(archive):
    """The bytes of a .keras file without what changes from run to run: times, and memory addresses as object ids.

    Times become 1980, the zip format's zero; ids are numbered in their order.
    """
    with zipfile.ZipFile(BytesIO(archive)) as file:
        members = {name: file.read(name) for name in sorted(file.namelist())}
    metadata = json.loads(members["metadata.json"])
    members["metadata.json"] = json.dumps({**metadata, "date_saved": "1980-01-01@00:00:00"}).encode()
    numbers = {}
    members["config.json"] = re.sub(
        rb'(?<="shared_object_id": )\d+',
        lambda address: b"%d" % numbers.setdefault(address[0], len(numbers)),
        members["config.json"],
    )
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, member in members.items():
            file.writestr(zipfile.ZipInfo(name), member)
    return content.getvalue()


def main():
    args = parse_arguments(__doc__)
    seed, compute, baseline = read_params("seed", "compute", "profiles.${profile}.baseline")
    splits, _ = read_faces(args.data)
    with alone("baseline"):
        folder = find_checkpoints("baseline", [seed, compute, baseline], args.data, ["keras", "tensorflow"])
        network, epochs, summary = train(splits, seed, compute, baseline, folder)
        write_files(
            {
                args.model: pack_network(network),
                args.report: to_report(epochs, summary),
                args.history: to_history(epochs),
            }
        )
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    run(main)
