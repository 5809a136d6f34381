"""Numbers as the report shows them, and the sentences under its figures, which follow from the numbers alone.

Accuracies, shares and confidences come in [0, 1] and are shown in percent, their differences in points. What is None
shows as a dash. `names` is {network: as the page names it}.
"""

from collections.abc import Callable, Iterable, Mapping

from fer_pipeline.exported.record import ExportTimes, Precisions
from fer_pipeline.metrics.comparison import Agreement, AllWrong, Comparison, Ensemble, Table7Row
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.external import Other
from fer_pipeline.metrics.mcnemar import McNemar
from fer_pipeline.metrics.paper import Work
from fer_pipeline.raw.record import Data
from fer_pipeline.training.common.run import Training

Names = Mapping[str, str]
Values = Mapping[str, float | None]

NONE = "–"


def percent(share: float | None, decimals: int = 2) -> str:
    """0.97512 as '97.51%'."""
    return NONE if share is None else f"{share:.{decimals}%}"


def points(difference: float | None, decimals: int = 2) -> str:
    """A difference of two accuracies, in [-1, 1], as '+1.25'."""
    return NONE if difference is None else f"{round(100 * difference, decimals) + 0.0:+.{decimals}f}"  # no -0.00


def decimal(number: float | None, decimals: int = 4) -> str:
    """0.66666 as '0.6667'."""
    return NONE if number is None else f"{number:.{decimals}f}"


def count(number: int | None) -> str:
    """7178 as '7,178'."""
    return NONE if number is None else f"{number:,}"


def thousands(number: float | None) -> str:
    """1039.7 as '1,040'."""
    return NONE if number is None else f"{number:,.0f}"


def tiny(number: float | None) -> str:
    """A p-value: '0.031', or '2.1e-08' where it is small."""
    return NONE if number is None else f"{number:.2g}"


