"""compare: tables with known answers, another way to compute each number, and what bad input leaves behind."""

import json
import shutil
import subprocess
import sys
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import pytest
from answers import draw, make_splits, predict
from conftest import ROOT, Project, refuse
from sklearn.metrics import cohen_kappa_score, f1_score

import compare
from fer_pipeline.faces.faces import Facts, write_faces
from fer_pipeline.faces.fer2013 import CLASSES, NAME
from fer_pipeline.figures.comparison import draw_all_wrong, draw_class_f1, name_errors
from fer_pipeline.metrics import comparison, scores
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.paper import PRINTED, follows_paper
from fer_pipeline.metrics.scores import measure, tabulate_images
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.predictions import to_csv
from fer_pipeline.sample.paths import is_sample
from fer_pipeline.training.common.profile import read_training

SCORES = Scores.read(ROOT / "results" / "fer2013-best" / "metrics" / "vgg19.json", "evaluate").model_dump()
"""metrics/<network>.json of a run; tests replace what compare reads."""
NETWORKS = [*read_params().networks]
TITLES = {name: network.TITLE for name, network in find_networks(NETWORKS).items()}


class Inputs:
    """A folder with faces.h5, the predictions and the metrics of all networks; all of them misclassify test rows 0 and 1.

    `present` is the number of classes that have images.
    """

    def __init__(self, folder, present=7, split="official", counts=(14, 35, 42), name=NAME, classes=CLASSES):
        self.folder, rng = folder, np.random.default_rng(0)
        self.labels = {name: np.arange(n) % present for name, n in zip(("train", "val", "test"), counts, strict=True)}
        folder.mkdir(parents=True)
        facts = Facts(name, classes, (), 48, False, split, "0" * 32)
        write_faces(folder / "faces.h5", make_splits(self.labels), facts)
        for network, strength in zip(NETWORKS, (0.6, 1.2, 1.5, 1.4), strict=True):
            val, test = (draw(self.labels[split], strength, rng, classes=classes) for split in ("val", "test"))
            test.probabilities[:2] = np.eye(len(classes))[[1, 0]]
            self.write(network, val, test)

    def write(self, name, val, test):
        (self.folder / f"{name}.csv").write_bytes(to_csv({"val": val, "test": test}))
        by_views = test._replace(probabilities=test.probabilities.copy())
        by_views.probabilities[:2] = np.eye(len(test.classes))[[0, 1]]  # right
        (self.folder / f"{name}_views.csv").write_bytes(to_csv({"val": val, "test": by_views}))
        measured = measure(val, test, None, read_params().evaluate, 0)
        gap = round(0.9 - measured.accuracy, 6)
        metrics = Scores(**SCORES | measured.model_dump() | {"train_accuracy": 0.9, "overfitting_gap": gap})
        (self.folder / f"{name}.json").write_bytes(metrics.to_bytes())

    def read(self, name, split="test"):
        """The rows of a network's CSV, by pandas alone."""
        return pd.read_csv(self.folder / f"{name}.csv").query("split == @split").reset_index(drop=True)


def arguments(folder, out):
    paths = {"data": folder / "faces.h5", "predictions": folder, "metrics": folder}
    paths |= {"report": out / "compare.json", "summary": out / "summary" / "ensemble.json", "plots": out / "plots"}
    return [f"--{option}={path}" for option, path in paths.items()]


@pytest.fixture
def inputs(tmp_path):
    return Inputs(tmp_path / "in")


