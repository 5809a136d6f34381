"""The scores of networks as files: metrics/<network>.json on test, metrics/other/<set>.json on another data set."""

from collections.abc import Mapping

from pydantic import Field

from fer_pipeline.core.record import Count, Device, Difference, Interval, Precision, Record, Share
from fer_pipeline.faces.faces import Split
from fer_pipeline.metrics.annotators import Annotators, judge_network
from fer_pipeline.metrics.groups import Groups, Names, judge_groups
from fer_pipeline.metrics.scores import ClassScores, Measured, average, measure
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import Floats, Predictions
from fer_pipeline.predictions.record import Cost, NetworkFacts


class Scores(Measured):
    """metrics/<network>.json."""

    accuracy_single_crop: Share  # accuracy on test, by the centre crop alone
    accuracy_views: Share | None = None  # on test, by the network's `test_views`; None in runs older than these
    val_accuracy_views: Share | None = None
    annotators: Annotators | None = None  # None if the data have no votes
    groups: list[Groups] = Field(default_factory=list)  # where a table of the data set names some, such as ages
    train_accuracy: Share  # on training faces without augmentation, by the centre crop alone
    overfitting_gap: Difference  # train accuracy minus test accuracy
    cost: Cost
    device: Device  # where the predictions were computed
    precision: Precision


class OtherScores(Record):
    """One network on all faces of another data set."""

    accuracy: Share
    accuracy_ci95: Interval
    balanced_accuracy: Share
    per_class: dict[str, ClassScores]
    confusion: list[list[Count]]  # int (K, K): faces by label (rows) and prediction (columns)


class Other(Record):
    """metrics/other/<set>.json: all networks on another data set, on which nothing was trained or chosen."""

    source: str  # the file or folder of the data set, without the folders above it
    md5: str
    faces: Count
    left_out: dict[str, Count]  # {folder: number of its pictures}, for folders whose name is none of the classes
    scaled: Count  # pictures scaled from another size
    seen: Count  # faces whose exact pixels are also in the train or val rows
    networks: dict[str, OtherScores]


def judge(
    rows: Mapping[str, Mapping[str, Predictions]],
    train: Predictions,
    votes: Mapping[str, Floats],
    faces: Mapping[str, Split],
    names: Names,
    facts: NetworkFacts,
    settings: Evaluate,
    seed: int,
) -> Scores:
    """All scores of one network; `seed` is for the bootstrap.

    For each of `WAYS`, `rows` are {'val', 'test': predictions}; `votes` are {'val', 'test': probabilities of the second
    head} or {}; `train` are the predictions for train faces; `names` are the groups of the test images.
    """
    val, test = rows[""]["val"], rows[""]["test"]
    measured = measure(val, test, faces["test"].duplicate_of_train, settings, seed)
    train_accuracy = average(train.correct)
    return Scores(
        **dict(measured),
        accuracy_single_crop=average(rows["_single_crop"]["test"].correct),
        accuracy_views=average(rows["_views"]["test"].correct),
        val_accuracy_views=average(rows["_views"]["val"].correct),
        annotators=judge_network(test, votes.get("test"), faces["test"].votes),
        groups=judge_groups(test, names, settings, seed),
        train_accuracy=train_accuracy,
        overfitting_gap=round(train_accuracy - measured.accuracy, 6),
        **dict(facts),
    )
