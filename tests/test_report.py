"""The report: every number on it comes from the files, and anybody can read it offline."""

import html
import json
import platform
import re
import sys
from functools import reduce
from itertools import chain, combinations
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PAPERS as NAMES
from conftest import encode, write_folder
from ruamel.yaml import YAML

import report
import times
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.record import ExportTimes
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.comparison import set_beside_paper
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import Measured
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.record import PredictionTimes
from fer_pipeline.report import show
from fer_pipeline.report.page import find_extremes, make_page
from fer_pipeline.report.read import COMPARED, OF_DATA, list_figures, read_evidence
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.timing import record_times
from fer_pipeline.training.common.profile import read_trainings
from fer_pipeline.training.common.run import TrainingTimes
from timing import read_timing

NETWORKS = find_networks(NAMES)
STRANGER = SimpleNamespace(TITLE="Stranger")
"""A network that the paper does not have, and without Grad-CAM."""
LABEL = "Ours: profile smoke, split official, 70 test images (drawn faces). The paper: FER-2013."


SCORES = """
accuracy: 0.701
accuracy_unseen: 0.711
unseen_count: 68
balanced_accuracy: 0.681
macro_f1: 0.671
accuracy_ci95: [0.601, 0.801]
accuracy_single_crop: 0.691
train_accuracy: 0.931
overfitting_gap: 0.23
val_accuracy: 0.721
confidence: {mean: 0.882, mean_correct: 0.925, mean_incorrect: 0.779, std: 0.165, low_count: 735, low_share: 0.1024, low_accuracy: 0.358, threshold: 0.6}
calibration: {ece: 0.051, nll: 0.91, brier: 0.41, temperature: 1.5, ece_scaled: 0.021, nll_scaled: 0.81}
errors:
  {count: 21, share: 0.3, confident_count: 4, top: [{actual: fear, predicted: sad, count: 9}, {actual: angry, predicted: disgust, count: 7}, {actual: sad, predicted: neutral, count: 2}]}
cost: {parameters: 1234567, macs: 7654321, model_bytes: 5432100}
temperature_single_crop: 1.4
votes_temperature_single_crop: 1.3
annotators:
  {rows: 61, emotion_rows: 58, accuracy: 0.731, cross_entropy: 0.811, votes_accuracy: 0.741, votes_cross_entropy: 0.822, mistakes: {network: 0.44, label: 0.26, neither: 0.3}}
device: cpu
precision: bfloat16
notes: []
"""
COMPARE = """
profile: smoke
split: official
comparable: false
notes: [The paper's 67.25 % is a validation accuracy as well.]
agreement: {all_share: 0.55, any_right: 0.9286}
labels: {accuracy: 0.633, accuracy_ci95: [0.534, 0.735], unsupported: 0.162, contradicted: 3}
all_wrong: {count: 5, share: 0.0714, same_count: 2, same_share: 0.4, indices: [1, 2]}
"""
DATA = """
source: {kind: table, md5: 0123456789abcdef, rows: 455}
split: official
note: Training is train.
pixels: {train_mean: 113.0, train_std: 48.0}
blank_images: {train: 1, val: 0, test: 0}
duplicates:
  within: {train: 12, val: 0, test: 1}
  across: {val_rows_in_train: 4, test_rows_in_train: 2, test_rows_in_val: 0}
  conflicting_labels: {images: 3, rows: 6}
dropped: {blank: {train: 1, val: 0, test: 0}, leaks: {train: 5}}
conversions: {}
"""
OTHER = """{source: CK+48, md5: fedcba9876543210, faces: 927, left_out: {contempt: 54}, scaled: 12, seen: 3}"""
"""The files in metrics/, but for what is computed below; no two numbers of a file are the same."""


def load(text):
    return YAML(typ="safe").load(text)


def raise_floats(content, by):
    """Add to each float but the threshold."""
    if isinstance(content, dict):
        return {key: one if key == "threshold" else raise_floats(one, by) for key, one in content.items()}
    if isinstance(content, list):
        return [raise_floats(one, by) for one in content]
    return round(content + by, 6) if isinstance(content, float) else content


def make_scores(by):
    """metrics/<network>.json; networks differ by `by`, below 0.07."""
    per_class = {
        emotion: {"precision": 0.5 + i / 20, "recall": 0.51 + i / 20, "f1": 0.52 + i / 20, "accuracy": 0.51 + i / 20}
        for i, emotion in enumerate(CLASSES)
    }
    for i, scores in enumerate(per_class.values()):
        scores["support"] = 10 + i
    return raise_floats(load(SCORES) | {"per_class": per_class}, by)


