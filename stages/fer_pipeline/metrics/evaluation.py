"""The scores of networks as files: metrics/<network>.json on test, metrics/other/<set>.json on another data set."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from fer_pipeline.core.record import Count, Difference, Interval, Record, Share
from fer_pipeline.faces.faces import Split
from fer_pipeline.metrics.annotators import Annotators, judge_network
from fer_pipeline.metrics.scores import ClassScores, Measured, average, measure
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.calibration import fit_temperature, fit_votes_temperature
from fer_pipeline.predictions.predictions import Floats, Predictions
from fer_pipeline.predictions.record import Cost, Device, NetworkFacts, Precision


class Scores(Measured):
    """metrics/<network>.json."""

    accuracy_single_crop: Share  # accuracy on test, by the centre crop alone
    temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)]  # for the centre crop alone: of the export
    votes_temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)] | None = None
    """That of the second head, fitted to the votes on val; None if there is no second head or no vote."""
    annotators: Annotators | None = None  # None if the data have no votes
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
    votes: Mapping[str, Mapping[str, Floats]],
    faces: Mapping[str, Split],
    facts: NetworkFacts,
    settings: Evaluate,
    seed: int,
) -> Scores:
    """All scores of one network; `seed` is for the bootstrap.

    `rows` is {'test_crops', 'single_crop': {'val', 'test': predictions}, 'train': {'train': predictions}}, `votes`
    {'test_crops', 'single_crop': {'val', 'test': probabilities of the second head} or {}}.
    """
    val, test = rows["test_crops"]["val"], rows["test_crops"]["test"]
    measured = measure(val, test, faces["test"].duplicate_of_train, settings, seed)
    train_accuracy = average(rows["train"]["train"].correct)
    return Scores(
        **dict(measured),
        accuracy_single_crop=average(rows["single_crop"]["test"].correct),
        temperature_single_crop=round(fit_temperature(rows["single_crop"]["val"]), 6),
        votes_temperature_single_crop=fit_votes_temperature(votes["single_crop"].get("val"), faces["val"].votes),
        annotators=judge_network(test, votes["test_crops"].get("test"), faces["test"].votes),
        train_accuracy=train_accuracy,
        overfitting_gap=round(train_accuracy - measured.accuracy, 6),
        **dict(facts),
    )