def listing(words: Iterable[str]) -> str:
    """['a', 'b', 'c'] as 'a, b and c'."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def plural(number: int, noun: str) -> str:
    """'1 image', '2 images', 'no image'."""
    return f"{count(number) if number else 'no'} {noun}{'s' if number > 1 else ''}"


def are(number: int, noun: str) -> str:
    """'1 image is', '2 images are', 'no image is'."""
    return f"{plural(number, noun)} {'are' if number > 1 else 'is'}"


def find_extremes(values: Values) -> tuple[list[str], list[str]]:
    """The keys with the highest and with the lowest value of {key: number or None}, equals together; None left out."""
    known = {key: value for key, value in values.items() if value is not None}
    highest, lowest = max(known.values()), min(known.values())
    return (
        [key for key, value in known.items() if value == highest],
        [key for key, value in known.items() if value == lowest],
    )


def rank(values: Values, show: Callable[[float | None], str], best: str, worst: str) -> str:
    """'Best: happy (98%); worst: disgust (50%).' of {name: number or None}; `best` and `worst` are such words."""
    known = {key: value for key, value in values.items() if value is not None}
    if not known:
        return "No class has a value."
    top, bottom = find_extremes(known)
    if known[top[0]] == known[bottom[0]]:
        return f"All of {listing(list(known))} stand at {show(known[top[0]])}."
    return f"{best}: {listing(top)} ({show(known[top[0]])}); {worst}: {listing(bottom)} ({show(known[bottom[0]])})."


def name_origin(data: Data) -> str:
    """Whether the source is one of the challenge's own files: ', the challenge's fer2013.csv, unchanged'."""
    file = data.source.challenge_file
    return f", the challenge's {file}, unchanged" if file else ", none of the challenge's own files"


def describe_other(other: Other) -> str:
    """How many faces of another data set were judged, and what became of the rest."""
    left = listing([f"{count(number)} of {name}" for name, number in other.left_out.items()] or ["none"])
    return (
        f"{plural(other.faces, 'face')} of {other.source} (MD5 {other.md5}); {plural(other.scaled, 'picture')} scaled. "
        f"Left out, in no folder of an emotion of FER-2013: {left}. In FER-2013's train or val rows as well: "
        f"{plural(other.seen, 'face')}."
    )


def caption_shares(rows: Mapping[str, Mapping[str, int]]) -> str:
    """Of plots/data/classes.png; `rows` is that of metrics/data.json."""
    counts = {key: value for key, value in rows["train"].items() if key != "total"}
    (most, *_), (least, *_) = find_extremes(counts)
    text = (
        f"Of {count(rows['train']['total'])} training images {percent(counts[most] / rows['train']['total'], 1)} are "
        f"{most} ({count(counts[most])}), the largest class, and "
        f"{percent(counts[least] / rows['train']['total'], 1)} {least} ({count(counts[least])}), the smallest"
    )
    return text + (f": {counts[most] / counts[least]:.1f} to 1." if counts[least] else ".")


def describe_duplicates(data: Data) -> list[str]:
    """The sentences on duplicates, leaks, blank and dropped images of metrics/data.json."""
    rows, duplicates = data.rows, data.duplicates
    across, conflicts = duplicates.across, duplicates.conflicting_labels
    leaks = [
        f"{are(seen, f'{split} image')} in train as well (of {count(rows[split]['total'])})"
        for split, seen in (("val", across.val_rows_in_train), ("test", across.test_rows_in_train))
    ]
    shared = across.test_rows_in_val
    advice = " What is chosen on val is then chosen on test images." if shared > rows["test"]["total"] / 100 else ""
    repeated = listing([f"{count(number)} in {name}" for name, number in duplicates.within.items()])
    blank = sum(data.blank_images.values())
    dropped = data.dropped.leaks["train"] + sum(data.dropped.blank.values())
    return [
        f"Leaks: {listing(leaks)}; {are(shared, 'test image')} in val.{advice}",
        f"Rows that repeat an image of their split: {repeated}. With more than one label: "
        f"{plural(conflicts.images, 'image')} ({count(conflicts.rows)} rows). Blank: "
        f"{plural(blank, 'image')}. Dropped before training: {plural(dropped, 'image')}.",
    ]


def caption_curves(train: Training) -> str:
    """Of curves.png; `train` is metrics/train/<network>.json."""
    gap = train.train_accuracy - train.val_accuracy
    side = "above" if gap > 0 else "below"
    return (
        f"Val accuracy is best after epoch {train.best_epoch} of {train.epochs_run}: "
        f"{percent(train.val_accuracy)}, at a loss of {decimal(train.val_loss)}. The accuracy over that epoch's "
        f"training batches, with augmentation and dropout, is {percent(train.train_accuracy)}, "
        f"{abs(100 * gap):.2f} points {side} it."
    )


def caption_confusion(scores: Scores) -> str:
    """Of confusion.png, from metrics/<network>.json."""
    recalls = {emotion: one.recall for emotion, one in scores.per_class.items()}
    text = rank(recalls, lambda share: percent(share, 1), "Recognised best", "worst")
    top = scores.errors.top
    if not top:
        return f"{text} No test image is wrong."
    most = [f"{pair.actual} taken for {pair.predicted}" for pair in top if pair.count == top[0].count]
    if len(most) > 3:
        return f"{text} No confusion stands out: {len(most)} pairs occur {times(top[0].count)} each."
    each = " each" if len(most) > 1 else ""
    return f"{text} Most frequent confusion: {listing(most)}, {times(top[0].count)}{each}."


def times(number: int) -> str:
    """'once', 'twice', '3 times'."""
    return {1: "once", 2: "twice"}.get(number, f"{count(number)} times")


def caption_class_bars(scores: Scores) -> str:
    """Of classes.png."""
    f1 = {emotion: one.f1 for emotion, one in scores.per_class.items()}
    return rank(f1, decimal, "Highest F1", "lowest") + f" The mean over the classes is {decimal(scores.macro_f1)}."


def caption_confidence(scores: Scores) -> str:
    """Of confidence.png."""
    confidence, calibration = scores.confidence, scores.calibration
    excess = confidence.mean - scores.accuracy
    state = "overconfident" if excess > 0 else "underconfident"
    low = (
        f"Below {confidence.threshold:g} lie {count(confidence.low_count)} images "
        f"({percent(confidence.low_share, 1)}), of which {percent(confidence.low_accuracy, 1)} are right."
        if confidence.low_count
        else f"No image lies below {confidence.threshold:g}."
    )
    change = calibration.ece_scaled - calibration.ece
    return (
        f"Mean confidence is {decimal(confidence.mean, 3)}: {decimal(confidence.mean_correct, 3)} where the "
        f"prediction is right, {decimal(confidence.mean_incorrect, 3)} where it is wrong. {low} Against an accuracy "
        f"of {percent(scores.accuracy)} the network is on average {abs(100 * excess):.2f} points {state}; the "
        f"expected calibration error is {decimal(calibration.ece)}, and a temperature of "
        f"{decimal(calibration.temperature, 2)}, fitted on val, {'raises' if change > 0 else 'lowers'} it to "
        f"{decimal(calibration.ece_scaled)}."
    )


def caption_risk(curve: list[tuple[float, float]]) -> str:
    """Of risk_coverage.png; `curve` is [(coverage, accuracy), ...] of risk_coverage.csv."""
    whole = max(curve)
    kept = [(coverage, accuracy) for coverage, accuracy in curve if coverage <= 0.9]
    if not kept:
        return f"All images are kept in the end, at an accuracy of {percent(whole[1])}; no point leaves a tenth out."
    steps = [max(kept)] + [max(half) for half in [[point for point in curve if point[0] <= 0.5]] if half]
    parts = [
        f"leaving out the least confident {percent(1 - coverage, 1)} of the images "
        f"{'raises' if accuracy >= whole[1] else 'lowers'} accuracy from {percent(whole[1])} to {percent(accuracy)} "
        f"({points(accuracy - whole[1])} points)"
        for coverage, accuracy in steps
    ]
    text = listing(parts)
    return text[0].upper() + text[1:] + "."


def caption_mistakes(scores: Scores, confident: float) -> str:
    """Of mistakes.png; `confident` is the confidence from which a mistake counts as a confident one."""
    errors = scores.errors
    if not errors.count:
        return "No test image is wrong."
    return (
        f"{are(errors.count, 'test image')} wrong ({percent(errors.share, 1)}), "
        f"{count(errors.confident_count) if errors.confident_count else 'none'} of them at a confidence of "
        f"{confident:g} or more. Shown are the most confident ones."
    )


def caption_gradcam(scores: Scores) -> str:
    """Of gradcam.png."""
    blind = [emotion for emotion, one in scores.per_class.items() if one.recall == 1]
    text = (
        "For each class a test face that is read right and one that is read wrong, where there are such; the brighter, "
        "the more that part of the face speaks for the predicted class."
    )
    return text + (f" Of {listing(blind)} no face is read wrong." if blind else "")


def describe_test(pair: McNemar, names: Names) -> str:
    """One sentence on a pair of McNemar's test in metrics/compare.json."""
    first, second = names[pair.first], names[pair.second]
    if pair.first_only == pair.second_only:
        return f"{first} and {second} are right on equally many images."
    better, worse = (first, second) if pair.first_only > pair.second_only else (second, first)
    sure = "is" if pair.p_value_holm < 0.05 else "is not shown to be"
    return f"{better} {sure} better than {worse} (p = {tiny(pair.p_value_holm)})."


