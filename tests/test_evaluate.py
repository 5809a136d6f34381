"""evaluate: every metric by another route, the pictures of odd results, bad models, and the stages as a user runs them."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from answers import draw_rows, make_splits, predict
from conftest import ENVIRONMENT, Table
from torchmetrics.functional.classification import multiclass_calibration_error
from torchvision.transforms.functional import ten_crop

import evaluate
import fer_pipeline.networks.pytorch.model as torch_model  # with torchvision before TensorFlow: the other way round, Triton crashes
from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import pack_faces, read_faces
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures.network import draw_all
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import Measured, Summary, bin_confidence, cover, measure, summarise
from fer_pipeline.networks.network import find_network
from fer_pipeline.networks.pytorch.crops import as_input, crop_for_evaluation
from fer_pipeline.networks.pytorch.files import Shape, pack_network
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.calibration import fit_temperature, temper
from fer_pipeline.predictions.heat import pack_heat, read_heat
from fer_pipeline.predictions.predictions import as_written, read_predictions, to_csv
from fer_pipeline.report.evidence import list_pictures
from fer_pipeline.running.timing import time_calls
from predict import predict_splits
from timing import read_timing

PICTURES = {Path(path).name for path in list_pictures({"vgg19": find_network("vgg19")}) if "/test/" in path}
"""What dvc.yaml expects from `evaluate`."""
SETTINGS = Evaluate(threshold=0.6, confident=0.99, bins=15, bootstrap=2000)


def measure_rows(test, val=None, seen=None):
    return measure(val or test, test, seen, SETTINGS, seed=1)


def test_metrics_from_the_csv_by_another_route(tmp_path):
    """Everything anew from the file's text, by scikit-learn and torchmetrics or row by row."""
    val, test = draw_rows(300, 1, sharpness=4), draw_rows(700, 2, sharpness=4)
    seen = np.random.default_rng(3).random(700) < 0.2
    path = tmp_path / "x.csv"
    path.write_bytes(to_csv({"val": val, "test": test}))
    data = make_splits({"val": val.actual, "test": test.actual})
    read = read_predictions(path, data)
    found = measure(read["val"], read["test"], seen, SETTINGS, seed=1)
    assert found == measure(val, test, seen, SETTINGS, seed=1)

    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    actual, predicted = ([row[key] for row in rows] for key in ("actual", "predicted"))
    confidence = [float(row["confidence"]) for row in rows]
    shares = np.array([[float(row[emotion]) for emotion in CLASSES] for row in rows])
    labels = [CLASSES.index(emotion) for emotion in actual]
    right = [a == p for a, p in zip(actual, predicted, strict=True)]

    near = lambda value: pytest.approx(value, abs=1e-6)  # noqa: E731
    assert found.accuracy == near(sklearn.metrics.accuracy_score(actual, predicted))
    assert found.balanced_accuracy == near(sklearn.metrics.balanced_accuracy_score(actual, predicted))
    assert found.macro_f1 == near(sklearn.metrics.f1_score(actual, predicted, average="macro"))
    unseen = [hit for hit, known in zip(right, seen, strict=True) if not known]
    assert found.accuracy_unseen == near(sum(unseen) / len(unseen)) != found.accuracy
    assert found.unseen_count == len(unseen) < 700
    report = sklearn.metrics.classification_report(actual, predicted, output_dict=True)
    for emotion, scores in found.per_class.items():
        precision, recall, f1, _ = map(near, report[emotion].values())
        expected = {"precision": precision, "recall": recall, "f1": f1, "accuracy": recall}
        assert scores.model_dump() == expected | {"support": actual.count(emotion)}

    wrong = [c for c, hit in zip(confidence, right, strict=True) if not hit]
    low = [hit for c, hit in zip(confidence, right, strict=True) if c < 0.6]
    mean = sum(confidence) / 700
    assert found.confidence.model_dump() == {
        "mean": near(mean),
        "mean_correct": near((sum(confidence) - sum(wrong)) / sum(right)),
        "mean_incorrect": near(sum(wrong) / len(wrong)),
        "std": near(math.sqrt(sum((c - mean) ** 2 for c in confidence) / 700)),
        "low_count": len(low),
        "low_share": near(len(low) / 700),
        "low_accuracy": near(sum(low) / len(low)),
        "threshold": 0.6,
    }

    calibration = found.calibration
    ece = multiclass_calibration_error(torch.from_numpy(shares), torch.tensor(labels), 7, n_bins=15)
    assert calibration.ece == near(float(ece))
    picked = shares[np.arange(700), labels]
    assert calibration.nll == pytest.approx(-np.log(picked.clip(1e-6)).mean(), abs=1e-5)
    squares = [(row[i] - (i == label)) ** 2 for row, label in zip(shares, labels, strict=True) for i in range(7)]
    assert calibration.brier == near(sum(squares) / 700)
    scaled = torch.from_numpy(np.log(shares.clip(1e-6)) / calibration.temperature).softmax(1)
    ece_scaled = multiclass_calibration_error(scaled, torch.tensor(labels), 7, n_bins=15)
    assert calibration.ece_scaled == pytest.approx(float(ece_scaled), abs=1e-4)
    nll_scaled = torch.nn.functional.nll_loss(scaled.log(), torch.tensor(labels))
    assert calibration.nll_scaled == pytest.approx(float(nll_scaled), abs=1e-4)

    pairs = Counter(pair for pair in zip(actual, predicted, strict=True) if pair[0] != pair[1])
    ordered = sorted(pairs, key=lambda pair: (-pairs[pair], CLASSES.index(pair[0]), CLASSES.index(pair[1])))[:10]
    assert found.errors.model_dump() == {
        "count": 700 - sum(right),
        "share": near(1 - sum(right) / 700),
        "confident_count": sum(c >= 0.99 for c in wrong),
        "top": [{"actual": a, "predicted": p, "count": pairs[a, p]} for a, p in ordered],
    }
    assert found.errors.confident_count > 0 and len(found.errors.top) == 10
    assert found.val_accuracy == near(np.mean(val.predicted == val.actual))
    assert found.notes == []
    summary = {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "ece": calibration.ece}
    assert summarise(found).model_dump() == summary


