"""The report's tables: ours beside the paper's. Their titles and captions are in the templates."""

from collections.abc import Mapping
from typing import Any

from fer_pipeline.faces.fer2013 import CLASSES, SPLITS
from fer_pipeline.metrics.labels import FAVOURITES
from fer_pipeline.metrics.mcnemar import McNemar
from fer_pipeline.metrics.paper import LITERATURE, PRINTED, VOTES_LITERATURE
from fer_pipeline.report import show
from fer_pipeline.report.cells import EMPTY, Cell, Column, Files, Show, Table, follow, repeat
from fer_pipeline.report.read import Evidence

PEOPLE = "Ten annotators"

CONFIGURATION = {
    "Optimizer": "optimizer",
    "Momentum": "momentum",
    "Learning rate": "learning_rate",
    "Batch size": "batch_size",
    "Epochs at most": "epochs",
    "Patience, epochs": "patience",
    "Schedule": "schedule",
    "Width (1: the paper's)": "width",
    "Dropout": "dropout",
    "Pretrained weights": "weights",
}
"""{row: key of a network's settings}; some of them are in Table 3 as well."""

Line = tuple[str | tuple[str, Show], str, Show, str]
"""A row of a network's table: title (or the key of a number in the title, and how to show it), key in
metrics/<network>.json, how to show its value, and the place in the paper that prints the same; '' if none does."""

SCORES: tuple[Line, ...] = (
    ("Accuracy", "accuracy", show.percent, "Table 7"),
    ("95% interval (bootstrap)", "accuracy_ci95", show.interval, ""),
    (
        ("unseen_count", lambda images: f"Accuracy on the {show.count(images)} test images not in train"),
        "accuracy_unseen",
        show.percent,
        "",
    ),
    ("Accuracy with one crop", "accuracy_single_crop", show.percent, ""),
    ("Train accuracy", "train_accuracy", show.percent, "Table 7"),
    ("Overfitting gap, points", "overfitting_gap", show.points, "Table 7"),
    ("Val accuracy", "val_accuracy", show.percent, ""),
    ("Balanced accuracy", "balanced_accuracy", show.percent, ""),
    ("Macro F1", "macro_f1", show.decimal, ""),
    ("Expected calibration error", "calibration.ece", show.decimal, ""),
    ("… with the temperature from val", "calibration.ece_scaled", show.decimal, ""),
    ("Negative log-likelihood", "calibration.nll", show.decimal, ""),
    ("… with the temperature from val", "calibration.nll_scaled", show.decimal, ""),
    ("Brier score", "calibration.brier", show.decimal, ""),
    ("Parameters", "cost.parameters", show.count, ""),
    ("Multiply-adds per image", "cost.macs", show.count, ""),
    ("Model file, MB", "cost.model_bytes", show.megabytes, ""),
)
CONFIDENCE: tuple[Line, ...] = (
    ("Mean confidence, all", "confidence.mean", show.thousandths, "Table 6"),
    ("Mean confidence, correct", "confidence.mean_correct", show.thousandths, "Table 6"),
    ("Mean confidence, wrong", "confidence.mean_incorrect", show.thousandths, "Table 6"),
    ("Standard deviation", "confidence.std", show.thousandths, "Table 6"),
    (("confidence.threshold", "Images below {:g}".format), "confidence.low_count", show.count, "Table 6"),
    ("… as a share", "confidence.low_share", show.tenths, "Evaluation Metrics 2"),
    ("… their accuracy", "confidence.low_accuracy", show.tenths, "Table 6"),
    ("Misclassified images", "errors.count", show.count, "misclassification audit"),
    ("… as a share", "errors.share", show.tenths, "misclassification audit"),
)

