"""The pictures of the data: class shares, faces per class, and augmented faces."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fer_pipeline.faces.faces import Split
from fer_pipeline.figures.style import PERCENT, show_face, table_to_csv, to_png

COLUMNS = 10  # faces of a class in faces.png


def plot_data(splits: Mapping[str, Split], classes: Sequence[str]) -> dict[str, bytes]:
    """{file name: content} of classes.csv, classes.png (shares per split) and faces.png (ten per class of train)."""
    shares = pd.DataFrame(
        {"split": name, "emotion": emotion, "images": count, "share": count / len(rows.labels)}
        for name, rows in splits.items()
        for emotion, count in zip(classes, np.bincount(rows.labels, minlength=len(classes)), strict=True)
    )
    train = splits["train"]
    faces = {
        emotion: train.images[np.flatnonzero(train.labels == label)[:COLUMNS]] for label, emotion in enumerate(classes)
    }
    return {
        "classes.csv": table_to_csv(shares),
        "classes.png": to_png(draw_classes(shares)),
        "faces.png": to_png(draw_rows(faces, COLUMNS, 5.1)),
    }


def draw_classes(shares: pd.DataFrame) -> Figure:
    """Bars of the class shares, one colour per split; below each class the number of its train images."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    sns.barplot(shares, x="emotion", y="share", hue="split", ax=axes)
    axes.yaxis.set_major_formatter(PERCENT)
    train = shares[shares["split"] == "train"]
    axes.set_xticks(range(len(train)), [f"{row.emotion}\n{row.images:,}" for row in train.itertuples()])
    axes.set(xlabel="class, and its images in train", ylabel="share of the split")
    totals = shares.groupby("split", sort=False)["images"].sum()
    names = [f"{name} ({total:,} images)" for name, total in totals.items()]
    axes.legend(axes.containers, names, framealpha=1, edgecolor="none")
    return figure


def draw_varied(faces: Mapping[str, npt.NDArray[np.uint8]], labels: Sequence[str]) -> Figure:
    """The same N faces in several states, {name: images as in `Split`}, below the names of their classes."""
    figure = draw_rows(faces, len(labels), 0.86 * len(faces) + 0.3, fontsize=9)
    for cell, label in zip(figure.axes, labels, strict=False):
        cell.set_title(label, fontsize=9, pad=4)
    return figure


def draw_rows(faces: Mapping[str, npt.NDArray[np.uint8]], columns: int, height: float, **font: float) -> Figure:
    """Rows of the first `columns` faces of {name: faces}, their names at the left; `height` in inches."""
    figure, grid = plt.subplots(len(faces), columns, figsize=(7, height), squeeze=False)
    for cells, (name, row) in zip(grid, faces.items(), strict=True):
        for place, cell in enumerate(cells):
            cell.axis("off")
            for face in row[place : place + 1]:
                show_face(cell, face)
        cells[0].text(-0.15, 0.5, name, transform=cells[0].transAxes, ha="right", va="center", **font)
    return figure
