"""Put all evidence on one page, in the paper's order, and then what comes after it: use.

Reads   metrics/ (data, train/, one per network, compare, export) and plots/ (the pictures and risk_coverage.csv).
Writes  plots/report.html: one file with its pictures in it, without scripts; ours beside the paper's.
Alone   python stages/report.py --metrics metrics --plots plots --out plots/report.html

Every number and every sentence with a number follows from these files (`fer.evidence.report.captions`); the same files give the same
page, where the same libraries are installed, for it names their versions.
"""

import argparse
import base64
import csv
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jinja2

from fer import captions, paper
from fer.core.params import read_params
from fer.core.stage import InputError, run, write_files
from fer.data.fer2013 import CLASSES, SPLITS
from fer.evidence.paper import NAMES
from fer.evidence.report.captions import NONE, count, decimal, percent, points, thousands, tiny

LIBRARIES = ("tensorflow", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "dvc")
TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
).get_template("report.html.j2")
KEYS = {
    "data": "source split note rows duplicates blank_images dropped",
    "train": "best_epoch epochs_run train_accuracy val_accuracy val_loss parameters device",
    "scores": "accuracy accuracy_ci95 macro_f1 per_class confidence calibration errors cost notes",
    "compare": "label comparable notes table7 mcnemar ensembles weighted_ensemble ensemble agreement all_wrong",
    "export": "device networks",
}
"""What is looked for at once in each JSON file, so that one of another version is named and not half shown."""


class Table(NamedTuple):
    """A table of the page; the first cell of each row is its name."""

    id: str
    title: str
    caption: str
    head: list
    rows: list
    notes: tuple = ()
    wordy: bool = False
    """All but the last column are words."""


class Figure(NamedTuple):
    """A picture of the page."""

    id: str
    title: str
    caption: str
    png: str
    """base64."""


class Section(NamedTuple):
    """A part of the page: paragraphs, then tables and figures."""

    id: str
    title: str
    paragraphs: list
    items: list


class Evidence(NamedTuple):
    """What the page is made of, as read."""

    data: dict
    train: dict
    """{network: metrics/train/<network>.json}"""
    scores: dict
    """{network: metrics/<network>.json}"""
    compare: dict
    export: dict
    risk: dict
    """{network: [(coverage, accuracy), ...]}"""
    pictures: dict
    """{path below plots/: base64}"""


def read_evidence(metrics, plots):
    """Read all files below the folders `metrics` and `plots`.

    Raises:
        InputError: a file is missing, damaged or without a key.
    """
    metrics, plots = Path(metrics), Path(plots)
    pictures = {"data/classes.png": "prepare", "data/faces.png": "prepare"}
    for name in NAMES:
        pictures |= {f"{name}/test/{figure}.png": "evaluate" for figure in list_figures(name)}
    pictures |= {f"compare/{figure}.png": "compare" for figure in ("literature", "class_f1", "ensembles")}
    pictures |= {f"compare/{figure}.png": "compare" for figure in ("agreement", "all_wrong")}
    return Evidence(
        data=read_json(metrics / "data.json", "data", "prepare"),
        train={name: read_json(metrics / "train" / f"{name}.json", "train", f"train_{name}") for name in NAMES},
        scores={name: read_json(metrics / f"{name}.json", "scores", "evaluate") for name in NAMES},
        compare=read_json(metrics / "compare.json", "compare", "compare"),
        export=read_json(metrics / "export.json", "export", "measure"),
        risk={name: read_risk(plots / name / "test" / "risk_coverage.csv") for name in NAMES},
        pictures={path: read_picture(plots / path, stage) for path, stage in pictures.items()},
    )


def list_figures(name):
    """The pictures of a network in plots/<name>/test/."""
    figures = ["curves", "confusion", "classes", "confidence", "risk_coverage", "mistakes"]
    return figures if name == "baseline" else [*figures, "gradcam"]


