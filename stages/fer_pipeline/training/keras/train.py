"""How a Keras network is trained (Table 3).

Train loss and accuracy are Keras' running values: averages over the augmented batches of the epoch, with dropout, while
the weights move. Val loss and accuracy are measured on plain images after the epoch; the learning rate is that of the
epoch's last step. A stopped training resumes after its last finished epoch and, on a CPU, ends with the same bytes as
one that was never stopped.
"""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from fer_pipeline.core.record import Precision
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.votes import split_heads
from fer_pipeline.networks.keras.files import pack_network
from fer_pipeline.networks.keras.framework import keras
from fer_pipeline.networks.network import find_network
from fer_pipeline.networks.precision import Wanted
from fer_pipeline.params.schema import Compute, KerasTraining
from fer_pipeline.training.common.checkpoints import find_checkpoints
from fer_pipeline.training.common.run import Trained, describe_origin, learns_votes, say_too_large
from fer_pipeline.training.keras.checkpoints import Snapshots
from fer_pipeline.training.keras.data import VAL_BATCH, Batches, Tensor, backend, build_augmentation, to_arrays


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, trained by the backend's fused operation: the same numbers, up to rounding.

    Keras' own layer is several operations in float32, also under bfloat16; after convolutions they took a third of each
    step on a CPU. Only the training uses this class; the saved network has Keras' own layer.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        if not training or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        scale, offset = (keras.ops.cast(weights, "float32") for weights in (self.gamma, self.beta))
        outputs, mean, variance = backend.normalise(inputs, scale, offset, self.epsilon)
        for moving, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + current * (1 - self.momentum))
        return outputs


