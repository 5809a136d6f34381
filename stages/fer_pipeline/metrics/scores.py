"""The metrics that need nothing but predictions: of one network or ensemble (Tables 5 and 6), and McNemar's test."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import binned_statistic, binomtest
from sklearn.metrics import log_loss, precision_recall_fscore_support

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.calibration import TEMPERATURES, fit_temperature, temper
from fer_pipeline.predictions.predictions import Predictions

TOP_ERRORS = 10

Bools = NDArray[np.bool_]


def average(values: Any) -> Any:
    """The mean of numbers or bools, as a float of six decimals; None if there are none."""
    return round(float(np.mean(values)), 6) if np.size(values) else None


class ClassScores(Record):
    """Table 5 for one class. Everything but `support` is None for a class without test images."""

    precision: Share | None  # also None for a class that is never predicted
    recall: Share | None
    f1: Share | None
    accuracy: Share | None  # the recall, which the paper calls accuracy
    support: Count  # test images of the class


def score_classes(rows: Predictions) -> dict[str, ClassScores]:
    """Table 5: {emotion: its scores}."""
    labels, scores = range(len(rows.classes)), {}
    every = precision_recall_fscore_support(rows.actual, rows.predicted, labels=labels, zero_division=np.nan)
    for emotion, precision, recall, f1, support in zip(rows.classes, *every, strict=True):
        values = {"precision": precision, "recall": recall, "f1": f1, "accuracy": recall}
        known = {key: None if np.isnan(value) or not support else average(value) for key, value in values.items()}
        scores[emotion] = ClassScores(**known, support=int(support))
    return scores


class Confidence(Record):
    """Table 6, on test."""

    mean: Share
    mean_correct: Share | None
    mean_incorrect: Share | None
    std: float  # population standard deviation
    low_count: Count  # images with a confidence below the threshold
    low_share: Share
    low_accuracy: Share | None
    threshold: Share


def describe_confidence(rows: Predictions, threshold: float) -> Confidence:
    """Table 6."""
    confidence, correct = rows.confidence, rows.correct
    low = confidence < threshold
    return Confidence(
        mean=average(confidence),
        mean_correct=average(confidence[correct]),
        mean_incorrect=average(confidence[~correct]),
        std=round(float(confidence.std()), 6),
        low_count=int(low.sum()),
        low_share=average(low),
        low_accuracy=average(correct[low]),
        threshold=threshold,
    )


class Calibration(Record):
    """How well the probabilities on test match how often the network is right."""

    ece: Share  # expected calibration error
    nll: float  # mean negative log-likelihood of the true class, in nats
    brier: Annotated[float, Field(ge=0, le=2)]  # mean squared distance of a row from its one-hot label
    temperature: float  # fitted on val
    ece_scaled: Share  # `ece` after scaling by the temperature; likewise `nll_scaled`
    nll_scaled: float


def calibrate(val: Predictions, test: Predictions, bins: int) -> Calibration:
    """Calibration on test, with the probabilities as they are and scaled by the temperature fitted on val."""
    temperature = fit_temperature(val)
    scaled = test._replace(probabilities=temper(test.probabilities, temperature))
    one_hot = np.eye(len(test.classes))[test.actual]
    return Calibration(
        ece=sum_calibration_error(test, bins),
        nll=average_nll(test),
        brier=average(((test.probabilities - one_hot) ** 2).sum(axis=1)),
        temperature=round(temperature, 6),
        ece_scaled=sum_calibration_error(scaled, bins),
        nll_scaled=average_nll(scaled),
    )


def explain(classes: dict[str, ClassScores], temperature: float) -> Iterator[str]:
    """Yield a sentence per class with a score of None, and one if the fitted temperature is at one of its bounds."""
    for emotion, scores in classes.items():
        if not scores.support:
            yield f"{emotion}: test has no such face, so its scores are empty and the averages leave it out"
        elif scores.precision is None:
            yield f"{emotion}: never predicted, so it has no precision"
    for bound in TEMPERATURES:
        if abs(np.log(temperature / bound)) < 0.01:
            yield f"the temperature is at the limit of its range, {bound:g}: val does not determine it"


def average_nll(rows: Predictions) -> float:
    """The mean of -ln(probability of the true class), in nats; probabilities below 1e-6 count as 1e-6."""
    return round(float(log_loss(rows.actual, temper(rows.probabilities, 1), labels=range(len(rows.classes)))), 6)


def bin_confidence(rows: Predictions, bins: int) -> pd.DataFrame:
    """Calibration by confidence: low, high, images, confidence and accuracy of each bin that has images.

    Bins are equally wide and include their lower bound; the last bin also includes its upper bound.
    """
    edges = np.arange(bins + 1) / bins  # the closest floats: linspace(0, 1, 6) misses 0.6
    confidence = rows.confidence.clip(0, 1)  # a weighted mean of ones may exceed 1 in its last bit
    means = binned_statistic(confidence, [confidence, rows.correct.astype(float)], "mean", edges).statistic
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "images": np.histogram(confidence, edges)[0]})
    return table.assign(confidence=means[0], accuracy=means[1]).query("images > 0")


def sum_calibration_error(rows: Predictions, bins: int) -> float:
    """The expected calibration error: the mean of |accuracy - confidence| over bins, weighted by their images."""
    table = bin_confidence(rows, bins)
    gaps = abs(table["accuracy"] - table["confidence"])
    return round(float(np.average(gaps, weights=table["images"])), 6)


class Confusion(Record):
    actual: str
    predicted: str
    count: Count


class Errors(Record):
    count: Count
    share: Share
    confident_count: Count  # errors with a confidence of at least `evaluate.confident`
    top: list[Confusion]  # the ten most frequent confusions, the most frequent first, ties in the order of classes


def count_errors(rows: Predictions, confident: float) -> Errors:
    """The misclassification audit; an error is confident if its confidence is at least `confident`."""
    wrong = ~rows.correct
    pairs = Counter(sorted(zip(rows.actual[wrong], rows.predicted[wrong], strict=True)))
    return Errors(
        count=int(wrong.sum()),
        share=average(wrong),
        confident_count=int((wrong & (rows.confidence >= confident)).sum()),
        top=[
            Confusion(actual=rows.classes[actual], predicted=rows.classes[predicted], count=count)
            for (actual, predicted), count in pairs.most_common(TOP_ERRORS)
        ],
    )


class Measured(Record):
    """The metrics of a network or of an ensemble that need nothing but its predictions, on test."""

    accuracy: Share
    accuracy_unseen: Share | None  # accuracy without the test images that are also in train
    unseen_count: Count
    balanced_accuracy: Share  # mean recall of the classes that have test images
    macro_f1: Share
    accuracy_ci95: Interval  # 95 % bootstrap interval
    val_accuracy: Share
    per_class: dict[str, ClassScores]
    confidence: Confidence
    calibration: Calibration
    errors: Errors
    notes: list[str]  # why a value is None or was not determined


def measure(val: Predictions, test: Predictions, seen: Bools | None, settings: Evaluate, seed: int) -> Measured:
    """The metrics of one network or ensemble; `seed` is for the bootstrap.

    `seen`, bool (N,), marks the test rows whose exact image is also in train; None marks no row.
    """
    correct, classes, calibration = test.correct, score_classes(test), calibrate(val, test, settings.bins)
    unseen = correct if seen is None else correct[~seen]
    present = [scores for scores in classes.values() if scores.support]
    return Measured(
        accuracy=average(correct),
        accuracy_unseen=average(unseen),
        unseen_count=len(unseen),
        balanced_accuracy=average([scores.recall for scores in present]),
        macro_f1=average([scores.f1 for scores in present]),
        accuracy_ci95=bound_accuracy(correct, settings.bootstrap, seed),
        val_accuracy=average(val.correct),
        per_class=classes,
        confidence=describe_confidence(test, settings.threshold),
        calibration=calibration,
        errors=count_errors(test, settings.confident),
        notes=list(explain(classes, calibration.temperature)),
    )


def bound_accuracy(correct: Bools, resamples: int, seed: int) -> list[float]:
    """[low, high]: the 95 % percentile bootstrap interval of the mean of `correct` (bool (N,)).

    Of N rows drawn with replacement, a binomial number is correct: only this number is drawn, not the rows.
    """
    counts = np.random.default_rng(seed).binomial(len(correct), np.mean(correct), resamples)
    return [round(float(limit), 6) for limit in np.percentile(counts / len(correct), [2.5, 97.5])]


class Summary(Record):
    """metrics/summary/<name>.json, for `dvc metrics show`: three numbers fit into 80 columns."""

    accuracy: Share
    macro_f1: Share
    ece: Share


def summarise(measured: Measured) -> Summary:
    return Summary(accuracy=measured.accuracy, macro_f1=measured.macro_f1, ece=measured.calibration.ece)


def cover(rows: Predictions) -> pd.DataFrame:
    """The risk-coverage curve: threshold, coverage and accuracy of up to 100 points, coverage rising to 1.

    Each point keeps the images with confidence >= threshold. `coverage` is their share of all images, `accuracy` is
    measured on them. Thresholds are the confidences at each hundredth of the images, without repeats.
    """
    falling = np.sort(rows.confidence)[::-1]
    ranks = np.ceil(np.arange(1, 101) / 100 * len(falling)).astype(int) - 1
    thresholds = np.unique(falling[ranks])[::-1]
    kept = rows.confidence >= thresholds[:, np.newaxis]
    accuracy = (kept & rows.correct).sum(axis=1) / kept.sum(axis=1)
    return pd.DataFrame({"threshold": thresholds, "coverage": kept.mean(axis=1), "accuracy": accuracy})


class McNemar(Record):
    """McNemar's exact test: do two classifiers differ in accuracy on the same images?"""

    first: str
    second: str
    first_only: Count  # test images that only the first classifies correctly
    second_only: Count  # test images that only the second classifies correctly
    p_value: Share
    p_value_holm: Share  # adjusted for all tested pairs together