def make_compare(scores):
    """metrics/compare.json of {network: metrics}."""
    names = list(scores)
    pairs = list(combinations(names, 2))

    def judge_pairs(pairs, n):
        return [
            {"first": x, "second": y, "first_only": n + 3 + i, "second_only": n + 11 + i, "p_value": 0.01 + i / 50, "p_value_holm": 0.03 + i / 50}
            for i, (x, y) in enumerate(pairs)
        ]  # fmt: skip

    def vote(members, accuracy, weights):
        return {
            "members": members,
            "weights": weights,
            "best_member": members[-1],
            "val_accuracy": 0.7,
            "accuracy": accuracy,
            "accuracy_ci95": [accuracy - 0.1, accuracy + 0.1],
            "gain_points": round(1000 * (accuracy - 0.77), 4),
            "p_value": accuracy - 0.7,
        }

    levels = [
        {"votes": n, "images": 5 * n, "favourite_is_label": n / 12, "label": dict.fromkeys(names, n / 11), "favourite": dict.fromkeys(names, n / 10)}
        for n in (10, 9, 4)
    ]  # fmt: skip
    table7 = set_beside_paper({name: Scores.model_validate(one) for name, one in scores.items()})
    compare = load(COMPARE)
    compare["labels"] |= {"mcnemar": judge_pairs([("annotators", name) for name in names], 18), "levels": levels}
    compare["labels"]["recall"] = {emotion: 0.2 + i / 10 for i, emotion in enumerate(CLASSES)}
    compare["agreement"]["pairs"] = [
        {"first": x, "second": y, "share": 0.6 + i / 20, "kappa": 0.5} for i, (x, y) in enumerate(pairs)
    ]
    compare["agreement"]["right_by"] = [5, 10, 15, 40, 41, 42][: len(names) + 1]
    votes = [vote([x, y], 0.75 + i / 100, [0.5, 0.5]) for i, (x, y) in enumerate(pairs)]
    return compare | {
        "label": LABEL,
        "table7": {name: row.model_dump() for name, row in table7.items()},
        "mcnemar": judge_pairs(pairs, 0),
        "ensembles": [*votes, vote(names, 0.785, [1 / len(names)] * len(names))],
        "weighted_ensemble": {"chosen_on": "val", **vote(names, 0.79, [0.2, 0.3, 0.5, 0.0][: len(names)])},
        "ensemble": {key: scores[names[0]][key] for key in Measured.model_fields} | {"macro_f1": 0.777},
    }


def make_data():
    """metrics/data.json."""
    rows = {
        name: {"total": 7 * n + 21, **{emotion: n + i for i, emotion in enumerate(CLASSES)}}
        for name, n in (("train", 40), ("val", 9), ("test", 8))
    }
    return load(DATA) | {"rows": rows}


def make_train(epoch):
    """metrics/train/<network>.json."""
    return {
        "best_epoch": epoch,
        "epochs_run": epoch + 3,
        "stopped": "epochs",
        "parameters": 1000 + epoch,
        "train_loss": 0.3,
        "train_accuracy": 0.8 + epoch / 100,
        "val_loss": 0.4 + epoch / 100,
        "val_accuracy": 0.7 + epoch / 100,
        "device": "cpu",
        "precision": "bfloat16",
    }


def make_export(names):
    """metrics/export.json."""

    def measured(n, **more):
        size = 10_000_000 - 1_100_000 * n
        return {"accuracy": 0.6 + n / 100, "largest_difference": 1e-6 * (1 + n), "bytes": size, **more}

    networks = {
        name: {"float32": measured(i), "int8": measured(i + 4, lost=0.001 * (i - 1), kept_in_float32=[])}
        for i, name in enumerate(names)
    }
    networks[names[0]]["int8"]["kept_in_float32"] = ["batch normalisation", "conv1_1"]
    return {"networks": networks}


def make_other(names):
    """metrics/other/ck.json."""
    networks = {}
    for i, name in enumerate(names):
        scores = make_scores(0.01 + i / 100)
        networks[name] = {key: scores[key] for key in ("accuracy", "accuracy_ci95", "balanced_accuracy", "per_class")}
        networks[name]["confusion"] = [[100 * i + 10 * row + column for column in range(7)] for row in range(7)]
    return load(OTHER) | {"networks": networks}


def make_content(networks):
    """All that the report reads, but pictures, as it is in the files."""
    scores = {name: make_scores(by) for name, by in zip(networks, (0, 0.02, 0.05, 0.06), strict=False)}
    return {
        "data": make_data(),
        "train": {name: make_train(5 + i) for i, name in enumerate(networks)},
        "scores": scores,
        "compare": make_compare(scores),
        "export": make_export(list(networks)),
        "other": {"ck": make_other(networks)},
        "risk": {name: [[0.5, 0.95], [0.85, 0.92], [0.95, 0.91], [1.0, 0.8]] for name in networks},
    }


def list_files(content):
    """{path: what is in this file} of `make_content`, but for risk_coverage.csv."""
    files = {f"metrics/{key}.json": content[key] for key in ("data", "compare", "export")}
    files |= {f"metrics/{name}.json": one for name, one in content["scores"].items()}
    files |= {f"metrics/{kind}/{name}.json": one for kind in ("train", "other") for name, one in content[kind].items()}
    return files


def list_pictures(networks=NETWORKS):
    """The pictures that the page shows, as paths below plots/."""
    of_networks = [f"{name}/test/{figure}.png" for name in networks for figure in list_figures(networks[name])]
    return [*OF_DATA, *(f"compare/{name}.png" for name in COMPARED), *of_networks]


