"""The report's tables: ours beside the paper's, where it has such a figure.

Each number comes as a `Cell`, with the file and the key, or the place in the paper, that it is taken from.
"""

from collections.abc import Mapping
from typing import Any

from fer_pipeline.faces.fer2013 import CLASSES, SPLITS
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.report import captions
from fer_pipeline.report.captions import count, decimal, percent, points, tiny
from fer_pipeline.report.cells import EMPTY, Cell, File, Table, cite
from fer_pipeline.report.read import Evidence

CONFIGURATION = {
    "learning_rate": "Learning rate",
    "batch_size": "Batch size",
    "epochs": "Epochs at most",
    "patience": "Patience, epochs",
    "schedule": "Schedule",
    "width": "Width (1: the paper's)",
    "dropout": "Dropout",
    "weights": "Pretrained weights",
}
"""Rows of Table 3: keys of a network's section of params.yaml, some of them in the paper's table as well."""


def label(compare: Comparison) -> str:
    """What a caption says where ours stands beside the paper's, under other conditions."""
    return "" if compare.comparable else f"Not comparable. {compare.label}"


def take_scores(name: str, evidence: Evidence) -> File:
    """metrics/<name>.json."""
    return File(f"metrics/{name}.json", evidence.scores[name])


def take_comparison(evidence: Evidence) -> File:
    """metrics/compare.json."""
    return File("metrics/compare.json", evidence.compare)


def interval(bounds: list[float]) -> str:
    """[0.9, 0.95] as '90.00 to 95.00%'."""
    return f"{100 * bounds[0]:.2f} to {percent(bounds[1])}"


def signed(number: float) -> str:
    """A difference in points, 1.25, as '+1.25'."""
    return f"{number:+.2f}"


def megabytes(size: int) -> str:
    """5432100 bytes as '5.43'."""
    return decimal(size / 1e6, 2)


def weigh(weights: list[float]) -> str:
    """[0.5, 0.5] as '0.50 : 0.50'."""
    return " : ".join(f"{weight:.2f}" for weight in weights)


def setting(value: object) -> str:
    """A value of params.yaml or of Table 3, as text."""
    return str(value).replace("_", " ")


def tabulate_overview(evidence: Evidence) -> Table:
    """Accuracies at a glance."""
    compared = take_comparison(evidence)
    rows = []
    for name, network in evidence.networks.items():
        scores, printed = take_scores(name, evidence), network.PAPER
        rows.append(
            [
                Cell(network.TITLE),
                scores.cell("accuracy", percent),
                scores.cell("accuracy_ci95", interval),
                cite(printed and printed.result.accuracy, percent, "Table 7"),
                compared.cell(f"table7.{name}.difference_points.accuracy", signed),
                scores.cell("macro_f1", decimal),
            ]
        )
    of_all = f"ensembles[{len(evidence.compare.ensembles) - 1}]"
    vote = [
        Cell("Soft vote of all"),
        compared.cell(f"{of_all}.accuracy", percent),
        compared.cell(f"{of_all}.accuracy_ci95", interval),
        *(EMPTY, EMPTY),
        compared.cell("ensemble.macro_f1", decimal),
    ]
    accuracies = {evidence.titles[name]: scores.accuracy for name, scores in evidence.scores.items()}
    best, _ = captions.find_extremes(accuracies)
    return Table(
        "overview",
        "Accuracy on test",
        f"Best of the single networks: {captions.listing(best)} with {percent(accuracies[best[0]])}. "
        f"{label(evidence.compare)}",
        ["Network", "Ours", "95% interval", "Paper", "Difference, points", "Macro F1"],
        [*rows, vote],
    )


