"""The pictures of one network's results (Figures 3 to 9); `name` is the network's title."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import confusion_matrix

from fer_pipeline.figures.style import (
    MANY,
    PALETTE,
    PERCENT,
    SMALL,
    draw_gallery,
    draw_sentence,
    fold,
    name_classes,
    show_face,
    size_matrix,
    slant,
    to_png,
    write_percent,
)
from fer_pipeline.metrics.scores import ClassScores, Measured, bin_confidence, cover
from fer_pipeline.predictions.heat import Examples
from fer_pipeline.predictions.predictions import Bytes, Predictions

BLUE, ORANGE, GREEN, VERMILLION = PALETTE[:4]
CORRECT, INCORRECT, NEUTRAL = BLUE, VERMILLION, "0.55"
MISTAKES = 32  # faces of the gallery, without the last row if that is not full
FEW = 20  # a confidence bin with fewer images is drawn pale: the standard error of its accuracy can exceed 11 points
PALE: dict[str, Any] = {"facecolor": "0.91", "edgecolor": "0.65", "linewidth": 0.5}  # a bar of few images
BOX = {"facecolor": "white", "edgecolor": "0.8", "boxstyle": "round,pad=0.4"}  # the box around a text inside a plot


def draw_all(
    name: str, epochs: pd.DataFrame, faces: Bytes, test: Predictions, scores: Measured, bins: int, heat: Examples | None
) -> dict[str, bytes]:
    """{file name: PNG} of every picture of a network. To add one, write its function and list it here.

    `epochs` has the columns of history.csv, `faces` are images as in `Split`, `test` and `scores` the predictions for
    them and their metrics. Without `heat` maps (see `draw_grad_cam`) gradcam.png says so.
    """
    heat_maps = draw_sentence(f"{name}: no Grad-CAM") if heat is None else draw_grad_cam(heat, test.classes, name)
    figures = {
        "curves.png": draw_curves(epochs, name),
        "confusion.png": draw_confusion(test, name),
        "confidence.png": draw_confidence(test, bins, scores.calibration.ece, name),
        "classes.png": draw_classes(scores.per_class, name),
        "mistakes.png": draw_mistakes(faces, test, name),
        "risk_coverage.png": draw_risk_coverage(cover(test), name),
        "gradcam.png": heat_maps,  # DVC requires this file for every network
    }
    return {file: to_png(figure) for file, figure in figures.items()}


def draw_curves(history: pd.DataFrame, name: str) -> Figure:
    """Accuracy and loss by epoch, with the best epoch and its gap between train and val accuracy (Figures 3, 4, 6)."""
    best = history.loc[history["val_accuracy"].idxmax()]
    marker = "." if len(history) <= 30 else ""
    figure, panels = plt.subplots(1, 2, figsize=(7, 3))
    for axes, metric in zip(panels, ("accuracy", "loss"), strict=True):
        for split, color, style in (("train", ORANGE, "--"), ("val", BLUE, "-")):
            axes.plot(history["epoch"], history[f"{split}_{metric}"], style, color=color, marker=marker, label=split)
        axes.axvline(best["epoch"], color="0.5", linewidth=1, linestyle=":")
        axes.set(xlabel="epoch", title=f"{name}: {metric}")
        axes.margins(y=0.1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    gap = best["train_accuracy"] - best["val_accuracy"]
    panels[0].plot([best["epoch"]] * 2, [best["train_accuracy"], best["val_accuracy"]], color="0.2", linewidth=2)
    narrow = np.ptp(panels[0].get_ylim()) < 0.04  # whole percents would repeat
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=int(narrow)))
    note = f"best epoch {best['epoch']:.0f}\nval {best['val_accuracy']:.1%}\ngap {100 * gap:+.1f} points"
    panels[0].text(0.97, 0.06, note, transform=panels[0].transAxes, ha="right", va="bottom", bbox=BOX)
    panels[1].legend(["train: as minimised", "val: cross-entropy"], loc="upper right", framealpha=1, edgecolor="none")
    return figure


def draw_confusion(rows: Predictions, name: str) -> Figure:
    """The confusion matrix, one row per actual class; cells show the share of the row and, below it, the count.

    With many classes, cells show the share alone, in percent.
    """
    counts = confusion_matrix(rows.actual, rows.predicted, labels=range(len(rows.classes)))
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    many = len(rows.classes) > MANY
    figure, axes = plt.subplots(
        figsize=size_matrix(len(rows.classes)) if many else (7, 5.6 if len(rows.classes) > 3 else 4.2)
    )
    pairs = zip(shares.ravel(), counts.ravel(), strict=True)
    cells = np.reshape([f"{share:.2f}\n{count:,}" if count else "0" for share, count in pairs], counts.shape)
    named = [f"{emotion}\n{total:,}" for emotion, total in zip(rows.classes, totals[:, 0], strict=True)]
    if many:
        cells, named = write_percent(shares), [name.replace("\n", " (") + ")" for name in named]
    sns.heatmap(
        shares, vmin=0, vmax=1, cmap="Blues", annot=cells, fmt="", annot_kws={"size": 7.5 if many else 8.5},
        linewidths=0.5, square=True, xticklabels=rows.classes, yticklabels=named, ax=axes, cbar=not many,
        cbar_kws={"label": "share of the actual class", "shrink": 0.8},
    )  # fmt: skip
    axes.tick_params(axis="x", rotation=30 if len(rows.classes) > 3 else 0)
    axes.tick_params(axis="y", rotation=0, **({"labelsize": SMALL} if many else {}))
    slant(axes, rows.classes)
    axes.set(xlabel="predicted class", ylabel="actual class, and its test images")
    axes.set_title(f"{name}: confusion matrix on test{', in % of the actual class' if many else ''}")
    return figure


def draw_confidence(rows: Predictions, bins: int, ece: float, name: str) -> Figure:
    """Histogram and box plot of the confidence of correct and incorrect predictions; reliability diagram (Figure 8)."""
    kinds = {"correct": CORRECT, "incorrect": INCORRECT}
    table = pd.DataFrame({"confidence": rows.confidence, "prediction": np.where(rows.correct, *kinds)})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7, 3.3), width_ratios=(1.1, 0.7, 1.25))
    sns.histplot(
        table, x="confidence", hue="prediction", hue_order=list(kinds), palette=kinds, element="step",
        stat="probability", common_norm=False, bins=np.linspace(0, 1, 21), legend=False, ax=left,
    )  # fmt: skip
    left.set(xlim=(0, 1), xticks=(0, 0.5, 1), ylabel="share within each group", title="histogram")
    left.yaxis.set_major_formatter(PERCENT)
    sns.boxplot(
        table, x="prediction", y="confidence", hue="prediction", order=list(kinds), hue_order=list(kinds),
        palette=kinds, legend=False, showfliers=False, width=0.6, linewidth=1, saturation=1, ax=middle,
    )  # fmt: skip
    middle.set(ylim=(0, 1.02), xlabel="", title="box plot")
    middle.tick_params(axis="x", labelsize=SMALL)
    for place, kind in enumerate(kinds):
        if kind not in set(table["prediction"]):
            middle.text(place, 0.5, "none", ha="center")
    filled = bin_confidence(rows, bins)
    draw_reliability(filled, right)
    counts = table["prediction"].value_counts()
    handles = [Patch(color=kinds[kind], alpha=0.6, label=f"{kind} ({counts.get(kind, 0):,})") for kind in kinds]
    handles.append(Patch(color=NEUTRAL, label="accuracy of the bin"))
    if filled["images"].min() < FEW:
        handles.append(Patch(**PALE, label=f"fewer than {FEW} images"))
    look = {"ncols": 4, "frameon": False, "fontsize": SMALL, "columnspacing": 1.4}
    figure.legend(handles=handles, loc="outside lower center", **look)
    figure.suptitle(f"{name}: confidence on test, expected calibration error {ece:.3f}")
    return figure


def draw_reliability(table: pd.DataFrame, axes: Axes) -> None:
    """A bar for the accuracy of each confidence bin; a perfectly calibrated network would follow the diagonal.

    `table` is from `bin_confidence`, without empty bins. A bin with few images is pale and shows their number.
    """
    for row in table.itertuples():
        few = row.images < FEW
        look = PALE if few else {"facecolor": NEUTRAL, "edgecolor": "white", "linewidth": 0.5}
        axes.bar(row.low, row.accuracy, row.high - row.low, align="edge", **look)
        if few:
            place = (row.low + row.high) / 2, row.accuracy + 0.015
            axes.text(*place, f"{row.images}", ha="center", fontsize=SMALL - 1, bbox={"color": "white", "pad": 0.2})
    axes.plot([0, 1], [0, 1], color="0.15", linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), xticks=(0, 0.5, 1), ylim=(0, 1.09), xlabel="confidence", ylabel="accuracy")
    axes.set_title("reliability diagram")
    axes.yaxis.set_major_formatter(PERCENT)


def draw_classes(classes: Mapping[str, ClassScores], name: str) -> Figure:
    """Precision, recall and F1 of each class as bars (Figure 9), with a dash for a missing score."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    places = np.arange(len(classes))
    for offset, label, color in ((-0.27, "precision", BLUE), (0, "recall", ORANGE), (0.27, "F1", GREEN)):
        heights = np.array([getattr(one, label.lower()) for one in classes.values()], float)
        known = ~np.isnan(heights)
        axes.bar(places[known] + offset, heights[known], 0.27, color=color, label=label)
        for place in places[~known]:
            axes.text(place + offset, 0.01, "–", ha="center")
    name_classes(figure, axes, [*classes], [one.support for one in classes.values()])
    axes.grid(False, axis="x")
    axes.set(ylim=(0, 1.01), xlabel="class, and its test images", ylabel="score")
    axes.set_title(f"{name}: precision, recall and F1 by class", pad=26)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure


def draw_risk_coverage(curve: pd.DataFrame, name: str) -> Figure:
    """Accuracy against the share of images kept (`fer_pipeline.metrics.scores.cover`), with thresholds marked."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    axes.plot(curve["coverage"], curve["accuracy"], color=BLUE, marker="." if len(curve["coverage"]) < 15 else "")
    low = curve["accuracy"].min()
    axes.set(
        xlim=(0, 1.02), ylim=(max(low - 0.4 * max(1 - low, 0.01), 0), 1 + 0.1 * max(1 - low, 0.01)),
        xlabel="coverage: share of the test images kept, the most confident first", ylabel="accuracy on kept images",
        title=f"{name}: accuracy by coverage",
    )  # fmt: skip
    room = 1.0
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
        kept = curve[curve["threshold"] >= threshold]
        if len(kept) and (point := (kept["coverage"].iloc[-1], kept["accuracy"].iloc[-1]))[0] < room:
            (mark,) = axes.plot(*point, "o", color=VERMILLION, markersize=5)
            side = "right" if point[0] > 0.1 else "left"  # the curve falls, so the space below and to its left is free
            axes.annotate(f"{threshold:g}", point, (-5, -13), textcoords="offset points", ha=side)
            axes.legend([mark], ["confidence ≥ …"], loc="lower left", framealpha=1, edgecolor="none")
            room = point[0] - 0.1  # space for the text of this mark
    axes.xaxis.set_major_formatter(PERCENT)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1 if low > 0.95 else 0))
    return figure


def draw_mistakes(faces: Bytes, rows: Predictions, name: str) -> Figure:
    """A gallery of about `MISTAKES` errors, the most confident ones: actual → predicted, and the confidence."""
    long = max(map(len, rows.classes)) > 9
    columns, width, form = (6, 17, "{}\n→ {}") if long else (8, 15, "{} →\n{}")
    wrong = np.flatnonzero(~rows.correct)
    chosen = wrong[np.argsort(-rows.confidence[wrong], kind="stable")][: MISTAKES - MISTAKES % columns]
    actual, predicted = (np.array(rows.classes)[labels[chosen]] for labels in (rows.actual, rows.predicted))
    said = zip(actual, predicted, rows.confidence[chosen], strict=True)
    lines = [form.format(label, f"{other} {confidence:.2f}").split("\n") for label, other, confidence in said]
    captions = ["\n".join(fill(line, width) for line in each) for each in lines]
    title = f"{name}: the {len(chosen)} most confident of {len(wrong):,} errors, actual → predicted"
    if len(chosen) == len(wrong):
        title = f"{name}: all {len(wrong)} errors, the most confident first, actual → predicted"
    title = title if len(chosen) else f"{name}: no error on test"
    more = max((caption.count("\n") for caption in captions), default=1) - 1  # lines
    return draw_gallery(faces[chosen], captions, title, columns, row_height=1.2 * 8 / columns + 0.12 * more)


def draw_grad_cam(columns: Examples, classes: Sequence[str], name: str) -> Figure:
    """Faces, each above its Grad-CAM heat map for the predicted class; one column per actual class.

    `columns` is {'correct', 'incorrect': an example or None per class}; each key gives one row of faces, more of many
    classes.
    """
    parts, names = fold(classes)
    width = parts[0].stop
    lines = max(one.count("\n") for one in names)
    figure, grid = plt.subplots(4 * len(parts), width, figsize=(7, (4.9 + 0.6 * lines) * len(parts)), squeeze=False)
    for cell in grid.flat:
        cell.axis("off")
    rows = [(kind, part, examples[part]) for part in parts for kind, examples in columns.items()]
    for row, (kind, part, examples) in zip(range(0, 4 * len(parts), 2), rows, strict=True):
        for place, example in enumerate(examples):
            above, below = grid[row : row + 2, place]
            actual = part.start + place
            title = names[actual]
            if example is None:
                above.text(0.5, 0.5, "none", transform=above.transAxes, ha="center", va="center")
            else:
                crop, heat, label = example
                for cell in (above, below):
                    show_face(cell, crop)
                if heat.any():
                    below.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.55)
                else:
                    below.text(0.5, 0.08, "no evidence", transform=below.transAxes, ha="center", fontsize=9, bbox=BOX)
                title += f"\n→ {names[label]}" if label != actual else ""
            above.set_title(title, fontsize=9, pad=3)
        for cell, text in zip(grid[row : row + 2, 0], (kind, "Grad-CAM"), strict=True):
            cell.text(-0.1, 0.5, text, transform=cell.transAxes, ha="right", va="center", rotation=90, fontsize=9)
    figure.suptitle(f"{name}: Grad-CAM, evidence for the predicted class (brighter is more)")
    return figure
