"""What each JSON file of metrics/ holds: its keys, types and units. Writers, readers, the report and tests go by it.

    metrics/train/<network>.json    Training        stages/train.py
    metrics/<network>.json          Scores          stages/evaluate.py
    metrics/summary/<name>.json     Summary         stages/evaluate.py, stages/compare.py: what `dvc metrics` shows
    metrics/compare.json            Comparison      stages/compare.py
    metrics/export.json             Exports         stages/measure.py
    metrics/other/<set>.json        Other           stages/other.py
    metrics/timing.json             Timing          an entry per stage, outside git and DVC

Accuracies, shares, probabilities and confidences are in [0, 1]; what is called points is a difference of two of them
times 100. None (null) stands where there is nothing to compute a value from. Times are in metrics/timing.json alone.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import Field, ValidationError

from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.running.timing import read_times
from fer_pipeline.training.common.run import Training, TrainingTimes

__all__ = ["Comparison", "Exports", "Scores", "Summary", "Timing", "Training", "TrainingTimes"]

Interval = Annotated[list[Share], Field(min_length=2, max_length=2)]
"""[low, high] of a 95 % interval."""
Difference = Annotated[float, Field(ge=-1, le=1)]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]


class ClassScores(Record):
    """Table 5 for one class. All but the support are None for a class without test images."""

    precision: Share | None
    """None for a class that is never predicted, too."""
    recall: Share | None
    f1: Share | None
    accuracy: Share | None
    """The recall, as the paper has it."""
    support: Count
    """Test images."""


class Confidence(Record):
    """Table 6, on test."""

    mean: Share
    mean_correct: Share | None
    mean_incorrect: Share | None
    std: float
    low_count: Count
    """Images whose confidence lies below the threshold."""
    low_share: Share
    low_accuracy: Share | None
    threshold: Share


class Calibration(Record):
    """How far the probabilities of test can be believed."""

    ece: Share
    """Expected calibration error."""
    nll: float
    """Mean negative log-likelihood of the true class, in nats."""
    brier: Annotated[float, Field(ge=0, le=2)]
    """Mean squared difference from the one-hot label, summed over the classes."""
    temperature: float
    """Fitted on val."""
    ece_scaled: Share
    """With that temperature."""
    nll_scaled: float


class Confusion(Record):
    actual: str
    predicted: str
    count: Count


class Errors(Record):
    """The misclassification audit."""

    count: Count
    share: Share
    confident_count: Count
    """Of them with a confidence of `evaluate.confident` or more."""
    top: list[Confusion]
    """The most frequent pairs, falling."""


class Measured(Record):
    """What predictions alone tell of a network or of an ensemble, on test."""

    accuracy: Share
    accuracy_unseen: Share | None
    """Without the images that stand in train as well."""
    unseen_count: Count
    balanced_accuracy: Share
    """Mean recall of the classes that test has."""
    macro_f1: Share
    accuracy_ci95: Interval
    """Bootstrap."""
    val_accuracy: Share
    per_class: dict[str, ClassScores]
    confidence: Confidence
    calibration: Calibration
    errors: Errors
    notes: list[str]
    """Sentences on what is None, and why."""


class Cost(Record):
    parameters: Count
    """Trainable ones."""
    macs: Count
    """Multiply-accumulates for one image."""
    model_bytes: Count


class Sides(Record):
    """With whom annotators side where a network contradicts the label: shares of these test images."""

    network: Share
    label: Share
    neither: Share


class Annotators(Record):
    """How a network stands to FER+'s annotators, on test; see `fer_pipeline.metrics.annotators`."""

    rows: Count
    """Test images with a majority for one of the seven emotions or contempt."""
    emotion_rows: Count
    """Of them those for one of the seven."""
    accuracy: Share | None
    """Of the network on the latter, against the majority."""
    cross_entropy: float | None
    """In nats, to the shares of votes among the seven."""
    votes_accuracy: Share | None
    """Of the second head on the former; None without one, as the next."""
    votes_cross_entropy: float | None
    """In nats, to the shares of votes among the eight."""
    mistakes: Sides | None
    """None for a network that never contradicts a label."""


class Scores(Measured):
    """metrics/<network>.json."""

    accuracy_single_crop: Share
    """By the centre crop."""
    temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)]
    """As `calibration.temperature`, for the centre crop: what the exported network carries."""
    votes_temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)] | None = None
    """The same of the second head, by what annotators said; None without one."""
    annotators: Annotators | None = None
    """None where the data have no votes."""
    train_accuracy: Share
    """Of the finished network on plain training faces, by the centre crop."""
    overfitting_gap: Difference
    """Train accuracy less test accuracy."""
    cost: Cost
    device: Device
    precision: Precision


class Summary(Record):
    """metrics/summary/<name>.json: few enough for 80 columns."""

    accuracy: Share
    macro_f1: Share
    ece: Share


class Accuracies(Record):
    train_accuracy: Share
    accuracy: Share
    overfitting_gap: Difference


class AccuracyDifferences(Record):
    """Ours less the paper's, in points."""

    train_accuracy: float
    accuracy: float
    overfitting_gap: float


class Table7Row(Accuracies):
    """One network, and what the paper has for it; None where it has not this network."""

    macro_f1: Share
    parameters: Count
    model_bytes: Count
    paper: Accuracies | None
    difference_points: AccuracyDifferences | None


class McNemar(Record):
    """The exact test: are two networks equally often right?"""

    first: str
    second: str
    first_only: Count
    """Test images that only the first gets right."""
    second_only: Count
    p_value: Share
    p_value_holm: Share
    """Adjusted for all pairs together."""