def make_learning_rate(settings: KerasTraining, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Adam's learning rate over `steps` steps: a number if the schedule is constant, else a schedule.

    one_cycle climbs linearly from 1/25 of the rate to the rate over the first steps (a share of `warm_up`), then falls
    to zero along a cosine. It depends on the optimizer's step count alone, so a restored optimizer continues it.
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


def make_loss(classes: int, label_smoothing: float, votes_weight: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of each image, float32 (N,): the cross-entropy of its label plus `votes_weight` times that of its votes.

    Targets and probabilities are float32 (N, classes), or with votes (N, classes + V). Shares that are all 0 add
    nothing.
    """

    def compute_loss(targets: Tensor, probabilities: Tensor) -> Tensor:
        (labels, shares), (emotion, votes) = (split_heads(scores, classes) for scores in (targets, probabilities))
        loss = keras.losses.categorical_crossentropy(labels, emotion, label_smoothing=label_smoothing)
        if shares.shape[1]:
            voted = keras.ops.maximum(keras.ops.mean(keras.ops.sum(shares, axis=1)), 1e-6)  # share of images with votes
            wrong = -keras.ops.sum(shares * keras.ops.log(keras.ops.maximum(votes, keras.config.epsilon())), axis=1)
            loss += votes_weight * wrong / voted
        return loss

    return compute_loss


def make_metrics(classes: int) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """The metrics of the first head, float32 (N,): 1 where it is right, else 0; its cross-entropy in nats."""

    def accuracy(targets: Tensor, probabilities: Tensor) -> Tensor:
        return keras.metrics.categorical_accuracy(targets[:, :classes], probabilities[:, :classes])

    def cross_entropy(targets: Tensor, probabilities: Tensor) -> Tensor:
        return keras.losses.categorical_crossentropy(targets[:, :classes], probabilities[:, :classes])

    return [accuracy, cross_entropy]


def compile_network(network: keras.Model, classes: int, settings: KerasTraining, steps: int) -> None:
    """Give the network for K `classes` its optimizer, loss and metrics for a training of `steps` steps."""
    network.compile(
        keras.optimizers.Adam(
            make_learning_rate(settings, steps),
            weight_decay=settings.weight_decay or None,
            use_ema=bool(settings.ema),
            ema_momentum=settings.ema,
        ),
        loss=make_loss(classes, settings.label_smoothing, settings.votes_weight),
        metrics=make_metrics(classes),
        jit_compile=False,  # on a CPU, XLA's convolutions take three times as long as oneDNN's
    )


def choose_precision(wanted: Wanted, fast: bool) -> Precision:
    """`wanted`; for auto and float16, bfloat16 if the hardware multiplies it, as `fast` says, else float32."""
    if wanted == "auto" or wanted == "float16":  # mypy does not understand `in`
        return "bfloat16" if fast else "float32"
    return wanted


def train(name: str, settings: KerasTraining, compute: Compute, seed: int, data: str | Path) -> Trained:
    """Train a network on faces.h5 from the start, or from where an earlier run was stopped.

    A training uses one GPU, or the CPU, whatever `compute.devices` says.
    Raises InputError if the data do not fit, the loss is not finite, or memory ran out.
    """
    splits, facts = read_faces(data, ("train", "val"))
    folder = find_checkpoints(name, [seed, compute, settings], data, ["keras", keras.backend.backend()])
    classes = len(facts.classes)
    build = partial(find_network(name).build, settings, (facts.size, facts.size, facts.channels), classes)
    device, hardware, fast = backend.find_device()
    precision = choose_precision(compute.precision, fast)
    print(f"{name}: Keras with {keras.backend.backend()} on {hardware}, in {precision}", flush=True)
    if compute.deterministic or device == "cpu":
        backend.make_deterministic()
    backend.seed_all(seed)
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")

    def reseed(epoch: int, _: object) -> None:
        """Order the rows, and seed dropout and augmentation, anew in each epoch; snapshots hold no generator."""
        train_set.shuffle(seed, epoch)
        generator = np.random.default_rng([seed, epoch, 1])  # 1: not the stream that orders the rows
        for variable in trained.variables:
            if variable.name == "seed_generator_state":
                variable.assign(generator.integers(2**31, size=2))
        backend.seed_all(int(generator.integers(2**31)))  # dropout in PyTorch has no variable

    snapshots = Snapshots(name, folder / "last.npz", compute.threads if device == "cpu" else 1)
    done = len(snapshots.epochs)
    average = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    average._ema_weights_in_model = done > 0  # snapshots are taken, as val is, while the network has its average
    begin = keras.callbacks.LambdaCallback(on_epoch_begin=reseed)
    callbacks = [begin, *([average] if settings.ema else []), snapshots]
    votes = learns_votes(name, settings.labels, splits["train"].votes is not None)
    second = {"votes": len(facts.voted)} if votes else {}
    train_set = Batches(*to_arrays(splits["train"], facts, votes), settings.batch_size)
    val_set = Batches(*to_arrays(splits["val"], facts, votes), VAL_BATCH)
    trained = build(FusedBatchNormalization, build_augmentation(settings.augment), **second)
    compile_network(trained, classes, settings, len(train_set) * settings.epochs)
    try:
        trained.fit(
            train_set, validation_data=val_set, epochs=settings.epochs, initial_epoch=done,
            shuffle=False, callbacks=callbacks, verbose=1 if sys.stdout.isatty() else 2,
        )  # fmt: skip
    except backend.OutOfMemory:
        raise say_too_large(name, settings.batch_size) from None
    network = build(**second)
    network.set_weights(snapshots.state["best"])
    origin = describe_origin(seed, device, hardware, (keras.backend.backend(), "keras", "numpy"))
    return Trained(
        model=pack_network(network, origin),
        epochs=snapshots.epochs,
        checkpoints=folder,
        stopped=f"after all {settings.epochs} epochs",
        parameters=sum(math.prod(weights.shape) for weights in network.trainable_weights),
        seconds=sum(snapshots.seconds),
        images=len(train_set.images) * settings.epochs,
        device=device,
        hardware=hardware,
        precision=precision,
        backend="torch" if keras.backend.backend() == "torch" else None,
    )