@pytest.fixture
def run_here(monkeypatch, tmp_path):
    """Run `main` on a folder in this process, without pictures unless asked for; returns the folder of outputs."""

    def run(folder, pictures=False):
        if not pictures:
            monkeypatch.setattr(compare, "draw_comparison", lambda *_: {})
        monkeypatch.setattr(sys, "argv", ["compare.py", *arguments(folder, tmp_path / "out")])
        compare.main()
        return tmp_path / "out"

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Inputs, and the outputs of the real script run on them."""
    folder = tmp_path_factory.mktemp("finished")
    inputs, script = Inputs(folder / "in"), [sys.executable, ROOT / "stages" / "compare.py"]
    process = subprocess.run([*script, *arguments(inputs.folder, folder / "out")], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return inputs, folder / "out"


def test_the_whole_by_another_route(finished):
    inputs, out = finished
    report = json.loads((out / "compare.json").read_text())
    assert Comparison.read(out / "compare.json", "compare").model_dump(mode="json") == report
    read = {name: inputs.read(name) for name in NETWORKS}
    actual, said = read["baseline"]["actual"], pd.DataFrame({name: rows["predicted"] for name, rows in read.items()})
    right = said.eq(actual, axis=0)

    for pair in report["mcnemar"]:
        first, second = right[pair["first"]], right[pair["second"]]
        assert (pair["first_only"], pair["second_only"]) == ((first & ~second).sum(), (second & ~first).sum())

    for one in [*report["ensembles"], report["weighted_ensemble"]]:
        for split, key in (("val", "val_accuracy"), ("test", "accuracy")):
            tables = [inputs.read(name, split) for name in one["members"]]
            votes = sum(weight * table[[*CLASSES]] for weight, table in zip(one["weights"], tables, strict=True))
            assert one[key] == pytest.approx((votes.idxmax(axis=1) == tables[0]["actual"]).mean(), abs=1e-6)
        on_val = {name: inputs.read(name, "val") for name in one["members"]}
        on_val = {name: (rows["predicted"] == rows["actual"]).mean() for name, rows in on_val.items()}
        assert one["best_member"] == max(on_val, key=on_val.get)
        best = right[one["best_member"]].mean()
        assert one["gain_points"] == pytest.approx(100 * (one["accuracy"] - best), abs=1e-3)
        assert one["accuracy_ci95"][0] <= one["accuracy"] <= one["accuracy_ci95"][1]
    for key in ("ensemble_views", "weighted_ensemble_views"):
        one = report[key]
        tables = [inputs.read(f"{name}_views") for name in NETWORKS]
        votes = sum(weight * table[[*CLASSES]] for weight, table in zip(one["weights"], tables, strict=True))
        assert one["accuracy"] == pytest.approx((votes.idxmax(axis=1) == tables[0]["actual"]).mean(), abs=1e-6)
        assert one["accuracy"] >= report[key.removesuffix("_views")]["accuracy"] + 2 / 42 - 1e-6
    pairs = [*combinations(NETWORKS, 2)]
    assert [tuple(one["members"]) for one in report["ensembles"]] == [*pairs, tuple(NETWORKS)]

    for pair in report["agreement"]["pairs"]:
        first, second = said[pair["first"]], said[pair["second"]]
        assert pair["share"] == pytest.approx((first == second).mean(), abs=1e-6)
        assert pair["kappa"] == pytest.approx(cohen_kappa_score(first, second), abs=1e-6)
    same, counts = said.nunique(axis=1) == 1, right.sum(axis=1)
    assert report["agreement"]["all_share"] == pytest.approx(same.mean(), abs=1e-6)
    assert report["agreement"]["right_by"] == [(counts == k).sum() for k in range(5)]

    wrong, wrong_alike = ({*counts[chosen].index} for chosen in (counts == 0, (counts == 0) & same))
    listed = pd.read_csv(out / "plots" / "all_wrong.csv")["index"].tolist()
    assert {0, 1} <= wrong == {*listed} and len(listed) == report["all_wrong"]["count"] == len(wrong)
    assert {*listed[: report["all_wrong"]["same_count"]]} == wrong_alike

    summary = json.loads((out / "summary" / "ensemble.json").read_text())
    assert list(summary) == ["accuracy", "macro_f1", "ece"]
    assert summary["accuracy"] == report["ensembles"][-1]["accuracy"]

    keys = ("accuracy", "train_accuracy", "overfitting_gap", "macro_f1")
    for name, row in report["table7"].items():
        metrics = json.loads((inputs.folder / f"{name}.json").read_text())
        ours = {key: metrics[key] for key in keys} | metrics["cost"]
        assert {key: row[key] for key in (*keys, "parameters", "model_bytes")}.items() <= ours.items()
        assert row["paper"] is row["difference_points"] is None, "on drawn faces"

    f1 = pd.read_csv(out / "plots" / "class_f1.csv", index_col="emotion")
    assert tuple(f1.index) == CLASSES
    for name in NETWORKS:
        expected = f1_score(actual, said[name], labels=CLASSES, average=None, zero_division=0)
        assert f1[name].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_every_table_beside_the_paper_is_labelled(inputs, run_here, monkeypatch):
    """A network that the paper lacks has no figures there."""
    monkeypatch.setattr(compare, "is_sample", lambda _: False)
    out = run_here(inputs.folder)
    report = json.loads((out / "compare.json").read_text())
    assert report["comparable"] is False
    assert "profile smoke, split official, 42 test images (sample.csv). The paper: FER-2013, " in report["label"]
    for name in PRINTED:
        row = report["table7"][name]
        gains = {key: 100 * (row[key] - row["paper"][key]) for key in row["paper"]}
        assert row["difference_points"] == pytest.approx(gains, abs=0.006) and len(gains) == 3
    table7, literature = (pd.read_csv(out / "plots" / f"{name}.csv") for name in ("table7", "literature"))
    for table in (table7, literature):
        assert set(table["label"]) == {report["label"]} and not table["comparable"].any()
    assert literature["accuracy"].is_monotonic_decreasing
    names = literature.groupby("source")["name"].agg(set)
    assert len(literature) == 14 + 3 + 5 and names["paper"] == {TITLES[name] for name in PRINTED}
    assert names["ours"] == {"Soft vote of all", *TITLES.values()}
    columns = ["train_accuracy", "paper_train_accuracy", "train_accuracy_difference_points"]
    assert table7.columns[1:4].tolist() == columns and table7["paper_accuracy"].tolist()[:3] == [0.6725, 0.7031, 0.716]
    assert table7.set_index("network").loc["compact", columns].isna().tolist() == [False, True, True]
    compact = report["table7"]["compact"]
    assert compact["paper"] is compact["difference_points"] is None
    table7 = comparison.set_beside_paper({"own": Scores(**SCORES)}, study=True)
    columns = comparison.tabulate_table7(table7, {"comparable": False, "label": "label"}).columns
    assert not [column for column in columns if "paper" in column or "difference" in column]


def test_the_same_input_gives_the_same_bytes(finished, run_here):
    """In a process of its own, and in this one."""
    inputs, first = finished
    contents, again = (
        {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}
        for out in (first, run_here(inputs.folder, pictures=True))
    )
    assert contents == again
    assert len({contents[f"plots/{name}.png"] for name in ("annotators", "levels", "contradicted")}) == 1, "no votes"
    names = ("literature", "class_f1", "ensembles", "agreement", "all_wrong", "levels", "contradicted")
    alone = {"compare.json", "summary/ensemble.json", "plots/table7.csv", "plots/annotators.png"}
    assert set(contents) == alone | {f"plots/{name}.{kind}" for name in names for kind in ("png", "csv")}


def test_other_data_have_no_paper_beside_them(tmp_path, run_here):
    """Eight classes: tables and pictures of ours alone, and what the paper says of its networks is left out."""
    drawn = run_here(Inputs(tmp_path / "drawn").folder, pictures=True)
    report = json.loads((drawn / "compare.json").read_text())
    assert report["label"] == "Ours: profile smoke, split official, 42 test images (drawn faces, not FER-2013)."
    assert report["notes"] == [] and {*pd.read_csv(drawn / "plots" / "literature.csv")["source"]} == {"ours"}
    out = run_here(Inputs(tmp_path / "mine", 8, name="mine", classes=(*CLASSES, "contempt")).folder, pictures=True)
    report = Comparison.read(out / "compare.json", "compare")
    assert not report.comparable and report.notes == [] and "paper" not in report.label
    assert all(row.paper is row.difference_points is None for row in report.table7.values())
    assert {*pd.read_csv(out / "plots" / "literature.csv")["source"]} == {"ours"}
    assert (out / "plots" / "literature.png").stat().st_size < (out / "plots" / "class_f1.png").stat().st_size
    assert len(report.ensembles) == 7 and len(report.mcnemar) == 6, "these say nothing of the paper"


DAMAGE = {
    "no predictions": (lambda d: (d / "vgg19.csv").unlink(), "vgg19.csv: not found"),
    "no metrics": (lambda d: (d / "vgg19.json").unlink(), "vgg19.json: not found; run `dvc repro evaluate`"),
    "no faces": (lambda d: (d / "faces.h5").unlink(), "faces.h5: not found"),
    "a key is missing": (lambda d: Project(d).edit("baseline.json", {'"macro_f1"': '"macrof1"'}), "baseline.json: macro_f1: Field required"),
    "no number": (lambda d: Project(d).edit("baseline.json", {'"train_accuracy": 0.9': '"train_accuracy": NaN'}), "baseline.json: train_accuracy: Input should be a finite number"),
    "another class": (lambda d: Project(d).edit("vgg19.json", {'"fear"': '"contempt"'}), "vgg19.json: per_class is angry, disgust, contempt, happy"),
    "metrics of other predictions": (lambda d: shutil.copy(d / "baseline.json", d / "vgg19.json"), "vgg19.json: accuracy is 0."),
    "another data set": (lambda d: shutil.copy(Inputs(d / "other", counts=(14, 35, 49)).folder / "baseline.csv", d), "baseline.csv: "),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_bad_input_is_named_and_writes_nothing(case, inputs, run_here, tmp_path):
    damage, expected = DAMAGE[case]
    damage(inputs.folder)
    said = refuse(run_here, inputs.folder)
    assert expected in said and "\n" not in said
    assert not (tmp_path / "out").exists()


def test_a_class_without_test_images_and_the_split_paper(tmp_path, run_here):
    """The class is left out."""
    out = run_here(Inputs(tmp_path / "six", present=6, split="paper").folder)
    f1 = pd.read_csv(out / "plots" / "class_f1.csv", index_col="emotion")
    assert f1.loc["neutral"].isna().all() and f1.drop("neutral").notna().all(axis=None)
    assert "neutral" not in pd.read_csv(out / "plots" / "agreement.csv")["emotion"].tolist()
    report = json.loads((out / "compare.json").read_text())
    assert report["ensemble"]["per_class"]["neutral"]["f1"] is None
    (axes,) = draw_class_f1(f1.reset_index(), TITLES).axes
    assert sum(len(bars) for bars in axes.containers) == 6 * 5
    assert report["split"] == "paper"


COUNTS = (22_968, 1_432, 7_178)
"""Of the paper's splits."""