def write_evidence(folder, content, networks=NETWORKS, picture=b"\x89PNG"):
    """Write all that the report reads into metrics/ and plots/ below `folder`; returns the folder."""
    files = {f"plots/{path}": picture for path in list_pictures(networks)}
    files |= {path: json.dumps(one).encode() for path, one in list_files(content).items()}
    for name, curve in content["risk"].items():
        rows = [f"{1 - coverage},{coverage},{accuracy}\n" for coverage, accuracy in curve]
        files[f"plots/{name}/test/risk_coverage.csv"] = "".join(["threshold,coverage,accuracy\n", *rows]).encode()
    return write_folder(folder, files)


@pytest.fixture
def content():
    return make_content(NETWORKS)


PARAMS = read_params()
PROFILE, TRAININGS = PARAMS.profile, read_trainings(PARAMS)
SETTINGS = {name: one.model_dump() for name, one in TRAININGS.items()}


def render(content, dataset="data/raw/fer2013.csv", networks=NETWORKS):
    with TemporaryDirectory() as folder:
        written = write_evidence(Path(folder), content, networks)
        evidence = read_evidence(written / "metrics", written / "plots", networks, content["other"])
    settings = {name: TRAININGS.get(name, TRAININGS["vgg19"]) for name in networks}
    return make_page(
        evidence, networks, PARAMS.model_copy(update={"dataset": dataset, "other_sets": content["other"]}), settings
    )


