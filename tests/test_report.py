"""The report: what stands on it comes from the files, and it can be read by everyone, without a network."""

import html
import json
import platform
import re
import shutil
from functools import reduce
from html.parser import HTMLParser
from itertools import chain, combinations
from operator import getitem
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PAPERS as NAMES
from conftest import ROOT, encode
from ruamel.yaml import YAML

import times
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.record import Exports, ExportTimes
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.external import Other
from fer_pipeline.metrics.scores import Measured
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.record import EvaluationTimes
from fer_pipeline.raw.record import Data
from fer_pipeline.report import captions
from fer_pipeline.report.page import list_facts, make_page
from fer_pipeline.report.read import COMPARED, Evidence, list_figures, read_evidence
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.timing import record_times
from fer_pipeline.training.common.run import Training, TrainingTimes
from timing import read_timing

NETWORKS = find_networks(NAMES)
STRANGER = SimpleNamespace(TITLE="Stranger", PAPER=None)
"""A network that the paper does not have, and without Grad-CAM."""
LABEL = "Ours: profile smoke, split official, 70 test images (drawn faces). The paper: FER-2013."


def make_scores(shift):
    """metrics/<network>.json; all numbers differ, and differ between networks by `shift` (below 0.1)."""
    per_class = {
        emotion: {
            **{key: 0.5 + i / 20 + j / 100 + shift for j, key in enumerate(("precision", "recall", "f1"))},
            "support": 10 + i,
        }
        for i, emotion in enumerate(CLASSES)
    }
    for scores in per_class.values():
        scores["accuracy"] = scores["recall"]
    confidence = {"mean": 0.882, "mean_correct": 0.925, "mean_incorrect": 0.779, "std": 0.165, "low_accuracy": 0.358}
    pairs = [("fear", "sad", 9), ("angry", "disgust", 7), ("sad", "neutral", 2)]
    return {
        "accuracy": 0.701 + shift,
        "accuracy_unseen": 0.711 + shift,
        "unseen_count": 68,
        "balanced_accuracy": 0.681 + shift,
        "macro_f1": 0.671 + shift,
        "accuracy_ci95": [0.601 + shift, 0.801 + shift],
        "accuracy_single_crop": 0.691 + shift,
        "train_accuracy": 0.931 + shift,
        "overfitting_gap": 0.23,
        "val_accuracy": 0.721 + shift,
        "per_class": per_class,
        "confidence": {**confidence, "low_count": 735, "low_share": 0.1024, "threshold": 0.6},
        "calibration": {
            "ece": 0.051 + shift,
            "nll": 0.91,
            "brier": 0.41,
            "temperature": 1.5,
            "ece_scaled": 0.021,
            "nll_scaled": 0.81,
        },
        "errors": {
            "count": 21,
            "share": 0.3,
            "confident_count": 4,
            "top": [{"actual": actual, "predicted": predicted, "count": n} for actual, predicted, n in pairs],
        },
        "cost": {
            "parameters": 1_234_567,
            "macs": 7_654_321,
            "model_bytes": 5_432_100,
        },
        "temperature_single_crop": 1.4,
        "votes_temperature_single_crop": 1.3,
        "annotators": {
            "rows": 61,
            "emotion_rows": 58,
            "accuracy": 0.731 + shift,
            "cross_entropy": 0.811 + shift,
            "votes_accuracy": 0.741 + shift,
            "votes_cross_entropy": 0.822 + shift,
            "mistakes": {"network": 0.44 + shift, "label": 0.26 + shift, "neither": round(0.3 - 2 * shift, 6)},
        },
        "device": "cpu",
        "precision": "bfloat16",
        "notes": [],
    }


