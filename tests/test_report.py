"""The report: every number on it comes from the files, and anybody can read it offline."""

import ast
import html
import json
import platform
import re
from copy import deepcopy
from decimal import Decimal
from functools import partial
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from answers import name_classes
from conftest import ROOT, encode, find, put, refuse, write_folder

import report
import times
from fer_pipeline.faces.faces import SPLITS
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics import paper
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.report import evidence, show
from fer_pipeline.report.evidence import list_pictures, read_evidence
from fer_pipeline.report.page import make_page
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.timing import record_times
from fer_pipeline.stress.damages import DAMAGES
from fer_pipeline.training.common.profile import read_trainings
from fer_pipeline.training.common.run import TrainingTimes
from timing import read_timing

PARAMS = read_params()
NETWORKS = find_networks(["baseline", "vgg19", "resnet18", "compact"])  # those of the kept run
NAMES, TITLES = [*NETWORKS], {name: network.TITLE for name, network in NETWORKS.items()}
BEST = ROOT / "results" / "fer2013-best" / "metrics"
RISK = "plots/{}/test/risk_coverage.csv"
PAPERS_COUNTS = {"train": 22_968, "val": 1_432, "test": 7_178}
OTHER = {"source": "CK+48", "md5": "fedcba98", "faces": 927, "left_out": {"contempt": 54}, "scaled": 12, "seen": 3}


def make_stress(less):
    """metrics/stress/<network>.json, made up: each score is another one, accuracies lower by `less`."""
    kinds = {kind: [make_held(less, 5 * i + k) for k in range(5)] for i, kind in enumerate(DAMAGES)}
    places = {"accuracy": ("noise", 2), "calibration_error": ("turn", 1), "uncertain": ("jpeg", 2)}
    split = {"clean": make_held(less, 90), "kinds": kinds, "rows": 1000}
    for i, key in enumerate(("all", "unseen", "seen"), 100):
        worst = make_held(less, 3 * i)
        worst = {name: {"value": worst[name], "kind": kind, "strength": k} for name, (kind, k) in places.items()}
        summary = {"mean": make_held(less, i), "worst": worst}
        split |= summary if key == "all" else {key: summary}
    return {"val": deepcopy(split), "test": split}


def make_held(less, number):
    return {"accuracy": 0.9 - less - number / 500, "calibration_error": number / 1000, "uncertain": number / 800}


def make_content():
    """{path: content} of all files that the report reads, but pictures: metrics of a real run, the others made up.

    The splits have as many images as the paper's, whose results are then beside ours.
    """
    names = ("data", "compare", "export", *NAMES, *(f"train/{name}" for name in NAMES))
    texts = {name: (BEST / f"{name}.json").read_text() for name in names}
    on_other = {}
    for i, name in enumerate(NAMES):
        lower = json.loads(texts[name], parse_float=lambda text: 0.9 * float(text))  # unlike the scores on test
        on_other[name] = {key: lower[key] for key in ("accuracy", "accuracy_ci95", "balanced_accuracy", "per_class")}
        on_other[name]["confusion"] = (1000 * i + np.arange(49).reshape(7, 7)).tolist()
    files = {f"metrics/{name}.json": json.loads(text) for name, text in texts.items()}
    for name in NAMES:  # the run is older than views
        files[f"metrics/{name}.json"] |= {"accuracy_views": 0.7311, "val_accuracy_views": 0.7322}
    for split, count in PAPERS_COUNTS.items():
        files["metrics/data.json"]["rows"][split]["total"] = count
    compare = files["metrics/compare.json"]
    compare |= {"ensemble_views": compare["ensembles"][-1] | {"accuracy": 0.7433}}
    compare |= {"weighted_ensemble_views": compare["weighted_ensemble"] | {"accuracy": 0.7444}}
    files |= {f"metrics/stress/{name}.json": make_stress(0.02 * i) for i, name in enumerate(NAMES)}
    curves = {RISK.format(name): [[0.5, 0.95], [0.85, 0.92], [0.95, 0.91], [1.0, 0.8]] for name in NAMES}
    return files | {"metrics/other/ck.json": OTHER | {"networks": on_other}} | curves


def write_evidence(folder, content, picture=b"\x89PNG"):
    """Write all that the report reads into metrics/ and plots/ below `folder`; returns the folder."""
    files = dict.fromkeys(list_pictures(NETWORKS), picture)
    for path, one in content.items():
        if path.endswith(".csv"):
            rows = [f"{1 - coverage},{coverage},{accuracy}\n" for coverage, accuracy in one]
            files[path] = "".join(["threshold,coverage,accuracy\n", *rows]).encode()
        else:
            files[path] = json.dumps(one).encode()
    return write_folder(folder, files)


def change_data(content, name, classes):
    """`content` as that of colour faces of 64 pixels in other classes, with the numbers of the seven again and again."""

    def repeat(numbers):
        return {one: numbers[CLASSES[k % 7]] for k, one in enumerate(classes)}

    content["metrics/data.json"] |= {"name": name, "size": 64, "colour": True}
    rows, labels = content["metrics/data.json"]["rows"], content["metrics/compare.json"]["labels"]
    rows |= {split: {"total": sum(repeat(one).values())} | repeat(one) for split, one in rows.items()}
    labels["recall"] = repeat(labels["recall"])
    others = content["metrics/other/ck.json"]["networks"].values()
    for scores in (*(content[f"metrics/{network}.json"] for network in NAMES), *others):
        scores["per_class"] = repeat(scores["per_class"])
    for scores in others:
        scores["confusion"] = np.arange(len(classes) ** 2).reshape(len(classes), -1).tolist()
    for row in content["metrics/compare.json"]["table7"].values():
        row |= {"paper": None, "difference_points": None}
    content["metrics/compare.json"] |= {"comparable": False, "label": "Ours: profile best.", "notes": []}
    return content


@pytest.fixture
def content(request):
    """`make_content`; with a number of classes as its parameter, of another data set."""
    content, count = make_content(), getattr(request, "param", None)
    return change_data(content, "my faces", name_classes(count)) if count else content


