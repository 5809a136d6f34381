"""The exported networks: they answer as the trained ones do, and say what they are."""

import ast
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

import export
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import load_exported
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.networks.network import Shape, find_network
from fer_pipeline.networks.pytorch.files import load_network, pack_network
from fer_pipeline.predictions.calibration import temper
from timing import read_timing

NAMES = ("baseline", "vgg19", "resnet18", "compact")


@pytest.mark.parametrize("name", NAMES)
def test_each_network_says_what_it_is(finished_pipeline, name):
    for file, precision in ((name, "float32"), (f"{name}.int8", "int8")):
        path = finished_pipeline.path / "models" / "export" / f"{file}.onnx"
        onnx.checker.check_model(onnx.load(path))
        model = load_exported(path)
        assert model.classes == CLASSES and model.crop == (48 if name == "baseline" else 44)
        metrics = Scores.read(finished_pipeline.path / "metrics" / f"{name}.json", "evaluate")
        assert model.temperature == metrics.temperature_single_crop
        assert (model.metadata["architecture"], model.metadata["precision"]) == (name, precision)
        assert model.metadata["trained_on"] == "drawn faces"
        val = read_faces(finished_pipeline.path / "data/prepared/faces.h5")[0]["val"]
        right = model.predict(val.images).argmax(axis=1) == val.labels
        assert float(model.metadata["val_accuracy"]) == pytest.approx(right.mean(), abs=1e-6)


