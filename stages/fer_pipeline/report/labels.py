"""What the labels are worth: the tables and sentences of that section of the report."""

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.labels import FAVOURITES, LEAST, SURE, Labels
from fer_pipeline.report import captions
from fer_pipeline.report.captions import count, decimal, percent, tiny
from fer_pipeline.report.cells import EMPTY, Cell, Table
from fer_pipeline.report.read import Evidence
from fer_pipeline.report.tables import interval, take_comparison, take_scores

PEOPLE = "Ten annotators"


def explain(labels: Labels) -> list[str]:
    """The paragraphs before the tables."""
    return [
        "Each face has the votes of ten annotators: FER+'s, or for the drawn sample drawn ones. What most of them say, "
        "the first of equals, is the label on "
        f"{percent(labels.accuracy, 1)} of the test images, and not one of ten voted for "
        f"{percent(labels.unsupported, 1)} of the labels. A network that agrees with the labels more "
        "often than they do has learnt the labels' habits as well.",
        "Beside it stands the accuracy against the annotators' majority, as published on FER+: votes of one annotator "
        "alone are dropped; the majority is what then has more than half of the votes; faces without one, or with one "
        "for unknown or no face, are left out. A network's first head knows seven emotions and is judged on the faces "
        "with a majority for one of them; a second head has learnt how annotators vote, knows contempt as well, and is "
        "judged on those faces too.",
    ]


def tabulate_annotators(evidence: Evidence, labels: Labels) -> Table:
    """Networks and annotators, against the labels and against each other."""
    compared = take_comparison(evidence)
    rows = []
    for name, network in evidence.networks.items():
        scores = take_scores(name, evidence)
        rows.append(
            [
                Cell(network.TITLE),
                scores.cell("accuracy", percent),
                scores.cell("annotators.accuracy", percent),
                scores.cell("annotators.votes_accuracy", percent),
                scores.cell("annotators.cross_entropy", decimal),
                scores.cell("annotators.votes_cross_entropy", decimal),
                *(scores.cell(f"annotators.mistakes.{side}", lambda share: percent(share, 1)) for side in SIDES),
            ]
        )
    people = [Cell(PEOPLE), compared.cell("labels.accuracy", percent), *[EMPTY] * 7]
    found = next(iter(evidence.scores.values())).annotators
    majority = (
        f"The majority is known of {count(found.rows)} test images, for one of the seven emotions of "
        f"{count(found.emotion_rows)}. "
        if found
        else ""
    )
    return Table(
        "annotators-scores",
        "Networks and annotators on test",
        f"{majority}Annotators against the labels: {interval(labels.accuracy_ci95)} (95% interval). Cross-entropy, in "
        "nats, is that to the shares of votes. The last columns: where a network contradicts the label, with "
        "whom most annotators side.",
        [
            "",
            "Label right",
            "Majority right",
            "Majority right, second head",
            "Cross-entropy",
            "Cross-entropy, second head",
            "Side with network",
            "With label",
            "With neither",
        ],
        [*rows, people],
    )


SIDES = ("network", "label", "neither")


def tabulate_recall(evidence: Evidence) -> Table:
    """Per class, how often annotators and networks find what the label says."""
    compared = take_comparison(evidence)
    files = [take_scores(name, evidence) for name in evidence.networks]
    return Table(
        "annotators-recall",
        "Who finds what the label says, by class",
        "Recall: of the test images with the label, the share of which annotators (by most votes) or a network say the "
        "same.",
        ["Label", PEOPLE, *evidence.titles.values()],
        [
            [
                Cell(emotion),
                compared.cell(f"labels.recall.{emotion}", percent),
                *(file.cell(f"per_class.{emotion}.recall", percent) for file in files),
            ]
            for emotion in CLASSES
        ],
    )


def tabulate_tests(evidence: Evidence, labels: Labels) -> Table:
    """McNemar's test of the annotators beside each network."""
    compared, titles = take_comparison(evidence), {**evidence.titles, FAVOURITES: PEOPLE}
    tests = [captions.describe_test(pair, titles | {FAVOURITES: "most annotators' word"}) for pair in labels.mcnemar]
    return Table(
        "annotators-mcnemar",
        "Annotators and networks on the same labels: McNemar's exact test",
        " ".join(test[0].upper() + test[1:] for test in tests),
        ["Pair", "Only the first is right", "Only the second", "p", "Holm-adjusted p"],
        [
            [
                Cell(f"{titles[pair.first]}, {titles[pair.second]}"),
                compared.cell(f"labels.mcnemar[{place}].first_only", count),
                compared.cell(f"labels.mcnemar[{place}].second_only", count),
                compared.cell(f"labels.mcnemar[{place}].p_value", tiny),
                compared.cell(f"labels.mcnemar[{place}].p_value_holm", tiny),
            ]
            for place, pair in enumerate(labels.mcnemar)
        ],
    )


def tabulate_votes_literature() -> Table:
    """Published accuracies on FER+."""
    return Table(
        "votes-literature",
        "The literature on FER+",
        "Accuracies against the annotators' majority, by protocol. The first is from the FER+ paper, the second from "
        "the study's literature review, which names no protocol.",
        ["Work", "Technique", "Protocol", "Accuracy"],
        [
            [
                Cell(work.reference),
                *(
                    Cell(text, f"literature: {work.source}")
                    for text in (work.technique, work.protocol, percent(work.accuracy))
                ),
            ]
            for work in paper.VOTES_LITERATURE
        ],
        wordy=True,
    )


def caption_matrix(labels: Labels) -> str:
    """Of plots/compare/annotators.png."""
    text = captions.rank(labels.recall, lambda share: percent(share, 0), "Most agreed on", "least")
    return f"Rows: the label; columns: what most annotators say; shares of a row. {text}"


def caption_levels(labels: Labels) -> str:
    """Of plots/compare/levels.png."""
    if not labels.levels:
        return "Most annotators say one of the seven emotions of no test image."
    most = labels.levels[0]
    return (
        f"Where {most.votes} of ten annotators agree ({captions.plural(most.images, 'test image')}), they and the "
        f"label agree on {percent(most.favourite_is_label, 1)}. The left panel holds the networks against the "
        f"annotators, the right one against the label, on the same images; ≤{LEAST}: four or fewer agree."
    )


def caption_contradicted(labels: Labels) -> str:
    """Of plots/compare/contradicted.png."""
    return (
        f"Of {captions.plural(labels.contradicted, 'test image')} all networks say one and the same thing against the "
        f"label, and at least {SURE} of ten annotators say it too. plots/compare/contradicted.csv lists all."
    )
