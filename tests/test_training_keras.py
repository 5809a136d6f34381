"""The baseline in Keras: the paper's network, honest augmentation, batches, rates, and its two backends."""

import math
import os
import random
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from conftest import ROOT
from trainings import FACTS, KERAS, PAPER, SHALLOW, TRAIN

from fer_pipeline.core.errors import InputError
from fer_pipeline.networks import baseline
from fer_pipeline.networks.keras import environment
from fer_pipeline.networks.keras.files import load_network, pack_network
from fer_pipeline.networks.keras.framework import keras
from fer_pipeline.params.schema import KerasAugment
from fer_pipeline.training.keras import data as keras_data
from fer_pipeline.training.keras import train as training

layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras under NumPy 2


@pytest.fixture(autouse=True)
def in_float32():
    """Keras' default precision, whatever a training of this process set."""
    keras.config.set_dtype_policy("float32")


def test_network_is_that_of_table_2():
    details = {
        "Conv2D": lambda layer: (layer.filters, layer.kernel_size, layer.activation.__name__, layer.output.shape[1]),
        "MaxPooling2D": lambda layer: (layer.pool_size, layer.strides),
        "Dropout": lambda layer: (layer.rate,),
        "Dense": lambda layer: (layer.units, layer.activation.__name__),
    }

    def make_block(size, *filters):
        block = [
            layer for count in filters for layer in (("Conv2D", count, (3, 3), "relu", size), ("BatchNormalization",))
        ]
        return [*block, ("MaxPooling2D", (2, 2), (2, 2)), ("Dropout", 0.3)]

    network = baseline.build(PAPER, (48, 48, 1), 7)
    assert network.input_shape == (None, 48, 48, 1)
    kinds = [(type(layer).__name__, layer) for layer in network.layers]
    assert [(kind, *details.get(kind, lambda _: ())(layer)) for kind, layer in kinds] == [
        ("Rescaling",), *make_block(48, 32, 64), *make_block(24, 128, 128), *make_block(12, 256, 256), ("Flatten",),
        ("Dense", 256, "relu"), ("BatchNormalization",), ("Dropout", 0.5), ("Dense", 7, "softmax"),
    ]  # fmt: skip

    inputs_outputs = [(9, 32), (9 * 32, 64), (9 * 64, 128), (9 * 128, 128), (9 * 128, 256), (9 * 256, 256)]
    inputs_outputs += [(6 * 6 * 256, 256), (256, 7)]
    by_hand = sum((inputs + 1) * outputs for inputs, outputs in inputs_outputs)
    by_hand += 2 * (32 + 64 + 128 + 128 + 256 + 256 + 256)
    assert sum(math.prod(weights.shape) for weights in network.trainable_weights) == by_hand == 3_489_095


def test_padding_valid_and_narrow_width():
    network = baseline.build(PAPER.model_copy(update={"padding": "valid", "width": 0.1}), (48, 48, 1), 7)
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    assert [layer.output.shape[1] for layer in convolutions] == [46, 44, 20, 18, 7, 5]
    assert [layer.filters for layer in convolutions] == [4, 6, 13, 13, 26, 26]
    assert network.get_layer("flatten").output.shape[1] == 2 * 2 * 26


def test_fused_normalization_is_keras_normalization():
    """The same averages, answers, and step of what comes before it and of its own weights."""
    rng = np.random.default_rng(0)
    images, weight = rng.normal(3, 2, (5, 6, 6, 4)).astype("float32"), rng.normal(size=(5, 6, 6, 4)).astype("float32")
    results = []
    for kind in (layers.BatchNormalization, training.FusedBatchNormalization):
        network = keras.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(4, 1), kind(momentum=0.9)])
        network.layers[0].set_weights([np.eye(4)[np.newaxis, np.newaxis] + 0.1, np.zeros(4)])
        loss = {"loss": lambda weight, outputs: keras.ops.sum(outputs * weight)}
        network.compile(keras.optimizers.SGD(0.01), run_eagerly=True, **loss)  # TensorFlow's graphs are not steady here
        network.train_on_batch(images, weight)
        results.append([*network.get_weights(), network.predict_on_batch(images)])
    for keras_own, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, keras_own, rtol=1e-4, atol=1e-5)


STEADY = KERAS.model_copy(
    update={"dropout": 0.0, "dropout_dense": 0.0, "ema": 0.5, "weight_decay": 0.5, "label_smoothing": 0.1}
)
OFF = KerasAugment(flip=False, shift=0.0, rotation=0.0, scale=0.0)