def read_table(page, id):
    """The rows of cells of the table with this id, its head first."""
    (found,) = re.findall(rf'<figure class="table" id="{id}">(.*?)</figure>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def read_text(page):
    """The words of the page, without its look, as a browser shows them."""
    return " ".join(html.unescape(re.sub("<style>.*</style>|<[^>]+>", "", page, flags=re.DOTALL)).split())


def read_caption(page, id):
    (found,) = re.findall(rf'<figure[^>]* id="{id}">.*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)
    return read_text(found)


def test_tables_set_ours_beside_the_papers(content):
    page = render(content)
    head, baseline, _, resnet18, vote = read_table(page, "overview")
    assert head == ["Network", "Ours", "95% interval", "Paper", "Difference, points", "Macro F1"]
    assert baseline == ["Baseline CNN", "70.10%", "60.10 to 80.10%", "67.25%", "+2.85", "0.6710"]
    assert resnet18 == ["ResNet18", "75.10%", "65.10 to 85.10%", "71.60%", "+3.50", "0.7210"]
    assert vote == ["Soft vote of all", "78.50%", "68.50 to 88.50%", "–", "–", "0.7770"]
    fear = read_table(page, "vgg19-per-class")[3]
    assert fear == ["fear", "12", "0.6200", "0.6212", "0.6300", "0.4805", "0.6400", "0.5419"]
    assert read_table(page, "baseline-per-class")[3] == ["fear", "12", "0.6000", "0.6100", "0.6200"]
    table6 = read_table(page, "vgg19-confidences")
    assert table6[1] == ["Mean confidence, all", "0.902", "0.882"]
    assert table6[5:8] == [["Images below 0.6", "735", "735"], ["… as a share", "12.2%", "10.2%"], ["… their accuracy", "37.8%", "35.8%"]]  # fmt: skip
    assert read_table(page, "vgg19-confusions")[1] == ["fear → sad", "9", "220"]
    assert read_table(page, "vgg19-confusions")[2] == ["angry → disgust", "7", "–"]
    assert read_table(page, "table7")[1][:7] == ["Baseline CNN", "93.10%", "73.75%", "+19.35", "70.10%", "67.25%", "+2.85"]  # fmt: skip
    assert read_table(page, "mcnemar")[1] == ["Baseline CNN, VGG19", "3", "11", "0.01", "0.03"]
    assert len(read_table(page, "literature")) == 1 + len(paper.LITERATURE)
    assert read_table(page, "exports")[2] == ["Baseline CNN, int8", "64.00%", "5e-06", "5.60"]
    ours = [str(TRAININGS[name].epochs) for name in NAMES]
    configuration = {row[0]: row[1:] for row in read_table(page, "configuration")}
    assert configuration["Epochs at most"] == [*chain(*zip(ours, ("50", "250", "250"), strict=True))]
    assert configuration["Optimizer"] == ["–", "adam", "sgd", "sgd", "sgd", "sgd"]


BESIDE_THE_PAPER = ("overview", "images", "configuration", "vgg19-scores", "vgg19-confusions", "vgg19-per-class", "vgg19-confidences", "table7", "compare-literature")  # fmt: skip


def test_other_conditions_than_the_papers_are_named_at_every_comparison(content):
    page = render(content)
    for id in BESIDE_THE_PAPER:
        assert LABEL in read_caption(page, id), id
    assert 'class="warning"' in page
    content["compare"]["comparable"] = True
    page = render(content)
    assert LABEL not in html.unescape(page)
    assert 'class="warning"' not in page


def test_captions_follow_from_the_numbers(content):
    def says(id, *parts):
        caption = read_caption(render(content), id)
        return all(part in caption for part in parts)

    def change(value, *path):
        *above, last = path
        reduce(getitem, above, content)[last] = value

    scores = content["scores"]
    assert says("overview", "Best single network: ResNet18 with 75.10%")
    assert says("vgg19-confusion", "(Figures 5 and 7)", "best: neutral (83.0%); worst: angry (53.0%)")
    assert says("vgg19-confusion", "Most frequent confusion: fear taken for sad, 9 times.")
    scores["vgg19"]["per_class"]["angry"]["recall"] = 0.99
    scores["vgg19"]["errors"]["top"][1]["count"] = 9
    assert says("vgg19-confusion", "best: angry (99.0%); worst: disgust (58.0%)")
    assert says("vgg19-confusion", "fear taken for sad and angry taken for disgust, 9 times each")
    assert says("vgg19-risk_coverage", "15.0% of the images raises accuracy from 80.00% to 92.00% (+12.00 points)")
    content["risk"]["vgg19"][1] = [0.85, 0.7]
    assert says("vgg19-risk_coverage", "lowers accuracy from 80.00% to 70.00% (-10.00 points)")
    content["risk"]["vgg19"] = [[1.0, 0.9]]
    assert says("vgg19-risk_coverage", "Accuracy on all images is 90.00%", "no point")
    assert says(
        "baseline-confidence", "0.882", "0.925 for correct", "0.779 for wrong", "735 images", "below 0.6; 35.8%"
    )
    assert says("baseline-confidence", "18.10 points overconfident", "1.50, fitted on val, lowers it to 0.0210")
    scores["baseline"]["accuracy"] = 0.9
    assert says("baseline-confidence", "1.80 points underconfident")
    assert says("baseline-mistakes", "21 test images are misclassified (30.0%), 4 of them", "0.99 or more")
    assert says("baseline-curves", "best after epoch 5 of 8: 75.00%", "85.00%: 10.00 points above")
    assert says("mcnemar", "VGG19 is better than Baseline CNN (p = 0.03)")
    assert says("mcnemar", "between VGG19 and ResNet18 is not significant (p = 0.07)")
    assert says("annotators-mcnemar", "between ResNet18 and the annotators is not significant (p = 0.07)")
    content["compare"]["labels"]["mcnemar"][2]["p_value_holm"] = 0.01
    assert says(
        "annotators-mcnemar", "ResNet18 matches the labels more often than the annotators' most-voted class does"
    )
    assert says("compare-ensembles", "78.50%, 15.00 points more than its best member, ResNet18 (p = 0.085)")
    assert says("compare-ensembles", "that of Baseline CNN, VGG19 and ResNet18, with 78.50%")
    assert says("compare-ensembles", "(0.20 for Baseline CNN, 0.30 for VGG19 and 0.50 for ResNet18)", "reaches 79.00%")
    assert says("compare-class-f1", "Baseline CNN in 0, VGG19 in 0 and ResNet18 in 7 of 7", "by 0.0500")
    assert says(
        "compare-agreement", "on 55.0%", "on 40 of 70, none on 5", "92.86%", "Most alike: VGG19 with ResNet18 (70.0%)"
    )
    assert says("compare-all-wrong", "All networks misclassify 5 test images (7.1%); on 2 of them")
    assert says("compare-literature", "the soft vote of all networks with 78.50%; 8 of the 8 works")
    assert says(
        "exports", "changes accuracy by +0.10 points (Baseline CNN), +0.00 points (VGG19) and -0.10 points (ResNet18)."
    )
    assert says("exports", "Baseline CNN, int8: batch normalisation and conv1_1 in float32")
    assert not says("exports", "ResNet18, int8:")


NOT_SHOWN = {
    *("data.pixels", "data.source.kind", "data.conversions", "train.train_loss", "train.stopped"),
    "temperature_single_crop",
    *(f"compare.ensemble.{key}" for key in Measured.model_fields if key != "macro_f1"),
    *("compare.profile", "compare.split", "compare.comparable", "ensembles.val_accuracy", "weighted_ensemble.val_accuracy"),
    *("weighted_ensemble.chosen_on", "pairs.kappa", "all_wrong.same_share", "all_wrong.indices", "per_class.accuracy"),
    *("table7.paper", "dropped", "blank_images", "pairs.first", "pairs.second"),
    *("annotators.rows", "annotators.emotion_rows", "labels.levels"),  # the same for all; all but the first are drawn
    *(f"networks.per_class.{key}" for key in ("precision", "f1", "support")),
}  # fmt: skip
"""Numbers that the page leaves out on purpose, or shows only in a sum or in a sentence about the extremes."""


def find_numbers(content, path=()):
    """The paths of all numbers in nested dicts and lists."""
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from find_numbers(value, (*path, key))
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield path


def list_shown(content):
    """(source, path) of the numbers that the page should show; the source is as in the title of a cell."""
    for path in find_numbers(content):
        words = [str(key) for key in path if isinstance(key, str) and key not in NAMES and key not in CLASSES]
        between = path[0] == "risk" and path[2:] in ((2, 0), (2, 1), (3, 0))  # the text is on a tenth, a half, and all
        if between or any(name in ".".join(words) for name in NOT_SHOWN):
            continue
        file, *key = path[1:] if path[0] == "scores" else path
        if path[0] in ("train", "other"):
            file, *key = f"{path[0]}/{path[1]}", *path[2:]
        joined = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in key)
        yield f"metrics/{file}.json: {joined[1:]}", path


def change(content, path):
    """Change one number; returns what it was."""
    *above, last = path
    parent = reduce(getitem, above, content)
    was = parent[last]
    parent[last] = was * 2 + 1 if isinstance(was, int) or path[0] == "risk" else was / 2 + 0.007
    return was


def test_every_number_comes_from_its_file(content):
    """The page changes with every number that no cell names; test_every_number_of_a_table_leads_to_its_value checks the cells."""
    before = render(content)
    named = {part for _, title, _ in read_cells(before) if title for part in split_source(title)}
    numbers = dict(list_shown(content))
    others = [path for source, path in numbers.items() if source not in named and source[:-3] not in named]
    assert len(numbers) > 250 and len(others) > 50
    for path in others:
        was = change(content, path)
        assert render(content) != before, path
        *above, last = path
        reduce(getitem, above, content)[last] = was


def read_cells(page):
    """The cells of a page's tables: [(th or td, title or '', text), ...]."""
    found = re.findall(r'<(th|td)(?: scope="\w+")?(?: title="([^"]*)")?>(.*?)</', page)
    assert len(found) == len(re.findall("<t[hd][ >]", page))
    return [(tag, html.unescape(title), html.unescape(text)) for tag, title, text in found]


def walk(content, key):
    """The value in a JSON or YAML file under a key of a title."""
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        content = content[int(place) if place else name]
    return content


def split_source(title):
    """The sources of single values in a cell's title: two for `metrics/data.json: rows.val.fear / rows.val.total`."""
    file, key = title.split(": ", 1)
    return [f"{file}: {part}" for part in key.split(" / ")]


def read_source(files, title):
    """The values, as a list, that a cell's title names in {path: content}; a quotient is one value."""
    values = [walk(files[file], key) for file, key in (part.split(": ", 1) for part in split_source(title))]
    if len(values) == 2:
        return [values[0] / values[1]]
    return values[0] if isinstance(values[0], list) else values


def says(text, values, key=""):
    """Whether a cell's text is these values: as they are, in percent, in points or in millions, rounded as shown."""
    if isinstance(values[0], str):
        return text == values[0].replace("_", " ")
    numbers = re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e-\d+)?", text)
    factor = (
        100 if "%" in text or ("overfitting_gap" in key and "difference" not in key) else 1e-6 if "bytes" in key else 1
    )
    shown = [(float(number.replace(",", "")), number) for number in numbers]

    def unit(number):
        mantissa, _, exponent = number.partition("e")
        return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))

    return len(shown) == len(values) and all(
        abs(found - factor * value) <= unit(number) / 2 + 1e-9 * abs(found)
        for (found, number), value in zip(shown, values, strict=True)
    )


