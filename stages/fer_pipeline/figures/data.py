"""The pictures of the data: class shares, faces per class, and augmented faces."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fer_pipeline.faces.faces import Split
from fer_pipeline.figures.style import MANY, PERCENT, fold, name_classes, show_face, table_to_csv, to_png

COLUMNS = 10  # faces of a class in faces.png


def plot_data(splits: Mapping[str, Split], classes: Sequence[str]) -> dict[str, bytes]:
    """{file name: content} of classes.csv, classes.png (shares per split) and faces.png (ten per class of train)."""
    shares = pd.DataFrame(
        {"split": name, "emotion": emotion, "images": count, "share": count / len(rows.labels)}
        for name, rows in splits.items()
        for emotion, count in zip(classes, np.bincount(rows.labels, minlength=len(classes)), strict=True)
    )
    train = splits["train"]
    of_classes = [np.flatnonzero(train.labels == label)[:COLUMNS] for label in range(len(classes))]
    faces = [(emotion, train.images[rows]) for emotion, rows in zip(classes, of_classes, strict=True)]
    return {
        "classes.csv": table_to_csv(shares),
        "classes.png": to_png(draw_classes(shares)),
        "faces.png": to_png(draw_rows(faces, COLUMNS, 5.1 / 7 * max(len(faces), 3))),
    }


def draw_classes(shares: pd.DataFrame) -> Figure:
    """Bars of the class shares, one colour per split; below each class the number of its train images."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    sns.barplot(shares, x="emotion", y="share", hue="split", ax=axes)
    axes.yaxis.set_major_formatter(PERCENT)
    train = shares[shares["split"] == "train"]
    name_classes(figure, axes, train["emotion"].tolist(), train["images"].tolist())
    axes.set(xlabel="class, and its images in train", ylabel="share of the split")
    totals = shares.groupby("split", sort=False)["images"].sum()
    names = [f"{name} ({total:,} images)" for name, total in totals.items()]
    legend = axes.legend(axes.containers, names, framealpha=1, edgecolor="none")
    bars = [bar.get_window_extent() for bar in axes.patches]
    if len(train) > MANY or legend.get_window_extent().count_overlaps(bars):
        axes.legend(axes.containers, names, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure


def draw_varied(faces: Mapping[str, npt.NDArray[np.uint8]], labels: Sequence[str]) -> Figure:
    """The same N faces in several states, {name: images as in `Split`}, below the names of their classes."""
    parts, heads = fold(labels)
    rows = [(name, images[part]) for part in parts for name, images in faces.items()]
    columns = parts[0].stop
    height = 0.86 * len(rows) + (0.3 + 0.15 * max(head.count("\n") for head in heads)) * len(parts)
    figure = draw_rows(rows, columns, height, fontsize=9)
    for place, head in enumerate(heads):
        row, column = divmod(place, columns)
        figure.axes[row * len(faces) * columns + column].set_title(head, fontsize=9, pad=4)
    return figure


def draw_rows(faces: Sequence[tuple[str, npt.NDArray[np.uint8]]], columns: int, height: float, **font: float) -> Figure:
    """Rows of the first `columns` faces of (name, faces), their names at the left; `height` in inches."""
    figure, grid = plt.subplots(len(faces), columns, figsize=(7, height), squeeze=False)
    for cells, (name, row) in zip(grid, faces, strict=True):
        for place, cell in enumerate(cells):
            cell.axis("off")
            for face in row[place : place + 1]:
                show_face(cell, face)
        cells[0].text(-0.15, 0.5, fill(name, 14), transform=cells[0].transAxes, ha="right", va="center", **font)
    return figure