def make_compare(scores, networks):
    """metrics/compare.json of {network: metrics}."""
    keys = ("train_accuracy", "accuracy", "overfitting_gap")
    table7 = {}
    for name, ours in scores.items():
        printed = networks[name].PAPER
        theirs = {key: getattr(printed.result, key) for key in keys} if printed else None
        table7[name] = {
            **{key: ours[key] for key in keys},
            "macro_f1": ours["macro_f1"],
            **{key: ours["cost"][key] for key in ("parameters", "model_bytes")},
            "paper": theirs,
            "difference_points": theirs and {key: round(100 * (ours[key] - theirs[key]), 2) for key in keys},
        }

    def vote(members, accuracy, weights):
        return {
            "members": members,
            "weights": weights,
            "val_accuracy": 0.7,
            "accuracy": accuracy,
            "accuracy_ci95": [accuracy - 0.1, accuracy + 0.1],
            "best_member": members[-1],
            "gain_points": round(1000 * (accuracy - 0.77), 4),
            "p_value": accuracy - 0.7,
        }

    names = list(scores)
    pairs = list(combinations(names, 2))
    judged = {key: scores[names[0]][key] for key in Measured.model_fields}
    return {
        "profile": "smoke",
        "split": "official",
        "comparable": False,
        "label": LABEL,
        "notes": ["The paper's 67.25 % is a validation accuracy as well."],
        "table7": table7,
        "mcnemar": [
            {"first": x, "second": y, "first_only": 3 + i, "second_only": 11 + i, "p_value": 0.01 + i / 50, "p_value_holm": 0.03 + i / 50}
            for i, (x, y) in enumerate(pairs)
        ],
        "ensembles": [vote([x, y], 0.75 + i / 100, [0.5, 0.5]) for i, (x, y) in enumerate(pairs)] + [vote(names, 0.785, [1 / len(names)] * len(names))],
        "weighted_ensemble": {"chosen_on": "val", **vote(names, 0.79, [0.2, 0.3, 0.5, 0.0][: len(names)])},
        "ensemble": judged | {"macro_f1": 0.777},
        "agreement": {
            "pairs": [{"first": x, "second": y, "share": 0.6 + i / 20, "kappa": 0.5} for i, (x, y) in enumerate(pairs)],
            "all_share": 0.55,
            "right_by": [5, 10, 15, 40, 41, 42][: len(names) + 1],
            "any_right": 0.9286,
        },
        "labels": {
            "accuracy": 0.633,
            "accuracy_ci95": [0.534, 0.735],
            "recall": {emotion: 0.2 + i / 10 for i, emotion in enumerate(CLASSES)},
            "unsupported": 0.162,
            "mcnemar": [
                {"first": "annotators", "second": name, "first_only": 21 + i, "second_only": 31 + i, "p_value": 0.02 + i / 50, "p_value_holm": 0.05 + i / 50}
                for i, name in enumerate(names)
            ],
            "levels": [
                {"votes": n, "images": 5 * n, "favourite_is_label": n / 12, "label": dict.fromkeys(names, n / 11), "favourite": dict.fromkeys(names, n / 10)}
                for n in (10, 9, 4)
            ],
            "contradicted": 3,
        },
        "all_wrong": {"count": 5, "share": 0.0714, "same_count": 2, "same_share": 0.4, "indices": [1, 2]},
    }  # fmt: skip


def make_data():
    counts = {
        name: {"total": sum(range(n, n + 7)), **{emotion: n + i for i, emotion in enumerate(CLASSES)}}
        for name, n in (("train", 40), ("val", 9), ("test", 8))
    }
    return {
        "source": {"kind": "table", "md5": "0123456789abcdef", "rows": 455},
        "split": "official",
        "note": "Training is train.",
        "rows": counts,
        "pixels": {"train_mean": 113.0, "train_std": 48.0},
        "blank_images": {"train": 1, "val": 0, "test": 0},
        "duplicates": {
            "within": {"train": 12, "val": 0, "test": 1},
            "across": {"val_rows_in_train": 4, "test_rows_in_train": 2, "test_rows_in_val": 0},
            "conflicting_labels": {"images": 3, "rows": 6},
        },
        "dropped": {"blank": {"train": 1, "val": 0, "test": 0}, "leaks": {"train": 5}},
        "conversions": {},
    }  # fmt: skip