def find_printed():
    """All numbers and words that the paper prints of its networks and in Table 1, flat."""
    waiting = [*paper.PRINTED.values(), paper.LITERATURE, paper.VOTES_LITERATURE]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, tuple):
            waiting += one
        elif isinstance(one, (int, float, str)):
            yield one


@pytest.mark.parametrize("changed", [False, True])
def test_every_number_of_a_table_leads_to_its_value(changed, content):
    """Each cell names its file and key and shows the value there, also when all numbers have changed; dashes name none."""
    for path in [*find_numbers(content)] if changed else ():
        if path[-1] not in ("temperature", "kappa") and path[0] != "risk":
            change(content, path)
    cells = read_cells(render(content))
    files = {**list_files(content), f"profiles/paper.yaml, {PROFILE}.yaml": SETTINGS}
    printed = [[value] for value in find_printed()]
    used = set()
    for tag, title, text in cells:
        if not title:
            assert tag == "th" or text == "–", text
        elif title.startswith(("paper: ", "literature: ")):
            assert re.fullmatch(
                r"paper: (Table \d|Evaluation Metrics 2|misclassification audit)|"
                r"literature: the (FER\+ paper|study's Literature Review)",
                title,
            )
            assert any(says(text, value, "overfitting_gap" if text[0] in "+-" else "") for value in printed), text
        else:
            assert says(text, read_source(files, title), title), (title, text)
            used.add(title.split(":")[0])
    assert used == files.keys()
    titles = [title for _, title, _ in cells]
    for known in ("metrics/resnet18.json: macro_f1", "metrics/compare.json: ensembles[3].accuracy", "metrics/vgg19.json: per_class.fear.f1", "paper: Table 5"):  # fmt: skip
        assert known in titles


