"""The report: what stands on it comes from the files, and it can be read by everyone, without a network."""

import copy
import html
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, encode

from fer import captions, paper
from fer.core.stage import InputError
from fer.data.fer2013 import CLASSES
from report import NAMES, Evidence, list_facts, list_figures, make_page, read_evidence

LABEL = "Ours: profile sample, split official, 70 test images (drawn faces). The paper: FER-2013."


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
            "latency_ms_batch1": 3.21,
            "images_per_second": 456.0,
        },
        "notes": [],
    }


def make_compare(scores):
    """metrics/compare.json of {network: metrics}."""
    keys = ("train_accuracy", "accuracy", "overfitting_gap")
    table7 = {}
    for name, ours in scores.items():
        theirs = {key: getattr(paper.RESULTS[name], key) for key in keys}
        table7[name] = {
            **{key: ours[key] for key in keys},
            "macro_f1": ours["macro_f1"],
            **{key: ours["cost"][key] for key in ("parameters", "model_bytes", "latency_ms_batch1")},
            "paper": theirs,
            "difference_points": {key: round(100 * (ours[key] - theirs[key]), 2) for key in keys},
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

    a, b, c = scores
    pairs = [(a, b), (a, c), (b, c)]
    return {
        "profile": "sample",
        "split": "official",
        "comparable": False,
        "label": LABEL,
        "notes": ["The paper's 67.25 % is a validation accuracy as well."],
        "table7": table7,
        "mcnemar": [
            {"first": x, "second": y, "first_only": 3 + i, "second_only": 11 + i, "p_value": 0.01 + i / 50, "p_value_holm": 0.03 + i / 50}
            for i, (x, y) in enumerate(pairs)
        ],
        "ensembles": [vote([x, y], 0.75 + i / 100, [0.5, 0.5]) for i, (x, y) in enumerate(pairs)] + [vote([a, b, c], 0.785, [1 / 3] * 3)],
        "weighted_ensemble": {"chosen_on": "val", **vote([a, b, c], 0.79, [0.2, 0.3, 0.5])},
        "ensemble": {"macro_f1": 0.777},
        "agreement": {
            "pairs": [{"first": x, "second": y, "share": 0.6 + i / 10, "kappa": 0.5} for i, (x, y) in enumerate(pairs)],
            "all_share": 0.55,
            "right_by": [5, 10, 15, 40],
            "any_right": 0.9286,
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
        "seconds": 57.8 + epoch,
        "images_per_second": 664.5 + epoch,
        "device": f"Processor {epoch}",
        "precision": "bfloat16",
    }


def make_export():
    """metrics/export.json; no two numbers are the same."""

    def measured(n, **more):
        return {
            "accuracy": 0.6 + n / 100,
            "largest_difference": 1e-6 * (1 + n),
            "bytes": 10_000_000 - 1_100_000 * n,
            "latency_ms": {f"threads_{t}": {"median": 9.0 - n - t / 4, "p95": 9.5 - n - t / 4} for t in (1, 2)},
            "faces_per_second": 100.0 + n,
            **more,
        }

    networks = {
        name: {"float32": measured(i), "int8": measured(i + 4, lost=0.001 * (i - 1), kept_in_float32=[])}
        for i, name in enumerate(NAMES)
    }
    networks["baseline"]["int8"]["kept_in_float32"] = ["batch normalisation", "conv1_1"]
    return {"device": "Processor 9", "networks": networks}


@pytest.fixture
def evidence():
    """Everything a page needs, with pictures of one byte."""
    scores = {name: make_scores(shift) for name, shift in zip(NAMES, (0, 0.02, 0.05), strict=True)}
    paths = ["data/classes.png", "data/faces.png"]
    paths += [f"{name}/test/{figure}.png" for name in NAMES for figure in list_figures(name)]
    paths += [f"compare/{name}.png" for name in ("literature", "class_f1", "ensembles", "agreement", "all_wrong")]
    return Evidence(
        data=make_data(),
        train={name: make_train(5 + i) for i, name in enumerate(NAMES)},
        scores=scores,
        compare=make_compare(scores),
        export=make_export(),
        risk={name: [(0.5, 0.95), (0.85, 0.92), (0.95, 0.91), (1.0, 0.8)] for name in NAMES},
        pictures=dict.fromkeys(paths, "QQ=="),
    )


CONFIG = {name: SimpleNamespace(epochs=20 + i, learning_rate=0.01, width=0.25) for i, name in enumerate(NAMES)}
CONFIG["confident"] = 0.99


def render(evidence, dataset="data/raw/fer2013.csv"):
    return make_page(evidence, list_facts(evidence, 2013, "sample", dataset), CONFIG)


def read_table(page, id):
    """The rows of cells of the table with this id, its head first."""
    (found,) = re.findall(rf'<figure class="table" id="{id}">(.*?)</figure>', page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def read_caption(page, id):
    (found,) = re.findall(rf'<figure[^>]* id="{id}">.*?<figcaption>(.*?)</figcaption>', page, re.DOTALL)
    return html.unescape(re.sub("<[^>]+>", "", found))


def test_tables_set_ours_beside_the_papers(evidence):
    page = render(evidence)
    head, baseline, _, resnet18, vote = read_table(page, "overview")
    assert head == ["Network", "Ours", "95% interval", "Paper", "Difference, points", "Macro F1"]
    assert baseline == ["Baseline CNN", "70.10%", "60.10 to 80.10%", "67.25%", "+2.85", "0.6710"]
    assert resnet18 == ["ResNet18", "75.10%", "65.10 to 85.10%", "71.60%", "+3.50", "0.7210"]
    assert vote == ["Soft vote of the three", "78.50%", "68.50 to 88.50%", "–", "–", "0.7770"]
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
    assert read_table(page, "exports")[2] == ["Baseline CNN, int8", "64.00%", "5e-06", "5.60", "4.75 (5.25)", "4.50 (5.00)", "104"]  # fmt: skip
    assert read_table(page, "configuration")[3] == ["Epochs at most", "20", "50", "21", "250", "22", "250"]


BESIDE_THE_PAPER = ("overview", "images", "configuration", "vgg19-scores", "vgg19-confusions", "vgg19-per-class", "vgg19-confidences", "table7", "compare-literature")  # fmt: skip


def test_other_conditions_than_the_papers_are_named_at_every_comparison(evidence):
    page = render(evidence)
    for id in BESIDE_THE_PAPER:
        assert LABEL in read_caption(page, id), id
    assert 'class="warning"' in page
    evidence.compare["comparable"] = True
    page = render(evidence)
    assert LABEL not in html.unescape(page)
    assert 'class="warning"' not in page


def test_captions_follow_from_the_numbers(evidence):
    page = render(evidence)
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
        "and -0.10 points (ResNet18). With one thread, int8 is faster by a factor of 1.8 (Baseline CNN), 2.1 (VGG19) and "
        "2.5 (ResNet18)."
    )
    assert "Baseline CNN, int8: batch normalisation and conv1_1 in float32" in page and "ResNet18, int8:" not in page
    evidence.scores["vgg19"]["per_class"]["angry"]["recall"] = 0.99
    evidence.scores["vgg19"]["errors"]["top"][1]["count"] = 9
    evidence.risk["vgg19"][1] = (0.85, 0.7)
    evidence.scores["baseline"]["accuracy"] = 0.9
    page = render(evidence)
    caption = read_caption(page, "vgg19-confusion")
    assert "best: angry (99.0%); worst: disgust (58.0%)" in caption
    assert "fear taken for sad and angry taken for disgust, 9 times each" in caption
    assert "lowers accuracy from 80.00% to 70.00%" in read_caption(page, "vgg19-risk_coverage")
    assert "1.80 points underconfident" in read_caption(page, "baseline-confidence")


NOT_SHOWN = {
    *("data.pixels", "data.source.kind", "data.conversions", "train.train_loss", "train.stopped"),
    *("compare.profile", "compare.split", "compare.comparable", "ensembles.val_accuracy", "weighted_ensemble.val_accuracy"),
    *("weighted_ensemble.chosen_on", "pairs.kappa", "all_wrong.same_share", "all_wrong.indices", "per_class.accuracy"),
    *("table7.paper", "dropped", "blank_images", "pairs.first", "pairs.second"),
}  # fmt: skip
"""What the page leaves out on purpose, or shows only in a sum or in a sentence that another number may not change."""


def find_numbers(content, path=()):
    """The paths of all numbers in nested dicts and lists."""
    if isinstance(content, (dict, list)):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from find_numbers(value, (*path, key))
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield path


def test_every_number_comes_from_its_file(evidence):
    """Whichever number of whichever file changes, the page changes."""
    before = render(evidence)
    plain = evidence._asdict() | {"pictures": {}}
    paths = list(find_numbers(plain))
    changed = 0
    for path in paths:
        words = [str(key) for key in path if isinstance(key, str) and key not in NAMES and key not in CLASSES]
        if any(name in ".".join(words) for name in NOT_SHOWN):
            continue
        content = copy.deepcopy(plain)
        parent = content
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = parent[path[-1]] * 2 + 1
        assert render(Evidence(**content | {"pictures": evidence.pictures})) != before, path
        changed += 1
    assert changed > 250


def test_no_value_is_a_dash_with_its_note(evidence):
    """A class without a test image has no scores; nothing is 0, None or NaN in its place."""
    scores = evidence.scores["vgg19"]
    scores["per_class"]["disgust"] = dict.fromkeys(("precision", "recall", "f1", "accuracy"), None) | {"support": 0}
    scores["notes"] = ["disgust: test has no such face, so its scores are empty and the averages leave it out"]
    scores["accuracy_unseen"] = scores["confidence"]["low_accuracy"] = scores["confidence"]["mean_incorrect"] = None
    scores["errors"] |= {"count": 0, "top": []}
    page = render(evidence)
    assert read_table(page, "vgg19-per-class")[2] == ["disgust", "0", "–", "0.8831", "–", "0.6126", "–", "0.7234"]
    assert "Disgust: test has no such face" in page
    assert "No test image is wrong" in read_caption(page, "vgg19-mistakes")
    assert not re.search(r"\b(None|nan|NaN|inf)\b", re.sub("<style>.*</style>", "", page, flags=re.DOTALL))


def test_one_page_without_scripts_and_without_addresses(evidence):
    page = render(evidence)
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert [source for source in sources if not source.startswith(("data:image/png;base64,", "#"))] == []
    assert not re.search(r"url\(|@import|<link|<iframe", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {source[1:] for source in sources if source.startswith("#")} <= set(ids)
    assert len(re.findall("<img ", page)) == len(evidence.pictures)


def test_what_comes_from_outside_is_text(evidence):
    evidence.train["vgg19"]["device"] = "<script>alert(1)</script>"
    evidence.data["note"] = "<b>bold</b>"
    page = render(evidence, dataset='"><img src=x onerror=alert(1)>')
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
def folders(evidence, tmp_path):
    """The same evidence as files, with pictures as wide as real ones."""
    picture = encode(np.full((300, 1050), 128, np.uint8))
    for path in evidence.pictures:
        (tmp_path / "plots" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plots" / path).write_bytes(picture)
    for name, curve in evidence.risk.items():
        rows = [f"{1 - coverage},{coverage},{accuracy}" for coverage, accuracy in curve]
        (tmp_path / "plots" / name / "test" / "risk_coverage.csv").write_text(
            "\n".join(["threshold,coverage,accuracy", *rows]) + "\n"
        )
    files = {"data": evidence.data, "compare": evidence.compare, "export": evidence.export, **evidence.scores}
    files |= {f"train/{name}": train for name, train in evidence.train.items()}
    for name, content in files.items():
        (tmp_path / "metrics" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "metrics" / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def run_report(folders, run_stage):
    def run(script="report"):
        out = folders / "report.html"
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
    "no JSON": ("metrics/data.json", b"{", "no JSON (Expecting"),
    "a list": ("metrics/data.json", b"[]", "source, split, note"),
    "a key less": ("metrics/vgg19.json", b'{"accuracy": 0.5}', "accuracy_ci95, macro_f1"),
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
        read_evidence(folders / "metrics", folders / "plots")
    assert str(error.value).startswith(f"{folders / name}: ")
    assert message in str(error.value)


def test_a_hostile_path_of_the_data_set(folders, run_report):
    """params.yaml's dataset stands on the page as text."""
    shutil.copytree(ROOT / "stages", folders / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    params = (ROOT / "params.yaml").read_text()
    hostile = "data/raw/<img src=x onerror=alert(1)>.csv"
    (folders / "params.yaml").write_text(params.replace("dataset: data/raw/sample.csv", f"dataset: {hostile}"))
    out, process = run_report(folders / "stages" / "report")
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
def test_nothing_is_wider_than_the_screen(width, run_report, browse, evidence):
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
    assert measured["pictures"] == len(evidence.pictures)
    assert (measured["scrolling"] > 5) == (width == 390)