def describe(profile, dataset, counts, networks=NETWORKS, study=True):
    """`describe_run` of a profile; networks of other names have no paper."""
    params = read_params().model_copy(update={"profile": profile, "dataset": dataset})
    ours, papers = (
        dict.fromkeys(networks) | {name: read_training(params, name, one) for name in networks if name in PRINTED}
        for one in (profile, "paper")
    )
    params = params.model_copy(update={"networks": dict.fromkeys(networks)})
    return comparison.describe_run(params, study, follows_paper(ours, papers), "paper", counts, is_sample(dataset))


@pytest.mark.parametrize(
    ("comparable", "profile", "dataset", "counts", "networks"),
    [
        (True, "paper", "data/raw/fer2013.csv", COUNTS, NETWORKS),
        (False, "cpu", "data/raw/fer2013.csv", COUNTS, NETWORKS),
        (False, "paper", "data/raw/fer2013.csv", (28_709, 3_589, 3_589), NETWORKS),
        (False, "paper", "./data/raw/sample.csv", COUNTS, NETWORKS),
        (True, "paper", "fer2013.csv", COUNTS, ("own", "vgg19")),
        (False, "paper", "fer2013.csv", COUNTS, ("own", "other")),
    ],
)
def test_comparable_only_under_the_papers_profile_and_counts(comparable, profile, dataset, counts, networks):
    """Networks that the paper lacks change nothing; without any of the paper's there is nothing to compare."""
    assert describe(profile, dataset, counts, networks)["comparable"] is comparable