def test_says_tells_a_wrong_value_from_the_right_one():
    """`says`, on which the tests of cells rely."""
    assert says("70.10%", [0.701]) and not says("70.10%", [0.7012])
    assert says("+23.00", [0.23], "overfitting_gap") and not says("+23.00", [0.23])
    assert says("60.10 to 80.10%", [0.601, 0.801]) and not says("60.10 to 80.10%", [0.601])
    assert says("5e-06", [5.2e-6]) and not says("5e-06", [5.7e-6])
    assert says("5.43", [5_432_100], "bytes") and not says("one cycle", ["step"]) and says("one cycle", ["one_cycle"])


@pytest.mark.parametrize("names", [("resnet18", "stranger"), (*NAMES, "stranger")])
def test_any_number_of_networks(names):
    """A network that the paper does not have gets dashes, or no column for the paper at all."""
    networks = {name: STRANGER if name == "stranger" else NETWORKS[name] for name in names}
    content = make_content(networks)
    page = render(content, networks=networks)
    overview = read_table(page, "overview")
    assert [row[0] for row in overview[1:]] == [*(network.TITLE for network in networks.values()), "Soft vote of all"]
    assert overview[len(names)][3:5] == ["–", "–"]
    assert read_table(page, "table7")[len(names)][2::3][:3] == ["–", "–", "–"]
    assert read_table(page, "stranger-scores")[0] == ["Score", "Ours"]
    assert (
        "Paper" not in read_table(page, "stranger-per-class")[0] and "Paper" in read_table(page, "resnet18-scores")[0]
    )
    assert read_table(page, "configuration")[0][-1] == "Stranger"
    assert 'id="stranger-gradcam"' not in page and 'id="resnet18-gradcam"' in page
    assert "Stranger: accuracy and loss per epoch." in read_caption(page, "stranger-curves")
    assert len(read_table(page, "mcnemar")) == 1 + len(names) * (len(names) - 1) // 2
    assert not re.search(r"\b(three|NoneType|None)\b", read_text(page).replace("Last three columns", ""))


def test_files_of_other_networks_are_refused(folders):
    with pytest.raises(
        InputError,
        match=r"compare.json: table7 is baseline, vgg19, resnet18, expected baseline, vgg19; run `dvc repro compare`",
    ):
        read_evidence(folders / "metrics", folders / "plots", {name: NETWORKS[name] for name in NAMES[:2]})


def test_no_value_is_a_dash_with_its_note(content):
    """A class without a test image has dashes for scores, not 0, None or NaN."""
    scores = content["scores"]["vgg19"]
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
    assert sources
    assert {source for source in sources if not source.startswith(("data:image/png;base64,", "#"))} == {"timing.html"}
    assert not re.search(r"url\(|@import|<link|<iframe", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {source[1:] for source in sources if source.startswith("#")} <= set(ids)
    assert len(re.findall("<img ", page)) == len(list_pictures())


def test_nothing_of_this_machine_is_on_the_page(content):
    """The report is the same bytes wherever the numbers are the same; times are on a page of their own."""
    page = html.unescape(render(content))
    assert not re.search(r"\bms\b|Seconds|[Ll]atency|per second|/s\b|Hardware", page)
    assert name_cpu() not in page and platform.python_version() not in page and "Python" not in page


def test_without_votes_and_other_sets_their_sections_are_left_out(content):
    content["compare"]["labels"] = None
    content["other"] = {}
    for scores in content["scores"].values():
        scores["annotators"] = None
    page = render(content)
    assert 'id="labels"' not in page and 'id="others"' not in page and "annotators" not in page


def test_what_the_labels_are_worth(content):
    page = render(content)
    head, *networks, people = read_table(page, "annotators-scores")
    assert head[1:4] == ["Label right", "Majority right", "Majority right, second head"]
    assert networks[0] == ["Baseline CNN", "70.10%", "73.10%", "74.10%", "0.8110", "0.8220", "44.0%", "26.0%", "30.0%"]
    assert people == ["Ten annotators", "63.30%", *["–"] * 7]
    assert read_table(page, "annotators-mcnemar")[1] == ["Ten annotators, Baseline CNN", "21", "29", "0.01", "0.03"]
    assert read_table(page, "annotators-recall")[3] == ["fear", "40.00%", "61.00%", "63.00%", "66.00%"]
    assert "matches the label on 63.3% of test images; 16.2% of the labels got no vote at all" in read_text(page)
    assert "61 test images have a majority; for 58 it is" in read_caption(page, "annotators-scores")
    assert "On the 50 test images where 10 of ten annotators agree" in read_caption(page, "labels-levels")
    assert read_caption(page, "labels-contradicted").startswith(
        "Labels that nobody else believes. On 3 test images all"
    )
    content["compare"]["labels"] |= {"contradicted": 0, "levels": []}
    page = render(content)
    assert "There is no test image" in read_caption(page, "labels-contradicted")
    assert "There is no test image" in read_caption(page, "labels-levels")


def test_another_data_set_on_the_page(content):
    page = render(content)
    assert read_table(page, "other-ck")[1][:4] == ["Baseline CNN", "71.10%", "61.10 to 81.10%", "69.10%"]
    assert read_table(page, "other-ck-vgg19")[2] == ["disgust", *(str(110 + column) for column in range(7))]
    caption = read_caption(page, "other-ck")
    assert all(
        part in caption for part in ("927 faces of CK+48", "12 of them scaled", "3 of the faces", ": 54 of contempt.")
    )


def test_what_comes_from_outside_is_text(content):
    content["compare"]["notes"] = ["<script>alert(1)</script>"]
    content["data"]["note"] = "<b>bold</b>"
    page = render(content, dataset='"><img src=x onerror=alert(1)>')
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;b&gt;bold" in page


def test_words_for_one_none_and_many():
    assert [show.plural(n, "image") for n in (0, 1, 1234)] == ["no images", "1 image", "1,234 images"]
    assert [show.times(n) for n in (1, 2, 3)] == ["once", "twice", "3 times"]
    assert [show.listing("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert show.percent(None) == show.decimal(None) == "–"
    assert show.show(-1e-9, "points") == "+0.00"


def test_ends_of_numbers():
    assert find_extremes({"a": 0.5, "b": None, "c": 0.5, "d": 0.25}) == (["a", "c"], 0.5, ["d"], 0.25)
    assert find_extremes({"a": None}) is None


@pytest.mark.parametrize(("value", "sentence"), [(0.5, "Equal for angry, disgust, fear, happy, sad, surprise and neutral: 0.5000."), (None, "No class has a value.")])  # fmt: skip
def test_no_class_stands_out(value, sentence, content):
    for scores in content["scores"]["vgg19"]["per_class"].values():
        scores["f1"] = value
    page = render(content)
    assert sentence in read_caption(page, "vgg19-classes")
    assert (value is None) == ("no class in which every network" in read_caption(page, "compare-class-f1"))


@pytest.fixture
def folders(content, tmp_path):
    """The evidence as files, with pictures as wide as real ones."""
    return write_evidence(tmp_path, content, picture=encode(np.full((300, 1050), 128, np.uint8)))


def list_arguments(folders):
    return ["--metrics", folders / "metrics", "--plots", folders / "plots", "--out", folders / "report.html"]


@pytest.fixture
def run_here(folders, of_the_paper, monkeypatch):
    """Run `main` in this process, with other `changes` {old: new} in params.yaml; returns report.html."""

    def run(changes=()):
        params = (of_the_paper / "params.yaml").read_text()
        for old, new in dict(changes).items():
            assert old in params
            params = params.replace(old, new)
        (folders / "params.yaml").write_text(params)
        monkeypatch.setitem(read_params.__kwdefaults__, "path", folders / "params.yaml")
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, list_arguments(folders))])
        report.main()
        return folders / "report.html"

    return run


