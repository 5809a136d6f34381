"""Everything that predictions alone tell: accuracy, classes, confidence, calibration, errors (Tables 5 and 6).

Numbers are in [0, 1] unless said otherwise, and None where there is nothing to compute them from.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from fer.data.fer2013 import CLASSES

TEMPERATURES = (0.05, 20)
"""Bounds of the fitted temperature."""
SMALLEST = 1e-6
"""The smallest probability whose logarithm is taken: predictions have six decimals."""
TOP_ERRORS = 10


def measure(val, test, seen, settings, seed):
    """The metrics of one network, or of an ensemble, on test; val serves to fit the temperature, and for its accuracy.

    Args:
        val, test: `fer.evidence.predictions.Predictions`.
        seen: bool (N,), test rows whose very image stands in train as well.
        settings: `fer.core.params.Evaluate`.
        seed: of the bootstrap.

    Returns:
        A dict for JSON with the keys accuracy, accuracy_unseen, unseen_count, balanced_accuracy, macro_f1,
        accuracy_ci95, val_accuracy, per_class, confidence, calibration, errors and notes (sentences on what is None
        and why). The averages over classes, balanced_accuracy and macro_f1, are over those that test has.
    """
    correct = test.correct
    classes = score_classes(test)
    present = [scores for scores in classes.values() if scores["support"]]
    calibration = calibrate(val, test, settings.bins)
    return {
        "accuracy": average(correct),
        "accuracy_unseen": average(correct[~seen]),
        "unseen_count": int((~seen).sum()),
        "balanced_accuracy": average([scores["recall"] for scores in present]),
        "macro_f1": average([scores["f1"] for scores in present]),
        "accuracy_ci95": bound_accuracy(correct, settings.bootstrap, seed),
        "val_accuracy": average(val.correct),
        "per_class": classes,
        "confidence": describe_confidence(test.confidence, correct, settings.threshold),
        "calibration": calibration,
        "errors": count_errors(test, settings.confident),
        "notes": [*explain_classes(classes), *explain_temperature(calibration["temperature"])],
    }


def summarise(metrics):
    """The few numbers for `dvc metrics show`, flat, of what `measure` returns: three fit in 80 columns."""
    return {
        "accuracy": metrics["accuracy"],
        "macro_f1": metrics["macro_f1"],
        "ece": metrics["calibration"]["ece"],
    }


def average(values):
    """The mean as a float of six decimals, or None of nothing."""
    return round(float(np.mean(values)), 6) if len(values) else None


def bound_accuracy(correct, resamples, seed):
    """[low, high]: the 95 % percentile bootstrap interval of the share of `correct` (bool (N,)).

    N rows drawn with replacement hold a binomial number of right ones, so that number is drawn and not the rows.
    """
    counts = np.random.default_rng(seed).binomial(len(correct), np.mean(correct), resamples)
    return [round(float(limit), 6) for limit in np.percentile(counts / len(correct), [2.5, 97.5])]


def score_classes(rows):
    """{emotion: {precision, recall, f1, accuracy, support}} (Table 5), support being the number of images.

    The paper's accuracy of a class is its recall. A class without images has None for all but its support; one that
    is never predicted has no precision.
    """
    every = precision_recall_fscore_support(
        rows.actual, rows.predicted, labels=range(len(CLASSES)), zero_division=np.nan
    )
    scores = {}
    for emotion, precision, recall, f1, support in zip(CLASSES, *every, strict=True):
        values = {"precision": precision, "recall": recall, "f1": f1, "accuracy": recall}
        known = {key: average([] if np.isnan(value) or not support else [value]) for key, value in values.items()}
        scores[emotion] = {**known, "support": int(support)}
    return scores


def explain_classes(classes):
    """A sentence for each class of `score_classes` that has a None."""
    for emotion, scores in classes.items():
        if not scores["support"]:
            yield f"{emotion}: test has no such face, so its scores are empty and the averages leave it out"
        elif scores["precision"] is None:
            yield f"{emotion}: never predicted, so it has no precision"


def explain_temperature(temperature):
    """A sentence where the fit ran against one of its bounds."""
    for bound in TEMPERATURES:
        if abs(np.log(temperature / bound)) < 0.01:
            yield f"the temperature stands at the end of its range, {bound:g}: val does not determine it"


def describe_confidence(confidence, correct, threshold):
    """Table 6: the means, the standard deviation (of the population), and the rows with confidence < `threshold`."""
    low = confidence < threshold
    return {
        "mean": average(confidence),
        "mean_correct": average(confidence[correct]),
        "mean_incorrect": average(confidence[~correct]),
        "std": round(float(confidence.std()), 6),
        "low_count": int(low.sum()),
        "low_share": average(low),
        "low_accuracy": average(correct[low]),
        "threshold": threshold,
    }


def calibrate(val, test, bins):
    """How far the probabilities of test can be believed, as they are and with the temperature that suits val best.

    `ece`: see `bin_confidence`. `nll`: the mean of -ln(probability of the true class). `brier`: the mean of the squared
    differences from the one-hot label, summed over the seven classes, in [0, 2].
    """
    temperature = fit_temperature(val)
    scaled = test._replace(probabilities=temper(test.probabilities, temperature))
    one_hot = np.eye(len(CLASSES))[test.actual]
    return {
        "ece": sum_calibration_error(test, bins),
        "nll": average_nll(test),
        "brier": average(((test.probabilities - one_hot) ** 2).sum(axis=1)),
        "temperature": round(temperature, 6),
        "ece_scaled": sum_calibration_error(scaled, bins),
        "nll_scaled": average_nll(scaled),
    }


def average_nll(rows):
    """The mean of -ln(probability of the true class), probabilities being at least 1e-6."""
    return round(float(log_loss(rows.actual, temper(rows.probabilities, 1), labels=range(len(CLASSES)))), 6)


def temper(probabilities, temperature):
    """Probabilities (N, 7), at least 1e-6, to the power of 1 / `temperature`, divided by their sum.

    For a softmax that is the same as dividing its logits; the average over ten crops has none but the logarithms of
    the probabilities.
    """
    logits = np.log(np.clip(probabilities, SMALLEST, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(rows):
    """The temperature in [0.05, 20] with the least mean -ln(probability of the true class); above 1: overconfident."""
    places = np.arange(len(rows.actual)), rows.actual

    def nll(log_temperature):
        return -np.log(np.clip(temper(rows.probabilities, np.exp(log_temperature))[places], 1e-300, None)).mean()

    return float(np.exp(minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded").x))


def bin_confidence(rows, bins):
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


def sum_calibration_error(rows, bins):
    """The expected calibration error: |accuracy - confidence| of the bins, averaged by their images."""
    table = bin_confidence(rows, bins)
    gaps = np.abs(table["accuracy"] - table["confidence"])
    return round(float(np.nansum(gaps * table["images"]) / table["images"].sum()), 6)


def count_errors(rows, confident):
    """The misclassification audit: how many, how many with confidence >= `confident`, and the most frequent pairs."""
    wrong = ~rows.correct
    counts = confusion_matrix(rows.actual, rows.predicted, labels=range(len(CLASSES)))
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:TOP_ERRORS]  # equals stay in the order of the classes
    pairs = [divmod(int(place), len(CLASSES)) for place in order]
    return {
        "count": int(wrong.sum()),
        "share": average(wrong),
        "confident_count": int((wrong & (rows.confidence >= confident)).sum()),
        "top": [
            {"actual": CLASSES[actual], "predicted": CLASSES[predicted], "count": int(counts[actual, predicted])}
            for actual, predicted in pairs
            if counts[actual, predicted]
        ],
    }


def cover(rows):
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