def make_train(epoch):
    return {
        "best_epoch": epoch,
        "train_loss": 0.3,
        "train_accuracy": 0.8 + epoch / 100,
        "val_loss": 0.4 + epoch / 100,
        "val_accuracy": 0.7 + epoch / 100,
        "epochs_run": epoch + 3,
        "stopped": "epochs",
        "parameters": 1000 + epoch,
        "device": "cpu",
        "precision": "bfloat16",
    }


def make_export(names):
    """metrics/export.json; no two numbers are the same."""

    def measured(n, **more):
        return {
            "accuracy": 0.6 + n / 100,
            "largest_difference": 1e-6 * (1 + n),
            "bytes": 10_000_000 - 1_100_000 * n,
            **more,
        }

    networks = {
        name: {"float32": measured(i), "int8": measured(i + 4, lost=0.001 * (i - 1), kept_in_float32=[])}
        for i, name in enumerate(names)
    }
    networks[names[0]]["int8"]["kept_in_float32"] = ["batch normalisation", "conv1_1"]
    return {"networks": networks}


def make_other(names):
    """metrics/other/ck.json."""
    return {
        "source": "CK+48",
        "md5": "fedcba9876543210",
        "faces": 927,
        "left_out": {"contempt": 54},
        "scaled": 12,
        "seen": 3,
        "networks": {
            name: {
                "accuracy": 0.861 + i / 100,
                "accuracy_ci95": [0.811 + i / 100, 0.911 + i / 100],
                "balanced_accuracy": 0.781 + i / 100,
                "per_class": make_scores(0.01 + i / 100)["per_class"],
                "confusion": [[100 * i + 10 * row + column for column in range(7)] for row in range(7)],
            }
            for i, name in enumerate(names)
        },
    }


def make_content(networks):
    """All that the report reads, but pictures, as it is in the files."""
    scores = {name: make_scores(shift) for name, shift in zip(networks, (0, 0.02, 0.05, 0.06), strict=False)}
    return {
        "data": make_data(),
        "train": {name: make_train(5 + i) for i, name in enumerate(networks)},
        "scores": scores,
        "compare": make_compare(scores, networks),
        "export": make_export(list(networks)),
        "other": {"ck": make_other(networks)},
        "risk": {name: [[0.5, 0.95], [0.85, 0.92], [0.95, 0.91], [1.0, 0.8]] for name in networks},
    }


def make_evidence(content, networks=NETWORKS):
    """The `Evidence` of `make_content`, with pictures of one byte."""

    def read(kind, one):
        return kind.model_validate_json(json.dumps(one))

    paths = ["data/classes.png", "data/faces.png", "data/augmented.png", *(f"compare/{name}.png" for name in COMPARED)]
    paths += [f"{name}/test/{figure}.png" for name, network in networks.items() for figure in list_figures(network)]
    return Evidence(
        networks,
        data=read(Data, content["data"]),
        train={name: read(Training, one) for name, one in content["train"].items()},
        scores={name: read(Scores, one) for name, one in content["scores"].items()},
        compare=read(Comparison, content["compare"]),
        export=read(Exports, content["export"]),
        other={name: read(Other, one) for name, one in content["other"].items()},
        risk={name: [tuple(point) for point in curve] for name, curve in content["risk"].items()},
        pictures=dict.fromkeys(paths, "QQ=="),
    )


@pytest.fixture
def content():
    return make_content(NETWORKS)


PROFILE, TRAININGS = read_params("profile", "profiles.${profile}")


def render(content, dataset="data/raw/fer2013.csv", networks=NETWORKS):
    evidence = make_evidence(content, networks)
    sections = {name: getattr(TRAININGS, name, TRAININGS.vgg19) for name in networks}
    return make_page(evidence, list_facts(evidence, 2013, PROFILE, dataset), PROFILE, sections, confident=0.99)


