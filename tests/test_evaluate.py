"""predict and evaluate: every metric by another route, the pictures of odd results, and what the stages write."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from answers import draw_rows, make_splits, name_classes, predict
from conftest import refuse
from torch.nn.functional import nll_loss
from trainings import FACTS

import evaluate
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.faces.votes import find_majority
from fer_pipeline.figures.network import draw_all
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.groups import judge_groups
from fer_pipeline.metrics.scores import Measured, Summary, bin_confidence, cover, measure, summarise
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import CENTRE, CROPS, find_network, list_views
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.calibration import fit_temperature, temper
from fer_pipeline.predictions.heat import pack_heat, read_heat
from fer_pipeline.predictions.predictions import SCORED, WAYS, as_written, read_predictions, to_csv
from fer_pipeline.report.evidence import list_pictures
from predict import predict_splits
from timing import read_timing

PICTURES = {Path(path).name for path in list_pictures({"vgg19": find_network("vgg19")}) if "/test/" in path}
"""What dvc.yaml expects from `evaluate`."""
SETTINGS = Evaluate(threshold=0.6, confident=0.99, bins=15, bootstrap=2000)


def measure_rows(test, val=None, seen=None):
    return measure(val or test, test, seen, SETTINGS, seed=1)


def compute_calibration_error(probabilities, labels):
    """In 15 bins of confidence: how far its mean is from the accuracy, weighted by the rows in the bin."""
    confidence, predicted = probabilities.max(dim=1)
    rows = pd.DataFrame({"confidence": confidence, "right": predicted == labels}).astype(float)
    bins = rows.groupby(pd.cut(rows["confidence"], np.linspace(0, 1, 16)), observed=True)
    return (bins.size() * (bins["confidence"].mean() - bins["right"].mean()).abs()).sum() / len(rows)


def test_metrics_from_the_csv_by_another_route(tmp_path):
    """Everything anew from the file's text, by pandas, scikit-learn and PyTorch."""
    val, test = draw_rows(300, 1, sharpness=4), draw_rows(700, 2, sharpness=4)
    wrong = (test.actual[:2] + 1) % 7
    test.probabilities[:2] = predict(test.actual[:2], wrong, [0.6, 0.99]).probabilities.round(6)  # the thresholds
    test.probabilities[:2, 6] += 1 - test.probabilities[:2].sum(axis=1)
    seen = np.random.default_rng(3).random(700) < 0.2
    path = tmp_path / "x.csv"
    path.write_bytes(to_csv({"val": val, "test": test}))
    read = read_predictions(path, make_splits({"val": val.actual, "test": test.actual}), CLASSES)
    found = measure(read["val"], read["test"], seen, SETTINGS, seed=1)
    assert found == measure(val, test, seen, SETTINGS, seed=1)

    table = pd.read_csv(path).assign(right=lambda rows: rows["actual"] == rows["predicted"])
    val_right, table = table.query("split == 'val'")["right"], table.query("split == 'test'")
    actual, predicted, right, confidence = (table[key] for key in ("actual", "predicted", "right", "confidence"))
    low, labels = confidence < 0.6, torch.tensor([CLASSES.index(emotion) for emotion in actual])
    shares = torch.from_numpy(table[[*CLASSES]].to_numpy())
    scaled = (shares.clip(1e-6).log() / found.calibration.temperature).softmax(1)
    report = sklearn.metrics.classification_report(actual, predicted, output_dict=True)
    pairs = Counter(pair for pair in zip(actual, predicted, strict=True) if pair[0] != pair[1])
    ordered = sorted(pairs, key=lambda pair: (-pairs[pair], CLASSES.index(pair[0]), CLASSES.index(pair[1])))[:10]
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(actual, predicted),
        "accuracy_unseen": right[~seen].mean(),
        "unseen_count": (~seen).sum(),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(actual, predicted),
        "macro_f1": report["macro avg"]["f1-score"],
        "val_accuracy": val_right.mean(),
        "confidence.mean": confidence.mean(),
        "confidence.mean_correct": confidence[right].mean(),
        "confidence.mean_incorrect": confidence[~right].mean(),
        "confidence.std": confidence.std(ddof=0),
        "confidence.low_count": low.sum(),
        "confidence.low_share": low.mean(),
        "confidence.low_accuracy": right[low].mean(),
        "confidence.threshold": 0.6,
        "calibration.ece": compute_calibration_error(shares, labels),
        "calibration.nll": nll_loss(shares.clip(1e-6).log(), labels),
        "calibration.brier": (shares - torch.eye(7)[labels]).square().sum(1).mean(),
        "calibration.ece_scaled": compute_calibration_error(scaled, labels),
        "calibration.nll_scaled": nll_loss(scaled.log(), labels),
        "errors.count": (~right).sum(),
        "errors.share": (~right).mean(),
        "errors.confident_count": (~right & (confidence >= 0.99)).sum(),
    }
    for emotion in CLASSES:
        precision, recall, f1, support = report[emotion].values()
        values = {"precision": precision, "recall": recall, "f1": f1, "accuracy": recall, "support": support}
        expected |= {f"per_class.{emotion}.{key}": value for key, value in values.items()}
    flat = pd.json_normalize(found.model_dump()).iloc[0].to_dict()
    rest = {key: flat.pop(key) for key in ("accuracy_ci95", "calibration.temperature", "errors.top", "notes")}
    for key, value in expected.items():
        near = 1e-4 if "scaled" in key else 1e-5 if "nll" in key else 1e-6  # their temperature has six decimals
        assert flat.pop(key) == pytest.approx(float(value), abs=near), key
    assert not flat
    assert rest["errors.top"] == [{"actual": a, "predicted": p, "count": pairs[a, p]} for a, p in ordered]
    assert rest["notes"] == [] and found.unseen_count < 700 and found.accuracy_unseen != found.accuracy
    summary = {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "ece": found.calibration.ece}
    assert summarise(found).model_dump() == summary


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
    val = as_written(CLASSES, labels, shares**temperature / (shares**temperature).sum(axis=1, keepdims=True))
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
EXAMPLE = (np.zeros((44, 44), np.uint8), np.eye(44, dtype=np.float32), 1)
ODD = {
    "as usual": (draw_rows(300, 1), [EXAMPLE] * 7),
    "all right": (predict(np.arange(21) % 7, np.arange(21) % 7, 1), [None] * 7),
    "all wrong": (predict(np.arange(21) % 7, (np.arange(21) + 1) % 7), None),
    "one class": (predict([3, 3], [3, 4], [0.9, 0.8]), [None, *[EXAMPLE] * 6]),
    "a hundred": (draw_rows(300, 1, classes=name_classes(100)), [None, *[EXAMPLE] * 99]),
}