def tabulate_images(evidence: Evidence) -> Table:
    """Section 1: images per class and split, and their shares."""
    data = File("metrics/data.json", evidence.data)
    rows = [
        [
            Cell(title),
            *(
                cell
                for split in SPLITS
                for cell in (
                    data.cell(f"rows.{split}.{key}", count),
                    data.share(f"rows.{split}.{key}", f"rows.{split}.total"),
                )
            ),
        ]
        for title, key in [*zip(CLASSES, CLASSES, strict=True), ("all", "total")]
    ]
    printed = [count(number) for number in (paper.TRAIN_IMAGES, paper.VAL_IMAGES, paper.TEST_IMAGES)]
    return Table(
        "images",
        "Images per class and split",
        f"The paper has {captions.listing(printed)} images in train, val and test. {label(evidence.compare)}",
        ["Class", *(head for split in SPLITS for head in (split, "share"))],
        rows,
    )


def tabulate_configuration(evidence: Evidence, profile: str, sections: Mapping[str, Any]) -> Table:
    """Table 3, ours beside the paper's; where params.yaml or the paper has no such key, a dash.

    `sections` is {network: its section of the profile}.
    """
    params = File("params.yaml", {"profiles": {profile: sections}})
    head, rows = ["Parameter"], {key: [Cell(title)] for key, title in CONFIGURATION.items()}
    for name, network in evidence.networks.items():
        head += [network.TITLE, "Paper"] if network.PAPER else [network.TITLE]
        for key, row in rows.items():
            known = hasattr(sections[name], key)
            row.append(params.cell(f"profiles.{profile}.{name}.{key}", setting) if known else EMPTY)
            if network.PAPER:
                row.append(cite(getattr(network.PAPER.training, key, None), setting, "Table 3"))
    return Table("configuration", "Training configuration (Table 3)", label(evidence.compare), head, [*rows.values()])


def tabulate_trainings(evidence: Evidence) -> Table:
    """How the trainings went."""
    rows = []
    for name, network in evidence.networks.items():
        train = File(f"metrics/train/{name}.json", evidence.train[name])
        rows.append(
            [
                Cell(network.TITLE),
                train.cell("best_epoch", count),
                train.cell("epochs_run", count),
                train.cell("train_accuracy", percent),
                train.cell("val_accuracy", percent),
                train.cell("parameters", count),
                train.cell("device", str),
                train.cell("precision", str),
            ]
        )
    head = ["Network", "Best epoch", "Epochs run", "Train accuracy", "Val accuracy", "Parameters", "Device"]
    text = "Train accuracy is that of the best epoch's batches, with augmentation and dropout."
    return Table("trainings", "How the trainings went", text, [*head, "Precision"], rows)


def tabulate_scores(name: str, evidence: Evidence) -> Table:
    """All single numbers of a network, the paper's beside them where it has this network."""
    network, scores = evidence.networks[name], take_scores(name, evidence)
    result = network.PAPER and network.PAPER.result
    unseen = scores.cell("unseen_count", lambda images: f"Accuracy on the {count(images)} test images not in train")
    rows = [
        [Cell("Accuracy"), scores.cell("accuracy", percent), cite(result and result.accuracy, percent, "Table 7")],
        [Cell("95% interval (bootstrap)"), scores.cell("accuracy_ci95", interval), EMPTY],
        [unseen, scores.cell("accuracy_unseen", percent), EMPTY],
        [Cell("Accuracy from one crop"), scores.cell("accuracy_single_crop", percent), EMPTY],
        [
            Cell("Train accuracy"),
            scores.cell("train_accuracy", percent),
            cite(result and result.train_accuracy, percent, "Table 7"),
        ],
        [
            Cell("Overfitting gap, points"),
            scores.cell("overfitting_gap", points),
            cite(result and result.overfitting_gap, points, "Table 7"),
        ],
        [Cell("Val accuracy"), scores.cell("val_accuracy", percent), EMPTY],
        [Cell("Balanced accuracy"), scores.cell("balanced_accuracy", percent), EMPTY],
        [Cell("Macro F1"), scores.cell("macro_f1", decimal), EMPTY],
        [Cell("Expected calibration error"), scores.cell("calibration.ece", decimal), EMPTY],
        [Cell("… with the temperature from val"), scores.cell("calibration.ece_scaled", decimal), EMPTY],
        [Cell("Negative log-likelihood"), scores.cell("calibration.nll", decimal), EMPTY],
        [Cell("… with the temperature from val"), scores.cell("calibration.nll_scaled", decimal), EMPTY],
        [Cell("Brier score"), scores.cell("calibration.brier", decimal), EMPTY],
        [Cell("Parameters"), scores.cell("cost.parameters", count), EMPTY],
        [Cell("Multiply-adds per image"), scores.cell("cost.macs", count), EMPTY],
        [Cell("Model file, MB"), scores.cell("cost.model_bytes", megabytes), EMPTY],
    ]
    return beside_paper(f"{name}-scores", f"{network.TITLE} on test", "Score", rows, evidence, bool(network.PAPER))


