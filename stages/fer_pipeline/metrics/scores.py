"""Everything that predictions alone tell: accuracy, classes, confidence, calibration, errors (Tables 5 and 6).

Numbers are rounded to six decimals.
"""

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.calibration import TEMPERATURES, fit_temperature, temper
from fer_pipeline.predictions.predictions import Predictions

TOP_ERRORS = 10


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


class Summary(Record):
    """metrics/summary/<name>.json: few enough for 80 columns."""

    accuracy: Share
    macro_f1: Share
    ece: Share


def measure(
    val: Predictions, test: Predictions, seen: NDArray[np.bool_] | None, settings: Evaluate, seed: int
) -> Measured:
    """The metrics of one network, or of an ensemble, on test; val serves to fit the temperature, and for its accuracy.

    Args:
        seen: bool (N,), test rows whose very image stands in train as well; None: not one.
        seed: of the bootstrap.
    """
    correct = test.correct
    unseen = correct if seen is None else correct[~seen]
    classes = score_classes(test)
    present = [scores for scores in classes.values() if scores.support]
    calibration = calibrate(val, test, settings.bins)
    return Measured(
        accuracy=average(correct),
        accuracy_unseen=average_if_any(unseen),
        unseen_count=len(unseen),
        balanced_accuracy=average([scores.recall for scores in present]),
        macro_f1=average([scores.f1 for scores in present]),
        accuracy_ci95=bound_accuracy(correct, settings.bootstrap, seed),
        val_accuracy=average(val.correct),
        per_class=classes,
        confidence=describe_confidence(test.confidence, correct, settings.threshold),
        calibration=calibration,
        errors=count_errors(test, settings.confident),
        notes=[*explain_classes(classes), *explain_temperature(calibration.temperature)],
    )


def summarise(measured: Measured) -> Summary:
    """The few numbers for `dvc metrics show`: three fit in 80 columns."""
    return Summary(accuracy=measured.accuracy, macro_f1=measured.macro_f1, ece=measured.calibration.ece)


def average(values: Any) -> float:
    """The mean of numbers or bools, as a float of six decimals."""
    return round(float(np.mean(values)), 6)


def average_if_any(values: Any) -> float | None:
    """`average`, or None of nothing."""
    return average(values) if len(values) else None


def bound_accuracy(correct: NDArray[np.bool_], resamples: int, seed: int) -> list[float]:
    """[low, high]: the 95 % percentile bootstrap interval of the share of `correct` (bool (N,)).

    N rows drawn with replacement hold a binomial number of right ones, so that number is drawn and not the rows.
    """
    counts = np.random.default_rng(seed).binomial(len(correct), np.mean(correct), resamples)
    return [round(float(limit), 6) for limit in np.percentile(counts / len(correct), [2.5, 97.5])]


def score_classes(rows: Predictions) -> dict[str, ClassScores]:
    """Table 5: {emotion: its scores}; a class that is never predicted has no precision."""
    every = precision_recall_fscore_support(
        rows.actual, rows.predicted, labels=range(len(CLASSES)), zero_division=np.nan
    )
    scores = {}
    for emotion, precision, recall, f1, support in zip(CLASSES, *every, strict=True):
        values = {"precision": precision, "recall": recall, "f1": f1, "accuracy": recall}
        known = {key: None if np.isnan(value) or not support else average(value) for key, value in values.items()}
        scores[emotion] = ClassScores(**known, support=int(support))
    return scores


def explain_classes(classes: dict[str, ClassScores]) -> Iterator[str]:
    """A sentence for each class of `score_classes` that has a None."""
    for emotion, scores in classes.items():
        if not scores.support:
            yield f"{emotion}: test has no such face, so its scores are empty and the averages leave it out"
        elif scores.precision is None:
            yield f"{emotion}: never predicted, so it has no precision"


def explain_temperature(temperature: float) -> Iterator[str]:
    """A sentence where the fit ran against one of its bounds."""
    for bound in TEMPERATURES:
        if abs(np.log(temperature / bound)) < 0.01:
            yield f"the temperature stands at the end of its range, {bound:g}: val does not determine it"