@pytest.mark.parametrize("case", ODD)
def test_pictures_of_odd_results(case):
    """Whatever the predictions are and with or without heat maps, each picture is drawn."""
    rows, examples = ODD[case]
    faces = np.zeros((len(rows.actual), 48, 48), np.uint8)
    explained = examples and {"correct": [None] * len(rows.classes), "incorrect": examples}
    pictures = draw_all("VGG19", HISTORY, faces, rows, measure_rows(rows), 15, explained)
    assert set(pictures) == PICTURES
    assert all(content.startswith(b"\x89PNG") for content in pictures.values())


HEADER = ",".join(evaluate.HISTORY) + "\n"


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", HEADER, f"{HEADER}1,1,1,x,1,1\n", "\ufeff\x00"])
def test_a_history_that_is_none(content, tmp_path):
    path = tmp_path / "history.csv"
    assert "history.csv: not found" in refuse(evaluate.read_history, path)
    path.write_text(content)
    assert "history.csv: not the history of a training" in refuse(evaluate.read_history, path)


def test_heat_maps_come_back_and_damaged_ones_are_refused(tmp_path):
    """Of each class the first correct face and the most confident error."""

    class Model:
        def explain(self, images, _):
            return images[:, 2:46, 2:46], np.full((1, 44, 44), images[0, 0, 0] / 10, np.float32)

    rows = predict([0, 0, 0, 0, 1], [0, 0, 1, 2, 1], [0.7, 0.8, 0.8, 0.9, 0.6])
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    path = tmp_path / "x_heat.npz"
    assert "x_heat.npz: not found; run `dvc repro predict`" in refuse(read_heat, path, rows)
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
        said = refuse(read_heat, path, rows)
        assert "x_heat.npz: damaged " in said and said.endswith("; run `dvc repro -f predict`")