def test_table_6():
    """7,178 predictions, 2,131 of them wrong; 735 with a confidence below 0.6, of which 263 are right (35.8 %)."""
    confidence = np.array([0.55] * 735 + [0.6] * 1000 + [0.9] * 4443 + [0.99] * 500 + [1.0] * 500)
    wrong = np.zeros(7178, bool)
    wrong[: 735 - 263] = True
    wrong[735 : 735 + 2131 - 472 - 3] = True
    wrong[[-501, -500, -1]] = True  # one at 0.99, two at 1
    actual = np.arange(7178) % 7
    found = measure_rows(predict(actual, (actual + 3 * wrong) % 7, confidence))
    low = found.confidence
    assert (low.low_count, found.errors.count, found.errors.confident_count) == (735, 2131, 3)
    shares = low.low_share, low.low_accuracy, found.errors.share, found.accuracy
    assert [round(100 * share, 1) for share in shares] == [10.2, 35.8, 29.7, 70.3]


def test_a_class_without_a_test_row_and_one_never_predicted():
    found = measure_rows(predict([0, 0, 2, 3, 3], [0, 1, 0, 3, 3], 0.9))
    none = dict.fromkeys(("precision", "recall", "f1", "accuracy"))
    assert found.per_class["disgust"].model_dump() == found.per_class["sad"].model_dump() == {**none, "support": 0}
    fear = {"precision": None, "recall": 0, "f1": 0, "accuracy": 0, "support": 1}
    assert found.per_class["fear"].model_dump() == fear
    assert found.balanced_accuracy == found.macro_f1 == 0.5  # of angry 0.5, fear 0, happy 1
    assert [note.split(":")[0] for note in found.notes] == ["disgust", "fear", "sad", "surprise", "neutral"]
    assert "never predicted" in found.notes[1] and "no such face" in found.notes[0]
    assert Measured.model_validate_json(found.to_bytes()) == found


@pytest.mark.parametrize("right", [True, False])
def test_nothing_but_right_or_wrong(right):
    actual = np.arange(21) % 7
    rows = predict(actual, actual if right else (actual + 2) % 7, 1)
    rows = rows._replace(probabilities=0.8 * rows.probabilities + 0.2 * np.roll(rows.probabilities, 1, axis=1))
    found = measure_rows(rows, seen=np.ones(21, bool))
    assert found.accuracy == float(right) and found.accuracy_ci95 == [float(right)] * 2
    assert getattr(found.confidence, "mean_incorrect" if right else "mean_correct") is None
    assert found.confidence.low_accuracy is None and found.confidence.low_share == 0
    assert (found.accuracy_unseen, found.unseen_count) == (None, 0)
    assert len(found.errors.top) == (0 if right else 7)
    assert any("temperature is at the limit" in note for note in found.notes)
    assert Measured.model_validate_json(found.to_bytes()) == found