def read_bytes(path, stage):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro {stage}`") from None


def read_json(path, kind, stage):
    content = read_bytes(path, stage)
    try:
        values = json.loads(content)
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error}); run `dvc repro {stage}`") from None
    missing = [key for key in KEYS[kind].split() if not isinstance(values, dict) or key not in values]
    if missing:
        raise InputError(f"{path}: {', '.join(missing)} missing; run `dvc repro {stage}`")
    return values


def read_risk(path):
    """[(coverage, accuracy), ...] of risk_coverage.csv."""
    lines = read_bytes(path, "evaluate").decode(errors="replace").splitlines()
    try:
        return [(float(row["coverage"]), float(row["accuracy"])) for row in csv.DictReader(lines)]
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{path}: expected the columns coverage and accuracy, with numbers; run `dvc repro evaluate`"
        ) from None


def read_picture(path, stage):
    content = read_bytes(path, stage)
    if not content.startswith(b"\x89PNG"):
        raise InputError(f"{path}: no PNG; run `dvc repro {stage}`")
    return base64.b64encode(content).decode()


def make_page(evidence, facts, config):
    """The page (str).

    Args:
        evidence: an `Evidence`.
        facts: [(term, value), ...] for the top of the page.
        config: {network: its section of params.yaml}, and `confident`, the confidence of a confident mistake.
    """
    compare = evidence.compare
    sections = [
        show_data(evidence),
        show_training(evidence, config),
        *(show_network(name, evidence, config["confident"]) for name in NAMES),
        show_comparison(evidence),
        show_use(evidence.export),
    ]
    page = TEMPLATE.render(
        title="Facial expression recognition: the evidence",
        lead=(
            "Three networks read one of seven emotions from a face: a convolutional baseline, VGG19 and ResNet18. "
            "Below stand their data, training and results, beside those of the paper that they reproduce."
        ),
        warnings=[] if compare["comparable"] else [f"Not the paper's conditions. {compare['label']}"],
        facts=facts,
        overview=show_overview(evidence),
        sections=sections,
    )
    return page.lstrip()


def label(compare):
    """What a caption says where ours stands beside the paper's, under other conditions."""
    return "" if compare["comparable"] else f"Not comparable. {compare['label']}"


def show_overview(evidence):
    """Accuracies at a glance."""
    table7, ensemble = evidence.compare["table7"], evidence.compare["ensembles"][-1]
    rows = [
        [
            NAMES[name],
            percent(scores["accuracy"]),
            interval(scores["accuracy_ci95"]),
            percent(table7[name]["paper"]["accuracy"]),
            f"{table7[name]['difference_points']['accuracy']:+.2f}",
            decimal(scores["macro_f1"]),
        ]
        for name, scores in evidence.scores.items()
    ]
    best, _ = captions.find_extremes({NAMES[name]: scores["accuracy"] for name, scores in evidence.scores.items()})
    score = max(scores["accuracy"] for scores in evidence.scores.values())
    vote = [percent(ensemble["accuracy"]), interval(ensemble["accuracy_ci95"]), NONE, NONE]
    vote.append(decimal(evidence.compare["ensemble"]["macro_f1"]))
    return Table(
        "overview",
        "Accuracy on test",
        f"Best of the single networks: {captions.listing(best)} with {percent(score)}. {label(evidence.compare)}",
        ["Network", "Ours", "95% interval", "Paper", "Difference, points", "Macro F1"],
        [*rows, ["Soft vote of the three", *vote]],
    )


def interval(bounds):
    """[0.9, 0.95] as '90.00 to 95.00%'."""
    return NONE if bounds is None or None in bounds else f"{100 * bounds[0]:.2f} to {percent(bounds[1])}"


def show_data(evidence):
    """Section 1 of the paper's methodology: the data set."""
    rows, pictures = evidence.data["rows"], evidence.pictures
    classes = [
        [
            emotion,
            *(
                cell
                for split in SPLITS
                for cell in (count(rows[split][emotion]), percent(rows[split][emotion] / rows[split]["total"], 1))
            ),
        ]
        for emotion in CLASSES
    ]
    totals = ["all", *(cell for split in SPLITS for cell in (count(rows[split]["total"]), "100%"))]
    printed = [count(number) for number in (paper.TRAIN_IMAGES, paper.VAL_IMAGES, paper.TEST_IMAGES)]
    return Section(
        "data",
        "Data",
        [evidence.data["note"], *captions.describe_duplicates(evidence.data)],
        [
            Table(
                "images",
                "Images per class and split",
                f"The paper has {captions.listing(printed)} images in train, val and test. {label(evidence.compare)}",
                ["Class", *(head for split in SPLITS for head in (split, "share"))],
                [*classes, totals],
            ),
            Figure("shares", "Class shares (section 1)", captions.caption_shares(rows), pictures["data/classes.png"]),
            Figure(
                "faces",
                "Faces of the training data (Figure 1)",
                f"The first of each class among {count(rows['train']['total'])} training images.",
                pictures["data/faces.png"],
            ),
        ],
    )


def show_training(evidence, config):
    """Table 3 and Figures 3, 4 and 6."""
    rows = [
        [
            NAMES[name],
            count(train["best_epoch"]),
            f"{count(train['epochs_run'])} of {count(config[name].epochs)}",
            percent(train["train_accuracy"]),
            percent(train["val_accuracy"]),
            count(train["parameters"]),
            thousands(train.get("seconds")),
            thousands(train.get("images_per_second")),
            train["device"],
            train.get("precision", NONE),
        ]
        for name, train in evidence.train.items()
    ]
    heads = [
        "Network",
        "Best epoch",
        "Epochs run",
        "Train accuracy",
        "Val accuracy",
        "Parameters",
        "Seconds",
        "Images/s",
    ]
    return Section(
        "training",
        "Training",
        [],
        [
            tabulate_configuration(config, evidence.compare),
            Table(
                "trainings",
                "How the trainings went",
                "Train accuracy is that of the best epoch's batches, with augmentation and dropout.",
                [*heads, "Device", "Precision"],
                rows,
            ),
            *(
                Figure(
                    f"{name}-curves",
                    f"{NAMES[name]}: accuracy and loss per epoch ({figure})",
                    captions.caption_curves(evidence.train[name]),
                    evidence.pictures[f"{name}/test/curves.png"],
                )
                for name, figure in zip(NAMES, ("Figures 3 and 4", "Figure 6", "as Figure 6"), strict=True)
            ),
        ],
    )


def tabulate_configuration(config, compare):
    """Table 3, ours beside the paper's; where params.yaml or the paper has no such key, a dash."""
    keys = {
        "learning_rate": "Learning rate",
        "batch_size": "Batch size",
        "epochs": "Epochs at most",
        "patience": "Patience, epochs",
        "schedule": "Schedule",
        "width": "Width (1: the paper's)",
        "dropout": "Dropout",
        "weights": "Pretrained weights",
    }

    def show(section, key):
        value = getattr(section, key, None)
        return NONE if value is None else str(value).replace("_", " ")

    return Table(
        "configuration",
        "Training configuration (Table 3)",
        label(compare),
        ["Parameter", *(head for name in NAMES for head in (NAMES[name], "Paper"))],
        [
            [title, *(cell for name in NAMES for cell in (show(config[name], key), show(paper.TRAINING[name], key)))]
            for key, title in keys.items()
        ],
    )


def show_network(name, evidence, confident):
    """The paper's Evaluation Metrics of one network: Tables 5 and 6, Figures 5 and 7 to 9, and the audit."""
    scores, title = evidence.scores[name], NAMES[name]
    numbers = {
        "confusion": ("confusion matrix (Figures 5 and 7)", captions.caption_confusion(scores)),
        "classes": ("scores per class (Figure 9)", captions.caption_class_bars(scores)),
        "confidence": ("confidence (Figure 8)", captions.caption_confidence(scores)),
        "risk_coverage": ("accuracy against coverage", captions.caption_risk(evidence.risk[name])),
        "mistakes": ("misclassification audit", captions.caption_mistakes(scores, confident)),
        "gradcam": ("where it looks (Grad-CAM)", captions.caption_gradcam(scores)),
    }
    figures = {
        key: Figure(f"{name}-{key}", f"{title}: {what}", caption, evidence.pictures[f"{name}/test/{key}.png"])
        for key, (what, caption) in numbers.items()
        if key in list_figures(name)
    }
    items = [
        tabulate_scores(name, scores, evidence.compare),
        figures.pop("confusion"),
        tabulate_confusions(name, scores, evidence.compare),
        tabulate_classes(name, scores, evidence.compare),
        figures.pop("classes"),
        tabulate_confidence(name, scores, evidence.compare),
        *figures.values(),
    ]
    return Section(name, title, [f"{note[0].upper()}{note[1:]}." for note in scores["notes"]], items)


def tabulate_scores(name, scores, compare):
    """All single numbers of a network, the paper's beside them where it has them."""
    printed = {key: getattr(paper.RESULTS[name], key) for key in ("accuracy", "train_accuracy", "overfitting_gap")}
    if name == "vgg19":
        printed["share"] = paper.VGG19_ERROR_SHARE
    calibration, cost = scores["calibration"], scores["cost"]
    rows = [
        ["Accuracy", percent(scores["accuracy"]), percent(printed["accuracy"])],
        ["95% interval (bootstrap)", interval(scores["accuracy_ci95"]), NONE],
        [
            f"Accuracy on the {count(scores.get('unseen_count'))} test images not in train",
            percent(scores.get("accuracy_unseen")),
            NONE,
        ],
        ["Accuracy from one crop", percent(scores.get("accuracy_single_crop")), NONE],
        ["Train accuracy", percent(scores.get("train_accuracy")), percent(printed["train_accuracy"])],
        ["Overfitting gap, points", points(scores.get("overfitting_gap")), points(printed["overfitting_gap"])],
        ["Val accuracy", percent(scores.get("val_accuracy")), NONE],
        ["Balanced accuracy", percent(scores.get("balanced_accuracy")), NONE],
        ["Macro F1", decimal(scores["macro_f1"]), NONE],
        ["Expected calibration error", decimal(calibration["ece"]), NONE],
        ["… with the temperature from val", decimal(calibration["ece_scaled"]), NONE],
        ["Negative log-likelihood", decimal(calibration["nll"]), NONE],
        ["… with the temperature from val", decimal(calibration["nll_scaled"]), NONE],
        ["Brier score", decimal(calibration["brier"]), NONE],
        ["Parameters", count(cost.get("parameters")), NONE],
        ["Multiply-adds per image", count(cost.get("macs")), NONE],
        ["Model file, MB", decimal(scale(cost.get("model_bytes"), 1e-6), 2), NONE],
        ["Latency of one image, ms", decimal(cost.get("latency_ms_batch1"), 2), NONE],
        ["Images per second", thousands(cost.get("images_per_second")), NONE],
    ]
    title = f"{NAMES[name]} on test"
    return Table(f"{name}-scores", title, label(compare), ["Score", "Ours", "Paper"], rows)


def scale(number, factor):
    """`number` times `factor`, or None."""
    return None if number is None else number * factor


def tabulate_confusions(name, scores, compare):
    """The most frequent pairs of actual and predicted class."""
    printed = paper.VGG19_CONFUSIONS if name == "vgg19" else {}
    head, rows = ["Actual → predicted", "Test images"], []
    for pair in scores["errors"]["top"]:
        row = [f"{pair['actual']} → {pair['predicted']}", count(pair["count"])]
        rows.append([*row, count(printed.get((pair["actual"], pair["predicted"])))] if printed else row)
    if printed:
        head.append("Paper")
    text = f"The paper names the three most frequent. {label(compare)}" if printed else ""
    return Table(f"{name}-confusions", f"{NAMES[name]}: most frequent confusions", text, head, rows)


def tabulate_classes(name, scores, compare):
    """Table 5; the paper has it for VGG19."""
    keys = {"precision": "Precision", "recall": "Recall (accuracy)", "f1": "F1"}
    beside = name == "vgg19"
    head = ["Class", "Test images"]
    for title in keys.values():
        head += [title, "Paper"] if beside else [title]
    rows = []
    for emotion in CLASSES:
        ours = scores["per_class"][emotion]
        row = [emotion, count(ours["support"])]
        for key in keys:
            row.append(decimal(ours[key]))
            if beside:
                row.append(decimal(getattr(paper.VGG19_CLASSES[emotion], key)))
        rows.append(row)
    text = "The accuracy of a class is its recall."
    title = f"{NAMES[name]}: scores per class (Table 5)"
    return Table(f"{name}-per-class", title, f"{text} {label(compare)}" if beside else text, head, rows)


def tabulate_confidence(name, scores, compare):
    """Table 6; the paper has it for VGG19."""
    confidence, errors = scores["confidence"], scores["errors"]
    printed = paper.VGG19_CONFIDENCE
    threshold = f"{confidence['threshold']:g}"
    rows = [
        ["Mean confidence, all", decimal(confidence["mean"], 3), decimal(printed.mean, 3)],
        ["Mean confidence, right", decimal(confidence["mean_correct"], 3), decimal(printed.mean_correct, 3)],
        ["Mean confidence, wrong", decimal(confidence["mean_incorrect"], 3), decimal(printed.mean_incorrect, 3)],
        ["Standard deviation", decimal(confidence["std"], 3), decimal(printed.std, 3)],
        [f"Images below {threshold}", count(confidence["low_count"]), count(printed.low_count)],
        ["… as a share", percent(confidence["low_share"], 1), percent(printed.low_share, 1)],
        ["… their accuracy", percent(confidence["low_accuracy"], 1), percent(printed.low_accuracy, 1)],
        ["Wrong images", count(errors["count"]), count(paper.VGG19_ERRORS)],
        ["… as a share", percent(errors["share"], 1), percent(paper.VGG19_ERROR_SHARE, 1)],
    ]
    beside = name == "vgg19"
    head = ["Figure", "Ours", "Paper"] if beside else ["Figure", "Ours"]
    title = f"{NAMES[name]}: confidence (Table 6)"
    return Table(
        f"{name}-confidences", title, label(compare) if beside else "", head, [row[: len(head)] for row in rows]
    )


def show_comparison(evidence):
    """The paper's Comparison: Table 7, Figure 10 and Table 1, and what it has no room for."""
    compare, pictures = evidence.compare, evidence.pictures
    tests = [
        [
            f"{NAMES[pair['first']]}, {NAMES[pair['second']]}",
            count(pair["first_only"]),
            count(pair["second_only"]),
            tiny(pair["p_value"]),
            tiny(pair["p_value_holm"]),
        ]
        for pair in compare["mcnemar"]
    ]
    votes = [
        [
            " + ".join(NAMES[name] for name in one["members"]),
            " : ".join(f"{weight:.2f}" for weight in one["weights"]),
            percent(one["accuracy"]),
            interval(one["accuracy_ci95"]),
            f"{one['gain_points']:+.2f}",
            tiny(one["p_value"]),
        ]
        for one in [*compare["ensembles"], compare["weighted_ensemble"]]
    ]
    literature = [
        [f"{work.reference} [{work.number}]", str(work.year), work.dataset, work.technique, percent(work.accuracy)]
        for work in paper.LITERATURE
    ]
    works = [work for work in paper.LITERATURE if work.accuracy is not None and work.dataset == "FER-2013"]
    ensemble_accuracy = compare["ensembles"][-1]["accuracy"]
    figures = {
        "class_f1": ("F1 per class, side by side", captions.caption_class_f1(evidence.scores, NAMES)),
        "ensembles": ("Networks and soft votes", captions.caption_ensembles(compare, NAMES)),
        "agreement": ("How many networks are right", captions.caption_agreement(compare["agreement"], NAMES)),
        "all_wrong": ("What all networks get wrong", captions.caption_all_wrong(compare["all_wrong"])),
        "literature": (
            "Accuracies of the literature and ours (Figure 10)",
            f"{captions.caption_literature(compare['table7'], ensemble_accuracy, works, NAMES)} {label(compare)}",
        ),
    }
    drawn = {
        key: Figure(f"compare-{key.replace('_', '-')}", title, caption, pictures[f"compare/{key}.png"])
        for key, (title, caption) in figures.items()
    }
    return Section(
        "comparison",
        "Comparison",
        [],
        [
            tabulate_table7(compare),
            Table(
                "mcnemar",
                "McNemar's exact test between each pair",
                " ".join(captions.describe_test(pair, NAMES) for pair in compare["mcnemar"]),
                ["Pair", "Only the first is right", "Only the second", "p", "p, for all pairs (Holm)"],
                tests,
            ),
            drawn["class_f1"],
            Table(
                "votes",
                "Soft votes: the mean of the members' probabilities",
                "Gain: over the best member; p: McNemar's test against it. The last row's weights were chosen on val.",
                ["Members", "Weights", "Accuracy", "95% interval", "Gain, points", "p"],
                votes,
            ),
            drawn["ensembles"],
            drawn["agreement"],
            drawn["all_wrong"],
            drawn["literature"],
            Table(
                "literature",
                "The literature as the paper lists it (Table 1)",
                "Accuracies as printed there; not all are on FER-2013.",
                ["Work", "Year", "Data set", "Technique", "Accuracy"],
                literature,
                wordy=True,
            ),
        ],
    )


def tabulate_table7(compare):
    """Table 7: three accuracies of each network, ours, the paper's and the difference in points; then the costs."""
    heads = {"train_accuracy": "Train accuracy", "accuracy": "Test accuracy", "overfitting_gap": "Gap"}
    rows = []
    for name, ours in compare["table7"].items():
        row = [NAMES[name]]
        for key in heads:
            show = points if key == "overfitting_gap" else percent
            row += [show(ours[key]), show(ours["paper"][key]), f"{ours['difference_points'][key]:+.2f}"]
        row += [decimal(ours["macro_f1"]), count(ours["parameters"]), decimal(ours["model_bytes"] / 1e6, 2)]
        rows.append([*row, decimal(ours["latency_ms_batch1"], 2)])
    return Table(
        "table7",
        "The networks compared (Table 7)",
        f"Gaps and differences are in points. {label(compare)}",
        [
            "Network",
            *(head for title in heads.values() for head in (title, "Paper", "Difference")),
            "Macro F1",
            "Parameters",
            "MB",
            "Latency, ms",
        ],
        rows,
        tuple(compare["notes"]),
    )


def show_use(export):
    """The exported networks: what they are worth and what they take."""
    rows, notes = [], []
    for name, precisions in export["networks"].items():
        for precision, found in precisions.items():
            latency = [f"{calls['median']:.2f} ({calls['p95']:.2f})" for calls in found["latency_ms"].values()]
            rows.append(
                [
                    f"{NAMES[name]}, {precision}",
                    percent(found["accuracy"]),
                    tiny(found["largest_difference"]),
                    decimal(found["bytes"] / 1e6, 2),
                    *latency,
                    thousands(found["faces_per_second"]),
                ]
            )
        if kept := precisions["int8"]["kept_in_float32"]:
            notes.append(captions.describe_kept(NAMES[name], kept))
    text = (
        f"The networks as ONNX files, run by onnxruntime on {export['device']}: this is what predict and serve use. "
        "Accuracy is that on test from one crop. The largest difference is that of any probability on test from the "
        "trained network's own. Latency is that of one face: the median, and in brackets the 95th percentile."
    )
    heads = ["Latency with 1 thread, ms", "with 2 threads, ms", "Faces/s in batches of 64"]
    table = Table(
        "exports",
        "The exported networks",
        captions.caption_exports(export["networks"], NAMES),
        ["Network", "Accuracy", "Largest difference", "MB", *heads],
        rows,
        tuple(notes),
    )
    return Section("use", "Use", [text], [table])


def list_facts(evidence, seed, profile, dataset):
    """[(term, value), ...]: under what conditions the numbers came about."""
    data = evidence.data
    machines = dict.fromkeys(
        f"{train['device']}, {train.get('precision', 'precision unknown')}" for train in evidence.train.values()
    )
    return [
        ("Profile", profile),
        ("Split", data["split"]),
        ("Seed", str(seed)),
        ("Data set", f"{dataset}: {count(data['source'].get('rows'))} images, MD5 {data['source'].get('md5', NONE)}"),
        ("Trained on", "; ".join(machines)),
        ("Python", platform.python_version()),
        ("Libraries", ", ".join(f"{library} {version(library)}" for library in LIBRARIES)),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--metrics", required=True, help="folder of data.json, train/, a JSON per network, compare.json, export.json"
    )
    parser.add_argument("--plots", required=True, help="folder with data/, a folder per network, compare/")
    parser.add_argument("--out", required=True, help="HTML file to write")
    args = parser.parse_args()
    seed, profile, dataset, evaluate, networks = read_params(
        "seed", "profile", "dataset", "evaluate", "profiles.${profile}"
    )
    evidence = read_evidence(args.metrics, args.plots)
    config = {**{name: getattr(networks, name) for name in NAMES}, "confident": evaluate.confident}
    page = make_page(evidence, list_facts(evidence, seed, profile, dataset), config).encode()
    write_files({args.out: page})
    print(f"{len(evidence.pictures)} pictures, {len(page) / 1e6:.1f} MB -> {args.out}")


if __name__ == "__main__":
    run(main)
