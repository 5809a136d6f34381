"""What the labels are worth: annotators and networks beside numbers computed by hand, and their pictures."""

import json

import numpy as np
import pandas as pd
import pytest
from answers import predict
from conftest import PAPERS as NETWORKS

from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES, VOTED
from fer_pipeline.figures.comparison import draw_annotators, draw_contradicted, draw_levels
from fer_pipeline.metrics.annotators import (
    count_favourites,
    judge_labels,
    judge_network,
    tabulate_contradicted,
    tabulate_levels,
)
from fer_pipeline.metrics.scores import tabulate_images
from fer_pipeline.predictions.calibration import fit_votes_temperature
from fer_pipeline.predictions.predictions import votes_to_csv


def vote(*rows):
    """Votes uint8 (N, 10) of {class: number}."""
    return np.array([[row.get(name, 0) for name in VOTE_CLASSES] for row in rows], np.uint8)


VOTES = vote(
    {"happy": 10},
    {"sad": 8, "neutral": 2},
    {"neutral": 6, "sad": 4},
    {"contempt": 7, "happy": 3},
    {"unknown": 9, "fear": 1},
    {"fear": 5, "surprise": 5},
)
LABELS = ["happy", "fear", "sad", "happy", "fear", "surprise"]


def test_a_network_beside_the_annotators():
    """Majorities: happy, sad, neutral, contempt, none (unknown), none (five of ten)."""
    test = predict(LABELS, ["happy", "sad", "sad", "happy", "angry", "fear"])
    second = np.full((6, 8), 0.02)
    second[np.arange(6), [3, 4, 4, 7, 0, 2]] = 0.86
    found = judge_network(test, second, VOTES)

    def cross_entropy(high, low, *hits):
        """The mean over faces whose votes are on the predicted class to these shares."""
        return pytest.approx(-np.mean([hit * np.log(high) + (1 - hit) * np.log(low) for hit in hits]), abs=1e-6)

    assert found.model_dump() == {
        "rows": 4,
        "emotion_rows": 3,
        "accuracy": 0.666667,  # happy and sad of happy, sad and neutral
        "cross_entropy": cross_entropy(0.7, 0.05, 1, 0.8, 0.4, 1, 0.5),  # of the fourth, happy alone of the seven
        "votes_accuracy": 0.75,
        "votes_cross_entropy": cross_entropy(0.86, 0.02, 1, 0.8, 0.4, 0.7, 0.5),
        # wrong: row 1 (sad, as the annotators), row 4 (angry; they say unknown), row 5 (fear, their first favourite)
        "mistakes": {"network": 0.666667, "label": 0.0, "neither": 0.333333},
    }
    without = judge_network(test, None, VOTES)
    assert without.votes_accuracy is None and without.accuracy == found.accuracy
    assert judge_network(test, second, None) is None
    assert judge_network(predict(LABELS, LABELS), None, VOTES).mistakes is None


def test_the_temperature_of_a_second_head():
    """Shares that are powers of what annotators said are brought back to them."""
    votes = vote(*[{"happy": 8, "sad": 2}, {"fear": 6, "surprise": 4}, {"neutral": 7, "sad": 3}] * 5)
    exact = np.where(votes[:, :8] > 0, votes[:, :8] / 10, 1e-9)
    sharp = exact**2 / (exact**2).sum(axis=1, keepdims=True)
    assert fit_votes_temperature(sharp, votes) == pytest.approx(2, rel=0.1)  # what nobody said holds it back a little
    assert fit_votes_temperature(None, votes) is None and fit_votes_temperature(sharp, None) is None


@pytest.fixture
def three():
    """Three networks on the six faces; of the second, all say sad and eight annotators too."""
    answers = (
        ["happy", "sad", "sad", "happy", "fear", "fear"],
        ["happy", "sad", "neutral", "happy", "fear", "surprise"],
        ["sad", "sad", "neutral", "happy", "fear", "surprise"],
    )
    return {name: predict(LABELS, answer) for name, answer in zip(NETWORKS, answers, strict=True)}


def test_what_the_labels_are_worth(three):
    """Favourites: happy, sad, neutral, contempt, unknown, fear (the first of equals)."""
    labels, tables = judge_labels(VOTES, VOTE_CLASSES, three, tabulate_images(three), 100, seed=0)
    levels, contradicted = tables.values()
    assert (labels.accuracy, labels.unsupported, labels.contradicted) == (0.166667, 0.166667, 1)
    assert [labels.recall[name] for name in ("happy", "fear", "angry")] == [0.5, 0, None]
    pairs = {(pair.first, pair.second): (pair.first_only, pair.second_only) for pair in labels.mcnemar}
    counts = dict(zip(NETWORKS, ((0, 3), (0, 3), (1, 3)), strict=True))
    assert pairs == {("annotators", name): count for name, count in counts.items()}
    assert labels.levels[0].favourite == {"baseline": 1, "vgg19": 1, "resnet18": 0}
    columns = {
        "votes": [10, 8, 6, 5],  # of favourites among the seven
        "images": [1, 1, 1, 1],
        "favourite_is_label": [1, 0, 0, 0],
        "resnet18_label": [0, 0, 0, 1],
        "resnet18_favourite": [0, 1, 1, 0],
    }
    assert levels[[*columns]].to_dict("list") == columns
    (row,) = contradicted.drop(columns="confidence").to_dict("records")
    expected = {"actual": "fear", "predicted": "sad", "votes": 8, "votes_for_label": 0, "said": "sad 8, neutral 2"}
    assert row == {"index_in_test": 1, **expected}
    labels, tables = judge_labels(None, (), three, tabulate_images(three), 100, seed=0)
    assert labels is None and all(table.empty for table in tables.values()), "without votes there is nothing to tell"