def describe_gain(ensemble: Ensemble, names: Names) -> str:
    """Half a sentence on the gain of a soft vote over its best member."""
    gain, best = ensemble.gain_points, names[ensemble.best_member]
    if gain == 0:
        return f"as much as its best member, {best}"
    direction = "more" if gain > 0 else "less"
    return f"{abs(gain):.2f} points {direction} than its best member, {best} (p = {tiny(ensemble.p_value)})"


def caption_ensembles(compare: Comparison, names: Names) -> str:
    """Of compare/ensembles.png."""
    together, weighted = compare.ensembles[-1], compare.weighted_ensemble
    best = max(compare.ensembles, key=lambda one: one.accuracy)
    pairs = zip(weighted.members, weighted.weights, strict=True)
    weights = listing([f"{weight:.2f} for {names[name]}" for name, weight in pairs])
    return (
        f"The soft vote of all, with equal weights, reaches {percent(together.accuracy)}: "
        f"{describe_gain(together, names)}. The highest vote with equal weights is that of "
        f"{listing([names[name] for name in best.members])}, with {percent(best.accuracy)}. With weights chosen "
        f"on val ({weights}) all reach {percent(weighted.accuracy)}: {describe_gain(weighted, names)}."
    )


def caption_class_f1(scores: Mapping[str, Scores], names: Names) -> str:
    """Of compare/class_f1.png; `scores` is {network: metrics/<network>.json}."""
    wins = dict.fromkeys(scores, 0)
    ranges = {}
    for emotion in next(iter(scores.values())).per_class:
        f1 = {name: one.per_class[emotion].f1 for name, one in scores.items()}
        known = [value for value in f1.values() if value is not None]
        if len(known) < len(f1):
            continue
        highest, _ = find_extremes(f1)
        ranges[emotion] = max(known) - min(known)
        for name in highest:
            wins[name] += 1
    if not ranges:
        return "No class has an F1 of every network."
    (widest, *_), _ = find_extremes(ranges)
    each = listing([f"{names[name]} in {number}" for name, number in wins.items()])
    return (
        f"The highest F1 of all networks, ties included: {each} of {len(ranges)} classes. They differ most on "
        f"{widest}, by {decimal(ranges[widest])}."
    )


