"""The page: its sections in the paper's order, and the HTML."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from fer_pipeline.metrics import paper
from fer_pipeline.metrics.labels import Labels
from fer_pipeline.report import captions, tables
from fer_pipeline.report import labels as worth
from fer_pipeline.report.captions import count
from fer_pipeline.report.cells import Table
from fer_pipeline.report.read import Evidence, list_figures

LIBRARIES = ("tensorflow", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "dvc")
TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
).get_template("page.html.j2")
TIMES = Markup(
    "How long things take differs from machine to machine, and is not on this page: <code>make times</code> puts the "
    'times of this machine into <a href="timing.html">timing.html</a> beside it.'
)
FOOTER = Markup(
    "A dash (–) stands where there is nothing to compute a value from, or where the paper reports none. Numbers come "
    "from metrics/ and plots/; point at one in a table to see its file and key. <code>make repro</code> makes them, "
    "<code>make report</code> this page."
)


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
    paragraphs: list[str]
    items: list[Table | Figure]


Facts = list[tuple[str, str]]
"""[(term, value), ...] for the top of a page."""


def render(
    title: str,
    lead: str,
    facts: Facts,
    sections: list[Section],
    footer: str,
    overview: Table | None = None,
    warnings: tuple[str, ...] = (),
) -> str:
    """A page as HTML, without scripts; text is escaped unless it is `Markup`."""
    return TEMPLATE.render(
        title=title,
        lead=lead,
        facts=facts,
        sections=sections,
        footer=footer,
        overview=overview,
        warnings=warnings,
    ).lstrip()


def make_page(evidence: Evidence, facts: Facts, profile: str, sections: Mapping[str, Any], confident: float) -> str:
    """The report.

    Args:
        profile: that of params.yaml.
        sections: {network: its section of that profile}.
        confident: the confidence from which a mistake counts as a confident one.
    """
    compare = evidence.compare
    return render(
        title="Facial expression recognition: the evidence",
        lead=(
            f"{captions.listing(evidence.titles.values())} read one of seven emotions from a face. Below stand their "
            "data, training and results, beside those of the paper that this project reproduces."
        ),
        facts=facts,
        sections=[
            show_data(evidence),
            *([show_labels(evidence, compare.labels)] if compare.labels else []),
            show_training(evidence, profile, sections),
            *(show_network(name, evidence, confident) for name in evidence.networks),
            show_comparison(evidence),
            *([show_others(evidence)] if evidence.other else []),
            show_use(evidence),
        ],
        footer=FOOTER,
        overview=tables.tabulate_overview(evidence),
        warnings=() if compare.comparable else (f"Not the paper's conditions. {compare.label}",),
    )


def show_data(evidence: Evidence) -> Section:
    """Section 1 of the paper's methodology: the data set."""
    rows, pictures = evidence.data.rows, evidence.pictures
    return Section(
        "data",
        "Data",
        [evidence.data.note, *captions.describe_duplicates(evidence.data)],
        [
            tables.tabulate_images(evidence),
            Figure("shares", "Class shares (section 1)", captions.caption_shares(rows), pictures["data/classes.png"]),
            Figure(
                "faces",
                "Faces of the training data (Figure 1)",
                f"The first of each class among {count(rows['train']['total'])} training images.",
                pictures["data/faces.png"],
            ),
            Figure(
                "augmented",
                "Training faces as the networks see them",
                "One of each class, and what each network's augmentation makes of it in one epoch.",
                pictures["data/augmented.png"],
            ),
        ],
    )


def show_labels(evidence: Evidence, labels: Labels) -> Section:
    """What FER-2013's labels are worth, by the annotators of FER+ (the study's reference [11])."""

    def figure(key: str, title: str, caption: str) -> Figure:
        return Figure(f"labels-{key}", title, caption, evidence.pictures[f"compare/{key}.png"])

    return Section(
        "labels",
        "What the labels are worth",
        worth.explain(labels),
        [
            worth.tabulate_annotators(evidence, labels),
            worth.tabulate_tests(evidence, labels),
            figure("annotators", "The annotators' confusion matrix", worth.caption_matrix(labels)),
            worth.tabulate_recall(evidence),
            figure("levels", "Accuracy by the annotators' agreement", worth.caption_levels(labels)),
            figure("contradicted", "Labels that nobody else believes", worth.caption_contradicted(labels)),
            worth.tabulate_votes_literature(),
        ],
    )


def show_training(evidence: Evidence, profile: str, sections: Mapping[str, Any]) -> Section:
    """Table 3, and the curves of Figures 3, 4 and 6."""
    items: list[Table | Figure] = [
        tables.tabulate_configuration(evidence, profile, sections),
        tables.tabulate_trainings(evidence),
    ]
    items += [
        Figure(
            f"{name}-curves",
            f"{network.TITLE}: accuracy and loss per epoch" + (f" ({network.PAPER.curves})" if network.PAPER else ""),
            captions.caption_curves(evidence.train[name]),
            evidence.pictures[f"{name}/test/curves.png"],
        )
        for name, network in evidence.networks.items()
    ]
    return Section("training", "Training", [TIMES], items)