def vary(images, **changes):
    """Images as in training, under an augmentation of which only `changes` are on."""
    (layer,) = keras_data.build_augmentation(OFF.model_copy(update=changes))
    return keras.ops.convert_to_numpy(layer(images, training=True))


def test_shift_is_uniform_per_image_bilinear_and_repeats_the_border():
    y, x = np.mgrid[:48, :48].astype("float32")
    shifted = vary(np.stack([np.stack([y, x], axis=-1)] * 512), shift=0.1)
    up, left = shifted[:, 24, 24, 0] - 24, shifted[:, 24, 24, 1] - 24
    for axis, moved, offset in ((0, y, up), (1, x, left)):
        expected = np.clip(moved + offset[:, np.newaxis, np.newaxis], 0, 47)  # bilinear is exact on a ramp
        np.testing.assert_allclose(shifted[..., axis], expected, atol=1e-3)
        assert 4.6 < offset.max() <= 4.8 and -4.8 <= offset.min() < -4.6
        assert abs(offset.std() - 9.6 / math.sqrt(12)) < 0.25  # of a uniform distribution
        assert np.mean(np.abs(offset - offset.round()) > 0.05) > 0.8  # not whole pixels
    assert abs(np.corrcoef(up, left)[0, 1]) < 0.2


def test_flip_is_horizontal_for_half_of_the_images():
    assert keras_data.build_augmentation(OFF) == []
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 1)).astype("float32")
    flipped = vary(np.stack([image] * 512), flip=True)
    plain, mirrored = (np.isclose(flipped, one, atol=0.01).all(axis=(1, 2, 3)) for one in (image, image[:, ::-1]))
    assert (plain | mirrored).all()
    assert 0.4 < mirrored.mean() < 0.6


def test_rotation_and_scale_are_those_asked_for():
    """A bright dot off the middle: how far it lies from there tells the scale, in which direction the angle."""
    image = np.zeros((48, 48, 1), "float32")
    image[22:26, 38:42] = 255  # 16 pixels to the right of the middle
    turned = vary(np.stack([image] * 400), rotation=20.0, scale=0.25)
    y, x = np.mgrid[:48, :48] - 23.5
    mass = turned[..., 0].sum(axis=(1, 2))
    right, down = ((turned[..., 0] * axis).sum(axis=(1, 2)) / mass for axis in (x, y))
    angle, scale = np.degrees(np.arctan2(down, right)), np.hypot(right, down) / 16
    assert -20.5 <= angle.min() < -17 and 17 < angle.max() <= 20.5
    assert 0.79 <= scale.min() < 0.84 and 1.18 < scale.max() <= 1.27


def test_batches_hold_each_row_once_in_an_order_of_the_epoch():
    images, labels = np.arange(70), np.arange(70) * 2

    def draw(*epoch, batch_size=32):
        batches = keras_data.Batches(images, labels, batch_size)
        if epoch:
            batches.shuffle(*epoch)
        parts = [batches[step] for step in range(len(batches))]
        assert all((labels == 2 * rows).all() for rows, labels in parts)
        assert [len(rows) for rows, _ in parts] == ([32, 32, 6] if batch_size == 32 else [70])
        return [row for rows, _ in parts for row in rows]

    assert draw() == draw(batch_size=100) == [*images]
    drawn = [draw(1, 0), draw(1, 1), draw(2, 0)]
    assert all(sorted(rows) == [*images] != rows for rows in drawn)
    assert drawn[0] == draw(1, 0) and drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_rates_that_no_schedule_changes():
    assert training.make_learning_rate(PAPER, 100) == 1e-4
    one_cycle = PAPER.model_copy(update={"schedule": "one_cycle"})
    assert math.isfinite(float(training.make_learning_rate(one_cycle, 1)(0)))


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_goes_by_the_hardware(fast, expected):
    found = [training.choose_precision(wanted, fast) for wanted in ("auto", "float16", "float32")]
    assert found == [expected, expected, "float32"]


