"""How a Keras network is trained (Table 3).

Train loss and accuracy are Keras' running values: over the augmented batches of the epoch, with dropout, while the
weights move. Val values are of the finished epoch on plain images, the learning rate is that of its last step.
A stopped training resumes after its last finished epoch and, on a CPU, ends with the same bytes as one that was never
stopped.
"""

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.keras.files import pack_network
from fer_pipeline.networks.keras.framework import keras, tf
from fer_pipeline.networks.network import find_network
from fer_pipeline.networks.precision import has_fast_bf16
from fer_pipeline.params.schema import Compute, KerasTraining
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.training.common.checkpoints import find_checkpoints
from fer_pipeline.training.common.run import Run, learns_votes, save_training
from fer_pipeline.training.keras.checkpoints import Snapshots, save_weights
from fer_pipeline.training.keras.data import build_augmentation, make_datasets


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, trained by TensorFlow's fused operation: the same numbers, up to rounding.

    Keras' own is several operations in float32, also under bfloat16; after convolutions they took a third of each step
    on a CPU. Only the training uses this class, the exported network has Keras' own.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if not training or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, tf.cast(self.gamma, "float32"), tf.cast(self.beta, "float32"), epsilon=self.epsilon
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        variance *= (count - 1) / count  # fused_batch_norm gives the unbiased variance, Keras averages the biased
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + current * (1 - self.momentum))
        return outputs


def make_learning_rate(settings: KerasTraining, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Adam's learning rate over `steps` steps: a number, or for one_cycle a schedule.

    one_cycle climbs linearly from 1/25 to the full rate over the first steps (`warm_up`), then falls to zero along a
    cosine. It is a function of the optimizer's step count, and so goes on where a restored optimizer stands.
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    warm_up = max(1, round(settings.warm_up * steps))
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 25,
        decay_steps=max(1, steps - warm_up),
        warmup_target=settings.learning_rate,
        warmup_steps=warm_up,
    )


def make_loss(label_smoothing: float, votes_weight: float) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss of each image: its label's cross-entropy and, by `votes_weight`, that of what annotators said.

    Images whose shares of votes are 0 have no part in the second.
    """

    def judge(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        (labels, shares), (emotion, votes) = split_heads(targets), split_heads(probabilities)
        loss = keras.losses.categorical_crossentropy(labels, emotion, label_smoothing=label_smoothing)
        if shares.shape[1]:
            told = keras.ops.maximum(keras.ops.mean(keras.ops.sum(shares, axis=1)), 1e-6)  # share of such images
            wrong = -keras.ops.sum(shares * keras.ops.log(keras.ops.maximum(votes, keras.config.epsilon())), axis=1)
            loss += votes_weight * wrong / told
        return loss

    return judge


def accuracy(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Whether the first head is right about each image."""
    return keras.metrics.categorical_accuracy(split_heads(targets)[0], split_heads(probabilities)[0])