def read_table(page, id):
    """The rows of cells of the table with this id, its head first."""
    (found,) = re.findall(rf'<figure class="table" id="{id}">(.*?)</figure>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def read_caption(page, id):
    (found,) = re.findall(rf'<figure[^>]* id="{id}">.*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)
    return html.unescape(re.sub("<[^>]+>", "", found))


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
    assert table6[1] == ["Mean confidence, all", "0.882", "0.882"]
    assert table6[5:8] == [["Images below 0.6", "735", "735"], ["… as a share", "10.2%", "10.2%"], ["… their accuracy", "35.8%", "35.8%"]]  # fmt: skip
    assert read_table(page, "vgg19-confusions")[1] == ["fear → sad", "9", "220"]
    assert read_table(page, "vgg19-confusions")[2] == ["angry → disgust", "7", "–"]
    assert read_table(page, "table7")[1][:7] == ["Baseline CNN", "93.10%", "73.75%", "+19.35", "70.10%", "67.25%", "+2.85"]  # fmt: skip
    assert read_table(page, "mcnemar")[1] == ["Baseline CNN, VGG19", "3", "11", "0.01", "0.03"]
    assert len(read_table(page, "literature")) == 1 + len(paper.LITERATURE)
    assert read_table(page, "exports")[2] == ["Baseline CNN, int8", "64.00%", "5e-06", "5.60"]
    ours = [str(getattr(TRAININGS, name).epochs) for name in NAMES]
    assert read_table(page, "configuration")[3] == [
        "Epochs at most",
        *chain(*zip(ours, ("50", "250", "250"), strict=True)),
    ]


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
    page = render(content)
    assert read_caption(page, "vgg19-confusion") == (
        "VGG19: confusion matrix (Figures 5 and 7). Recognised best: neutral (83.0%); worst: angry (53.0%). "
        "Most frequent confusion: fear taken for sad, 9 times."
    )
    assert "leaving out the least confident 15.0% of the images raises accuracy from 80.00% to 92.00%" in read_caption(page, "vgg19-risk_coverage").lower()  # fmt: skip
    assert "18.10 points overconfident" in read_caption(page, "baseline-confidence")
    assert "21 test images are wrong (30.0%), 4 of them at a confidence of 0.99" in read_caption(page, "baseline-mistakes")  # fmt: skip
    assert "best after epoch 5 of 8: 75.00%" in read_caption(page, "baseline-curves")
    assert "VGG19 is better than Baseline CNN (p = 0.03)" in read_caption(page, "mcnemar")
    assert "ResNet18 is not shown to be better than VGG19 (p = 0.07)" in read_caption(page, "mcnemar")
    assert read_caption(page, "exports") == (
        "The exported networks. Quantised to int8, accuracy changes by +0.10 points (Baseline CNN), +0.00 points (VGG19) "
        "and -0.10 points (ResNet18)."
    )
    assert "Baseline CNN, int8: batch normalisation and conv1_1 in float32" in page and "ResNet18, int8:" not in page
    content["scores"]["vgg19"]["per_class"]["angry"]["recall"] = 0.99
    content["scores"]["vgg19"]["errors"]["top"][1]["count"] = 9
    content["risk"]["vgg19"][1] = [0.85, 0.7]
    content["scores"]["baseline"]["accuracy"] = 0.9
    page = render(content)
    caption = read_caption(page, "vgg19-confusion")
    assert "best: angry (99.0%); worst: disgust (58.0%)" in caption
    assert "fear taken for sad and angry taken for disgust, 9 times each" in caption
    assert "lowers accuracy from 80.00% to 70.00%" in read_caption(page, "vgg19-risk_coverage")
    assert "1.80 points underconfident" in read_caption(page, "baseline-confidence")


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
"""What the page leaves out on purpose, or shows only in a sum or in a sentence that another number may not change."""


def find_numbers(content, path=()):
    """The paths of all numbers in nested dicts and lists."""
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from find_numbers(value, (*path, key))
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield path


def test_every_number_comes_from_its_file(content):
    """Whichever number of whichever file changes, the page changes."""
    before = render(content)
    paths = list(find_numbers(content))
    changed = 0
    for path in paths:
        words = [str(key) for key in path if isinstance(key, str) and key not in NAMES and key not in CLASSES]
        between = path[0] == "risk" and path[2:] in ((2, 0), (2, 1), (3, 0))  # it tells of a tenth, a half, and all
        if between or any(name in ".".join(words) for name in NOT_SHOWN):
            continue
        *above, last = path
        parent = reduce(getitem, above, content)
        was = parent[last]
        parent[last] = was * 2 + 1 if isinstance(was, int) or path[0] == "risk" else was / 2 + 0.007
        assert render(content) != before, path
        parent[last] = was
        changed += 1
    assert changed > 250


class Cells(HTMLParser):
    """The cells of a page's tables: [(table's id, tag, title or None, text), ...]."""

    def __init__(self, page):
        super().__init__()
        self.cells, self.table, self.cell = [], None, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "figure":
            self.table = attributes["id"]
        elif tag in ("td", "th"):
            self.cell = [self.table, tag, attributes.get("title"), ""]

    def handle_data(self, text):
        if self.cell:
            self.cell[3] += text

    def handle_endtag(self, tag):
        if self.cell and tag == self.cell[1]:
            self.cells.append(tuple(self.cell))
            self.cell = None


def walk(content, key):
    """What stands in a JSON or YAML file under a key of a title."""
    for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        content = content[int(place) if place else name]
    return content


def read_source(folder, title):
    """The values, as a list, that a title like `metrics/data.json: rows.val.fear / rows.val.total` names."""
    name, key = title.split(": ", 1)
    file = YAML(typ="safe").load(ROOT / name) if name == "params.yaml" else json.loads((folder / name).read_text())
    whole = 1
    if " / " in key:
        key, divisor = key.split(" / ")
        whole = walk(file, divisor)
    value = walk(file, key)
    return (
        [value] if isinstance(value, str) else [one / whole for one in (value if isinstance(value, list) else [value])]
    )


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


def find_printed(networks):
    """All numbers and words of the paper's on these networks and in Table 1, flat."""
    waiting = [*(network.PAPER for network in networks.values()), paper.LITERATURE, paper.VOTES_LITERATURE]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, tuple):
            waiting += one
        elif isinstance(one, (int, float, str)):
            yield one


def test_every_number_of_a_table_leads_to_its_value(content, folders):
    """Each cell names file and key, and shows what stands there; only names of rows and dashes name nothing."""
    cells = Cells(render(content)).cells
    files = set()
    printed = [[value] for value in find_printed(NETWORKS)]
    for table, tag, title, text in cells:
        if title is None:
            assert tag == "th" or text == "–", (table, text)
        elif title.startswith(("paper: ", "literature: ")):
            assert re.fullmatch(
                r"paper: (Table \d|Evaluation Metrics 2|misclassification audit)|"
                r"literature: the (FER\+ paper|study's Literature Review)",
                title,
            )
            assert any(says(text, value, "overfitting_gap" if text[0] in "+-" else "") for value in printed), (
                title,
                text,
            )
        else:
            assert says(text, read_source(folders, title), title), (title, text)
            files.add(title.split(":")[0])
    compared = {f"metrics/{name}.json" for name in ("data", "compare", "export", "other/ck")} | {"params.yaml"}
    assert files == {*compared, *(f"metrics/{kind}{name}.json" for name in NAMES for kind in ("", "train/"))}
    titles = [title for _, _, title, _ in cells]
    for known in ("metrics/resnet18.json: macro_f1", "metrics/compare.json: ensembles[3].accuracy", "metrics/vgg19.json: per_class.fear.f1", "paper: Table 5"):  # fmt: skip
        assert known in titles


def test_a_wrong_value_is_told_from_the_right_one():
    """What the test above goes by."""
    assert says("70.10%", [0.701]) and not says("70.10%", [0.7012])
    assert says("+23.00", [0.23], "overfitting_gap") and not says("+23.00", [0.23])
    assert says("60.10 to 80.10%", [0.601, 0.801]) and not says("60.10 to 80.10%", [0.601])
    assert says("5e-06", [5.2e-6]) and not says("5e-06", [5.7e-6])
    assert says("5.43", [5_432_100], "bytes") and not says("one cycle", ["step"]) and says("one cycle", ["one_cycle"])


@pytest.mark.parametrize("names", [("resnet18", "stranger"), (*NAMES, "stranger")])
def test_any_number_of_networks(names):
    """Also of such that the paper does not have: then nothing stands in its place, and no column is called so."""
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
    assert not re.search(r"\b(three|NoneType|None)\b", re.sub("<style>.*</style>", "", page, flags=re.DOTALL))


def test_files_of_other_networks_are_refused(folders):
    with pytest.raises(
        InputError,
        match=r"compare.json: table7 is baseline, vgg19, resnet18, expected baseline, vgg19; run `dvc repro compare`",
    ):
        read_evidence(folders / "metrics", folders / "plots", {name: NETWORKS[name] for name in NAMES[:2]})


def test_no_value_is_a_dash_with_its_note(content):
    """A class without a test image has no scores; nothing is 0, None or NaN in its place."""
    scores = content["scores"]["vgg19"]
    scores["per_class"]["disgust"] = dict.fromkeys(("precision", "recall", "f1", "accuracy"), None) | {"support": 0}
    scores["notes"] = ["disgust: test has no such face, so its scores are empty and the averages leave it out"]
    scores["accuracy_unseen"] = scores["confidence"]["low_accuracy"] = scores["confidence"]["mean_incorrect"] = None
    scores["errors"] |= {"count": 0, "top": []}
    page = render(content)
    assert read_table(page, "vgg19-per-class")[2] == ["disgust", "0", "–", "0.8831", "–", "0.6126", "–", "0.7234"]
    assert "Disgust: test has no such face" in page
    assert "No test image is wrong" in read_caption(page, "vgg19-mistakes")
    assert not re.search(r"\b(None|nan|NaN|inf)\b", re.sub("<style>.*</style>", "", page, flags=re.DOTALL))


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
    assert len(re.findall("<img ", page)) == len(make_evidence(content).pictures)


def test_nothing_of_this_machine_is_on_the_page(content):
    """So that the report is the same bytes wherever the arithmetic is: times are on a page of their own."""
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
    assert read_table(page, "annotators-mcnemar")[1] == ["Ten annotators, Baseline CNN", "21", "31", "0.02", "0.05"]
    assert read_table(page, "annotators-recall")[3] == ["fear", "40.00%", "61.00%", "63.00%", "66.00%"]
    assert "not one of ten voted for 16.2% of the labels" in page
    assert "of the faces" not in read_caption(page, "labels-levels")
    assert "Where 10 of ten annotators agree (50 test images)" in read_caption(page, "labels-levels")


def test_another_data_set_on_the_page(content):
    page = render(content)
    assert read_table(page, "other-ck")[1][:4] == ["Baseline CNN", "86.10%", "81.10 to 91.10%", "78.10%"]
    assert read_table(page, "other-ck-vgg19")[2] == ["disgust", *(str(110 + column) for column in range(7))]
    assert "927 faces of CK+48" in page and "1 of contempt" not in page and "54 of contempt" in page


def test_what_comes_from_outside_is_text(content):
    content["compare"]["notes"] = ["<script>alert(1)</script>"]
    content["data"]["note"] = "<b>bold</b>"
    page = render(content, dataset='"><img src=x onerror=alert(1)>')
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;b&gt;bold" in page


def test_sentences_with_one_none_and_many():
    assert captions.are(0, "image") == "no image is"
    assert captions.are(1, "image") == "1 image is"
    assert captions.are(1234, "image") == "1,234 images are"
    assert captions.listing(["a"]) == "a"
    assert captions.rank({"a": 0.5, "b": 0.5}, captions.percent, "Best", "worst") == "All of a and b stand at 50.00%."
    assert captions.rank({"a": None}, captions.percent, "Best", "worst") == "No class has a value."
    assert captions.caption_risk([(1.0, 0.9)]).startswith("All images are kept")
    assert captions.percent(None) == captions.decimal(None) == captions.count(None) == "–"


@pytest.fixture
def folders(content, tmp_path):
    """The same evidence as files, with pictures as wide as real ones."""
    picture = encode(np.full((300, 1050), 128, np.uint8))
    for path in make_evidence(content).pictures:
        (tmp_path / "plots" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plots" / path).write_bytes(picture)
    for name, curve in content["risk"].items():
        rows = [f"{1 - coverage},{coverage},{accuracy}" for coverage, accuracy in curve]
        (tmp_path / "plots" / name / "test" / "risk_coverage.csv").write_text(
            "\n".join(["threshold,coverage,accuracy", *rows]) + "\n"
        )
    files = {key: content[key] for key in ("data", "compare", "export")} | content["scores"]
    files |= {f"train/{name}": train for name, train in content["train"].items()}
    files |= {f"other/{name}": other for name, other in content["other"].items()}
    for name, one in files.items():
        (tmp_path / "metrics" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "metrics" / f"{name}.json").write_text(json.dumps(one))
    return tmp_path


@pytest.fixture
def run_report(folders, run_stage, of_the_paper):
    def run(project=of_the_paper):
        out = folders / "report.html"
        script = project / "stages" / "report"
        return out, run_stage(script, "--metrics", folders / "metrics", "--plots", folders / "plots", "--out", out)

    return run


def test_same_files_same_bytes(run_report):
    out, process = run_report()
    assert process.returncode == 0, process.stderr
    first = out.read_bytes()
    run_report()
    assert out.read_bytes() == first


DAMAGE = {
    "no metrics": ("metrics/vgg19.json", None, "not found; run `dvc repro evaluate`"),
    "no comparison": ("metrics/compare.json", None, "not found; run `dvc repro compare`"),
    "no exports": ("metrics/export.json", None, "not found; run `dvc repro measure`"),
    "no picture": ("plots/resnet18/test/gradcam.png", None, "not found; run `dvc repro evaluate`"),
    "no training": ("metrics/train/vgg19.json", None, "not found; run `dvc repro train_vgg19`"),
    "no JSON": ("metrics/data.json", b"{", "the file: Invalid JSON: EOF while parsing an object"),
    "a list": ("metrics/data.json", b"[]", "the file: Input should be an object; run `dvc repro prepare`"),
    "a key less": ("metrics/vgg19.json", b'{"accuracy": 0.5}', "accuracy_unseen: Field required; run `dvc repro evaluate`"),
    "no PNG": ("plots/compare/literature.png", b"GIF89a", "no PNG; run `dvc repro compare`"),
    "other columns": ("plots/vgg19/test/risk_coverage.csv", b"a,b\n1,2\n", "expected the columns coverage and accuracy"),
}  # fmt: skip


@pytest.mark.parametrize("case", ["no metrics", "no PNG"])
def test_a_bad_file_stops_the_stage(case, folders, run_report):
    name, content, message = DAMAGE[case]
    (folders / name).unlink() if content is None else (folders / name).write_bytes(content)
    out, process = run_report()
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {folders / name}: ")
    assert message in process.stderr
    assert process.stderr.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("case", DAMAGE)
def test_bad_files_are_named(case, folders):
    name, content, message = DAMAGE[case]
    (folders / name).unlink() if content is None else (folders / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        read_evidence(folders / "metrics", folders / "plots", NETWORKS)
    assert str(error.value).startswith(f"{folders / name}: ")
    assert message in str(error.value)


def test_a_hostile_path_of_the_data_set(folders, run_report, of_the_paper):
    """params.yaml's dataset stands on the page as text."""
    shutil.copytree(of_the_paper, folders / "project")
    params = folders / "project" / "params.yaml"
    hostile = "data/raw/<img src=x onerror=alert(1)>.csv"
    params.write_text(params.read_text().replace('"data/raw/sample.csv"', json.dumps(hostile)))
    out, process = run_report(folders / "project")
    assert process.returncode == 0, process.stderr
    page = out.read_text()
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


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(width, run_report, browse, content):
    """In a frame, for a window of Chromium is no narrower than 500 pixels; wide tables scroll within their own box."""
    out, _ = run_report()
    out.with_name("inner.html").write_text(out.read_text() + MEASURE)
    outer = out.with_name("outer.html")
    outer.write_text(FRAME.format(width=width))
    page = browse(outer, width=width + 100)
    assert page.requests == []
    measured = json.loads(html.unescape(re.search(r"\{.*\}", page.dom).group()))
    assert measured["width"] == width
    assert measured["content"] <= width
    assert measured["outside"] == []
    assert measured["pictures"] == len(make_evidence(content).pictures)
    assert (measured["scrolling"] > 5) == (width == 390)


LATENCIES = {f"threads_{n}": {"median": 9.25 - n, "p95": 9.75 - n} for n in (1, 2)}


def test_times_stand_on_a_page_of_their_own(tmp_path):
    """Each number leads to its value in timing.json; what no stage has written is a dash."""
    file = tmp_path / "metrics" / "timing.json"
    titles = {name: network.TITLE for name, network in NETWORKS.items()}
    record_times(file, "train_vgg19", TrainingTimes(seconds=3456.8, images_per_second=107.8, hardware="Processor 9"))
    speed = EvaluationTimes(latency_ms_batch1=13.523, images_per_second=1624.4, hardware="<b>Processor</b>")
    record_times(file, "evaluate@resnet18", speed)
    fast = {"latency_ms": LATENCIES, "faces_per_second": 475.1}
    slow = {"latency_ms": {key: {"median": 20.0, "p95": 21.0} for key in LATENCIES}, "faces_per_second": 75.1}
    exports = {"networks": {"baseline": {"float32": slow, "int8": fast}}, "hardware": "Processor 9"}
    record_times(file, "measure", ExportTimes.model_validate(exports))
    tables = times.list_tables(read_timing(file, NAMES), titles)
    page = times.make_page(tables)
    assert read_table(page, "training")[1:3] == [
        ["Baseline CNN", "–", "–", "–"],
        ["VGG19", "3,457", "108", "Processor 9"],
    ]
    assert read_table(page, "trained")[3] == ["ResNet18", "13.52", "1,624", "<b>Processor</b>"]
    assert "<b>Processor" not in page
    exported = read_table(page, "exported")
    assert exported[2] == ["Baseline CNN, int8", "8.25", "8.75", "7.25", "7.75", "475", "Processor 9"]
    assert exported[3] == ["VGG19, float32", *["–"] * 5, "Processor 9"]
    assert "faster by a factor of 2.4 (Baseline CNN)." in read_caption(page, "exported")
    shown = [(title, text) for _, _, title, text in Cells(page).cells if title]
    assert len(shown) == 3 + 3 + 10 + 6
    assert all(says(text, read_source(tmp_path, title)) for title, text in shown)
    printed = list(times.print_tables(tables))
    assert any(re.fullmatch(r"  VGG19 +3,457 +108 +Processor 9", line) for line in printed)


def test_times_that_cannot_be_written_cost_no_result(tmp_path, capsys):
    """A folder in the place of the file, and a file in the place of its folder."""
    speed = TrainingTimes(seconds=1.0, images_per_second=1.0, hardware="Processor 9")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    record_times(tmp_path / "folder", "measure", speed)
    record_times(tmp_path / "file" / "timing.json", "measure", speed)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("how long measure took is not kept: ") for line in lines)


@pytest.mark.parametrize("damaged", [None, b"", b"[]", b'{"train_vgg19": {"seconds": "long"}, "measure": 5}'])
def test_no_times_are_dashes(damaged, tmp_path):
    file = tmp_path / "timing.json"
    if damaged is not None:
        file.write_bytes(damaged)
    titles = {name: network.TITLE for name, network in NETWORKS.items()}
    tables = times.list_tables(read_timing(file, NAMES), titles)
    assert {cell.text for table in tables for row in table.rows for cell in row[1:]} == {"–"}
