"""How every picture of the project looks, and the pictures of the data."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle, islice

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageChops

from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES

FACES_PER_CLASS = 10
PALETTE: list[str] = sns.color_palette("colorblind").as_hex()
"""Ten colours that colour-blind readers tell apart; .dvc/plots/ has the same."""
PERCENT = PercentFormatter(1, decimals=0)


def count_columns(entries: int) -> int:
    """Columns of a legend as wide as a picture: up to four entries share one row, more are in rows of three."""
    return entries if entries <= 4 else 3


def pick_colours(count: int) -> list[str]:
    """The colours of `count` networks, in their order; they repeat after ten."""
    return list(islice(cycle(PALETTE), count))


def set_style() -> None:
    """Seaborn's colour-blind palette on white, with text that is readable in a column of a paper."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.15)
    plt.rcParams |= {"savefig.dpi": 150, "figure.constrained_layout.use": True, "svg.hashsalt": "fer"}


def to_png(figure: Figure) -> bytes:
    """A figure as PNG in 256 greys or colours, without a date or version in it. Closes the figure."""
    drawn, content = BytesIO(), BytesIO()
    figure.savefig(drawn)
    plt.close(figure)
    picture = Image.open(drawn).convert("RGB")
    grey = picture.convert("L")
    if ImageChops.difference(picture, grey.convert("RGB")).getbbox():  # 256 colours take half the bytes of true colour
        picture.quantize(256).save(content, "PNG", optimize=True)
    else:
        grey.save(content, "PNG", optimize=True)
    return content.getvalue()


def plot_data(splits: Mapping[str, Split]) -> dict[str, bytes]:
    """{file name: content} of classes.csv, classes.png (shares per split) and faces.png (faces per class of train)."""
    set_style()
    shares = tabulate_classes(splits)
    return {
        "classes.csv": shares.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode(),
        "classes.png": to_png(draw_classes(shares)),
        "faces.png": to_png(draw_faces(splits["train"])),
    }


def tabulate_classes(splits: Mapping[str, Split]) -> pd.DataFrame:
    """One row per split and class: split, emotion, images, share (of the split, in [0, 1])."""
    return pd.DataFrame(
        {"split": name, "emotion": emotion, "images": count, "share": count / len(rows.labels)}
        for name, rows in splits.items()
        for emotion, count in zip(CLASSES, np.bincount(rows.labels, minlength=len(CLASSES)), strict=True)
    )


def draw_classes(shares: pd.DataFrame) -> Figure:
    """Bars of the class shares, one colour per split; the number of train images stands under each class."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    sns.barplot(shares, x="emotion", y="share", hue="split", ax=axes)
    axes.yaxis.set_major_formatter(PERCENT)
    train = shares[shares["split"] == "train"]
    axes.set_xticks(range(len(train)), [f"{row.emotion}\n{row.images:,}" for row in train.itertuples()])
    axes.set(xlabel="class, and its images in train", ylabel="share of the split")
    totals = shares.groupby("split", sort=False)["images"].sum()
    names = [f"{name} ({total:,} images)" for name, total in totals.items()]
    axes.legend(axes.containers, names, framealpha=1, edgecolor="none")
    sns.despine(figure)
    return figure


def draw_faces(rows: Split) -> Figure:
    """The first ten faces of each class that has any: one row per class, its name at the left."""
    figure, grid = plt.subplots(len(CLASSES), FACES_PER_CLASS, figsize=(7, 5.1), squeeze=False)
    for label, (emotion, cells) in enumerate(zip(CLASSES, grid, strict=True)):
        faces = rows.images[rows.labels == label][:FACES_PER_CLASS]
        for i, cell in enumerate(cells):
            cell.axis("off")
            if i < len(faces):
                cell.imshow(faces[i], cmap="gray", vmin=0, vmax=255)
        cells[0].text(-0.15, 0.5, emotion, transform=cells[0].transAxes, ha="right", va="center")
    return figure


def draw_varied(faces: Mapping[str, npt.NDArray[np.uint8]], labels: Sequence[str]) -> Figure:
    """The same faces in several states, a row each with its name at the left, their labels above.

    Args:
        faces: {name: uint8 (N, height, width)}; the size may differ from state to state.
        labels: N of them.
    """
    figure, grid = plt.subplots(len(faces), len(labels), figsize=(7, 0.86 * len(faces) + 0.3), squeeze=False)
    for cells, (name, states) in zip(grid, faces.items(), strict=True):
        for cell, face in zip(cells, states, strict=True):
            cell.axis("off")
            cell.imshow(face, cmap="gray", vmin=0, vmax=255)
        cells[0].text(-0.15, 0.5, name, transform=cells[0].transAxes, ha="right", va="center", fontsize=9)
    for cell, label in zip(grid[0], labels, strict=True):
        cell.set_title(label, fontsize=9, pad=4)
    return figure