class Reseed(keras.callbacks.Callback):
    """Seeds the random generators of dropout and augmentation with (`seed`, epoch) at the start of each epoch.

    Keras' saved weights leave their states out, so a resumed training would repeat the numbers of the first epoch.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        generator = np.random.default_rng([self.seed, epoch, 1])  # 1: not the stream that orders the rows
        for variable in self.model.variables:
            if variable.name == "seed_generator_state":
                variable.assign(generator.integers(2**31, size=2))


class Guard(keras.callbacks.Callback):
    """Stops a training whose loss is no longer finite, before anything of that epoch is kept."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epoch, self.step = epoch + 1, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.step = batch + 1
        self.check(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.check(logs["val_loss"])

    def check(self, loss: float) -> None:
        if not math.isfinite(loss):
            learning_rate = float(self.model.optimizer.learning_rate)
            raise InputError(
                f"the loss became {loss} in epoch {self.epoch}, step {self.step}, at learning rate "
                f"{learning_rate:.3g}; lower learning_rate of profiles.<profile>.{self.name}"
            )


class MovingAverage(keras.callbacks.SwapEMAWeights):
    """Has the optimizer's moving average of the weights in the network wherever it is validated and saved.

    It is of the weights that are trained; BatchNorm's statistics have their own (`norm_momentum`).
    A resumed training starts from weights that were saved so.
    """

    def __init__(self, resumed: bool) -> None:
        super().__init__(swap_on_epoch=True)
        self._ema_weights_in_model = resumed


def cross_entropy(targets: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """The first head's about each image, in nats, without label smoothing: the history's val loss, as in PyTorch."""
    return keras.losses.categorical_crossentropy(split_heads(targets)[0], split_heads(probabilities)[0])


def compile_network(network: keras.Model, settings: KerasTraining, steps: int) -> None:
    """Give the network its optimizer, over so many `steps`, loss and metrics."""
    network.compile(
        keras.optimizers.Adam(
            make_learning_rate(settings, steps),
            weight_decay=settings.weight_decay or None,
            use_ema=bool(settings.ema),
            ema_momentum=settings.ema,
        ),
        loss=make_loss(settings.label_smoothing, settings.votes_weight),
        metrics=[accuracy, cross_entropy],
        jit_compile=False,  # on a CPU, XLA's convolutions take three times as long as oneDNN's
    )


def choose_gpus(devices: int | Literal["auto"]) -> list[tf.config.PhysicalDevice]:
    """The GPUs to train on, at most `devices` and maybe none; the others are hidden from TensorFlow."""
    gpus = tf.config.list_physical_devices("GPU")[: None if devices == "auto" else devices]
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return gpus


def choose_precision(
    wanted: Literal["auto", "float32", "bfloat16"], gpus: Sequence[tf.config.PhysicalDevice]
) -> Literal["float32", "bfloat16"]:
    """`wanted`, where auto is bfloat16 if the hardware multiplies it."""
    if wanted != "auto":
        return wanted
    capabilities = [tf.config.experimental.get_device_details(gpu)["compute_capability"] for gpu in gpus]
    fast = min(capabilities) >= (8, 0) if gpus else has_fast_bf16()
    return "bfloat16" if fast else "float32"


def name_hardware(gpus: Sequence[tf.config.PhysicalDevice]) -> str:
    """The name of the hardware, such as '2 x NVIDIA H100' or the CPU's."""
    if not gpus:
        return name_cpu()
    name = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    return name if len(gpus) == 1 else f"{len(gpus)} x {name}"


def train(name: str, settings: KerasTraining, compute: Compute, seed: int, args: argparse.Namespace) -> None:
    """Train one network from the start or from where an earlier run was stopped, and write its outputs.

    Args:
        name: of a network in Keras.
        settings: its section of params.yaml.
        compute: precision, deterministic and devices have an effect here.
        args: the paths, from `fer_pipeline.training.common.run.parse_arguments`.

    Raises:
        InputError: data that do not fit, a loss that is not finite, or too little memory.
    """
    splits, _ = read_faces(args.data)
    folder = find_checkpoints(name, [seed, compute, settings], args.data, ["keras", "tensorflow"])
    network, epochs, run = fit(name, splits, settings, compute, seed, folder)
    save_training(args, pack_network(network), epochs, run)
    shutil.rmtree(folder, ignore_errors=True)


def fit(
    name: str, splits: Mapping[str, Split], settings: KerasTraining, compute: Compute, seed: int, folder: Path
) -> tuple[keras.Model, list[dict[str, Any]], Run]:
    """Train from what `folder` holds of an earlier run, if anything, and keep the weights of the best val accuracy.

    Args:
        splits: train and val.
        settings, compute, seed: as for `train`.

    Returns:
        The trained network, its history (dicts as for `to_history`) and a summary.

    Raises:
        InputError: the loss is not finite, or memory ran out.
    """
    build = find_network(name).build
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
        Guard(name),
        *([MovingAverage(resumed=bool(snapshots.epochs))] if settings.ema else []),
        keras.callbacks.ModelCheckpoint(
            best, "val_accuracy", mode="max", save_best_only=True, save_weights_only=True,
            initial_value_threshold=best_accuracy,
        ),
        keras.callbacks.BackupAndRestore(folder / "work" / "backup", delete_checkpoint=False),
        snapshots,
    ]  # fmt: skip
    train_rows = len(splits["train"].labels)
    steps = math.ceil(train_rows / settings.batch_size)
    votes = learns_votes(name, settings.labels, splits["train"].votes is not None)
    second = {"votes": True} if votes else {}
    epochs = range(len(snapshots.epochs), settings.epochs)
    train_set, val_set = make_datasets(splits, votes, settings.batch_size, seed, epochs)
    with strategy.scope():
        trained = build(settings, FusedBatchNormalization, build_augmentation(settings.augment), **second)
        compile_network(trained, settings, steps * settings.epochs)
    trained.save_weights = lambda filepath, overwrite: save_weights(trained, filepath)  # called by Keras' callbacks
    try:
        trained.fit(
            train_set, validation_data=val_set, steps_per_epoch=steps, epochs=settings.epochs,
            shuffle=False, callbacks=callbacks, verbose=1 if sys.stdout.isatty() else 2,
        )  # fmt: skip
    except tf.errors.ResourceExhaustedError:
        raise InputError(
            f"out of memory with batches of {settings.batch_size} images; set batch_size of "
            f"profiles.<profile>.{name} to {max(1, settings.batch_size // 2)}"
        ) from None
    trained.load_weights(best)
    network = build(settings, **second)
    network.set_weights(trained.get_weights())
    summary = Run(
        stopped=f"after all {settings.epochs} epochs",
        parameters=sum(math.prod(weights.shape) for weights in network.trainable_weights),
        seconds=snapshots.seconds,
        images=train_rows * settings.epochs,
        device="cuda" if gpus else "cpu",
        hardware=name_hardware(gpus),
        precision=precision,
    )
    return network, snapshots.epochs, summary