def test_the_interval_is_that_of_resampled_rows():
    rows = draw_rows(400, 5)
    low, high = measure_rows(rows).accuracy_ci95
    right = rows.correct
    rng = np.random.default_rng(9)
    means = [right[rng.integers(0, 400, 400)].mean() for _ in range(4000)]
    assert [low, high] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.006)
    assert low < right.mean() < high
    assert measure(rows, rows, ~right, SETTINGS, 2).accuracy_ci95 != [low, high]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_and_comes_from_val(temperature):
    """Labels drawn from probabilities p, of which the network reports p to the power of `temperature`."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(7, 2.0), 20_000)
    labels = (shares.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).astype(np.uint8)
    val = as_written(labels, shares**temperature / (shares**temperature).sum(axis=1, keepdims=True))
    assert fit_temperature(val) == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(temper(val.probabilities, temperature), shares, atol=2e-3)
    one, other = (measure_rows(draw_rows(50, seed), val).calibration for seed in (1, 2))
    assert one.temperature == other.temperature and one.nll != other.nll


def test_calibration_bins_and_coverage_by_hand():
    rows = predict([0, 0, 0, 0], [0, 1, 0, 1], [1.0, 0.75, 0.75, 0.6])
    table = bin_confidence(rows, 5)
    assert table[["low", "images"]].to_numpy().tolist() == [[0.6, 3], [0.8, 1]]
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 1])
    assert cover(rows).to_dict("list") == {
        "threshold": [1, 0.75, 0.6],
        "coverage": [0.25, 0.75, 1],
        "accuracy": [1, pytest.approx(2 / 3), 0.5],
    }
    assert len(cover(draw_rows(700, 2))["threshold"]) == 100


HISTORY = pd.DataFrame([[1, 0.1, 1.9, 0.2, 1.8, 0.3]], columns=evaluate.HISTORY)
EXAMPLE = (np.zeros((44, 44), np.uint8), np.eye(44, dtype=np.float32), 3)
ODD = {
    "as usual": (draw_rows(300, 1), [EXAMPLE] * 7),
    "all right": (predict(np.arange(21) % 7, np.arange(21) % 7, 1), [None] * 7),
    "all wrong": (predict(np.arange(21) % 7, (np.arange(21) + 1) % 7), None),
    "one class": (predict([3, 3], [3, 4], [0.9, 0.8]), [None, *[EXAMPLE] * 6]),
}


@pytest.mark.parametrize("case", ODD)
def test_pictures_of_odd_results(case):
    """Whatever the predictions are and with or without heat maps, each picture is drawn."""
    rows, examples = ODD[case]
    faces = np.zeros((len(rows.actual), 48, 48), np.uint8)
    explained = examples and {"correct": [None] * 7, "incorrect": examples}
    pictures = draw_all("VGG19", HISTORY, faces, rows, measure_rows(rows), 15, explained)
    assert set(pictures) == PICTURES
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())


HEADER = ",".join(evaluate.HISTORY) + "\n"


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", HEADER, f"{HEADER}1,1,1,x,1,1\n", "\ufeff\x00"])
def test_a_history_that_is_none(content, tmp_path):
    path = tmp_path / "history.csv"
    with pytest.raises(InputError, match="history.csv: not found"):
        evaluate.read_history(path)
    path.write_text(content)
    with pytest.raises(InputError, match="history.csv: not the history of a training"):
        evaluate.read_history(path)


def test_heat_maps_come_back_and_damaged_ones_are_refused(tmp_path):
    """Of each class the first correct face and the most confident error."""

    class Model:
        def explain(self, images, _):
            return images[:, 2:46, 2:46], np.full((1, 44, 44), images[0, 0, 0] / 10, np.float32)

    rows = predict([0, 0, 0, 0, 1], [0, 0, 1, 2, 1], [0.7, 0.8, 0.8, 0.9, 0.6])
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    path = tmp_path / "x_heat.npz"
    with pytest.raises(InputError, match="x_heat.npz: not found; run `dvc repro predict`"):
        read_heat(path, rows)
    content = pack_heat(Model(), images, rows)
    path.write_bytes(content)
    found = {
        kind: [example and (example[0].max(), example[1].max(), example[2]) for example in examples]
        for kind, examples in read_heat(path, rows).items()
    }
    shown = {row: (row, pytest.approx(row / 10), rows.predicted[row]) for row in (0, 3, 4)}
    assert found == {"correct": [shown[0], shown[4], *[None] * 5], "incorrect": [shown[3], *[None] * 6]}
    for damaged in (b"", content[:-50], content[:200]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"x_heat.npz: damaged .*; run `dvc repro -f predict`"):
            read_heat(path, rows)


def make_network(name, seed=0):
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 has it for the stages
    torch.manual_seed(seed)
    return find_network(name).build(Shape(0.07))


def wrap_network(name, network):
    return torch_model.TorchModel(network.eval(), find_network(name), "float32", "cpu", "")


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "vgg19.safetensors"
    path.write_bytes(pack_network("vgg19", 0.07, make_network("vgg19").state_dict()))
    return path


def test_models_that_do_not_fit(model_file, tmp_path):
    content = model_file.read_bytes()
    with pytest.raises(InputError, match="architecture is vgg19, expected resnet18"):
        torch_model.load_model(model_file, "resnet18", "float32")
    with pytest.raises(InputError, match="not found"):
        torch_model.load_model(tmp_path / "none.safetensors", "vgg19", "float32")
    for damaged in (content[:-100], b"", content.replace(b'"happy', b'"glad!').replace(b'\\"happy', b'\\"glad!'), content.replace(b"head.weight", b"tail.weight")):  # fmt: skip
        model_file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"vgg19\.safetensors: "):
            torch_model.load_model(model_file, "vgg19", "float32")


@pytest.mark.parametrize("kind", ["F8_E4M3", "I32", "U32"])
def test_weights_of_another_type(model_file, kind):
    """PyTorch would take them, and convert what was never meant so, or knows no isfinite of them."""
    content = model_file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["head.bias"]["dtype"] = kind
    if kind == "F8_E4M3":
        header["head.bias"]["shape"] = [7 * 4]
    packed = json.dumps(header).encode()
    model_file.write_bytes(len(packed).to_bytes(8, "little") + packed + content[8 + length :])
    with pytest.raises(InputError, match=r"vgg19\.safetensors: head\.bias holds torch\.\w+, expected torch\.float32"):
        torch_model.load_model(model_file, "vgg19", "float32")


def test_values_that_are_not_finite_in_the_file_or_the_answer(model_file):
    model = torch_model.load_model(model_file, "vgg19", "float32")
    torch.nn.init.constant_(model.network.head.bias, math.nan)
    faces = make_splits({"test": [0, 0]})
    with pytest.raises(InputError, match="m: gives no probabilities; train it anew"):
        predict_splits(model, faces, 1, "m")
    model_file.write_bytes(pack_network("vgg19", 0.07, model.network.state_dict()))
    with pytest.raises(InputError, match="holds values that are not finite"):
        torch_model.load_model(model_file, "vgg19", "float32")


def test_macs_of_the_papers_vgg19():
    """By hand: 9 * inputs * outputs * pixels of each convolution, and the head."""
    channels, pixels, by_hand = 3, 44, 512 * 7
    for layer in (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4):
        if layer == "M":
            pixels //= 2
        else:
            by_hand += 9 * channels * layer * pixels**2
            channels = layer
    model = wrap_network("vgg19", find_network("vgg19").build(Shape(1.0)))
    assert model.count_macs() == by_hand
    assert model.count_parameters() == pytest.approx(20.04e6, rel=0.001)


def test_grad_cam_by_hand():
    """ResNet18 ends in an average and a linear layer: the gradient is the head's weight over the number of pixels."""
    network = make_network("resnet18").eval()
    model = wrap_network("resnet18", network)
    images = Table().images[:3]
    crops, heat = model.explain(images, [0, 3, 6])
    np.testing.assert_array_equal(crops, images[:, 2:46, 2:46])
    maps = []
    network.layer4.register_forward_hook(lambda _, __, output: maps.append(output.detach()))
    network(as_input(crop_for_evaluation(torch.from_numpy(images).unsqueeze(1), 44, 1)))
    weights = network.head.weight[[0, 3, 6], :, None, None].detach() / 36
    expected = (weights * maps[0]).sum(1, keepdim=True).relu()
    expected = torch.nn.functional.interpolate(expected, size=(44, 44), mode="bilinear")[:, 0]
    expected = expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-30)
    np.testing.assert_allclose(heat, expected, atol=1e-4)
    assert heat.shape == (3, 44, 44) and heat.min() >= 0 and heat.max() == 1