def test_the_label_gives_the_most_epochs_of_the_papers_networks():
    for networks, end in (("own", "other"), ""), (("baseline", "own"), ", up to 50 epochs"):
        label = describe("paper", "fer2013.csv", COUNTS, networks)["label"]
        assert label.endswith(f"The paper: FER-2013, its own split, 7,178 test images{end}.")


def test_other_data_than_the_studys_are_comparable_with_nothing():
    label = "Ours: profile paper, split paper, 7,178 test images (mine)."
    assert describe("paper", "data/raw/mine", COUNTS, study=False) == {"comparable": False, "label": label}


def test_mcnemar_by_hand():
    """9 to 2 of 11 discordant images: 2 (C(11,0) + C(11,1) + C(11,2)) / 2^11."""
    first = np.array([True] * 20 + [True] * 9 + [False] * 2 + [False] * 5)
    second = np.array([True] * 20 + [False] * 9 + [True] * 2 + [False] * 5)
    p_value = 2 * sum(comb(11, k) for k in range(3)) / 2**11
    assert scores.apply_mcnemar(first, second) == (9, 2, pytest.approx(p_value, rel=1e-5))
    assert scores.apply_mcnemar(first, first) == (0, 0, 1.0)
    assert scores.apply_mcnemar(first, ~first & False) == (29, 0, pytest.approx(2 / 2**29, rel=1e-5))