def apply_mcnemar(first: Bools, second: Bools) -> tuple[int, int, float]:
    """The images, bool (N,), that only `first` gets right, those that only `second` does, and p (six digits).

    If both were equally accurate, each of these images would be a fair coin toss. Without such images p is 1.
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = first_only + second_only
    p_value = binomtest(first_only, discordant).pvalue if discordant else 1.0
    return first_only, second_only, float(f"{p_value:.6g}")


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment of the p-values of several comparisons made together."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.array(p_values)[order] * factors))
    return [float(f"{p:.6g}") for p in adjusted[np.argsort(order)]]


def compare_pairs(correct: Mapping[str, Bools], pairs: Iterable[tuple[str, str]] = ()) -> list[McNemar]:
    """McNemar's test of each pair in {classifier: bool (N,)}, or of `pairs` only, with Holm's adjustment for all."""
    pairs = [*pairs] or [*combinations(correct, 2)]
    found = [apply_mcnemar(correct[first], correct[second]) for first, second in pairs]
    holm = adjust_holm([p_value for _, _, p_value in found])
    return [
        McNemar(first=first, second=second, first_only=one, second_only=other, p_value=p, p_value_holm=adjusted)
        for (first, second), (one, other, p), adjusted in zip(pairs, found, holm, strict=True)
    ]


def tabulate_images(test: Mapping[str, Predictions]) -> pd.DataFrame:
    """One row per image that several networks classify, of {network: its predictions}.

    Columns: index (position in the split), actual, a column with the class that each network predicts, same (all
    predictions are equal), confidence (the networks' mean) and right (the number of correct predictions).
    """
    rows = [*test.values()]
    names = np.array(rows[0].classes)
    table = pd.DataFrame({name: names[one.predicted] for name, one in test.items()})
    same, right = (table.eq(column, axis=0).sum(axis=1) for column in (table.iloc[:, 0], names[rows[0].actual]))
    table.insert(0, "actual", names[rows[0].actual])
    confidence = np.mean([one.confidence for one in rows], axis=0).round(6)
    return table.assign(same=same == len(rows), confidence=confidence, right=right).reset_index()