def show_network(name: str, evidence: Evidence, confident: float) -> Section:
    """The paper's Evaluation Metrics of one network: Tables 5 and 6, Figures 5 and 7 to 9, and the audit."""
    network, scores = evidence.networks[name], evidence.scores[name]
    drawn = list_figures(network)

    def figure(key: str, what: str, caption: str, printed: str = "") -> Figure:
        where = tables.place(name, evidence, printed) if printed else ""
        picture = evidence.pictures[f"{name}/test/{key}.png"]
        return Figure(f"{name}-{key}", f"{network.TITLE}: {what}{where}", caption, picture)

    items: list[Table | Figure] = [
        tables.tabulate_scores(name, evidence),
        figure("confusion", "confusion matrix", captions.caption_confusion(scores), "Figures 5 and 7"),
        tables.tabulate_confusions(name, evidence),
        tables.tabulate_classes(name, evidence),
        figure("classes", "scores per class", captions.caption_class_bars(scores), "Figure 9"),
        tables.tabulate_confidence(name, evidence),
        figure("confidence", "confidence", captions.caption_confidence(scores), "Figure 8"),
        figure("risk_coverage", "accuracy against coverage", captions.caption_risk(evidence.risk[name])),
        figure("mistakes", "misclassification audit", captions.caption_mistakes(scores, confident)),
    ]
    if "gradcam" in drawn:
        items.append(figure("gradcam", "where it looks (Grad-CAM)", captions.caption_gradcam(scores)))
    return Section(name, network.TITLE, [f"{note[0].upper()}{note[1:]}." for note in scores.notes], items)


def show_comparison(evidence: Evidence) -> Section:
    """The paper's Comparison: Table 7, Figure 10 and Table 1, and what it has no room for."""
    compare, titles = evidence.compare, evidence.titles

    def figure(key: str, title: str, caption: str) -> Figure:
        return Figure(f"compare-{key.replace('_', '-')}", title, caption, evidence.pictures[f"compare/{key}.png"])

    works = [work for work in paper.LITERATURE if work.accuracy is not None and work.dataset == "FER-2013"]
    literature = captions.caption_literature(compare.table7, compare.ensembles[-1].accuracy, works, titles)
    return Section(
        "comparison",
        "Comparison",
        [],
        [
            tables.tabulate_table7(evidence),
            tables.tabulate_tests(evidence),
            figure("class_f1", "F1 per class, side by side", captions.caption_class_f1(evidence.scores, titles)),
            tables.tabulate_votes(evidence),
            figure("ensembles", "Networks and soft votes", captions.caption_ensembles(compare, titles)),
            figure("agreement", "How many networks are right", captions.caption_agreement(compare.agreement, titles)),
            figure("all_wrong", "What all networks get wrong", captions.caption_all_wrong(compare.all_wrong)),
            figure(
                "literature",
                "Accuracies of the literature and ours (Figure 10)",
                f"{literature} {tables.label(compare)}",
            ),
            tables.tabulate_literature(),
        ],
    )


def show_others(evidence: Evidence) -> Section:
    """Other data sets, of which nothing was learnt or chosen."""
    text = (
        "All faces of other data sets, by the networks as they are: nothing was learnt or chosen on them. Pictures of "
        "another size are scaled to 48x48, their middle square alone."
    )
    items: list[Table | Figure] = []
    for name in evidence.other:
        items += tables.tabulate_other(name, evidence)
    return Section("others", "Other data sets", [text], items)


def show_use(evidence: Evidence) -> Section:
    """The exported networks."""
    text = (
        "The networks as ONNX files, run by onnxruntime: this is what predict and serve use. Accuracy is that on test "
        "from one crop. The largest difference is that of any probability on test from the trained network's own."
    )
    return Section("use", "Use", [text, TIMES], [tables.tabulate_exports(evidence)])


def list_facts(evidence: Evidence, seed: int, profile: str, dataset: str) -> Facts:
    """Under what conditions the numbers came about."""
    data = evidence.data
    devices = dict.fromkeys(f"{train.device}, {train.precision}" for train in evidence.train.values())
    return [
        ("Profile", profile),
        ("Split", data.split),
        ("Seed", str(seed)),
        ("Data set", f"{dataset}: {count(data.source.rows)} images, MD5 {data.source.md5}{captions.name_origin(data)}"),
        ("Trained on", "; ".join(devices)),
        ("Libraries", ", ".join(f"{library} {version(library)}" for library in LIBRARIES)),
    ]