def test_holm_by_hand():
    assert scores.adjust_holm([0.02, 0.01, 0.9]) == [0.04, 0.03, 0.9]
    assert scores.adjust_holm([0.02, 0.015, 0.03]) == [0.045, 0.045, 0.045]
    assert scores.adjust_holm([0.7, 0.6, 0.5]) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_no_other_weights_have_less_loss(count):
    """At the minimum of a mixture each member's mean of p / mixture is 1, or less where its weight is 0."""
    rng = np.random.default_rng(count)
    actual = rng.integers(0, 7, 400)
    members = [draw(actual, strength, rng) for strength in rng.uniform(0, 2, count)]
    weights = comparison.choose_weights(members)
    assert sum(weights) == pytest.approx(1, abs=0.0005 * count) and min(weights) >= 0
    assert [round(weight, 3) for weight in weights] == weights
    of_truth = np.stack([rows.probabilities[np.arange(400), actual] for rows in members])
    ratios = (of_truth / (weights @ of_truth)).mean(axis=1)
    for weight, ratio in zip(weights, ratios, strict=True):
        assert ratio == pytest.approx(1, abs=0.003) if weight else ratio < 1.003


def test_no_test_row_takes_part_in_the_choice(inputs, run_here):
    """Other predictions for test, the same for val: the same weights."""
    before = json.loads((run_here(inputs.folder) / "compare.json").read_text())["weighted_ensemble"]
    rng = np.random.default_rng(5)
    for name in NETWORKS:
        rows = inputs.read(name, "val")
        val = predict(rows["actual"], rows["actual"])._replace(probabilities=rows[[*CLASSES]].to_numpy())
        inputs.write(name, val, draw(inputs.labels["test"], 0, rng))
    after = json.loads((run_here(inputs.folder) / "compare.json").read_text())["weighted_ensemble"]
    assert after["accuracy"] != before["accuracy"]
    assert (after["weights"], after["val_accuracy"]) == (before["weights"], before["val_accuracy"])