def test_the_loss_of_votes_worked_out_by_hand():
    """Beside Keras' own cross-entropy of the labels; rows without shares are left out, the others count equally."""
    targets, said = np.zeros((3, 15), np.float32), np.full((3, 15), 0.1, np.float32)
    targets[[0, 1, 2], [0, 1, 2]] = 1
    targets[0, 7], targets[0, 8], targets[1, 7] = 0.5, 0.5, 1
    said[:, 7] = 0.25
    labels = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)(targets[:, :7], said[:, :7])
    votes = (0.5 * np.log(4) + 0.5 * np.log(10) + np.log(4)) / 2
    loss = training.make_loss(7, 0.1, 2.0)

    def measure(*arrays):
        return float(keras.ops.mean(loss(*map(keras.ops.convert_to_tensor, arrays))))

    assert measure(targets, said) == pytest.approx(float(labels) + 2 * votes, rel=1e-5)
    assert measure(targets[:, :7], said[:, :7]) == pytest.approx(float(labels), rel=1e-6)


@pytest.mark.parametrize(
    ("wanted", "driver", "gpu", "expected"),
    [
        ("", False, True, "tensorflow"),
        ("", True, False, "tensorflow"),
        ("", True, True, "torch"),
        ("tensorflow", True, True, "tensorflow"),
        ("torch", False, False, "torch"),
    ],
)
def test_pytorch_trains_where_it_has_a_gpu(wanted, driver, gpu, expected, monkeypatch):
    """Unless KERAS_BACKEND says otherwise."""
    monkeypatch.setattr(environment, "backend", "")
    monkeypatch.setattr(environment.ctypes, "CDLL", Mock(side_effect=None if driver else OSError))
    monkeypatch.setattr(environment.subprocess, "run", Mock(return_value=Mock(returncode=int(not gpu))))
    monkeypatch.setenv("KERAS_BACKEND", wanted)
    environment.enter()
    assert environment.backend == expected
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(InputError, match="^KERAS_BACKEND is jax; set it to tensorflow or torch"):
        environment.enter()


def test_a_gpu_is_one_that_pytorch_sees():
    assert environment.has_gpu() == torch.cuda.is_available()


ONE_BACKEND = pytest.mark.skipif(keras.backend.backend() == "torch", reason="starts this process")


def run_with(backend, code):
    """Run code where Keras computes with a backend, in a process of its own, as it is fixed at the first import."""
    code = f"import pytest, sys; from fer_pipeline.networks.keras import environment; environment.enter(); {code}"
    code += (
        "; assert environment.backend == 'tensorflow' or 'tensorflow' not in sys.modules, 'beside PyTorch it may crash'"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr


@ONE_BACKEND
def test_all_of_this_holds_in_pytorch():
    run_with("torch", "assert not pytest.main(['-p', 'no:cacheprovider', 'tests/test_training_keras.py'])")


def take_steps(folder):
    """Answers of the network in start.keras, and its weights after five steps: written to `folder` by this backend."""
    keras.config.set_dtype_policy("float32")
    network = baseline.build(STEADY, (48, 48, 1), 7, training.FusedBatchNormalization, votes=8)
    network.set_weights(load_network(f"{folder}/start.keras", "baseline", FACTS).get_weights())
    batches = keras_data.Batches(*keras_data.to_arrays(TRAIN, FACTS, True), 16)
    answers = network.predict_on_batch(batches[0][0])
    training.compile_network(network, 7, STEADY, len(batches))
    network.optimizer.epsilon = 1e-3  # or Adam takes whole steps by gradients that are 0 but for rounding
    network.fit(batches, shuffle=False, verbose=0)
    np.savez(f"{folder}/{keras.backend.backend()}.npz", answers, *network.get_weights())


@ONE_BACKEND
def test_both_backends_give_the_same_answers_and_take_the_same_steps(tmp_path, monkeypatch):
    """With two convolutions they end 0.04 % apart at most (with AVX2 alone); after six, rounding alone gives more."""
    monkeypatch.setattr(baseline, "BLOCKS", SHALLOW)
    random.seed(1)  # of the initial weights
    (tmp_path / "start.keras").write_bytes(pack_network(baseline.build(STEADY, (48, 48, 1), 7, votes=8)))
    for backend in environment.BACKENDS:
        run_with(backend, f"import test_training_keras as t; t.baseline.BLOCKS = t.SHALLOW; t.take_steps('{tmp_path}')")
    (answers, *weights), (said, *others) = (np.load(tmp_path / f"{one}.npz").values() for one in environment.BACKENDS)
    np.testing.assert_allclose(said, answers, atol=1e-6)
    apart = [np.linalg.norm(one - other) / np.linalg.norm(one) for one, other in zip(weights, others, strict=True)]
    assert max(apart) < 5e-4