@pytest.mark.parametrize("name", read_params().networks)
def test_what_predict_and_evaluate_write(name, finished_pipeline):
    """Of each network: its predictions are the network's, and scores and tables follow from the predictions."""
    folder, network = finished_pipeline.path, find_network(name)
    params, (faces, facts) = read_params(path=folder / "params.yaml"), read_faces(folder / "data/prepared/faces.h5")
    scores = Scores.read(folder / f"metrics/{name}.json", "")
    model = load_model(name, folder / params.networks[name], scores.precision, facts)
    ways = CROPS[network.TEST_CROPS], CENTRE, list_views(params.test_views[name]), CENTRE
    said = {}
    for ending, way in zip((*WAYS, "_train"), ways, strict=True):
        splits = ["train"] if ending == "_train" else SCORED
        said[ending] = read_predictions(folder / f"data/predictions/{name}{ending}.csv", faces, CLASSES, splits)
        found = predict_splits(model, {split: faces[split] for split in splits}, CLASSES, "", way)[0][0]
        for split in splits:
            np.testing.assert_allclose(said[ending][split].probabilities, found[split].probabilities, atol=1e-3)
    val, test, single, train = *said[""].values(), said["_single_crop"]["test"], said["_train"]["train"]
    measured = measure(val, test, faces["test"].duplicate_of_train, params.evaluate, params.seed)
    shares = {"accuracy_single_crop": single.correct.mean(), "train_accuracy": train.correct.mean()}
    shares |= {"accuracy_views": said["_views"]["test"].correct.mean()}
    shares |= {"val_accuracy_views": said["_views"]["val"].correct.mean()}
    shares["overfitting_gap"] = train.correct.mean() - test.correct.mean()
    assert scores.model_dump(include=set(Measured.model_fields)) == measured.model_dump()
    assert scores.model_dump(include=set(shares)) == pytest.approx(shares, abs=2e-6)
    assert Summary.read(folder / f"metrics/summary/{name}.json", "") == summarise(scores)
    majority = np.array([*VOTE_CLASSES, "none"])[find_majority(faces["test"].votes)]
    seven, eight = np.isin(majority, CLASSES), majority != "none"
    first, second = (
        pd.read_csv(folder / f"data/predictions/{name}{head}.csv").query("split == 'test'")["predicted"] == majority
        for head in ("", "_votes")
    )
    agreed = {"rows": eight.sum(), "emotion_rows": seven.sum()}
    agreed |= {"accuracy": first[seven].mean(), "votes_accuracy": second[eight].mean()}
    assert scores.annotators.model_dump(include={*agreed}) == pytest.approx(agreed, abs=1e-6)
    cost = model.count_parameters(), model.count_macs(), (folder / params.networks[name]).stat().st_size
    assert tuple(scores.cost.model_dump().values()) == cost
    tables = [f"{table}.csv" for table in ("confusion", "calibration", "classes", "risk_coverage")]
    assert {path.name for path in (folder / f"plots/{name}/test").iterdir()} == {*tables, *PICTURES}
    confusion = pd.read_csv(folder / f"plots/{name}/test/confusion.csv")
    names = {"actual": [CLASSES[k] for k in test.actual], "predicted": [CLASSES[k] for k in test.predicted]}
    assert confusion.to_dict("list") == names
    times = read_timing(folder / "metrics/timing.json", [name]).prediction[name]
    assert times.latency_ms_batch1 > 0 and times.images_per_second > 0 and times.hardware