def caption_agreement(agreement: Agreement, names: Names) -> str:
    """Of compare/agreement.png."""
    by = agreement.right_by
    total = sum(by)
    pairs = {f"{names[pair.first]} with {names[pair.second]}": pair.share for pair in agreement.pairs}
    return (
        f"All networks say the same on {percent(agreement.all_share, 1)} of the images; all are right on "
        f"{count(by[-1])} of {count(total)}, none on {count(by[0])}. A perfect choice among them would reach "
        f"{percent(agreement.any_right)}. " + rank(pairs, lambda share: percent(share, 1), "Most alike", "least")
    )


def caption_all_wrong(all_wrong: AllWrong) -> str:
    """Of compare/all_wrong.png."""
    if not all_wrong.count:
        return "Every test image is read right by one network at least."
    same = all_wrong.same_count
    return (
        f"No network gets {plural(all_wrong.count, 'test image')} right ({percent(all_wrong.share, 1)}); on "
        f"{count(same) if same else 'none'} of them all say the same. Those come first: their labels deserve a second "
        "look."
    )


def caption_literature(
    table7: Mapping[str, Table7Row], ensemble_accuracy: float, works: list[Work], names: Names
) -> str:
    """Of compare/literature.png; `works` are the rows of Table 1 that have an accuracy on FER-2013."""
    accuracies = {names[name]: row.accuracy for name, row in table7.items()} | {"their soft vote": ensemble_accuracy}
    best = max(accuracies, key=lambda name: accuracies[name])
    passed = sum(work.accuracy < accuracies[best] for work in works if work.accuracy is not None)
    return (
        f"Highest of ours is {best} with {percent(accuracies[best])}; {passed} of the {len(works)} works of Table 1 on "
        "FER-2013 lie below it."
    )


def caption_exports(networks: Mapping[str, Precisions], names: Names) -> str:
    """What quantisation changes, of the networks in metrics/export.json."""
    changes = [f"{points(-found.int8.lost)} points ({names[name]})" for name, found in networks.items()]
    return f"Quantised to int8, accuracy changes by {listing(changes)}."


def caption_speed(times: ExportTimes, names: Names) -> str:
    """What quantisation gains in time."""
    gains = [
        f"{found.float32.latency_ms.threads_1.median / found.int8.latency_ms.threads_1.median:.1f} ({names[name]})"
        for name, found in times.networks.items()
        if name in names
    ]
    return f"With one thread, int8 is faster by a factor of {listing(gains)}." if gains else ""


def describe_kept(name: str, kept: list[str]) -> str:
    """Which parts of an int8 network stay in float32, and why."""
    return f"{name}, int8: {listing(kept)} in float32, else val accuracy would lose more than 0.5 points."