def describe_confidence(confidence: NDArray[np.float64], correct: NDArray[np.bool_], threshold: float) -> Confidence:
    """Table 6: the means, the standard deviation (of the population), and the rows with confidence < `threshold`."""
    low = confidence < threshold
    return Confidence(
        mean=average(confidence),
        mean_correct=average_if_any(confidence[correct]),
        mean_incorrect=average_if_any(confidence[~correct]),
        std=round(float(confidence.std()), 6),
        low_count=int(low.sum()),
        low_share=average(low),
        low_accuracy=average_if_any(correct[low]),
        threshold=threshold,
    )


def calibrate(val: Predictions, test: Predictions, bins: int) -> Calibration:
    """How far the probabilities of test can be believed, as they are and with the temperature that suits val best."""
    temperature = fit_temperature(val)
    scaled = test._replace(probabilities=temper(test.probabilities, temperature))
    one_hot = np.eye(len(CLASSES))[test.actual]
    return Calibration(
        ece=sum_calibration_error(test, bins),
        nll=average_nll(test),
        brier=average(((test.probabilities - one_hot) ** 2).sum(axis=1)),
        temperature=round(temperature, 6),
        ece_scaled=sum_calibration_error(scaled, bins),
        nll_scaled=average_nll(scaled),
    )


def average_nll(rows: Predictions) -> float:
    """The mean of -ln(probability of the true class), probabilities being at least 1e-6."""
    return round(float(log_loss(rows.actual, temper(rows.probabilities, 1), labels=range(len(CLASSES)))), 6)


def bin_confidence(rows: Predictions, bins: int) -> dict[str, NDArray[Any]]:
    """Calibration by confidence: {low, high, images, confidence, accuracy}, arrays (bins,), means NaN where empty.

    Bins are equally wide and hold their lower bound, the last one its upper bound as well.
    """
    edges = np.arange(bins + 1) / bins  # exact where it can be: linspace(0, 1, 6) misses 0.6
    confidence, correct = rows.confidence, rows.correct
    places = np.clip(np.digitize(confidence, edges) - 1, 0, bins - 1)
    images = np.bincount(places, minlength=bins)
    sums = {
        "confidence": np.bincount(places, confidence, minlength=bins),
        "accuracy": np.bincount(places, correct, minlength=bins),
    }
    with np.errstate(invalid="ignore"):
        means = {key: values / images for key, values in sums.items()}
    return {"low": edges[:-1], "high": edges[1:], "images": images, **means}


def sum_calibration_error(rows: Predictions, bins: int) -> float:
    """The expected calibration error: |accuracy - confidence| of the bins, averaged by their images."""
    table = bin_confidence(rows, bins)
    gaps = np.abs(table["accuracy"] - table["confidence"])
    return round(float(np.nansum(gaps * table["images"]) / table["images"].sum()), 6)


def count_errors(rows: Predictions, confident: float) -> Errors:
    """The misclassification audit: how many, how many with confidence >= `confident`, and the most frequent pairs."""
    wrong = ~rows.correct
    counts = confusion_matrix(rows.actual, rows.predicted, labels=range(len(CLASSES)))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:TOP_ERRORS]  # equals stay in the order of the classes
    pairs = [divmod(int(place), len(CLASSES)) for place in order]
    return Errors(
        count=int(wrong.sum()),
        share=average(wrong),
        confident_count=int((wrong & (rows.confidence >= confident)).sum()),
        top=[
            Confusion(actual=CLASSES[actual], predicted=CLASSES[predicted], count=int(counts[actual, predicted]))
            for actual, predicted in pairs
            if counts[actual, predicted]
        ],
    )


def cover(rows: Predictions) -> dict[str, NDArray[Any]]:
    """The risk-coverage curve: {threshold, coverage, accuracy}, arrays of up to 100 points, coverage rising to 1.

    At each point the images with confidence >= threshold are kept: the share `coverage` of all, `accuracy` of them
    right. Thresholds are the confidences at every hundredth of the images, equal ones taken once.
    """
    falling = np.sort(rows.confidence)[::-1]
    ranks = np.ceil(np.arange(1, 101) / 100 * len(falling)).astype(int) - 1
    thresholds = np.unique(falling[ranks])[::-1]
    kept = rows.confidence >= thresholds[:, np.newaxis]
    correct = rows.correct
    return {
        "threshold": thresholds,
        "coverage": kept.mean(axis=1),
        "accuracy": (kept & correct).sum(axis=1) / kept.sum(axis=1),
    }