@pytest.mark.parametrize("name", ["vgg19", "resnet18", "compact"])
def test_float32_answers_as_the_network_itself(finished_pipeline, name):
    """By hand, in PyTorch: the middle 44 pixels, grey three times, divided by 255."""
    network, _ = load_network(finished_pipeline.path / "models" / f"{name}.safetensors")
    faces = read_faces(finished_pipeline.path / "data/prepared/faces.h5")[0]["test"].images
    with torch.inference_mode():
        logits = network(torch.from_numpy(faces[:, None, 2:46, 2:46]).float().expand(-1, 3, -1, -1) / 255)
    model = load_exported(finished_pipeline.path / "models" / "export" / f"{name}.onnx")
    emotion, votes = logits.double().split([7, 8], dim=1)
    assert model.predict(faces) == pytest.approx((emotion / model.temperature).softmax(1).numpy(), abs=1e-4)
    temperature = float(model.metadata["votes_temperature"])
    probabilities, shares = model.answer(faces)
    assert shares == pytest.approx((votes / temperature).softmax(1).numpy(), abs=1e-4)
    chosen = {"logits": emotion, "votes": votes[:, :7]}[model.metadata["answers"]]
    temperature = float(model.metadata["answers_temperature"])
    assert probabilities == pytest.approx((chosen / temperature).softmax(1).numpy(), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_second_head_says_what_it_is(finished_pipeline, name):
    for file in (name, f"{name}.int8"):
        model = load_exported(finished_pipeline.path / "models" / "export" / f"{file}.onnx")
        assert json.loads(model.metadata["vote_classes"]) == [*CLASSES, "contempt"]
        scores = Scores.read(finished_pipeline.path / "metrics" / f"{name}.json", "evaluate")
        assert float(model.metadata["votes_temperature"]) == scores.votes_temperature_single_crop
        probabilities, shares = model.answer(np.zeros((3, 48, 48), np.uint8))
        assert probabilities.shape == (3, 7) and probabilities.sum(axis=1) == pytest.approx(1)
        assert shares.shape == (3, 8) and shares.sum(axis=1) == pytest.approx(1)
        agreement = json.loads(model.metadata["val_agreement"])
        assert set(agreement) == {"logits", "votes"} and agreement[model.metadata["answers"]] == max(agreement.values())


MAJORITIES = np.array([[0, 0, 0, 8, 1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 9, 0, 0, 0, 0, 0], [0, 0, 0, 5, 5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 9, 0, 0]], np.uint8)  # fmt: skip
"""Happy, sad, none, and contempt, which is none of the seven."""


@pytest.mark.parametrize("better", ["logits", "votes"])
def test_the_head_that_agrees_with_annotators_answers(better):
    """One says happy and sad, as they do; the other says happy of both, and contempt is not asked for."""
    logits = {"logits": np.zeros((4, 7)), "votes": np.zeros((4, 8))}
    for one in logits.values():
        one[:, 3] = 2
    logits[better][1, 4] = 4
    logits["votes"][:, 7] = 9
    val = Split(np.zeros((4, 48, 48), np.uint8), np.array([3, 3, 3, 3], np.uint8), None, MAJORITIES)
    said = export.choose_answers(logits, val, 1.7)
    assert said["answers"] == better
    agreement = json.loads(said["val_agreement"])
    assert agreement == {"logits": 0.5, "votes": 0.5} | {better: 1.0}
    assert float(said["answers_temperature"]) < 0.2  # it was right about both, and may be surer
    for rows in (val._replace(votes=None), val._replace(votes=MAJORITIES[[2, 2, 3, 3]])):
        assert export.choose_answers(logits, rows, 1.7) == {"answers": "logits", "answers_temperature": "1.7"}


def test_the_baseline_answers_as_its_predictions(finished_pipeline):
    """Those were made in the training's precision, bfloat16 on some machines."""
    lines = (finished_pipeline.path / "data/predictions/baseline.csv").read_text().splitlines()
    said = np.array([line.split(",")[5:] for line in lines if line.startswith("test,")], float)
    faces = read_faces(finished_pipeline.path / "data/prepared/faces.h5")[0]["test"].images
    model = load_exported(finished_pipeline.path / "models/export/baseline.onnx")
    assert model.predict(faces) == pytest.approx(temper(said, model.temperature), abs=0.05)


def test_what_was_measured(finished_pipeline):
    metrics = finished_pipeline.path / "metrics"
    report = Exports.read(metrics / "export.json", "score_exports")
    times = read_timing(metrics / "timing.json", NAMES).exports
    assert times.hardware and [*report.networks] == [*times.networks] == [*NAMES]
    test = read_faces(finished_pipeline.path / "data/prepared/faces.h5")[0]["test"]
    for name, precisions in report.networks.items():
        for file, precision in ((name, "float32"), (f"{name}.int8", "int8")):
            path = finished_pipeline.path / "models/export" / f"{file}.onnx"
            found, took = getattr(precisions, precision), getattr(times.networks[name], precision)
            assert found.bytes == path.stat().st_size
            right = load_exported(path).predict(test.images).argmax(axis=1) == test.labels
            assert found.accuracy == pytest.approx(right.mean(), abs=1e-6)
            for latency in (took.latency_ms.threads_1, took.latency_ms.threads_2):
                assert 0 < latency.median <= latency.p95
            assert took.faces_per_second > 0
        assert precisions.float32.largest_difference <= 1e-4
        lost = precisions.float32.accuracy - precisions.int8.accuracy
        assert precisions.int8.lost == pytest.approx(lost, abs=2e-6)


@pytest.fixture(scope="module")
def narrow():
    """A narrow ResNet18 as ONNX (bytes) and its crop, and faces that it tells apart in some way."""
    torch.manual_seed(0)
    network = find_network("resnet18").build(Shape(0.1))
    rng = np.random.default_rng(0)
    return network, rng.integers(0, 256, (40, 48, 48), np.uint8)


@pytest.fixture(scope="module")
def exported(narrow, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "x.safetensors"
    path.write_bytes(pack_network("resnet18", 0.1, narrow[0].state_dict()))
    return (*export.convert_pytorch(path, "resnet18"), 44)


def test_no_path_of_this_machine_is_in_the_file(exported):
    content, _, _ = exported
    assert str(ROOT).encode() not in content and b".py" not in content


def test_int8_is_smaller_and_close(exported, narrow):
    content, compute_logits, crop = exported
    prepared, faces = export.prepare(content), narrow[1]
    ranges = export.find_ranges(prepared, faces, crop)
    small = export.quantise(prepared, ranges, [])
    assert len(small) < 0.6 * len(content)
    assert abs(export.run_onnx(small, crop, faces, "logits")["logits"] - compute_logits(faces)).max() < 0.5
    larger = export.quantise(prepared, ranges, export.list_parts(prepared)["layer4.1.conv2"])
    assert len(small) < len(larger) < len(content)


def test_weights_leave_room_for_a_sum_of_two(exported, narrow):
    """A processor without VNNI adds two products of uint8 and int8 in 16 bits."""
    content, _, crop = exported
    prepared = export.prepare(content)
    graph = onnx.load_from_string(export.quantise(prepared, export.find_ranges(prepared, narrow[1], crop), [])).graph
    weights = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    largest = max(int(abs(one.astype(int)).max()) for one in weights if one.ndim > 1)
    assert largest == 64 and 2 * 255 * largest < 2**15


@given(st.floats(2**-100, 2**100, width=32), st.sampled_from([-1, 1]))
def test_ranges_are_rounded_outwards(size, sign):
    end = np.float32(sign * size)
    rounded = export.round_outwards(end)
    assert rounded.dtype == np.float32 and np.sign(rounded) == sign
    assert abs(end) <= abs(rounded) <= abs(end) * (1 + 1 / 16)
    assert export.round_outwards(rounded) == rounded == export.round_outwards(end + (rounded - end) / 2)
    assert export.round_outwards(np.float32(0)) == 0


def test_a_batchnorm_that_is_no_convolutions_is_kept_first(finished_pipeline):
    """The baseline has seven behind its ReLUs; ResNet18's are folded into its convolutions."""
    exports = finished_pipeline.path / "models" / "export"
    parts = export.list_parts(export.prepare((exports / "baseline.onnx").read_bytes()))
    layers = ["conv1_1", "classes", "conv1_2", "dense", "conv2_1", "conv3_2", "conv2_2", "conv3_1"]
    assert list(parts) == ["batch normalisation", *layers]
    assert len(parts.pop("batch normalisation")) >= 2 * 7
    assert all(len(nodes) == 1 for nodes in parts.values())
    parts = export.list_parts(export.prepare((exports / "resnet18.onnx").read_bytes()))
    assert list(parts)[:3] == ["conv1", "head", "layer1.0.conv1"] and len(parts) == 21


def test_layers_stay_in_float32_until_little_is_lost(exported, narrow, monkeypatch):
    """From both ends inwards; here every trial but the third loses half of the accuracy."""
    content, _, crop = exported
    faces = narrow[1]
    answers = iter([1.0, 0.5, 0.5, 1.0])
    monkeypatch.setattr(export, "score", lambda *_: next(answers))
    tried = []
    monkeypatch.setattr(export, "quantise", lambda prepared, ranges, kept: tried.append(kept) or b"small")
    small, kept = export.quantise_well(content, faces, crop, SimpleNamespace(labels=range(200)))
    assert (small, kept) == (b"small", ["conv1", "head"])
    assert [len(nodes) for nodes in tried] == [0, 1, 2]


def test_where_nothing_helps_all_stays_in_float32(exported, narrow, monkeypatch):
    content, _, crop = exported
    monkeypatch.setattr(export, "score", lambda given, *_: float(given == content))
    monkeypatch.setattr(export, "quantise", lambda *_: b"small")
    small, kept = export.quantise_well(content, narrow[1], crop, SimpleNamespace(labels=range(200)))
    assert small == content and len(kept) == len(set(kept)) == 21


def test_the_same_network_gives_the_same_bytes(exported):
    content, _, _ = exported
    metadata = {"answers": "logits", "answers_temperature": "1.5"}
    assert export.finish(content, metadata) == export.finish(content, metadata)


def test_another_networks_file(narrow, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(pack_network("resnet18", 0.1, narrow[0].state_dict()))
    with pytest.raises(InputError, match="architecture is resnet18, expected vgg19"):
        export.convert_pytorch(tmp_path / "x.safetensors", "vgg19")


def test_what_the_readme_says_in_python(finished_pipeline):
    """Its lines, as they are: the first block by itself, then both together."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = ast.literal_eval(finished_pipeline.run(sys.executable, "-c", blocks[0]))
    assert len(blocks) == len(names) == 2 and set(names) < set(CLASSES)
    told = "\nprint(np.shape(probabilities), annotators.shape, both_heads.shape)\n"
    printed = finished_pipeline.run(sys.executable, "-c", blocks[0] + blocks[1] + told, PYTHONPATH="stages")
    assert printed.endswith("(2, 7) (2, 8) (2, 15)\n")


def test_the_readme_names_the_classes_in_their_order():
    assert str(CLASSES).replace("'", '"') in (ROOT / "README.md").read_text()