def test_few_who_agree_share_a_level(three):
    few = {"happy": 3, "sad": 2, "angry": 3, "fear": 2}
    levels = tabulate_levels(vote(few, {"sad": 4, "fear": 3, "happy": 3}, *[few] * 4), three)
    assert levels["votes"].tolist() == [4] and levels["images"].tolist() == [6]
    nothing = tabulate_levels(vote(*[{"unknown": 10}] * 6), three)
    assert nothing.empty and nothing.columns.tolist() == levels.columns.tolist()


def test_agreement_of_any_number_of_annotators_is_in_tenths(three):
    """All of three, three of five, and half of six; of contempt and happy, the first is the favourite."""
    levels = tabulate_levels(np.minimum(VOTES, 3), three)
    assert levels[["votes", "images"]].to_numpy().tolist() == [[10, 1], [6, 1], [5, 3]]
    halves = vote(*[{"happy": 20}, {"sad": 16, "neutral": 4}, *[{"neutral": 9, "sad": 11}] * 4])
    labels, _ = judge_labels(halves, VOTE_CLASSES, three, tabulate_images(three), 100, seed=0)
    assert [level.votes for level in labels.levels] == [10, 8, 5] and labels.contradicted == 1


def test_faces_are_ordered_by_votes_then_confidence(three):
    votes = np.repeat(vote({"sad": 9, "happy": 1}), 6, axis=0)
    votes[3] = vote({"happy": 1, "sad": 9})
    rows = {name: predict(["fear"] * 6, ["sad"] * 6) for name in NETWORKS}
    rows["vgg19"].probabilities[4] = rows["vgg19"].probabilities[4] ** 3 / (rows["vgg19"].probabilities[4] ** 3).sum()
    votes[2] = vote({"sad": 10})
    table = tabulate_contradicted(votes, VOTE_CLASSES, rows["vgg19"], tabulate_images(rows))
    assert table["index_in_test"].tolist() == [2, 4, 0, 1, 3, 5]


def test_favourites_are_counted_by_label():
    counts = count_favourites(VOTES, np.array([CLASSES.index(name) for name in LABELS], np.uint8), 7)
    expected = np.zeros((7, 10), int)
    for label, favourite in zip(LABELS, ["happy", "sad", "neutral", "contempt", "unknown", "fear"], strict=True):
        expected[CLASSES.index(label), VOTE_CLASSES.index(favourite)] = 1
    np.testing.assert_array_equal(counts, expected)


def read_texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_pictures_say_what_the_tables_hold(three):
    titles = {name: name.title() for name in NETWORKS}
    levels, contradicted = judge_labels(VOTES, VOTE_CLASSES, three, tabulate_images(three), 100, seed=0)[1].values()
    counts = np.zeros((7, 10), int)
    counts[3, 3], counts[3, 6], counts[2, 9] = 3, 1, 5
    table = pd.DataFrame(counts, index=CLASSES, columns=VOTE_CLASSES)
    texts = read_texts(draw_annotators(table, ten=True))
    assert [text for text in texts if text] == ["100%", "75%", "25%"]
    left, right = draw_levels(levels, titles, ten=True).axes[:2]
    assert [line.get_ydata().tolist() for line in left.lines] == [levels[f"{n}_favourite"].tolist() for n in titles]
    assert right.lines[-1].get_ydata().tolist() == levels["favourite_is_label"].tolist()
    figure = draw_contradicted(contradicted, np.zeros((6, 48, 48), np.uint8), ten=True)
    assert figure.axes[0].get_title() == "fear\n→ sad" and "sad 8, neutral 2" in read_texts(figure)
    assert figure.get_suptitle().startswith("1 test image whose label")
    many = draw_contradicted(pd.concat([contradicted] * 129), np.zeros((6, 48, 48), np.uint8), ten=True)
    assert many.get_suptitle().startswith("30 of 129 test images whose label")
    assert read_texts(draw_contradicted(contradicted[:0], None, ten=True))[0].startswith("There is no face")
    assert read_texts(draw_levels(levels[:0], titles, ten=True))[0].startswith("There is no face")


def test_the_csv_of_a_second_head():
    shares = np.full((2, 8), 0.05)
    shares[0, 7], shares[1, 3] = 0.65, 0.65
    header, *rows = votes_to_csv({"val": shares[:1], "test": shares[1:]}, VOTED).decode().splitlines()
    assert [row.rsplit(",", 8)[0] for row in rows] == ["val,0,contempt,0.650000", "test,0,happy,0.650000"]
    assert header == ",".join(["split,index,predicted,confidence", *CLASSES, "contempt"])
    assert votes_to_csv({}, VOTED).decode() == f"{header}\n"


def test_without_votes_the_pipeline_runs_as_well(finished_clone):
    """With data/no_votes.csv the networks learn the labels alone, and the report leaves the section out."""
    page = finished_clone.path / "plots/report.html"
    assert "What the labels are worth" in page.read_text()
    finished_clone.edit("params.yaml", {"votes: data/raw/sample_votes.csv": "votes: data/no_votes.csv"})
    printed = finished_clone.run("dvc", "repro")
    assert "learns the labels alone" in printed
    assert "What the labels are worth" not in page.read_text()
    assert (finished_clone.path / "data/predictions/vgg19_votes.csv").read_text().count("\n") == 1
    assert json.loads((finished_clone.path / "metrics/compare.json").read_text())["labels"] is None
    assert "Running stage" not in finished_clone.run("dvc", "repro")