PROFILE, TRAININGS = PARAMS.profile, read_trainings(PARAMS)
SETTINGS = {name: one.model_dump() for name, one in TRAININGS.items()}


def render(content, dataset="data/raw/fer2013.csv", captions=(), picture=b"\x89PNG"):
    sets = ["ck"] if "metrics/other/ck.json" in content else []
    params = PARAMS.model_copy(update={"dataset": dataset, "other_sets": dict.fromkeys(sets, "")})
    with TemporaryDirectory() as folder:
        written = write_evidence(Path(folder), content, picture)
        files = read_evidence(written / "metrics", written / "plots", NETWORKS, sets)
    return make_page(files, NETWORKS, params, TRAININGS, captions)


def read_rows(page, id):
    """The cells of each row of the table with this id, its head first: see `read_cells`."""
    (found,) = re.findall(rf'<figure class="table" id="{id}">(.*?)</figure>', page, re.DOTALL)
    return [read_cells(row) for row in re.findall("<tr>(.*?)</tr>", found, re.DOTALL)]


def read_table(page, id):
    return [[text for _, _, text in row] for row in read_rows(page, id)]


def trace_row(row):
    """Of each cell its source, shortened, or its text where that is in no file."""
    shortened = [(source.removeprefix("metrics/").replace(".json: ", ": "), source, text) for _, source, text in row]
    return [short if short != source else text for short, source, text in shortened]


def read_text(page):
    """The words of the page, without its look, as a browser shows them."""
    return " ".join(html.unescape(re.sub("<style>.*</style>|<[^>]+>", "", page, flags=re.DOTALL)).split())