def beside_paper(
    id: str, title: str, first: str, rows: list[list[Cell]], evidence: Evidence, printed: bool, text: str = ""
) -> Table:
    """A table of rows (name, ours, the paper's); without the paper's, where it has none (`printed` is false)."""
    head = [first, "Ours", "Paper"] if printed else [first, "Ours"]
    caption = f"{text} {label(evidence.compare)}".strip() if printed else text
    return Table(id, title, caption, head, [row[: len(head)] for row in rows])


def tabulate_confusions(name: str, evidence: Evidence) -> Table:
    """The most frequent pairs of actual and predicted class."""
    network, scores = evidence.networks[name], take_scores(name, evidence)
    printed = network.PAPER.confusions if network.PAPER else {}
    rows = [
        [
            Cell(f"{pair.actual} → {pair.predicted}"),
            scores.cell(f"errors.top[{place}].count", count),
            cite(printed.get((pair.actual, pair.predicted)), count, "Evaluation Metrics 2"),
        ]
        for place, pair in enumerate(evidence.scores[name].errors.top)
    ]
    title = f"{network.TITLE}: most frequent confusions"
    text = "The paper names its most frequent ones." if printed else ""
    table = beside_paper(f"{name}-confusions", title, "Actual → predicted", rows, evidence, bool(printed), text)
    return table._replace(head=["Actual → predicted", "Test images", *table.head[2:]])


def tabulate_classes(name: str, evidence: Evidence) -> Table:
    """Table 5, the paper's beside ours where it has it for this network."""
    network, scores = evidence.networks[name], take_scores(name, evidence)
    printed = network.PAPER and network.PAPER.classes
    keys = {"precision": "Precision", "recall": "Recall (accuracy)", "f1": "F1"}
    head = ["Class", "Test images"]
    for title in keys.values():
        head += [title, "Paper"] if printed else [title]
    rows = []
    for emotion in CLASSES:
        row = [Cell(emotion), scores.cell(f"per_class.{emotion}.support", count)]
        for key in keys:
            row.append(scores.cell(f"per_class.{emotion}.{key}", decimal))
            if printed:
                row.append(cite(getattr(printed[emotion], key), decimal, "Table 5"))
        rows.append(row)
    text = "The accuracy of a class is its recall."
    title = f"{network.TITLE}: scores per class{place(name, evidence, 'Table 5')}"
    return Table(f"{name}-per-class", title, f"{text} {label(evidence.compare)}" if printed else text, head, rows)


def place(name: str, evidence: Evidence, text: str) -> str:
    """' (Table 5)' after a title, where the paper has this network."""
    return f" ({text})" if evidence.networks[name].PAPER else ""