class Ensemble(Record):
    """A soft vote: the weighted mean of its members' probabilities."""

    members: list[str]
    weights: list[Share]
    val_accuracy: Share
    accuracy: Share
    accuracy_ci95: Interval
    best_member: str
    """On test."""
    gain_points: float
    """Over the best member."""
    p_value: Share
    """McNemar's, against the best member."""


class WeightedEnsemble(Ensemble):
    chosen_on: Literal["val"]


class Pair(Record):
    first: str
    second: str
    share: Share
    """Test images of which both say the same."""
    kappa: Annotated[float, Field(ge=-1, le=1)] | None
    """Cohen's; None where both always say one and the same class."""


class Agreement(Record):
    pairs: list[Pair]
    all_share: Share
    """Test images of which all networks say the same."""
    right_by: list[Count]
    """Images that none, one, ... all of them get right."""
    any_right: Share


class AllWrong(Record):
    """Test images that no network gets right."""

    count: Count
    share: Share
    same_count: Count
    """Of them, those of which all networks say the same."""
    same_share: Share | None
    indices: list[Count]
    """Rows of test, the first hundred of all_wrong.csv."""


class LevelOfAgreement(Record):
    """Test images on whose emotion so many annotators agree."""

    votes: Count
    """For the favourite; the least number stands for all below it as well."""
    images: Count
    favourite_is_label: Share
    label: dict[str, Share]
    """{network: share of the images of which it says what the label is}."""
    favourite: dict[str, Share]
    """{network: share of the images of which it says what the favourite is}."""


class Labels(Record):
    """What the test labels are worth, by FER+'s annotators; see `fer_pipeline.metrics.annotators`."""

    accuracy: Share
    """Test images whose label is the annotators' favourite: what they score on FER-2013."""
    accuracy_ci95: Interval
    recall: dict[str, Share | None]
    """{emotion: the same of the images that are labelled so}."""
    unsupported: Share
    """Test images for whose label not one annotator voted."""
    mcnemar: list[McNemar]
    """Annotators beside each network."""
    levels: list[LevelOfAgreement]
    contradicted: Count
    """Test images of which all networks say the same against the label, and at least eight annotators with them."""


class Comparison(Record):
    """metrics/compare.json."""

    profile: str
    split: str
    comparable: bool
    """Whether our figures may be held against the paper's."""
    label: str
    """The sentence that says what both come from."""
    notes: list[str]
    table7: dict[str, Table7Row]
    mcnemar: list[McNemar]
    ensembles: list[Ensemble]
    """With equal weights: each pair, ... and at last all."""
    weighted_ensemble: WeightedEnsemble
    ensemble: Measured
    """The vote of all, with equal weights."""
    agreement: Agreement
    all_wrong: AllWrong
    labels: Labels | None = None
    """None where the data have no votes."""


class Exported(Record):
    """One exported network."""

    accuracy: Share
    """On test, by the centre crop."""
    largest_difference: Share
    """Of any probability on test, from the network in its framework."""
    bytes: Count


class Quantised(Exported):
    lost: Difference
    """Accuracy on test, beside the float32 file."""
    kept_in_float32: list[str]


class Precisions(Record):
    float32: Exported
    int8: Quantised


class Exports(Record):
    """metrics/export.json."""

    networks: dict[str, Precisions]


class EvaluationTimes(Record):
    """metrics/timing.json: evaluate@<name>. From faces in memory to probabilities in memory, one crop each."""

    latency_ms_batch1: float
    """Of one image: the median call."""
    images_per_second: float
    """In batches of 256: the fastest."""
    hardware: str


class Latency(Record):
    """Milliseconds for one face."""

    median: float
    p95: float
    """95th percentile."""


class Latencies(Record):
    threads_1: Latency
    threads_2: Latency


class OtherScores(Record):
    """A network on all faces of another data set."""

    accuracy: Share
    accuracy_ci95: Interval
    balanced_accuracy: Share
    per_class: dict[str, ClassScores]
    confusion: list[list[Count]]
    """Row: label; column: prediction; both in the order of the classes."""


class Other(Record):
    """metrics/other/<name>.json: all networks on another data set, of which nothing was learnt or chosen."""

    source: str
    """Its name without folders."""
    md5: str
    faces: Count
    left_out: dict[str, Count]
    """{folder: pictures} below no folder of a known emotion."""
    scaled: Count
    """Pictures of another size than 48x48."""
    seen: Count
    """Faces that stand, pixel by pixel, in the train or val rows of FER-2013 as well."""
    networks: dict[str, OtherScores]


class ExportedTimes(Record):
    """One exported network, run by onnxruntime on the CPU."""

    latency_ms: Latencies
    faces_per_second: float
    """In batches of 64, on all cores."""


class PrecisionTimes(Record):
    float32: ExportedTimes
    int8: ExportedTimes


class ExportTimes(Record):
    """metrics/timing.json: measure."""

    networks: dict[str, PrecisionTimes]
    hardware: str


class Timing(NamedTuple):
    """metrics/timing.json; None for a stage that wrote nothing there, or nothing that fits."""

    training: dict[str, TrainingTimes | None]
    """By network, as the next."""
    evaluation: dict[str, EvaluationTimes | None]
    exports: ExportTimes | None


Times = TypeVar("Times", bound=Record)


def read_timing(path: str | Path, names: Iterable[str]) -> Timing:
    """What metrics/timing.json holds of the networks `names`."""
    found = read_times(path)

    def read(stage: str, kind: type[Times]) -> Times | None:
        try:
            return kind.model_validate(found.get(stage))
        except ValidationError:
            return None

    names = list(names)
    return Timing(
        {name: read(f"train_{name}", TrainingTimes) for name in names},
        {name: read(f"evaluate@{name}", EvaluationTimes) for name in names},
        read("measure", ExportTimes),
    )