def test_same_files_same_bytes(run_here, folders, run_stage, of_the_paper):
    """In another process, too."""
    here = run_here().read_bytes()
    (folders / "report.html").unlink()
    process = run_stage(of_the_paper / "stages" / "report", *list_arguments(folders))
    assert process.returncode == 0, process.stderr
    assert (folders / "report.html").read_bytes() == here


DAMAGE = {
    "no metrics": ("metrics/vgg19.json", None, "not found; run `dvc repro evaluate`"),
    "no comparison": ("metrics/compare.json", None, "not found; run `dvc repro compare`"),
    "no exports": ("metrics/export.json", None, "not found; run `dvc repro score_exports`"),
    "no picture": ("plots/resnet18/test/gradcam.png", None, "not found; run `dvc repro evaluate`"),
    "no training": ("metrics/train/vgg19.json", None, "not found; run `dvc repro train_vgg19`"),
    "no JSON": ("metrics/data.json", b"{", "the file: Invalid JSON: EOF while parsing an object"),
    "a list": ("metrics/data.json", b"[]", "the file: Input should be an object; run `dvc repro prepare`"),
    "a key less": ("metrics/vgg19.json", b'{"accuracy": 0.5}', "accuracy_unseen: Field required; run `dvc repro evaluate`"),
    "no PNG": ("plots/compare/literature.png", b"GIF89a", "not a PNG; run `dvc repro compare`"),
    "other columns": ("plots/vgg19/test/risk_coverage.csv", b"a,b\n1,2\n", "expected the columns coverage and accuracy"),
}  # fmt: skip


def test_a_bad_file_stops_the_stage(folders, run_stage, of_the_paper):
    (folders / "plots/compare/literature.png").write_bytes(b"GIF89a")
    process = run_stage(of_the_paper / "stages" / "report", *list_arguments(folders))
    assert process.returncode == 1
    assert process.stderr.startswith(
        f"error: {folders / 'plots/compare/literature.png'}: not a PNG; run `dvc repro compare`"
    )
    assert process.stderr.count("\n") == 1
    assert not (folders / "report.html").exists()