@pytest.mark.parametrize(("name", "size"), [("vgg19", 5), ("resnet18", 6)])
def test_grad_cam_reads_maps_of_some_size(name, size):
    network, shapes = make_network(name).eval(), []
    layer = find_network(name).find_explained_layer(network)
    layer.register_forward_hook(lambda _, __, output: shapes.append(output.shape[2:]))
    network(torch.zeros(1, 3, 44, 44))
    assert shapes == [(size, size)]


class Project:
    """A copy of the stages with params of its own, small data and two networks that were never trained."""

    def __init__(self, folder, of_the_paper):
        self.folder = shutil.copytree(of_the_paper, folder)
        params = json.loads((folder / "params.yaml").read_text())
        params["compute"]["precision"] = "float32"
        (folder / "params.yaml").write_text(json.dumps(params))
        labels = np.arange(28) % 7
        splits = make_splits({"train": labels[:21], "val": labels[:14], "test": labels[labels != 1]})  # no disgust
        splits["test"].duplicate_of_train[:4] = True
        (folder / "faces.h5").write_bytes(pack_faces(splits, "official", "0" * 32))
        (folder / "vgg19.safetensors").write_bytes(pack_network("vgg19", 0.07, make_network("vgg19").state_dict()))
        HISTORY.to_csv(folder / "history.csv", index=False)

    def run(self, name, model, out):
        """Run `predict`, and if it succeeds `evaluate`; what the last `subprocess.run` returns."""
        both = {"name": name, "data": "faces.h5"}
        first = self.run_stage("predict", both | {"model": model, "out": f"{out}/p", "timing": f"{out}-timing.json"})
        if first.returncode:
            return first
        flags = {"history": "history.csv", "predictions": f"{out}/p", "metrics": f"{out}/m", "plots": f"{out}/plots"}
        second = self.run_stage("evaluate", both | flags)
        second.stderr = first.stderr + second.stderr
        return second

    def run_stage(self, stage, flags):
        command = [sys.executable, f"stages/{stage}.py", *(f"--{key}={value}" for key, value in flags.items())]
        one_thread = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}  # on a busy machine, threads wait for each other
        return subprocess.run(command, cwd=self.folder, env=one_thread, capture_output=True, text=True, timeout=120)

    def read(self, out):
        """{path: bytes} of all outputs but the metrics, and the metrics: `Scores`."""
        folder = self.folder / out
        contents = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}
        (metrics,) = [name for name in contents if name.startswith("m/") and "summary" not in name]
        return contents, Scores.model_validate_json(contents.pop(metrics))