def test_agreement_of_constant_networks_has_no_kappa():
    rows = predict([0, 1, 1], [1, 1, 1])
    answers = {"baseline": rows, "vgg19": rows, "resnet18": predict([0, 1, 1], [0, 1, 1])}
    found = comparison.measure_agreement(tabulate_images(answers), [*answers])
    assert found.pairs[0].model_dump() == {"first": "baseline", "second": "vgg19", "share": 1.0, "kappa": None}
    assert (found.all_share, found.right_by, found.any_right) == (0.666667, [0, 1, 0, 2], 1.0)


def test_all_wrong_puts_unanimous_and_confident_images_first():
    answers = ([1, 2, 3, 0], 0.9), ([2, 2, 3, 1], 0.8), ([1, 2, 3, 1], 0.7)
    shares = [predict([0] * 4, *answer) for answer in answers]
    shares[0].probabilities[2] = np.eye(7)[3]
    table = comparison.tabulate_all_wrong(tabulate_images(dict(zip(NETWORKS[:3], shares, strict=True))))
    assert table["index"].tolist() == [2, 1, 0]
    assert table["same"].tolist() == [True, True, False]
    assert table["confidence"].tolist() == pytest.approx([2.5 / 3, 0.8, 0.8])
    assert table.loc[2, ["actual", *NETWORKS[:3]]].tolist() == ["angry", "disgust", "fear", "disgust"]
    assert list(comparison.count_all_wrong(table, 4).model_dump().values()) == [3, 0.75, 2]


def test_the_gallery_shows_the_faces_it_names():
    """Or says that no image is misclassified by all."""
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    for predicted, expected in (([0, 5, 4, 3], {"1: neutral\n→ surprise": 1, "2: fear\n→ sad": 2}), ([0, 6, 2, 3], {})):
        answers = dict.fromkeys(NETWORKS, predict([0, 6, 2, 3], predicted))
        table = comparison.tabulate_all_wrong(tabulate_images(answers))
        figure = draw_all_wrong(table, images, NETWORKS)
        shown = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes if axes.images}
        assert {title: face.min() for title, face in shown.items()} == expected
        assert all(face.min() == face.max() for face in shown.values())
    found = comparison.count_all_wrong(table, 2).model_dump()
    assert found == {"count": 0, "share": 0.0, "same_count": 0}
    assert figure.get_suptitle() == "Every test image is classified correctly by at least one network"


def test_two_networks(inputs, run_here, monkeypatch):
    params = read_params()
    params.networks = {name: params.networks[name] for name in ("vgg19", "compact")}
    monkeypatch.setattr(compare, "read_params", lambda: params)
    out = run_here(inputs.folder, pictures=True)
    report = Comparison.read(out / "compare.json", "compare")
    assert [*report.table7] == report.weighted_ensemble.members == report.ensembles[0].members == ["vgg19", "compact"]
    assert len(report.ensembles) == len(report.mcnemar) == len(report.agreement.pairs) == 1
    table = pd.read_csv(out / "plots" / "agreement.csv")
    assert table.columns.tolist() == ["emotion", "images", "right_by_2", "right_by_1", "right_by_0"]
    for k, images in enumerate(report.agreement.right_by):
        assert (table[f"right_by_{k}"] * table["images"]).sum() == pytest.approx(images)
    assert len(pd.read_csv(out / "plots" / "ensembles.csv")) == 2 + 1 + 1
    assert len(list((out / "plots").glob("*.png"))) == 8


def test_different_errors_are_counted_above_a_face():
    row = {"index": 5, "actual": "sad", "same": False, "a": "fear", "b": "angry", "c": "fear", "d": "fear"}
    assert name_errors(row, ["a", "b", "c", "d"]) == "5: sad\n→ fear ×3, angry"