@pytest.mark.parametrize("case", DAMAGE)
def test_bad_files_are_named(case, folders):
    name, content, message = DAMAGE[case]
    (folders / name).unlink() if content is None else (folders / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_evidence(folders / "metrics", folders / "plots", NETWORKS)
    assert str(error.value).startswith(f"{folders / name}: ")
    assert message in str(error.value)


def test_a_hostile_path_of_the_data_set(run_here):
    """params.yaml's dataset is text on the page."""
    hostile = "data/raw/<img src=x onerror=alert(1)>.csv"
    page = run_here({'"data/raw/sample.csv"': json.dumps(hostile)}).read_text()
    assert hostile not in page
    assert html.escape(hostile) in page


MEASURE = """<script>
addEventListener("load", () => {
  const outside = [...document.querySelectorAll("body *")].filter(
    element => !element.closest(".scroll > *") && element.getBoundingClientRect().right > innerWidth + 0.5);
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    outside: outside.map(element => element.outerHTML.slice(0, 80)),
    pictures: [...document.images].filter(image => image.naturalWidth > 0).length,
    scrolling: [...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length
  }), "*")
})
</script>"""
FRAME = """<body><iframe src="inner.html" style="border: 0; width: {width}px; height: 800px"></iframe>
<script>onmessage = event => document.body.textContent = event.data</script>"""


@pytest.mark.release
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(width, run_here, browse):
    """In a frame, because Chromium has no window below 500 pixels; wide tables scroll within their own box."""
    out = run_here()
    out.with_name("inner.html").write_text(out.read_text() + MEASURE)
    outer = out.with_name("outer.html")
    outer.write_text(FRAME.format(width=width))
    page = browse(outer, width=width + 100)
    assert page.requests == []
    measured = json.loads(html.unescape(re.search(r"\{.*\}", page.dom).group()))
    assert measured["width"] == width
    assert measured["content"] <= width
    assert measured["outside"] == []
    assert measured["pictures"] == len(list_pictures())
    assert (measured["scrolling"] > 5) == (width == 390)


LATENCIES = {f"threads_{n}": {"median": 9.25 - n, "p95": 9.75 - n} for n in (1, 2)}


TITLES = {name: network.TITLE for name, network in NETWORKS.items()}


def test_times_stand_on_a_page_of_their_own(tmp_path):
    """Each number names its key in timing.json; a dash replaces what no stage has written."""
    file = tmp_path / "metrics" / "timing.json"
    record_times(file, "train_vgg19", TrainingTimes(seconds=3456.8, images_per_second=107.8, hardware="Processor 9"))
    speed = PredictionTimes(latency_ms_batch1=13.523, images_per_second=1624.4, hardware="<b>Processor</b>")
    record_times(file, "predict@resnet18", speed)
    fast = {"latency_ms": LATENCIES, "faces_per_second": 475.1}
    slow = {"latency_ms": {key: {"median": 20.0, "p95": 21.0} for key in LATENCIES}, "faces_per_second": 75.1}
    exports = {"networks": {"baseline": {"float32": slow, "int8": fast}}, "hardware": "Processor 9"}
    record_times(file, "score_exports", ExportTimes.model_validate(exports))
    timing = read_timing(file, NAMES)
    page = times.make_page(timing, TITLES)
    dashes = ["Baseline CNN", "–", "–", "–"]
    assert read_table(page, "training")[1:3] == [dashes, ["VGG19", "3,457", "108", "Processor 9"]]
    assert read_table(page, "trained")[3] == ["ResNet18", "13.52", "1,624", "<b>Processor</b>"]
    assert "<b>Processor" not in page
    exported = read_table(page, "exported")
    assert exported[2] == ["Baseline CNN, int8", "8.25", "8.75", "7.25", "7.75", "475", "Processor 9"]
    assert exported[3] == ["VGG19, float32", *["–"] * 5, "Processor 9"]
    assert "faster by a factor of 2.4 (Baseline CNN)." in read_caption(page, "exported")
    shown = [(title, text) for _, title, text in read_cells(page) if title]
    assert len(shown) == 3 + 3 + 10 + 6
    files = {"metrics/timing.json": json.loads(file.read_text())}
    assert all(says(text, read_source(files, title)) for title, text in shown)
    printed = list(times.print_tables(times.list_tables(timing, TITLES)))
    assert any(re.fullmatch(r"  VGG19 +3,457 +108 +Processor 9", line) for line in printed)


def test_times_that_cannot_be_written_cost_no_result(tmp_path, capsys):
    """A folder in the place of the file, and a file in the place of its folder."""
    speed = TrainingTimes(seconds=1.0, images_per_second=1.0, hardware="Processor 9")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    record_times(tmp_path / "folder", "score_exports", speed)
    record_times(tmp_path / "file" / "timing.json", "score_exports", speed)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("how long score_exports took is not kept: ") for line in lines)


@pytest.mark.parametrize("damaged", [None, b"", b"[]", b'{"train_vgg19": {"seconds": "long"}, "score_exports": 5}'])
def test_no_times_are_dashes(damaged, tmp_path):
    file = tmp_path / "timing.json"
    if damaged is not None:
        file.write_bytes(damaged)
    tables = times.list_tables(read_timing(file, NAMES), TITLES)
    assert {cell.text for table in tables.values() for row in table[1:] for cell in row[1:]} == {"–"}
    assert "faster" not in times.make_page(read_timing(file, NAMES), TITLES)