def tabulate_confidence(name: str, evidence: Evidence) -> Table:
    """Table 6, the paper's beside ours where it has it for this network."""
    network, scores = evidence.networks[name], take_scores(name, evidence)
    theirs = network.PAPER and network.PAPER.confidence
    audit = "misclassification audit"

    def row(title: str | Cell, key: str, show: Any, printed: float | None, place: str = "Table 6") -> list[Cell]:
        return [Cell(title) if isinstance(title, str) else title, scores.cell(key, show), cite(printed, show, place)]

    def short(share: float | None) -> str:
        return percent(share, 1)

    def mean(number: float | None) -> str:
        return decimal(number, 3)

    below = scores.cell("confidence.threshold", lambda threshold: f"Images below {threshold:g}")
    rows = [
        row("Mean confidence, all", "confidence.mean", mean, theirs and theirs.mean),
        row("Mean confidence, right", "confidence.mean_correct", mean, theirs and theirs.mean_correct),
        row("Mean confidence, wrong", "confidence.mean_incorrect", mean, theirs and theirs.mean_incorrect),
        row("Standard deviation", "confidence.std", mean, theirs and theirs.std),
        row(below, "confidence.low_count", count, theirs and theirs.low_count),
        row("… as a share", "confidence.low_share", short, theirs and theirs.low_share, "Evaluation Metrics 2"),
        row("… their accuracy", "confidence.low_accuracy", short, theirs and theirs.low_accuracy),
        row("Wrong images", "errors.count", count, network.PAPER and network.PAPER.errors, audit),
        row("… as a share", "errors.share", short, network.PAPER and network.PAPER.error_share, audit),
    ]
    title = f"{network.TITLE}: confidence{place(name, evidence, 'Table 6')}"
    return beside_paper(f"{name}-confidences", title, "Figure", rows, evidence, bool(theirs))


def tabulate_table7(evidence: Evidence) -> Table:
    """Table 7: three accuracies of each network, ours, the paper's and the difference in points; then the costs."""
    heads = {"train_accuracy": "Train accuracy", "accuracy": "Test accuracy", "overfitting_gap": "Gap"}
    compared, rows = take_comparison(evidence), []
    for name, network in evidence.networks.items():
        row = [Cell(network.TITLE)]
        for key in heads:
            show = points if key == "overfitting_gap" else percent
            row += [
                compared.cell(f"table7.{name}.{key}", show),
                cite(network.PAPER and getattr(network.PAPER.result, key), show, "Table 7"),
                compared.cell(f"table7.{name}.difference_points.{key}", signed),
            ]
        row += [
            compared.cell(f"table7.{name}.macro_f1", decimal),
            compared.cell(f"table7.{name}.parameters", count),
            compared.cell(f"table7.{name}.model_bytes", megabytes),
        ]
        rows.append(row)
    return Table(
        "table7",
        "The networks compared (Table 7)",
        f"Gaps and differences are in points. {label(evidence.compare)}",
        [
            "Network",
            *(head for title in heads.values() for head in (title, "Paper", "Difference")),
            *("Macro F1", "Parameters", "MB"),
        ],
        rows,
        tuple(evidence.compare.notes),
    )


def tabulate_tests(evidence: Evidence) -> Table:
    """McNemar's test between each pair."""
    compared, titles = take_comparison(evidence), evidence.titles
    rows = [
        [
            Cell(f"{titles[pair.first]}, {titles[pair.second]}"),
            compared.cell(f"mcnemar[{place}].first_only", count),
            compared.cell(f"mcnemar[{place}].second_only", count),
            compared.cell(f"mcnemar[{place}].p_value", tiny),
            compared.cell(f"mcnemar[{place}].p_value_holm", tiny),
        ]
        for place, pair in enumerate(evidence.compare.mcnemar)
    ]
    return Table(
        "mcnemar",
        "McNemar's exact test between each pair",
        " ".join(captions.describe_test(pair, titles) for pair in evidence.compare.mcnemar),
        ["Pair", "Only the first is right", "Only the second", "p", "Holm-adjusted p"],
        rows,
    )