BY_NETWORK: dict[str, list[Column]] = {
    "overview": [
        ("Ours", "metrics/{}.json: accuracy", show.percent),
        ("95% interval", "metrics/{}.json: accuracy_ci95", show.interval),
        ("Paper", "paper: {}.accuracy", show.percent, "Table 7"),
        ("Difference, points", "metrics/compare.json: table7.{}.difference_points.accuracy", show.signed),
        ("Macro F1", "metrics/{}.json: macro_f1", show.decimal),
    ],
    "trainings": [
        ("Best epoch", "metrics/train/{}.json: best_epoch", show.count),
        ("Epochs run", "metrics/train/{}.json: epochs_run", show.count),
        ("Train accuracy", "metrics/train/{}.json: train_accuracy", show.percent),
        ("Val accuracy", "metrics/train/{}.json: val_accuracy", show.percent),
        ("Parameters", "metrics/train/{}.json: parameters", show.count),
        ("Device", "metrics/train/{}.json: device", str),
        ("Precision", "metrics/train/{}.json: precision", str),
    ],
    "table7": [
        ("Train accuracy", "metrics/compare.json: table7.{}.train_accuracy", show.percent),
        ("Paper", "paper: {}.train_accuracy", show.percent, "Table 7"),
        ("Difference", "metrics/compare.json: table7.{}.difference_points.train_accuracy", show.signed),
        ("Test accuracy", "metrics/compare.json: table7.{}.accuracy", show.percent),
        ("Paper", "paper: {}.accuracy", show.percent, "Table 7"),
        ("Difference", "metrics/compare.json: table7.{}.difference_points.accuracy", show.signed),
        ("Gap", "metrics/compare.json: table7.{}.overfitting_gap", show.points),
        ("Paper", "paper: {}.overfitting_gap", show.points, "Table 7"),
        ("Difference", "metrics/compare.json: table7.{}.difference_points.overfitting_gap", show.signed),
        ("Macro F1", "metrics/compare.json: table7.{}.macro_f1", show.decimal),
        ("Parameters", "metrics/compare.json: table7.{}.parameters", show.count),
        ("MB", "metrics/compare.json: table7.{}.model_bytes", show.megabytes),
    ],
    "annotators": [
        ("Label right", "metrics/{}.json: accuracy", show.percent),
        ("Majority right", "metrics/{}.json: annotators.accuracy", show.percent),
        ("Majority right, second head", "metrics/{}.json: annotators.votes_accuracy", show.percent),
        ("Cross-entropy", "metrics/{}.json: annotators.cross_entropy", show.decimal),
        ("Cross-entropy, second head", "metrics/{}.json: annotators.votes_cross_entropy", show.decimal),
        ("Side with network", "metrics/{}.json: annotators.mistakes.network", show.tenths),
        ("With label", "metrics/{}.json: annotators.mistakes.label", show.tenths),
        ("With neither", "metrics/{}.json: annotators.mistakes.neither", show.tenths),
    ],
}
"""Tables with a row per network."""