def read_caption(page, id):
    (found,) = re.findall(rf'<figure[^>]* id="{id}">.*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)
    return read_text(found)


JUDGED = ("accuracy", "votes_accuracy", "cross_entropy", "votes_cross_entropy")
JUDGED += ("mistakes.network", "mistakes.label", "mistakes.neither")
HELD = ("accuracy", "calibration_error", "uncertain")
FEAR = "vgg19: per_class.fear."
TABLE7 = "compare: table7.baseline."
ROWS = [
    ("overview", 0, ["Network", "Ours", "95% interval", "By the chosen views", "Paper", "Difference, points", "Macro F1"]),
    ("overview", 1, ["Baseline CNN", "baseline: accuracy", "baseline: accuracy_ci95", "baseline: accuracy_views", "67.25%", f"{TABLE7}difference_points.accuracy", "baseline: macro_f1"]),
    ("overview", 4, ["Compact", "compact: accuracy", "compact: accuracy_ci95", "compact: accuracy_views", "–", "–", "compact: macro_f1"]),
    ("overview", 5, ["Soft vote of all", "compare: ensembles[6].accuracy", "compare: ensembles[6].accuracy_ci95", "compare: ensemble_views.accuracy", "–", "–", "compare: ensemble.macro_f1"]),
    ("vgg19-per-class", 3, ["fear", f"{FEAR}support", f"{FEAR}precision", "0.6212", f"{FEAR}recall", "0.4805", f"{FEAR}f1", "0.5419"]),
    ("baseline-per-class", 0, ["Class", "Test images", "Precision", "Recall (accuracy)", "F1"]),
    ("resnet18-scores", 0, ["Score", "Ours", "Paper"]),
    ("compact-scores", 0, ["Score", "Value"]),
    ("vgg19-confidences", 1, ["Mean confidence, all", "vgg19: confidence.mean", "0.882"]),
    ("vgg19-confidences", 5, ["vgg19: confidence.threshold", "vgg19: confidence.low_count", "735"]),
    ("vgg19-confidences", 6, ["… as a share", "vgg19: confidence.low_share", "10.2%"]),
    ("vgg19-confidences", 7, ["… their accuracy", "vgg19: confidence.low_accuracy", "35.8%"]),
    ("table7", 1, ["Baseline CNN", f"{TABLE7}train_accuracy", "73.75%", f"{TABLE7}difference_points.train_accuracy", f"{TABLE7}accuracy", "67.25%", f"{TABLE7}difference_points.accuracy"]),
    ("mcnemar", 1, ["Baseline CNN, VGG19", *(f"compare: mcnemar[0].{key}" for key in ("first_only", "second_only", "p_value", "p_value_holm"))]),
    ("exports", 2, ["Baseline CNN, int8", *(f"export: networks.baseline.int8.{key}" for key in ("accuracy", "largest_difference", "bytes"))]),
    ("annotators-scores", 1, ["Baseline CNN", "baseline: accuracy", *(f"baseline: annotators.{key}" for key in JUDGED)]),
    ("annotators-scores", 5, ["Ten annotators", "compare: labels.accuracy", *["–"] * 7]),
    ("annotators-mcnemar", 1, ["Ten annotators, Baseline CNN", *(f"compare: labels.mcnemar[0].{key}" for key in ("first_only", "second_only", "p_value"))]),
    ("annotators-recall", 0, ["Label", "Ten annotators", *TITLES.values()]),
    ("annotators-recall", 3, ["fear", "compare: labels.recall.fear", *(f"{name}: per_class.fear.recall" for name in NAMES)]),
    ("other-ck", 1, ["Baseline CNN", *(f"other/ck: networks.baseline.{key}" for key in ("accuracy", "accuracy_ci95", "balanced_accuracy"))]),
    ("stress-scores", 1, ["Baseline CNN, as they are", *(f"stress/baseline: test.clean.{key}" for key in HELD)]),
    ("stress-scores", 6, ["VGG19, mean of all damages", *(f"stress/vgg19: test.mean.{key}" for key in HELD)]),
    ("stress-scores", 10, ["VGG19, worst damage", *(f"stress/vgg19: test.worst.{key}.value" for key in HELD)]),
    ("stress-scores", 14, ["VGG19, mean of those in no training", *(f"stress/vgg19: test.unseen.mean.{key}" for key in HELD)]),
    ("other-ck-vgg19", 2, ["disgust", *(f"other/ck: networks.vgg19.confusion[1][{k}]" for k in range(7))]),
]  # fmt: skip
"""(table, row, how that begins: see `trace_row`)"""


def test_tables_set_ours_beside_the_papers(content):
    confusions = {"actual": "angry", "predicted": "sad"}, {"actual": "angry", "predicted": "disgust"}
    page = render(put(content, {f"metrics/vgg19.json: errors.top[{i}]": one for i, one in enumerate(confusions)}))
    for id, number, cells in ROWS:
        assert trace_row(read_rows(page, id)[number])[: len(cells)] == cells, id
    shown = [row[::2] for row in read_table(page, "vgg19-confusions")[1:3]]
    assert shown == [["angry → sad", "139"], ["angry → disgust", "–"]]
    assert len(read_table(page, "literature")) == 1 + len(paper.LITERATURE)
    rows = read_rows(page, "configuration")
    paper_has = {
        "Optimizer": ["adam", "sgd", "sgd"],
        "Momentum": ["–", "0.9", "0.9"],
        "Epochs at most": ["50", "250", "250"],
    }
    paper_has |= {
        "First epochs that train the head alone": ["–", "5", "5"],
        "Crop of a training face": ["–", "random", "random"],
    }
    paper_has |= {
        "Mirrored training faces (yes: half)": ["yes", "0.5", "0.5"],
        "Pretrained weights": ["–", *["imagenet"] * 2],
    }
    texts = {row[0][2]: [text for _, _, text in row[1:]] for row in rows}
    assert {name: texts[name][1:6:2] for name in paper_has} == paper_has
    assert texts["Optimizer"][::2] == ["adam", "sgd", "sgd", "adamw"]
    epochs = [str(TRAININGS[name].epochs) for name in NAMES]
    assert [*texts["Epochs at most"][:6:2], texts["Epochs at most"][6]] == epochs
    assert 'id="resnet18-gradcam"' in page and 'id="baseline-gradcam"' not in page


def test_the_papers_results_are_beside_those_on_as_many_images_alone(content):
    """The page says once why they are left out, or that settings differ."""
    label, comparable = content["metrics/compare.json"]["label"], {"metrics/compare.json: comparable": True}
    as_many, comparable = render(content), render(put(deepcopy(content), comparable))
    other = render(put(content, {"metrics/data.json: rows.test.total": 3589}))
    drawn = render(content, dataset="data/raw/sample.csv")
    of_papers = ("overview", "table7", "vgg19-scores", "vgg19-confusions", "vgg19-per-class", "vgg19-confidences")
    for page, beside, said in ((as_many, True, 1), (comparable, True, 0), (other, False, 1), (drawn, False, 0)):
        assert [id for id in of_papers if "Paper" in read_table(page, id)[0]] == [*of_papers] * beside
        assert "Paper" in read_table(page, "configuration")[0], "settings can be compared on any faces"
        assert html.unescape(page).count(label) == said
        assert page.count('class="warning"') == (page is not comparable)
    assert "settings differ" in as_many and "leave out the paper's results" in html.unescape(other)
    assert [id for id in STUDY if f'id="{id}"' in other] == [*STUDY] and not [
        id for id in STUDY if f'id="{id}"' in drawn
    ]
    assert not re.search(r"[+-]\d+\.\d+ points.* paper|67\.25", read_text(drawn))


ALL = "metrics/compare.json: ensembles[6]"
VOTES = {
    ALL: {"gain_points": 15.0, "accuracy": 0.785, "p_value": 0.085, "best_member": "resnet18"},
    "metrics/compare.json: weighted_ensemble": {"accuracy": 0.79, "weights": [0.1, 0.2, 0.3, 0.4]},
}
TIED = {f"metrics/{name}.json: accuracy": 0.9 for name in NAMES[:2]} | {
    f"metrics/compare.json: table7.{name}.accuracy": 0.9 for name in NAMES[:2]
}
TIED |= {f"metrics/compare.json: ensembles[{i}].accuracy": 0.99 for i in (0, 1)} | {f"{ALL}.accuracy": 0.73}
TIED |= {f"{ALL}.best_member": "vgg19", f"{ALL}.gain_points": 1.0, f"{ALL}.p_value": 0.5}
AGREEMENT = {
    "metrics/compare.json: agreement": {"all_share": 0.55, "any_right": 0.9286, "right_by": [5, 10, 10, 5, 40]},
    "metrics/compare.json: agreement.pairs[3].share": 0.97,
}
MEANS = {"mean": 0.882, "mean_correct": 0.925, "mean_incorrect": 0.779}
LOW = {"low_count": 735, "low_share": 0.1, "low_accuracy": 0.358}
CONFIDENCE = {"metrics/baseline.json: confidence": MEANS | LOW, "metrics/baseline.json: accuracy": 0.701}
F1 = {f"metrics/{name}.json: per_class.{one}.f1": 0.5 + i / 20 for i, name in enumerate(NAMES) for one in CLASSES}
KEPT = {f"metrics/export.json: networks.{name}.int8.kept_in_float32": [] for name in NAMES}
KEPT |= {"metrics/export.json: networks.vgg19.int8.kept_in_float32": ["batch normalisation"]}
SENTENCES = [
    ("overview", {"metrics/vgg19.json: accuracy": 0.9}, "Best single network: VGG19 with 90.00%"),
    ("overview", {f"metrics/{name}.json: accuracy": 0.9 for name in NAMES}, "Best single networks, tied: Baseline CNN, VGG19, ResNet18 and Compact with 90.00%"),
    ("images", {"metrics/data.json: rows.train.total": 1}, "The paper has 22,968, 1,432 and 7,178 images in train, val and test."),
    ("vgg19-confusion", {}, "(Figures 5 and 7)"),
    ("vgg19-confusion", {"metrics/vgg19.json: per_class.angry.recall": 0.99, "metrics/vgg19.json: per_class.sad.recall": 0.01}, "best: angry (99.0%); worst: sad (1.0%)"),
    ("vgg19-confusion", {"metrics/vgg19.json: errors.top[0]": {"actual": "fear", "predicted": "sad", "count": 900}}, "Most frequent confusion: fear taken for sad, 900 times."),
    ("vgg19-confusion", {f"metrics/vgg19.json: errors.top[{i}]": {"actual": one, "predicted": "sad", "count": 900} for i, one in enumerate(("fear", "angry"))}, "fear taken for sad and angry taken for sad, 900 times each"),
    ("vgg19-risk_coverage", {}, "15.0% of the images raises accuracy from 80.00% to 92.00% (+12.00 points)"),
    ("vgg19-risk_coverage", {"plots/vgg19/test/risk_coverage.csv: [1]": [0.85, 0.7]}, "lowers accuracy from 80.00% to 70.00% (-10.00 points)"),
    ("vgg19-risk_coverage", {"plots/vgg19/test/risk_coverage.csv: [1]": [0.85, 0.8]}, "15.0% of the images does not change accuracy (80.00%)"),
    ("vgg19-risk_coverage", {f"plots/vgg19/test/risk_coverage.csv: [{i}]": [1.0, 0.9] for i in range(4)}, "Accuracy on all images is 90.00%; no point"),
    ("baseline-confidence", CONFIDENCE, "Mean confidence is 0.882: 0.925 for correct predictions, 0.779 for wrong ones. 735 images (10.0%) have a confidence below 0.6; 35.8% of them", "18.10 points overconfident"),
    ("baseline-confidence", CONFIDENCE | {"metrics/baseline.json: accuracy": 0.9}, "1.80 points underconfident"),
    ("baseline-confidence", {"metrics/baseline.json: calibration.temperature": 1.5, "metrics/baseline.json: calibration.ece_scaled": 0.001}, "1.50, fitted on val, lowers it to 0.0010"),
    ("baseline-mistakes", {"metrics/baseline.json: errors": {"count": 21, "share": 0.3, "confident_count": 4, "top": []}}, "21 test images are misclassified (30.0%), 4 of them with a confidence of 0.99 or more"),
    ("baseline-curves", {"metrics/train/baseline.json: best_epoch": 5, "metrics/train/baseline.json: epochs_run": 8, "metrics/train/baseline.json: val_accuracy": 0.75, "metrics/train/baseline.json: train_accuracy": 0.85}, "reaches its maximum after epoch 5 of 8: 75.00%", "85.00%: 10.00 points above"),
    ("trainings", {"metrics/train/baseline.json: backend": "torch"}, "dropout. Baseline CNN was trained by Keras' PyTorch backend."),
    ("mcnemar", {"metrics/compare.json: mcnemar[0].second_only": 999, "metrics/compare.json: mcnemar[0].p_value_holm": 0.03}, "(p below 0.05, Holm-adjusted): VGG19 is better than Baseline CNN (p = 0.03);"),
    ("mcnemar", {f"metrics/compare.json: mcnemar[{i}].p_value_holm": 0.05 for i in range(6)}, "No difference is significant (p below 0.05, Holm-adjusted)."),
    ("annotators-mcnemar", {"metrics/compare.json: labels.mcnemar[2].p_value_holm": 0.01}, "ResNet18 matches the labels more often than the annotators' most-voted class (p = 0.01)"),
    ("compare-ensembles", VOTES, "78.50%, 15.00 points more than ResNet18, its best member on val (p = 0.085)", "Best equal-weight vote: Baseline CNN + VGG19 + ResNet18 + Compact with 78.50%"),
    ("compare-ensembles", VOTES, "(0.10 for Baseline CNN, 0.20 for VGG19, 0.30 for ResNet18 and 0.40 for Compact) the vote of all reaches 79.00%"),
    ("compare-ensembles", TIED, "1.00 points more than VGG19, its best member on val (p = 0.5)", "Best equal-weight votes, tied: Baseline CNN + VGG19 and Baseline CNN + ResNet18 with 99.00%"),
    ("compare-literature", TIED, "Our best, tied: Baseline CNN and VGG19 with 90.00%"),
    ("shares", {f"metrics/data.json: rows.train.{one}": 9000 for one in ("sad", "happy")}, "Most of the 22,968 training images are happy and sad (9,000,"),
    (None, {"metrics/data.json: duplicates.across.test_rows_in_val": 44}, "chosen on val, where 44 test images can be found as well: these choices are partly made on test images"),
    (None, {"metrics/data.json: duplicates.across.test_rows_in_val": 0}, "chosen on val; no test image is in val"),
    ("compact-curves", {}, "cross-entropy to the labels, smoothed by 0.1, plus that to the annotators' votes, on augmented faces, with dropout."),
    ("compare-class-f1", F1, "Baseline CNN in 0, VGG19 in 0, ResNet18 in 0 and Compact in 7 of 7 classes. They differ most on angry, disgust, fear, happy, sad, surprise and neutral, by 0.1500"),
    ("compare-agreement", AGREEMENT, "on 55.0% of the test images. All are right on 40 of 70, none on 5: a perfect choice among them would reach 92.86%. Most alike: VGG19 with ResNet18 (97.0%)"),
    ("compare-all-wrong", {"metrics/compare.json: all_wrong.count": 5, "metrics/compare.json: all_wrong.share": 0.0714, "metrics/compare.json: all_wrong.same_count": 2}, "All networks misclassify 5 test images (7.1%); on 2 of them"),
    ("compare-literature", VOTES, "Our best: the soft vote of all networks with 78.50%; 8 of the 8 works"),
    ("exports", {f"metrics/export.json: networks.{name}.int8.lost": lost for name, lost in zip(NAMES, (-0.001, 0.0, 0.001, 0.002), strict=True)}, "by +0.10 points (Baseline CNN), +0.00 points (VGG19), -0.10 points (ResNet18) and -0.20 points (Compact)."),
    ("exports", KEPT, "(Compact). VGG19, int8: batch normalisation in float32"),
    ("annotators-scores", {"metrics/baseline.json: annotators.rows": 61, "metrics/baseline.json: annotators.emotion_rows": 58}, "61 test images have a majority; for 58 it is"),
    (None, {"metrics/compare.json: labels": {"accuracy": 0.633, "unsupported": 0.162}}, "matches the label on 63.3% of test images; 16.2% of the labels got no vote at all"),
    (None, {"metrics/data.json: scaled": 12, "metrics/data.json: left_out": {"bored": 34}}, "size: 12. Left out, because prepare.classes does not name their class: 34 of bored."),
    (None, {"metrics/data.json: no_majority": {"all": 56}, "metrics/data.json: without_face": 78}, "no majority: 56. Left out, because no face was found in them: 78."),
    ("labels-levels", {"metrics/compare.json: labels.levels[0].images": 50}, "On the 50 test images where 10 of ten annotators agree"),
    ("labels-levels", {"metrics/compare.json: labels.levels": []}, "There is no test image"),
    ("labels-contradicted", {"metrics/compare.json: labels.contradicted": 3}, "Labels that nobody else believes. On 3 test images all", "the picture shows them."),
    ("labels-contradicted", {"metrics/compare.json: labels.contradicted": 129}, "the picture shows the first 30 of 129."),
    ("labels-contradicted", {"metrics/compare.json: labels.contradicted": 0}, "There is no test image"),
    ("vgg19-classes", {f"metrics/vgg19.json: per_class.{emotion}.f1": 0.5 for emotion in CLASSES}, "Equal for angry, disgust, fear, happy, sad, surprise and neutral: 0.5000."),
    ("vgg19-classes", {f"metrics/vgg19.json: per_class.{emotion}.f1": None for emotion in CLASSES}, "No class has a value."),
    ("compare-class-f1", {f"metrics/vgg19.json: per_class.{emotion}.f1": None for emotion in CLASSES}, "no class in which every network"),
    ("stress-accuracy", {"metrics/stress/vgg19.json: test.mean.accuracy": 0.512, "metrics/stress/vgg19.json: test.clean.accuracy": 0.723}, "VGG19 72.3% and 51.2%;"),
    ("stress-scores", {"metrics/stress/vgg19.json: test.worst.accuracy.kind": "jpeg"}, "confidence below 0.6.", "JPEG, strength 2 (VGG19);"),
    (None, {"metrics/export.json: networks.vgg19.trained": {"hardware": "A GPU", "device": "cuda", "seed": 1, "versions": {"python": "3.12.1", "torch": "2.11"}}}, "A GPU, python 3.12.1, torch 2.11, bfloat16 (VGG19)", "unknown hardware, bfloat16 (Baseline CNN, ResNet18 and Compact)"),
    ("other-ck", {}, "927 faces of CK+48 (MD5 fedcba98), 12 of them scaled. 3 of the faces are also in", "none of the classes: 54 of contempt."),
]  # fmt: skip
"""(figure, or None for the page, changes, what its caption or the page then says)"""


@pytest.mark.parametrize("case", SENTENCES)
def test_sentences_follow_from_the_numbers(case, content):
    id, changes, *sentences = case
    page = render(put(content, changes))
    text = read_caption(page, id) if id else read_text(page)
    assert [sentence for sentence in sentences if sentence not in text] == []


NOT_SHOWN = r"""
data.json:.(pixels|dropped|blank_images|votes)  # the last two in sums
|train/.*(train_loss)
|compare.json:.ensemble\.(?!macro_f1)
|ensemble.*val_accuracy|kappa|table7.*paper
|per_class.*accuracy
|annotators\.(emotion_)?rows|levels  # the same for all; all but the first are drawn
|other/.*per_class.*(precision|f1|support)
|stress/.*(val|kinds|rows|seen|(error|uncertain)\.strength)  # drawn, or the same for all, or in git alone
|csv:.*\[2\]|csv:.\[3\]\[0\]  # the text is on a tenth, a half, and all
"""
"""Numbers that the page leaves out on purpose, or shows only in a sum or in a sentence about the extremes."""


def list_numbers(content, source=""):
    """The sources of all numbers of `make_content`."""
    if isinstance(content, (dict, list)):
        for key, one in content.items() if isinstance(content, dict) else enumerate(content):
            part = f"[{key}]" if isinstance(key, int) else key if not source or source[-1] == " " else f".{key}"
            yield from list_numbers(one, f"{source}{part}" if source else f"{key}: ")
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield source


def change(content, source):
    """Change one number; returns what it was."""
    holder, key = find(content, source)
    was = holder[key]
    holder[key] = was * 2 + 1 if isinstance(was, int) or ".csv" in source else was / 2 + 0.007
    return was


def test_every_number_comes_from_its_file(content):
    """The page changes with every number that no cell names; test_every_number_of_a_table_leads_to_its_value checks the cells."""
    before = render(content)
    named = {part for _, title, _ in read_cells(before) if title for part in split_source(title)}
    numbers = [source for source in list_numbers(content) if not re.search(NOT_SHOWN, source, re.VERBOSE)]
    others = [source for source in numbers if source not in named and source[:-3] not in named]
    assert len(numbers) > 250 and len(others) > 50
    for source in others:
        was = change(content, source)
        assert render(content) != before, source
        put(content, {source: was})


def read_cells(page):
    """The cells of a page's tables: [(th or td, title or '', text), ...]."""
    found = re.findall(r'<(th|td)(?: scope="\w+")?(?: title="([^"]*)")?>(.*?)</', page)
    assert len(found) == len(re.findall("<t[hd][ >]", page))
    return [(tag, html.unescape(title), html.unescape(text)) for tag, title, text in found]


def split_source(title):
    """The sources of single values in a cell's title: two for `metrics/data.json: rows.val.fear / rows.val.total`."""
    file, key = title.split(": ", 1)
    return [f"{file}: {part}" for part in key.split(" / ")]


def read_source(files, title):
    """The values, as a list, that a cell's title names in {path: content}; a quotient is one value."""
    values = [getitem(*find(files, source)) for source in split_source(title)]
    if len(values) == 2:
        return [values[0] / values[1]]
    return values[0] if isinstance(values[0], list) else values


def says(text, values, key=""):
    """Whether a cell's text is these values: as they are, in percent, in points or in millions, rounded as shown."""
    if isinstance(values[0], str):
        return text == values[0].replace("one_cycle", "one cycle")
    if isinstance(values[0], bool):
        return text == ("yes" if values[0] else "no")
    numbers = [number.replace(",", "") for number in re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e-\d+)?", text)]
    in_points = "overfitting_gap" in key and "difference" not in key
    factor = 100 if "%" in text or in_points else 1e-6 if "bytes" in key else 1
    return len(numbers) == len(values) and all(
        abs(float(number) - factor * value)
        <= 10.0 ** Decimal(number).as_tuple().exponent / 2 + 1e-9 * abs(float(number))
        for number, value in zip(numbers, values, strict=True)
    )


PRINTED = r"paper: (Table \d|sections 2 and 3|Evaluation Metrics 2|misclassification audit)|"
PRINTED += r"literature: the (FER\+ paper|ESR-9 paper|study's Literature Review)"
"""The places that the titles of cells with printed numbers name."""


@pytest.mark.parametrize("changed", [False, True])
def test_every_number_of_a_table_leads_to_its_value(changed, content):
    """Each cell names its file and key and shows the value there, also when all numbers have changed; dashes name none."""
    for source in [*list_numbers(content)] if changed else ():
        if not re.search("temperature$|kappa|csv", source):
            change(content, source)
    cells = read_cells(render(content))
    files = content | {f"profiles/paper.yaml, {PROFILE}.yaml": SETTINGS}
    nodes = ast.walk(ast.parse(Path(paper.__file__).read_text()))
    printed = [node.value for node in nodes if isinstance(node, ast.Constant)]
    printed = [[value] for value in printed if isinstance(value, (int, float, str))]
    used = set()
    for tag, title, text in cells:
        if not title:
            assert tag == "th" or text == "–", text
        elif title.startswith(("paper: ", "literature: ")):
            assert re.fullmatch(PRINTED, title)
            assert any(says(text, value, "overfitting_gap" if text[0] in "+-" else "") for value in printed), text
        else:
            assert says(text, read_source(files, title), title), (title, text)
            used.add(title.split(":")[0])
    assert used == {path for path in files if not path.endswith(".csv")}


def test_says_tells_a_wrong_value_from_the_right_one():
    """`says`, on which the tests of cells rely."""
    assert says("70.10%", [0.701]) and not says("70.10%", [0.7012])
    assert says("+23.00", [0.23], "overfitting_gap") and not says("+23.00", [0.23])
    assert says("60.10 to 80.10%", [0.601, 0.801]) and not says("60.10 to 80.10%", [0.601])
    assert says("5e-06", [5.2e-6]) and not says("5e-06", [5.7e-6])
    assert says("5.43", [5_432_100], "bytes") and not says("one cycle", ["step"]) and says("one cycle", ["one_cycle"])


def test_files_of_other_networks_are_refused(folders):
    said = refuse(read_evidence, folders / "metrics", folders / "plots", {one: NETWORKS[one] for one in NAMES[:2]}, [])
    assert "compare.json: table7 is baseline, vgg19, resnet18, compact, expected baseline, vgg19; run" in said


def test_no_value_is_a_dash_with_its_note(content):
    """A class without a test image has dashes for scores, not 0, None or NaN."""
    scores = content["metrics/vgg19.json"]
    scores["per_class"]["disgust"] = dict.fromkeys(("precision", "recall", "f1", "accuracy"), None) | {"support": 0}
    scores["notes"] = ["disgust: test has no such face, so its scores are empty and the averages leave it out"]
    scores["accuracy_unseen"] = scores["confidence"]["low_accuracy"] = scores["confidence"]["mean_incorrect"] = None
    scores["errors"] |= {"count": 0, "top": []}
    page = render(content)
    assert read_table(page, "vgg19-per-class")[2] == ["disgust", "0", "–", "0.8831", "–", "0.6126", "–", "0.7234"]
    assert "Disgust: test has no such face" in page
    assert "No test image is misclassified" in read_caption(page, "vgg19-mistakes")
    assert not re.search(r"\b(None|nan|NaN|inf)\b", read_text(page))


def test_one_page_without_scripts_and_without_addresses(content):
    page = render(content)
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert not [source for source in sources if not source.startswith(("data:image/png;base64,", "#"))]
    assert not re.search(r"url\(|@import|<link|<iframe", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {source[1:] for source in sources if source.startswith("#")} <= set(ids)
    assert len(re.findall("<img ", page)) == len(list_pictures(NETWORKS)) - 1, "all but that of the sample"


def test_a_picture_that_no_template_shows_has_its_caption_from_dvc_yaml(content, monkeypatch, tmp_path):
    """The drawing function, and output and caption in dvc.yaml, are all that a new picture needs."""
    with_new = 'gradcam.png",\n        "plots/${key}/test/new.png"'
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text().replace('gradcam.png"', with_new))
    monkeypatch.setattr(evidence, "ROOT", tmp_path)
    page = render(content, captions=["new.png: Fine. It is new."])
    assert len(re.findall("<img ", page)) == len(list_pictures(NETWORKS)) - 1
    assert read_caption(page, "vgg19-new") == "VGG19: Fine. It is new."


def test_nothing_of_this_machine_is_on_the_page(content):
    """The report is the same bytes wherever the numbers are the same; times are on a page of their own."""
    page = html.unescape(render(content))
    assert not re.search(r"\bms\b|Seconds|[Ll]atency|per second|/s\b|Hardware", page)
    assert name_cpu() not in page and platform.python_version() not in page and "Python" not in page


def test_without_votes_and_other_sets_their_sections_are_left_out(content):
    put(content, {"metrics/compare.json: labels": None} | {f"metrics/{name}.json: annotators": None for name in NAMES})
    del content["metrics/other/ck.json"]
    page = render(content)
    assert 'id="labels"' not in page and 'id="others"' not in page and "annotators" not in page


STUDY = ("compare-literature", "literature", "votes-literature")


@pytest.mark.parametrize("content", [2, 8, 20], indirect=True)
def test_other_data_have_a_report_of_their_own(content):
    """It says whose faces, how many and which classes; nothing of the study is on it."""
    classes = [*content["metrics/vgg19.json"]["per_class"]]
    page = render(content, dataset="data/raw/mine")
    text, counts = read_text(page), [content["metrics/data.json"]["rows"][split]["total"] for split in SPLITS]
    train, val, test = (f"{count:,} {split}" for count, split in zip(counts, SPLITS, strict=True))
    whose = f"my faces: {train}, {val} and {test} images of 64x64 pixels, in colour, in {len(classes)} classes: "
    assert whose + show.listing(classes) in text
    assert not re.search(r"[Pp]aper(?!\.yaml)|Table \d|Figure|FER-2013|seven|contempt |\b[Tt]en |48x48|\bNone\b", text)
    assert not [id for id in STUDY if f'id="{id}"' in page] and 'class="warning"' not in page
    assert [row[0] for row in read_table(page, "vgg19-per-class")[1:]] == classes
    assert read_table(page, "overview")[0] == ["Network", "Accuracy", "95% interval", "By the chosen views", "Macro F1"]
    assert {len(row) for table in ("overview", "table7") for row in read_table(page, table)} == {5, 7}


def test_labels_that_come_from_votes_stand_beside_the_literature_on_them(content):
    """FER+'s protocol: the published accuracies with ours, and no test of the annotators on labels of their own."""
    classes = (*CLASSES, "contempt")
    put(change_data(content, "FER+", classes), {"metrics/compare.json: labels.accuracy": 1.0})
    page = render(content)
    rows = read_rows(page, "votes-literature")
    assert [row[3][2] for row in rows[1:4]] == ["84.99%", "87.15%", "88.10%"]
    assert trace_row(rows[5])[::3] == ["VGG19, this run", "vgg19: accuracy"]
    assert "Ours: profile best." in read_caption(page, "votes-literature")
    assert "the annotators cannot tell what it is worth" in read_text(page)
    assert 'id="annotators-mcnemar"' not in page and "What the labels are worth" not in page
    assert 'id="literature"' not in page and "seven" not in read_text(page)


@pytest.mark.parametrize("drawn", [True, False])
def test_the_drawn_sample_is_not_called_fer2013(content, drawn):
    page = render(content, dataset="data/raw/sample.csv" if drawn else "data/raw/fer2013.csv")
    assert f"{'Drawn faces' if drawn else 'FER-2013'}: 22,968 train" in read_text(page)


def test_what_comes_from_outside_is_text(content):
    foreign = {"metrics/compare.json: notes": ["<script>alert(1)</script>"], "metrics/data.json: note": "<b>bold</b>"}
    page = render(put(content, foreign), dataset='"><img src=x onerror=alert(1)>')
    assert "<script>alert" not in page and "<img src=x" not in page and "&lt;b&gt;bold" in page


def test_words_for_one_none_and_many():
    assert [show.plural(n, "image") for n in (0, 1, 1234)] == ["no images", "1 image", "1,234 images"]
    assert [show.show(n, "times") for n in (1, 2, 3)] == ["once", "twice", "3 times"]
    assert [show.listing("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert show.percent(None) == show.decimal(None) == "–"
    assert show.show(-1e-9, "points") == "+0.00"


@pytest.fixture
def folders(content, tmp_path):
    """The evidence as files."""
    return write_evidence(tmp_path, content)


def list_arguments(folders):
    return ["--metrics", folders / "metrics", "--plots", folders / "plots", "--out", folders / "report.html"]


def test_same_files_same_bytes(folders, call_stage, run_stage):
    """In another process, too."""
    pages = []
    for run in (partial(call_stage, report), partial(run_stage, "report")):
        process = run(*list_arguments(folders))
        assert process.returncode == 0, process.stderr
        pages.append((folders / "report.html").read_bytes())
        (folders / "report.html").unlink()
    assert pages[0] == pages[1] and b"data/raw/sample.csv" in pages[0]


DAMAGE = {
    "no metrics": ("metrics/vgg19.json", None, "not found; run `dvc repro report`"),
    "no picture": ("plots/resnet18/test/gradcam.png", None, "not found; run `dvc repro report`"),
    "no JSON": ("metrics/data.json", b"{", "the file: Invalid JSON: EOF while parsing an object"),
    "a list": ("metrics/data.json", b"[]", "the file: Input should be an object; run `dvc repro report`"),
    "a key less": ("metrics/vgg19.json", b'{"accuracy": 0.5}', "accuracy_unseen: Field required; run `dvc repro report`"),
    "no PNG": ("plots/compare/literature.png", b"GIF89a", "not a PNG; run `dvc repro report`"),
    "other columns": ("plots/vgg19/test/risk_coverage.csv", b"a,b\n1,2\n", "expected the columns coverage and accuracy"),
}  # fmt: skip


COMPARE = "metrics/compare.json: "
FOREIGN = {
    COMPARE + "ensembles": ([], "ensembles is empty, expected baseline + vgg19, baseline + resnet18"),
    COMPARE + "ensembles[6].members": (["own"], "ensembles.6: Value error, best_member is "),
    COMPARE + "ensembles[0].best_member": ("own", "best_member is own, expected one of baseline, vgg19"),
    COMPARE + "ensembles[0]": ({"members": ["own"], "best_member": "own"}, "ensembles is own, baseline + resnet18"),
    COMPARE + "weighted_ensemble": ({"members": ["own"], "best_member": "own"}, "members is own, expected baseline"),
    COMPARE + "agreement.right_by": ([], "agreement.right_by: List should have at least 2 items"),
    COMPARE + "agreement.pairs": ([], "agreement.pairs is empty"),
    COMPARE + "mcnemar[0].second": ("own", "mcnemar is baseline + own"),
    COMPARE + "labels.mcnemar[0].second": ("own", "labels.mcnemar is annotators + own"),
    COMPARE + "labels.recall": ({"own": 0.5}, "labels.recall is angry, disgust"),
    "metrics/other/ck.json: networks.vgg19.per_class": ({"own": {"support": 1}}, "networks.vgg19.per_class"),
    "metrics/other/ck.json: networks.vgg19.confusion": ([[1]], "confusion is 1 numbers, expected 7 numbers, 7"),
}


@pytest.mark.parametrize("source", FOREIGN)
def test_values_of_other_networks_or_classes_are_refused(source, content):
    """Each fits the record, but not the run."""
    value, message = FOREIGN[source]
    said = refuse(render, put(content, {source: value}))
    assert message in said and said.endswith("; run `dvc repro report`")


@pytest.mark.parametrize("case", DAMAGE)
def test_bad_files_are_named(case, folders, call_stage):
    name, content, message = DAMAGE[case]
    (folders / name).unlink() if content is None else (folders / name).write_bytes(content)
    process = call_stage(report, *list_arguments(folders))
    assert process.returncode == 1 and process.stderr.startswith(f"error: {folders / name}: ")
    assert message in process.stderr and process.stderr.count("\n") == 1
    assert not (folders / "report.html").exists()


MEASURE = """
const outside = [...document.querySelectorAll("body *")].filter(
  element => !element.closest(".scroll > *") && element.getBoundingClientRect().right > innerWidth + 0.5);
const scrolling = [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth);
return {
  width: innerWidth,
  content: document.documentElement.scrollWidth,
  outside: outside.map(element => element.outerHTML.slice(0, 80)),
  pictures: [...document.images].filter(image => image.naturalWidth > 0).length,
  scrolling: scrolling.length,
  unseen: scrolling.filter(box => !getComputedStyle(box).backgroundImage.includes("gradient")).length
}"""


@pytest.mark.release
@pytest.mark.parametrize("content", [None, 2, 20], indirect=True)
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(width, content, browser, tmp_path):
    """On a phone wide tables scroll within their own box, with a shadow where there is more; at 1280 pixels only those of
    many classes do."""
    wide = encode(np.full((300, 1050), 128, np.uint8))  # as real pictures are
    (tmp_path / "page.html").write_text(render(content, picture=wide))
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser("POST", "goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=screen)
    browser.read_file(tmp_path / "page.html")
    assert browser.list_foreign() == []
    measured = browser.run(MEASURE)
    scrolling, many = measured.pop("scrolling"), len(content["metrics/vgg19.json"]["per_class"]) > 7
    assert measured.pop("content") <= width and (scrolling > 5 if width == 390 else many or not scrolling)
    pictures = len(list_pictures(NETWORKS)) - 1 - (content["metrics/data.json"].get("name") == "my faces")
    assert measured == {"width": width, "outside": [], "pictures": pictures, "unseen": 0}


def test_times_are_on_a_page_of_their_own(tmp_path):
    """Each number names its key in timing.json; a dash replaces what no stage has written."""
    file, content = tmp_path / "timing.json", json.loads((BEST / "timing.json").read_text())
    del content["train_baseline"]
    content["train_vgg19"]["hardware"] = "<b>Processor 9</b>"
    content["train_resnet18"]["hardware"] = content["train_compact"]["hardware"] = "GPU"
    exported = content["score_exports"]["networks"]["baseline"]
    for precision, median in (("float32", 20), ("int8", 8.25)):
        exported[precision]["latency_ms"]["threads_1"]["median"] = median
    file.write_text(json.dumps(content))
    timing = read_timing(file, NAMES)
    page = times.make_page(timing, TITLES)
    shown = [(title, text) for _, title, text in read_cells(page) if title]
    assert len(shown) == 2 * 3 + 3 * 4 + 6 * 8  # of a training, a network, and an exported file
    assert all(says(text, read_source({"metrics/timing.json": content}, title)) for title, text in shown)
    heads, *rows = read_table(page, "training")
    assert heads == [
        "Network",
        *(f"{what}, {where}" for where in ("<b>Processor 9</b>", "GPU") for what in ("Seconds", "Images/s")),
    ]
    assert [[cell == "–" for cell in row[1:]] for row in rows] == [
        [True] * 4,
        [False, False, True, True],
        *[[True, True, False, False]] * 2,
    ]
    assert read_table(page, "trained")[0][-1] == "Hardware"  # one for all
    source = "timing: score_exports.networks.baseline.int8.latency_ms.threads_1.median"
    assert trace_row(read_rows(page, "exported")[2])[:2] == ["Baseline CNN, int8", source]
    assert "by a factor of 2.4 (Baseline CNN)" in read_caption(page, "exported") and "<b>P" not in page
    printed = "\n".join(times.print_tables(times.list_tables(timing, TITLES)))
    assert re.search(r"^  VGG19 +[\d,]+ +[\d,]+ +– +–$", printed, re.MULTILINE)


SPEED = TrainingTimes(seconds=1.0, images_per_second=1.0, hardware="Processor 9")


def test_times_that_cannot_be_written_cost_no_result(tmp_path, capsys):
    """A folder in the place of the file, and a file in the place of its folder."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "folder", tmp_path / "file" / "timing.json"):
        record_times(path, "score_exports", SPEED)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("how long score_exports took is not kept: ") for line in lines)


@pytest.mark.parametrize(
    "damaged", [None, b"", b"[]", b'{"train_vgg19": {"seconds": "long"}, "score_exports": 5}', b'{"x": NaN}']
)
def test_no_times_are_dashes(damaged, tmp_path):
    file = tmp_path / "timing.json"
    if damaged is not None:
        file.write_bytes(damaged)
    tables = times.list_tables(read_timing(file, NAMES), TITLES)
    assert {cell.text for table in tables.values() for row in table[1:] for cell in row[1:]} == {"–"}
    assert "faster" not in times.make_page(read_timing(file, NAMES), TITLES)
    record_times(file, "train_vgg19", SPEED)
    assert read_timing(file, NAMES).training["vgg19"] == SPEED