def test_a_keras_network_and_files_that_are_none(tmp_path):
    from fer_pipeline.networks.keras.framework import keras

    keras.config.set_dtype_policy("float32")  # whatever a training in this process set
    layers = keras.layers

    def save(name, size=48, classes=7):
        network = keras.Sequential([layers.Input((size, size, 1)), layers.Rescaling(1 / 255)])
        for layer in (layers.Conv2D(4, 3, strides=4), layers.Flatten(), layers.Dense(classes, activation="softmax")):
            network.add(layer)
        network.save(tmp_path / f"{name}.keras")
        return network

    network, faces = save("good"), make_splits({"test": range(7)})["test"].images
    model = load_model("baseline", tmp_path / "good.keras", "auto", FACTS)
    np.testing.assert_allclose(
        model.predict(faces, CENTRE)[0], network.predict(faces[..., np.newaxis], verbose=0), atol=1e-6
    )
    assert model.count_parameters() == (9 + 1) * 4 + (12 * 12 * 4 + 1) * 7
    assert model.count_macs() == 12 * 12 * 9 * 4 + 12 * 12 * 4 * 7

    (tmp_path / "torn.keras").write_bytes((tmp_path / "good.keras").read_bytes()[:-500])
    (tmp_path / "empty.keras").write_bytes(b"")
    save("six", classes=6)
    save("large", size=64)
    problems = dict.fromkeys(("torn", "empty"), "damaged, or no Keras file") | {"none": "not found"}
    problems |= {"six": "expected (None, 48, 48, 1) and (None, 7)", "large": "takes (None, 64, 64, 1)"}
    for name, expected in problems.items():
        said = refuse(load_model, "baseline", tmp_path / f"{name}.keras", "auto", FACTS)
        assert expected in said and "\n" not in said


def test_answers_that_are_no_probabilities():
    model = SimpleNamespace(classes=7, predict=lambda images, *ways: np.full((len(ways), len(images), 7), np.nan))
    said = refuse(predict_splits, model, make_splits({"test": [0, 0]}), CLASSES, "m", CENTRE)
    assert "m: gives no probabilities; train it anew" in said


def test_errors_by_group():
    """Each group is scored on its own rows; only groups of 30 and more can make the gap."""
    test = draw_rows(100, 3, sharpness=4)
    age = np.array(["young"] * 40 + ["old"] * 31 + ["unknown"] * 29)
    ages, cameras = judge_groups(test, {"age": age, "camera": np.array(["a"] * 100)}, SETTINGS, seed=1)
    assert [(one.name, one.images) for one in ages.groups] == [("old", 31), ("unknown", 29), ("young", 40)]
    for one in ages.groups:
        rows = test._replace(actual=test.actual[age == one.name], probabilities=test.probabilities[age == one.name])
        own = measure_rows(rows)
        assert (one.accuracy, one.accuracy_ci95) == (own.accuracy, own.accuracy_ci95)
        assert (one.calibration_error, one.uncertain) == (own.calibration.ece, own.confidence.low_share)
    old, _, young = (one.accuracy for one in ages.groups)
    assert {ages.gap.best, ages.gap.worst} == {"old", "young"}
    assert ages.gap.points == pytest.approx(100 * abs(old - young), abs=1e-4)
    low, high = ages.gap.points_ci95
    spread = 100 * np.sqrt(old * (1 - old) / 31 + young * (1 - young) / 40)  # of a difference of two shares
    assert low < ages.gap.points < high and high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert all(one.uncertain_ci95[0] <= one.uncertain <= one.uncertain_ci95[1] for one in ages.groups)
    assert cameras.gap is None and cameras.groups[0].accuracy == measure_rows(test).accuracy