@pytest.fixture(scope="module")
def project(tmp_path_factory, of_the_paper):
    return Project(tmp_path_factory.mktemp("project") / "copy", of_the_paper)


def check_outputs(project, name, out):
    """What holds for every network: the files, and that one follows from the other."""
    contents, metrics = project.read(out)
    endings = (".csv", "_votes.csv", "_single_crop.csv", "_single_crop_votes.csv", "_train.csv", "_heat.npz", ".json")
    tables = [f"{table}.csv" for table in ("confusion", "calibration", "classes", "risk_coverage")]
    paths = [f"p/{name}{ending}" for ending in endings] + [f"plots/{file}" for file in (*PICTURES, *tables)]
    assert set(contents) == {*paths, f"m/summary/{name}.json"}
    assert Summary.model_validate_json(contents[f"m/summary/{name}.json"]) == summarise(metrics)
    splits = read_faces(project.folder / "faces.h5")[0]
    rows = read_predictions(project.folder / out / "p" / f"{name}.csv", splits)
    again = measure(rows["val"], rows["test"], splits["test"].duplicate_of_train, SETTINGS, read_params().seed)
    assert again.model_dump() == metrics.model_dump(include=set(Measured.model_fields))
    assert metrics.unseen_count == 20 and metrics.per_class["disgust"].recall is None
    assert metrics.overfitting_gap == pytest.approx(metrics.train_accuracy - metrics.accuracy, abs=1e-6)
    confusion = list(csv.DictReader(contents["plots/confusion.csv"].decode().splitlines()))
    pairs = zip(splits["test"].labels, rows["test"].predicted, strict=True)
    assert [(row["actual"], row["predicted"]) for row in confusion] == [(CLASSES[a], CLASSES[p]) for a, p in pairs]
    assert min(metrics.cost.parameters, metrics.cost.macs, metrics.cost.model_bytes) > 0
    times = read_timing(project.folder / f"{out}-timing.json", [name]).prediction[name]
    assert times.latency_ms_batch1 > 0 and times.images_per_second > 0 and times.hardware
    assert not re.search(rb"latency|per_second|seconds|hardware", b"".join(contents.values()))
    return contents, metrics, splits, rows


