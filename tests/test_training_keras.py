"""The baseline in Keras: the paper's network, honest augmentation, batches, rates, and where it runs."""

import math
import os
import re

import numpy as np
import pytest
from conftest import ROOT
from trainings import PAPER

from fer_pipeline.networks import baseline
from fer_pipeline.networks.keras import environment
from fer_pipeline.networks.keras.framework import keras, tf
from fer_pipeline.params.schema import KerasAugment
from fer_pipeline.training.keras import data as keras_data
from fer_pipeline.training.keras import train as training

layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras under NumPy 2
LOCKS = ("requirements.lock", "requirements-keras.lock")


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
    rng = np.random.default_rng(0)
    images, weight = rng.normal(3, 2, (5, 6, 6, 4)).astype("float32"), rng.normal(size=(5, 6, 6, 4)).astype("float32")
    results = []
    for kind in (layers.BatchNormalization, training.FusedBatchNormalization):
        layer, inputs = kind(momentum=0.9), tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(outputs * weight)
        gradients = tape.gradient(loss, [inputs, *layer.trainable_weights])
        results.append([outputs, *gradients, *layer.get_weights(), layer(images)])
    for keras_own, fused in zip(*results, strict=True):
        np.testing.assert_allclose(fused, keras_own, rtol=1e-4, atol=1e-4)


OFF = KerasAugment(flip=False, shift=0.0, rotation=0.0, scale=0.0)


def vary(images, **changes):
    """Images as in training, under an augmentation of which only `changes` are on."""
    (layer,) = keras_data.build_augmentation(OFF.model_copy(update=changes))
    return np.array(layer(images, training=True))


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
    mirrored = (flipped == image[:, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (flipped == image).all(axis=(1, 2, 3))).all()
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

    def draw(batch_size=32, seed=1, epochs=range(2)):
        return list(keras_data.draw_batches(images, labels, batch_size, seed, epochs))

    batches = draw()
    assert [len(rows) for rows, _ in batches] == [32, 32, 6] * 2
    assert all((labels == 2 * rows).all() for rows, labels in batches)
    first, second = (np.concatenate([rows for rows, _ in part]) for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(70))
    assert (first != second).any() and (first != np.arange(70)).any()
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in draw(epochs=range(1, 2))]), second)
    assert (np.concatenate([rows for rows, _ in draw(seed=2)[:3]]) != first).any()
    assert [len(rows) for rows, _ in draw(batch_size=100)] == [70, 70]


def test_rates_that_no_schedule_changes():
    assert training.make_learning_rate(PAPER, 100) == 1e-4
    one_cycle = PAPER.model_copy(update={"schedule": "one_cycle"})
    assert math.isfinite(float(training.make_learning_rate(one_cycle, 1)(0)))


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_precision_goes_by_the_cpu(monkeypatch, fast, expected):
    monkeypatch.setattr(training, "has_fast_bf16", lambda: fast)
    found = [training.choose_precision(wanted, []) for wanted in ("auto", "float32", "bfloat16")]
    assert found == [expected, "float32", "bfloat16"]


def test_the_loss_of_votes_worked_out_by_hand():
    """Beside Keras' own cross-entropy of the labels; rows without shares are left out, the others count equally."""
    targets, said = np.zeros((3, 15), np.float32), np.full((3, 15), 0.1, np.float32)
    targets[[0, 1, 2], [0, 1, 2]] = 1
    targets[0, 7], targets[0, 8], targets[1, 7] = 0.5, 0.5, 1
    said[:, 7] = 0.25
    labels = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)(targets[:, :7], said[:, :7])
    votes = (0.5 * np.log(4) + 0.5 * np.log(10) + np.log(4)) / 2
    found = training.make_loss(7, 0.1, 2.0)(tf.constant(targets), tf.constant(said))
    assert float(tf.reduce_mean(found)) == pytest.approx(float(labels) + 2 * votes, rel=1e-5)
    alone = training.make_loss(7, 0.1, 2.0)(tf.constant(targets[:, :7]), tf.constant(said[:, :7]))
    assert float(tf.reduce_mean(alone)) == pytest.approx(float(labels), rel=1e-6)


def test_without_it_keras_runs_on_the_cpu_and_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(environment.shutil, "which", lambda name: f"/usr/bin/{name}")
    environment.enter()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    assert capsys.readouterr().err.startswith("Keras trains on the CPU; `make gpu` ")


def test_the_lock_file_of_keras_environment():
    """Exact versions; what both environments have is the same in both, and nothing of PyTorch is there."""
    main, own = (dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.M)) for name in LOCKS)
    needed = "tensorflow keras numpy h5py pydantic psutil ruamel.yaml nvidia-cudnn-cu12"
    assert set(needed.split()) <= own.keys()
    assert not {name for name in own if name.startswith(("torch", "lightning", "dvc"))}
    shared = own.keys() & main.keys()
    assert {name: own[name] for name in shared} == {name: main[name] for name in shared}