def tabulate_votes(evidence: Evidence) -> Table:
    """The soft votes."""
    compared, compare = take_comparison(evidence), evidence.compare
    keys = [f"ensembles[{place}]" for place in range(len(compare.ensembles))]
    votes = [*zip(keys, compare.ensembles, strict=True), ("weighted_ensemble", compare.weighted_ensemble)]
    rows = [
        [
            Cell(" + ".join(evidence.titles[name] for name in vote.members)),
            compared.cell(f"{key}.weights", weigh),
            compared.cell(f"{key}.accuracy", percent),
            compared.cell(f"{key}.accuracy_ci95", interval),
            compared.cell(f"{key}.gain_points", signed),
            compared.cell(f"{key}.p_value", tiny),
        ]
        for key, vote in votes
    ]
    return Table(
        "votes",
        "Soft votes: the mean of the members' probabilities",
        "Gain: over the member best on test; p: McNemar's test against it. The last row's weights are from val.",
        ["Members", "Weights", "Accuracy", "95% interval", "Gain, points", "p"],
        rows,
    )


def tabulate_literature() -> Table:
    """Table 1."""
    where = "Table 1"
    return Table(
        "literature",
        "The literature as the paper lists it (Table 1)",
        "As printed there: not all accuracies are on FER-2013, and some names stand beside the work of others.",
        ["Work", "Year", "Data set", "Technique", "Accuracy"],
        [
            [
                Cell(f"{work.reference} [{work.number}]"),
                cite(work.year, str, where),
                cite(work.dataset, str, where),
                cite(work.technique, str, where),
                cite(work.accuracy, percent, where),
            ]
            for work in paper.LITERATURE
        ],
        wordy=True,
    )


def tabulate_other(name: str, evidence: Evidence) -> list[Table]:
    """The networks on another data set: accuracies, recalls, and the confusion matrix of each."""
    other = evidence.other[name]
    file = File(f"metrics/other/{name}.json", other)
    summary = Table(
        f"other-{name}",
        f"{name}: accuracy",
        captions.describe_other(other),
        ["Network", "Accuracy", "95% interval", "Balanced accuracy", *(f"Recall, {emotion}" for emotion in CLASSES)],
        [
            [
                Cell(title),
                file.cell(f"networks.{network}.accuracy", percent),
                file.cell(f"networks.{network}.accuracy_ci95", interval),
                file.cell(f"networks.{network}.balanced_accuracy", percent),
                *(file.cell(f"networks.{network}.per_class.{emotion}.recall", percent) for emotion in CLASSES),
            ]
            for network, title in evidence.titles.items()
        ],
    )
    matrices = [
        Table(
            f"other-{name}-{network}",
            f"{name}: confusions of {title}",
            "Rows: the label; columns: what the network says; faces.",
            ["Label", *CLASSES],
            [
                [
                    Cell(emotion),
                    *(
                        file.cell(f"networks.{network}.confusion[{row}][{column}]", count)
                        for column in range(len(CLASSES))
                    ),
                ]
                for row, emotion in enumerate(CLASSES)
            ],
        )
        for network, title in evidence.titles.items()
    ]
    return [summary, *matrices]


def tabulate_exports(evidence: Evidence) -> Table:
    """The exported networks: accuracy and size."""
    exports, rows, notes = File("metrics/export.json", evidence.export), [], []
    for name, found in evidence.export.networks.items():
        title = evidence.titles[name]
        for precision in ("float32", "int8"):
            key = f"networks.{name}.{precision}"
            rows.append(
                [
                    Cell(f"{title}, {precision}"),
                    exports.cell(f"{key}.accuracy", percent),
                    exports.cell(f"{key}.largest_difference", tiny),
                    exports.cell(f"{key}.bytes", megabytes),
                ]
            )
        if found.int8.kept_in_float32:
            notes.append(captions.describe_kept(title, found.int8.kept_in_float32))
    return Table(
        "exports",
        "The exported networks",
        captions.caption_exports(evidence.export.networks, evidence.titles),
        ["Network", "Accuracy", "Largest difference", "MB"],
        rows,
        tuple(notes),
    )