def test_the_stage_on_a_torch_network(project):
    process = project.run("vgg19", "vgg19.safetensors", "out")
    assert (process.returncode, process.stderr) == (0, "")
    contents, metrics, splits, rows = check_outputs(project, "vgg19", "out")
    single = read_predictions(project.folder / "out/p/vgg19_single_crop.csv", splits)
    network = make_network("vgg19").eval()
    with torch.no_grad():
        for crops, found in ((10, rows), (1, single)):
            for split in ("val", "test"):
                for image, shares in zip(splits[split].images, found[split].probabilities, strict=True):
                    ten = torch.stack(ten_crop(torch.from_numpy(image).unsqueeze(0), 44))
                    inputs = (ten if crops == 10 else ten[4:5]).expand(-1, 3, -1, -1) / 255
                    np.testing.assert_allclose(shares, network(inputs).softmax(1).mean(0), atol=1e-5)
    assert metrics.accuracy_single_crop == pytest.approx(single["test"].correct.mean(), abs=1e-6)
    train = wrap_network("vgg19", network).predict(splits["train"].images, 1)
    assert metrics.train_accuracy == pytest.approx(np.mean(train.argmax(1) == splits["train"].labels), abs=1e-6)

    assert project.run("vgg19", "vgg19.safetensors", "again").returncode == 0
    assert project.read("again") == (contents, metrics)


def test_the_stage_on_a_keras_network_and_on_files_that_are_none(project, tmp_path):
    keras = pytest.importorskip("fer_pipeline.networks.keras.model").keras
    keras.config.set_dtype_policy("float32")  # whatever a training in this process set
    layers = keras.layers

    def save(name, size=48, classes=7):
        keras.utils.set_random_seed(0)
        network = keras.Sequential([layers.Input((size, size, 1)), layers.Rescaling(1 / 255)])
        for layer in (layers.Conv2D(4, 3, strides=4), layers.Flatten(), layers.Dense(classes, activation="softmax")):
            network.add(layer)
        network.save(project.folder / name)
        return network

    network = save("baseline.keras")
    process = project.run("baseline", "baseline.keras", "keras/out")
    assert (process.returncode, process.stderr) == (0, "")
    contents, metrics, splits, rows = check_outputs(project, "baseline", "keras/out")
    for split in ("val", "test"):
        expected = network.predict(splits[split].images[..., np.newaxis], verbose=0)
        np.testing.assert_allclose(rows[split].probabilities, expected, atol=1e-5)
    train = network.predict(splits["train"].images[..., np.newaxis], verbose=0).argmax(1)
    assert metrics.train_accuracy == pytest.approx(np.mean(train == splits["train"].labels), abs=1e-6)
    assert metrics.accuracy_single_crop == metrics.accuracy
    assert contents["p/baseline_single_crop.csv"] == contents["p/baseline.csv"]
    assert metrics.cost.parameters == (9 + 1) * 4 + (12 * 12 * 4 + 1) * 7
    assert metrics.cost.macs == 12 * 12 * 9 * 4 + 12 * 12 * 4 * 7

    import fer_pipeline.networks.keras.model as keras_model

    (project.folder / "torn.keras").write_bytes((project.folder / "baseline.keras").read_bytes()[:-500])
    (project.folder / "empty.keras").write_bytes(b"")
    save("six.keras", classes=6)
    save("large.keras", size=64)
    problems = dict.fromkeys(("torn", "empty"), "damaged, or no Keras file") | {"none": "not found"}
    problems |= {"six": "expected (None, 48, 48, 1) and (None, 7)", "large": "takes (None, 64, 64, 1)"}
    for name, expected in problems.items():
        with pytest.raises(InputError) as error:
            keras_model.load_model(project.folder / f"{name}.keras", "baseline", "auto")
        assert expected in str(error.value) and "\n" not in str(error.value)

    process = project.run("baseline", "torn.keras", "bad")
    assert process.returncode == 1
    assert process.stderr.startswith("error: torn.keras: damaged, or no Keras file") and process.stderr.count("\n") == 1
    assert not (project.folder / "bad").exists()


def test_calls_are_timed_after_some_to_warm_up():
    calls = []
    seconds = time_calls(lambda: calls.append(1), 20)
    assert len(seconds) == 20 and len(calls) == 22
    assert len(time_calls(lambda: calls.append(1), 3)) == 3 and len(calls) == 26