class Tables:
    """The tables of one page, as the templates ask for them.

    Args:
        settings: {network: its section of the profile}.
    """

    def __init__(self, evidence: Evidence, profile: str, settings: Mapping[str, Any]) -> None:
        self.evidence = evidence
        self.networks = [(title, name) for name, title in evidence.titles.items()]
        self.printed = {name: PRINTED.get(name) for name in evidence.networks}
        self.files = Files(
            {
                "metrics/data.json": evidence.data,
                "metrics/compare.json": evidence.compare,
                "metrics/export.json": evidence.export,
                **{f"metrics/{name}.json": scores for name, scores in evidence.scores.items()},
                **{f"metrics/train/{name}.json": train for name, train in evidence.train.items()},
                **{f"metrics/other/{name}.json": other for name, other in evidence.other.items()},
                "paper": self.printed,
                "Table 1": list(LITERATURE),
            }
        )
        keys = CONFIGURATION.values()
        shown = {name: {key: getattr(section, key, None) for key in keys} for name, section in settings.items()}
        self.settings = f"profiles/paper.yaml, {profile}.yaml"
        self.files[self.settings] = shown
        self.files["Table 3"] = {
            name: dict.fromkeys(keys) | printed.training for name, printed in self.printed.items() if printed
        }

    def by_network(self, name: str) -> Table:
        """One of `BY_NETWORK`."""
        return self.files.tabulate("Network", self.networks, BY_NETWORK[name])

    def overview(self) -> Table:
        """Accuracies at a glance."""
        head, rows = self.by_network("overview")
        of_all = f"metrics/compare.json: ensembles[{len(self.evidence.compare.ensembles) - 1}]"
        vote = [
            Cell("Soft vote of all"),
            self.files.cell(f"{of_all}.accuracy", show.percent),
            self.files.cell(f"{of_all}.accuracy_ci95", show.interval),
            *(EMPTY, EMPTY),
            self.files.cell("metrics/compare.json: ensemble.macro_f1", show.decimal),
        ]
        return Table(head, [*rows, vote])

    def images(self) -> Table:
        """Images per class and split, and their shares (section 1)."""
        columns: list[Column] = []
        for split in SPLITS:
            images = f"metrics/data.json: rows.{split}"
            columns += [
                (split, images + ".{}", show.count),
                ("share", f"{images}.{{}} / rows.{split}.total", show.tenths),
            ]
        return self.files.tabulate("Class", [*repeat(CLASSES), ("all", "total")], columns)

    def configuration(self) -> Table:
        """Table 3; a dash if the network has no such setting, or Table 3 no such row."""
        columns: list[Column] = []
        for title, name in self.networks:
            columns.append((title, f"{self.settings}: {name}.{{}}", show.setting))
            if self.printed[name]:
                columns.append(("Paper", f"Table 3: {name}.{{}}", show.setting, "Table 3"))
        return self.files.tabulate("Parameter", CONFIGURATION.items(), columns)

    def list_lines(self, name: str, first: str, lines: tuple[Line, ...], printed: bool) -> Table:
        """A network's values below each other, the paper's beside them if it has any (`printed`)."""
        rows, width = [], 3 if printed else 2
        for title, key, form, place in lines:
            row = [
                Cell(title)
                if isinstance(title, str)
                else self.files.cell(f"metrics/{name}.json: {title[0]}", title[1]),
                self.files.cell(f"metrics/{name}.json: {key}", form),
                self.files.cell(f"paper: {name}.{key}", form, place) if place and printed else EMPTY,
            ]
            rows.append(row[:width])
        return Table([first, "Ours", "Paper"][:width], rows)

    def all_scores(self, name: str) -> Table:
        """All single numbers of a network."""
        return self.list_lines(name, "Score", SCORES, bool(self.printed[name]))

    def confidence(self, name: str) -> Table:
        """Table 6, and the misclassification audit."""
        printed = self.printed[name]
        return self.list_lines(name, "Value", CONFIDENCE, bool(printed and printed.confidence))

    def confusions(self, name: str) -> Table:
        """The most frequent pairs of actual and predicted class."""
        pairs, printed = self.evidence.scores[name].errors.top, self.printed[name]
        rows = [(f"{pair.actual} → {pair.predicted}", str(place)) for place, pair in enumerate(pairs)]
        columns: list[Column] = [("Test images", f"metrics/{name}.json: errors.top[{{}}].count", show.count)]
        if printed and printed.confusions:
            theirs = [printed.confusions.get((pair.actual, pair.predicted)) for pair in pairs]
            columns.append(("Paper", "confusions: {}", show.count, "Evaluation Metrics 2"))
            return Files(self.files, confusions=theirs).tabulate("Actual → predicted", rows, columns)
        return self.files.tabulate("Actual → predicted", rows, columns)

    def classes(self, name: str) -> Table:
        """Table 5."""
        printed = self.printed[name]
        columns: list[Column] = [("Test images", f"metrics/{name}.json: per_class.{{}}.support", show.count)]
        for head, key in (("Precision", "precision"), ("Recall (accuracy)", "recall"), ("F1", "f1")):
            columns.append((head, f"metrics/{name}.json: per_class.{{}}.{key}", show.decimal))
            if printed and printed.per_class:
                columns.append(("Paper", f"paper: {name}.per_class.{{}}.{key}", show.decimal, "Table 5"))
        return self.files.tabulate("Class", repeat(CLASSES), columns)

    def tests(self, key: str) -> Table:
        """McNemar's tests; `key` is that of their list in metrics/compare.json."""
        titles = {**self.evidence.titles, FAVOURITES: PEOPLE}
        pairs: list[McNemar] = follow(self.evidence.compare, key)
        return self.files.tabulate(
            "Pair",
            [(f"{titles[pair.first]}, {titles[pair.second]}", f"{key}[{place}]") for place, pair in enumerate(pairs)],
            [
                ("Only the first is right", "metrics/compare.json: {}.first_only", show.count),
                ("Only the second", "metrics/compare.json: {}.second_only", show.count),
                ("p", "metrics/compare.json: {}.p_value", show.two_digits),
                ("Holm-adjusted p", "metrics/compare.json: {}.p_value_holm", show.two_digits),
            ],
        )

    def votes(self) -> Table:
        """The soft votes."""
        compare = self.evidence.compare
        keys = [*(f"ensembles[{place}]" for place in range(len(compare.ensembles))), "weighted_ensemble"]
        votes = [*compare.ensembles, compare.weighted_ensemble]
        names = [" + ".join(self.evidence.titles[name] for name in vote.members) for vote in votes]
        return self.files.tabulate(
            "Members",
            zip(names, keys, strict=True),
            [
                ("Weights", "metrics/compare.json: {}.weights", show.weights),
                ("Accuracy", "metrics/compare.json: {}.accuracy", show.percent),
                ("95% interval", "metrics/compare.json: {}.accuracy_ci95", show.interval),
                ("Gain, points", "metrics/compare.json: {}.gain_points", show.signed),
                ("p", "metrics/compare.json: {}.p_value", show.two_digits),
            ],
        )

    def literature(self) -> Table:
        """Table 1."""
        return self.files.tabulate(
            "Work",
            [(f"{work.reference} [{work.number}]", f"[{place}]") for place, work in enumerate(LITERATURE)],
            [
                ("Year", "Table 1: {}.year", str, "Table 1"),
                ("Data set", "Table 1: {}.dataset", str, "Table 1"),
                ("Technique", "Table 1: {}.technique", str, "Table 1"),
                ("Accuracy", "Table 1: {}.accuracy", show.percent, "Table 1"),
            ],
        )

    def votes_literature(self) -> Table:
        """Published accuracies on FER+."""
        rows = [
            [Cell(work.reference)]
            + [
                Cell(text, f"literature: {work.source}")
                for text in (work.technique, work.protocol, show.percent(work.accuracy))
            ]
            for work in VOTES_LITERATURE
        ]
        return Table(["Work", "Technique", "Protocol", "Accuracy"], rows)

    def annotators(self) -> Table:
        """Networks and annotators, against the labels and against each other."""
        head, rows = self.by_network("annotators")
        people = [Cell(PEOPLE), self.files.cell("metrics/compare.json: labels.accuracy", show.percent), *[EMPTY] * 7]
        return Table(["", *head[1:]], [*rows, people])

    def recall(self) -> Table:
        """How often the annotators and each network agree with the label, by class."""
        networks = [
            (title, f"metrics/{name}.json: per_class.{{}}.recall", show.percent) for title, name in self.networks
        ]
        people = (PEOPLE, "metrics/compare.json: labels.recall.{}", show.percent)
        return self.files.tabulate("Label", repeat(CLASSES), [people, *networks])

    def other(self, name: str) -> Table:
        """The networks on another data set."""
        row = f"metrics/other/{name}.json: networks.{{}}"
        columns: list[Column] = [
            ("Accuracy", f"{row}.accuracy", show.percent),
            ("95% interval", f"{row}.accuracy_ci95", show.interval),
            ("Balanced accuracy", f"{row}.balanced_accuracy", show.percent),
            *((f"Recall, {emotion}", f"{row}.per_class.{emotion}.recall", show.percent) for emotion in CLASSES),
        ]
        return self.files.tabulate("Network", self.networks, columns)

    def other_confusion(self, name: str, network: str) -> Table:
        """The confusion matrix of a network on another data set."""
        row = f"metrics/other/{name}.json: networks.{network}.confusion[{{}}]"
        columns = [(emotion, f"{row}[{place}]", show.count) for place, emotion in enumerate(CLASSES)]
        return self.files.tabulate("Label", [(emotion, str(place)) for place, emotion in enumerate(CLASSES)], columns)

    def exports(self) -> Table:
        """The exported networks: accuracy and size."""
        return self.files.tabulate(
            "Network",
            [
                (f"{title}, {precision}", f"{name}.{precision}")
                for title, name in self.networks
                for precision in ("float32", "int8")
            ],
            [
                ("Accuracy", "metrics/export.json: networks.{}.accuracy", show.percent),
                ("Largest difference", "metrics/export.json: networks.{}.largest_difference", show.two_digits),
                ("MB", "metrics/export.json: networks.{}.bytes", show.megabytes),
            ],
        )
