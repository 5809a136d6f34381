"""compare: small tables with known answers, another route for every number, and what bad input leaves behind."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from math import comb, log

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from sklearn.metrics import accuracy_score, f1_score

import compare
from fer import paper
from fer.core.params import read_params
from fer.core.stage import InputError
from fer.data.faces import Split, pack_faces
from fer.data.fer2013 import CLASSES
from fer.evidence.comparison import draw_all_wrong, draw_class_f1
from fer.evidence.predictions import Predictions, to_csv

NETWORKS = ("baseline", "vgg19", "resnet18")
COST = {"parameters": 10, "macs": 20, "model_bytes": 40, "latency_ms_batch1": 1.5, "images_per_second": 900.0}


def predict(actual, predicted, confidence=0.7):
    """`Predictions` of given answers: the rest of each row is spread evenly."""
    probabilities = np.full((len(actual), 7), (1 - confidence) / 6)
    probabilities[np.arange(len(actual)), predicted] = confidence
    return Predictions(np.array(actual, np.uint8), probabilities)


class Inputs:
    """A folder with faces.h5, the predictions and the metrics of three networks; test rows 0 and 1 fool all of them."""

    def __init__(self, folder, classes=7, split="official", counts=(14, 35, 42), seed=0):
        self.folder = folder
        rng = np.random.default_rng(seed)
        self.labels = {name: np.arange(n) % classes for name, n in zip(("train", "val", "test"), counts, strict=True)}
        splits = {
            name: Split(
                rng.integers(0, 256, (len(labels), 48, 48), np.uint8),
                labels.astype(np.uint8),
                None if name == "train" else np.zeros(len(labels), bool),
            )
            for name, labels in self.labels.items()
        }
        folder.mkdir(parents=True)
        (folder / "faces.h5").write_bytes(pack_faces(splits, split, "0" * 32))
        for name, strength in zip(NETWORKS, (0.6, 1.2, 1.5), strict=True):
            self.write(
                name,
                {s: (splits[s].labels, self.draw(rng, self.labels[s], strength, s == "test")) for s in ("val", "test")},
            )

    def draw(self, rng, labels, strength, fooled):
        logits = rng.normal(size=(len(labels), 7))
        logits[np.arange(len(labels)), labels] += strength
        if fooled:
            logits[0, 3], logits[1, 4:] = 9, (9, 8, 7)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    def write(self, name, splits):
        (self.folder / f"{name}.csv").write_bytes(to_csv(splits))
        actual, probabilities = splits["test"]
        answers = probabilities.argmax(axis=1)
        f1 = f1_score(actual, answers, labels=range(7), average=None, zero_division=0)
        present = np.bincount(actual, minlength=7) > 0
        accuracy = accuracy_score(actual, answers)
        metrics = {
            "accuracy": round(accuracy, 6),
            "accuracy_ci95": [0.1, 0.9],
            "train_accuracy": 0.9,
            "overfitting_gap": round(0.9 - accuracy, 6),
            "macro_f1": round(float(f1[present].mean()), 6),
            "per_class": {
                emotion: {"f1": round(float(f1[i]), 6) if present[i] else None} for i, emotion in enumerate(CLASSES)
            },
            "cost": COST,
        }
        (self.folder / f"{name}.json").write_text(json.dumps(metrics))

    def read(self, name, split="test"):
        """Actual and predicted names and probabilities, by the csv module alone."""
        with open(self.folder / f"{name}.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
        return (
            [row["actual"] for row in rows],
            [row["predicted"] for row in rows],
            [[float(row[c]) for c in CLASSES] for row in rows],
        )


def arguments(folder, out):
    inputs = ["--data", folder / "faces.h5", "--predictions", folder, "--metrics", folder]
    outputs = [
        "--report",
        out / "compare.json",
        "--summary",
        out / "summary" / "ensemble.json",
        "--plots",
        out / "plots",
    ]
    return [str(argument) for argument in (*inputs, *outputs)]


@pytest.fixture
def inputs(tmp_path):
    return Inputs(tmp_path / "in")


@pytest.fixture
def run_here(monkeypatch, tmp_path):
    """Run `main` on a folder in this process, which need not load its libraries again; returns the folder of outputs."""

    def run(folder):
        monkeypatch.setattr(sys, "argv", ["compare.py", *arguments(folder, tmp_path / "out")])
        compare.main()
        return tmp_path / "out"

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Inputs, and the outputs of the real script run on them."""
    folder = tmp_path_factory.mktemp("finished")
    inputs = Inputs(folder / "in")
    script = [sys.executable, ROOT / "stages" / "compare.py"]
    process = subprocess.run([*script, *arguments(inputs.folder, folder / "out")], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return inputs, folder / "out"


def test_the_whole_by_another_route(finished):
    inputs, out = finished
    report = json.loads((out / "compare.json").read_text())
    read = {name: inputs.read(name) for name in NETWORKS}
    actual = read["baseline"][0]
    n = len(actual)

    right = {name: [a == p for a, p in zip(*read[name][:2], strict=True)] for name in NETWORKS}
    for pair in report["mcnemar"]:
        first, second = right[pair["first"]], right[pair["second"]]
        assert pair["first_only"] == sum(a and not b for a, b in zip(first, second, strict=True))
        assert pair["second_only"] == sum(b and not a for a, b in zip(first, second, strict=True))

    for one in [*report["ensembles"], report["weighted_ensemble"]]:
        for split, key in (("val", "val_accuracy"), ("test", "accuracy")):
            tables = [inputs.read(name, split) for name in one["members"]]
            sums = [
                [sum(w * table[2][i][c] for w, table in zip(one["weights"], tables, strict=True)) for c in range(7)]
                for i in range(len(tables[0][0]))
            ]
            voted = [CLASSES[row.index(max(row))] for row in sums]
            assert one[key] == pytest.approx(sum(map(str.__eq__, voted, tables[0][0])) / len(voted), abs=1e-6)
        best = max(sum(right[name]) for name in one["members"])
        assert sum(right[one["best_member"]]) == best
        assert one["gain_points"] == pytest.approx(100 * (one["accuracy"] - best / n), abs=1e-3)
        assert one["accuracy_ci95"][0] <= one["accuracy"] <= one["accuracy_ci95"][1]
    assert len(report["ensembles"]) == 4

    tables = [inputs.read(name, "val") for name in NETWORKS]
    truth = [CLASSES.index(emotion) for emotion in tables[0][0]]

    def loss(weights):
        shares = [
            sum(w * table[2][i][c] for w, table in zip(weights, tables, strict=True)) for i, c in enumerate(truth)
        ]
        return -sum(map(log, shares))

    grid = [(a / 20, b / 20, (20 - a - b) / 20) for a in range(21) for b in range(21 - a)]
    assert report["weighted_ensemble"]["weights"] == pytest.approx(min(grid, key=loss))

    for pair in report["agreement"]["pairs"]:
        first, second = read[pair["first"]][1], read[pair["second"]][1]
        share = sum(map(str.__eq__, first, second)) / n
        chance = sum(first.count(c) * second.count(c) for c in CLASSES) / n**2
        assert pair["share"] == pytest.approx(share, abs=1e-6)
        assert pair["kappa"] == pytest.approx((share - chance) / (1 - chance), abs=1e-6)
    said = list(zip(*(read[name][1] for name in NETWORKS), strict=True))
    assert report["agreement"]["all_share"] == pytest.approx(sum(len(set(one)) == 1 for one in said) / n, abs=1e-6)
    counts = [sum(one) for one in zip(*right.values(), strict=True)]
    assert report["agreement"]["right_by"] == [counts.count(k) for k in range(4)]

    wrong = [i for i in range(n) if counts[i] == 0]
    assert {0, 1} <= set(wrong)
    assert sorted(report["all_wrong"]["indices"]) == wrong
    assert report["all_wrong"]["count"] == len(wrong)
    same = [i for i in wrong if len(set(said[i])) == 1]
    assert report["all_wrong"]["same_count"] == len(same)
    assert set(report["all_wrong"]["indices"][: len(same)]) == set(same)

    summary = json.loads((out / "summary" / "ensemble.json").read_text())
    assert list(summary) == ["accuracy", "macro_f1", "ece"]
    three = next(one for one in report["ensembles"] if len(one["members"]) == 3)
    assert summary["accuracy"] == three["accuracy"]

    for name, row in report["table7"].items():
        metrics = json.loads((inputs.folder / f"{name}.json").read_text())
        assert {key: row[key] for key in ("accuracy", "train_accuracy", "overfitting_gap", "macro_f1")} == {
            key: metrics[key] for key in ("accuracy", "train_accuracy", "overfitting_gap", "macro_f1")
        }
        assert row["difference_points"]["accuracy"] == pytest.approx(
            100 * (metrics["accuracy"] - row["paper"]["accuracy"]), abs=0.006
        )
        assert (row["parameters"], row["model_bytes"], row["latency_ms_batch1"]) == (10, 40, 1.5)
    assert [row["paper"]["accuracy"] for row in report["table7"].values()] == [0.6725, 0.7031, 0.716]

    f1 = pd.read_csv(out / "plots" / "class_f1.csv", index_col="emotion")
    assert tuple(f1.index) == CLASSES
    for name in NETWORKS:
        expected = f1_score(*read[name][:2], labels=CLASSES, average=None, zero_division=0)
        assert f1[name].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_every_table_beside_the_paper_is_labelled(finished):
    _, out = finished
    report = json.loads((out / "compare.json").read_text())
    assert report["comparable"] is False
    assert "profile sample, split official, 42 test images (drawn faces, not FER-2013)" in report["label"]
    for name in ("table7", "literature"):
        table = pd.read_csv(out / "plots" / f"{name}.csv")
        assert set(table["label"]) == {report["label"]}
        assert not table["comparable"].any()
    literature = pd.read_csv(out / "plots" / "literature.csv")
    assert literature["source"].value_counts().to_dict() == {"literature": 14, "ours": 4, "paper": 3}
    assert literature["accuracy"].is_monotonic_decreasing


def test_the_same_input_gives_the_same_bytes(finished, run_here):
    """In a process of its own, and in this one."""
    inputs, first = finished
    digests = []
    for out in (first, run_here(inputs.folder)):
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append({path.relative_to(out): hashlib.md5(path.read_bytes()).hexdigest() for path in files})
    assert digests[0] == digests[1]
    names = ("literature", "class_f1", "ensembles", "agreement", "all_wrong")
    assert {str(path) for path in digests[0]} == {"compare.json", "summary/ensemble.json", "plots/table7.csv"} | {
        f"plots/{name}.{kind}" for name in names for kind in ("png", "csv")
    }


def replace(path, old, new):
    """Replace the first `old` in a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def drop_line(path, start):
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(start)]
    assert len(kept) == len(lines) - 1
    path.write_text("".join(kept))


DAMAGE = {
    "no predictions": (lambda d: (d / "vgg19.csv").unlink(), "vgg19.csv: not found"),
    "no metrics": (lambda d: (d / "vgg19.json").unlink(), "vgg19.json: not found; run `dvc repro evaluate`"),
    "no faces": (lambda d: (d / "faces.h5").unlink(), "faces.h5: not found"),
    "half a JSON": (lambda d: (d / "resnet18.json").write_text((d / "resnet18.json").read_text()[:99]), "resnet18.json: the file: Invalid JSON"),
    "a key is missing": (lambda d: replace(d / "baseline.json", '"macro_f1"', '"macrof1"'), "baseline.json: macro_f1: Field required"),
    "no number": (lambda d: replace(d / "baseline.json", '"train_accuracy": 0.9', '"train_accuracy": NaN'), "baseline.json: train_accuracy: Input should be a finite number"),
    "another class": (lambda d: replace(d / "vgg19.json", '"fear"', '"contempt"'), "vgg19.json: per_class is angry, disgust, contempt, happy"),
    "metrics of other predictions": (lambda d: shutil.copy(d / "baseline.json", d / "vgg19.json"), "vgg19.json: accuracy is 0."),
    "a row is missing": (lambda d: drop_line(d / "resnet18.csv", "test,41,"), "resnet18.csv: row 41 of test is missing"),
    "another label": (lambda d: replace(d / "vgg19.csv", "test,5,surprise", "test,5,sad"), "vgg19.csv: row 5 of test is sad, but surprise in the data"),
    "another data set": (lambda d: shutil.copy(d / "other" / "baseline.csv", d), "baseline.csv: "),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_bad_input_is_named_and_writes_nothing(case, inputs, run_here, tmp_path):
    Inputs(inputs.folder / "other", counts=(14, 35, 49))
    damage, expected = DAMAGE[case]
    damage(inputs.folder)
    with pytest.raises(InputError) as error:
        run_here(inputs.folder)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line_for_a_user(inputs, run_stage, tmp_path):
    (inputs.folder / "vgg19.csv").unlink()
    process = run_stage("compare", *arguments(inputs.folder, tmp_path / "out"))
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {inputs.folder / 'vgg19.csv'}: not found; ")
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_class_without_test_images_is_left_out(tmp_path, run_here):
    out = run_here(Inputs(tmp_path / "six", classes=6).folder)
    f1 = pd.read_csv(out / "plots" / "class_f1.csv", index_col="emotion")
    assert f1.loc["neutral"].isna().all() and f1.drop("neutral").notna().all(axis=None)
    assert "neutral" not in pd.read_csv(out / "plots" / "agreement.csv")["emotion"].tolist()
    report = json.loads((out / "compare.json").read_text())
    assert report["ensemble"]["per_class"]["neutral"]["f1"] is None
    (axes,) = draw_class_f1(f1.reset_index()).axes
    heights = [bar.get_height() for bars in axes.containers for bar in bars]
    assert len(heights) == 6 * 4


def test_the_split_paper_is_noted(tmp_path, run_here):
    out = run_here(Inputs(tmp_path / "paper", split="paper").folder)
    report = json.loads((out / "compare.json").read_text())
    assert report["split"] == "paper"
    assert any("val lies inside test" in note for note in report["notes"])


def test_comparable_only_under_the_papers_profile_and_counts():
    def describe(profile, dataset, counts, **vgg19):
        splits = {
            name: Split(None, np.zeros(n), None) for name, n in zip(("train", "val", "test"), counts, strict=True)
        }
        (settings,) = read_params(f"profiles.{profile}")
        settings = settings.model_copy(update={"vgg19": settings.vgg19.model_copy(update=vgg19)})
        return compare.describe_run(profile, settings, "paper", dataset, splits)["comparable"]

    counts = (22_968, 1_432, 7_178)
    assert describe("paper", "data/raw/fer2013.csv", counts) is True
    assert describe("cpu", "data/raw/fer2013.csv", counts) is False
    assert describe("paper", "data/raw/fer2013.csv", (28_709, 3_589, 3_589)) is False
    assert describe("paper", "./data/raw/sample.csv", counts) is False
    assert describe("paper", "data/raw/fer2013.csv", counts, epochs=3) is False
    assert describe("paper", "data/raw/fer2013.csv", counts, width=0.5) is False


def test_mcnemar_by_hand():
    """9 to 2 of 11 discordant images: 2 (C(11,0) + C(11,1) + C(11,2)) / 2^11."""
    first = np.array([True] * 20 + [True] * 9 + [False] * 2 + [False] * 5)
    second = np.array([True] * 20 + [False] * 9 + [True] * 2 + [False] * 5)
    found = compare.apply_mcnemar(first, second)
    assert (found["first_only"], found["second_only"]) == (9, 2)
    assert found["p_value"] == pytest.approx(2 * sum(comb(11, k) for k in range(3)) / 2**11, rel=1e-5)
    assert compare.apply_mcnemar(first, first) == {"first_only": 0, "second_only": 0, "p_value": 1.0}
    assert compare.apply_mcnemar(first, ~first & False)["p_value"] == pytest.approx(2 / 2**29, rel=1e-5)


def test_holm_by_hand():
    assert compare.adjust_holm([0.02, 0.01, 0.9]) == [0.04, 0.03, 0.9]
    assert compare.adjust_holm([0.02, 0.015, 0.03]) == [0.045, 0.045, 0.045]
    assert compare.adjust_holm([0.7, 0.6, 0.5]) == [1.0, 1.0, 1.0]


def test_soft_vote_by_hand():
    """Two weak votes for happy outweigh a strong one for sad; weighted, the strong one wins."""
    sad, happy = np.zeros((1, 7)), np.zeros((1, 7))
    sad[0, [3, 4]] = 0.2, 0.8
    happy[0, [3, 4]] = 0.7, 0.3
    members = [Predictions(np.array([4], np.uint8), shares) for shares in (sad, happy, happy)]
    assert compare.vote(members).predicted.tolist() == [3]
    assert compare.vote(members).probabilities[0, 3:5] == pytest.approx([1.6 / 3, 1.4 / 3])
    assert compare.vote(members, [0.8, 0.1, 0.1]).predicted.tolist() == [4]


def test_weights_are_those_of_the_least_loss_on_val():
    """One network knows, two guess; and three that say the same share equally, as far as twentieths go."""
    actual = [0, 1, 2, 3]
    good, bad = predict(actual, actual, 0.9), predict(actual, [1, 2, 3, 4], 0.9)
    assert compare.choose_weights([bad, good, bad]) == [0, 1, 0]
    assert sorted(compare.choose_weights([good] * 3)) == [0.3, 0.35, 0.35]


def test_no_test_row_takes_part_in_the_choice(inputs, finished, run_here):
    """Other predictions for test, the same for val: the same weights."""
    before = json.loads((finished[1] / "compare.json").read_text())["weighted_ensemble"]
    rng = np.random.default_rng(5)
    for name in NETWORKS:
        actual, _, shares = inputs.read(name, "val")
        val = np.array([CLASSES.index(one) for one in actual], np.uint8), np.array(shares)
        inputs.write(
            name, {"val": val, "test": (inputs.labels["test"].astype(np.uint8), rng.dirichlet(np.ones(7), 42))}
        )
    after = json.loads((run_here(inputs.folder) / "compare.json").read_text())["weighted_ensemble"]
    assert after["accuracy"] != before["accuracy"]
    assert (after["weights"], after["val_accuracy"]) == (before["weights"], before["val_accuracy"])


def test_agreement_of_constant_networks_has_no_kappa():
    rows = predict([0, 1, 1], [1, 1, 1])
    found = compare.measure_agreement({"baseline": rows, "vgg19": rows, "resnet18": predict([0, 1, 1], [0, 1, 1])})
    assert found["pairs"][0] == {"first": "baseline", "second": "vgg19", "share": 1.0, "kappa": None}
    assert (found["all_share"], found["right_by"], found["any_right"]) == (0.666667, [0, 1, 0, 2], 1.0)


def test_all_wrong_puts_unanimous_and_confident_images_first():
    actual = [0, 0, 0, 0]
    shares = [
        predict(actual, [1, 2, 3, 0], 0.9),
        predict(actual, [2, 2, 3, 1], 0.8),
        predict(actual, [1, 2, 3, 1], 0.7),
    ]
    shares[0].probabilities[2] = np.eye(7)[3]
    table = compare.tabulate_all_wrong(dict(zip(NETWORKS, shares, strict=True)))
    assert table["index"].tolist() == [2, 1, 0]
    assert table["same"].tolist() == [True, True, False]
    assert table["confidence"].tolist() == pytest.approx([2.5 / 3, 0.8, 0.8])
    assert table.loc[2, ["actual", *NETWORKS]].tolist() == ["angry", "disgust", "fear", "disgust"]
    assert compare.count_all_wrong(table, 4) == {
        "count": 3,
        "share": 0.75,
        "same_count": 2,
        "same_share": 0.666667,
        "indices": [2, 1, 0],
    }


def test_no_image_is_read_wrong_by_all():
    rows = predict([0, 1], [0, 1])
    table = compare.tabulate_all_wrong(dict.fromkeys(NETWORKS, rows))
    assert compare.count_all_wrong(table, 2) == {
        "count": 0,
        "share": 0.0,
        "same_count": 0,
        "same_share": None,
        "indices": [],
    }
    figure = draw_all_wrong(table, np.zeros((2, 48, 48), np.uint8))
    assert figure.get_suptitle() == "Every test image is read right by one network at least"
    assert not any(axes.images for axes in figure.axes)


def test_the_gallery_shows_the_faces_it_names():
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    table = compare.tabulate_all_wrong(dict.fromkeys(NETWORKS, predict([0, 6, 2, 3], [0, 5, 4, 3])))
    shown = {axes.get_title(): axes.images[0].get_array() for axes in draw_all_wrong(table, images).axes if axes.images}
    assert sorted(shown) == ["1: neutral\n→ surprise", "2: fear\n→ sad"]
    for title, face in shown.items():
        assert (face == int(title[0])).all()


def test_table7_sets_the_papers_rows_beside_ours():
    ours = compare.Metrics(
        accuracy=0.7031,
        accuracy_ci95=(0.7, 0.71),
        train_accuracy=0.9541,
        overfitting_gap=0.251,
        macro_f1=0.6,
        per_class={},
        cost=COST,
    )
    row = compare.set_beside_paper({"vgg19": ours})["vgg19"]
    assert row["difference_points"] == {"train_accuracy": 2.0, "accuracy": 0.0, "overfitting_gap": 2.0}
    assert row["paper"]["accuracy"] == paper.RESULTS["vgg19"].accuracy
