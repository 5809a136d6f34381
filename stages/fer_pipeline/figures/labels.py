"""The pictures of what the labels are worth: what `fer_pipeline.metrics.labels` tabulates, drawn."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.figures.comparison import SMALL, TITLE, add_note
from fer_pipeline.figures.style import PERCENT, count_columns, pick_colours, set_style, to_png
from fer_pipeline.metrics.labels import LEAST, SURE, count_favourites

GALLERY = (5, 6)
"""Rows and columns of faces: thirty."""
NO_VOTES = "The data set has no votes of annotators"


def draw_labels(
    votes: npt.NDArray[np.uint8] | None,
    labels: npt.NDArray[np.uint8],
    images: npt.NDArray[np.uint8],
    levels: pd.DataFrame,
    contradicted: pd.DataFrame,
    titles: Mapping[str, str],
) -> dict[str, bytes]:
    """{name: PNG} of annotators, levels and contradicted, of test; a sentence alone where there are no votes.

    Args:
        votes: uint8 (N, 10), labels: uint8 (N,), images: uint8 (N, 48, 48).
        levels, contradicted: as `fer_pipeline.metrics.labels` makes them.
        titles: {network: its title}.
    """
    set_style()
    if votes is None:
        figures = dict.fromkeys(("annotators", "levels", "contradicted"), draw_sentence(NO_VOTES))
    else:
        figures = {
            "annotators": draw_annotators(count_favourites(votes, labels)),
            "levels": draw_levels(levels, titles),
            "contradicted": draw_contradicted(contradicted, images),
        }
    return {name: to_png(figure) for name, figure in figures.items()}


def draw_sentence(text: str) -> Figure:
    """A sentence in place of a picture."""
    figure, axes = plt.subplots(figsize=(7, 0.8))
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def draw_annotators(counts: npt.NDArray[np.int64]) -> Figure:
    """The annotators' confusion matrix against the labels, int64 (7, 10): shares of each row, counts below."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = np.array([f"{share:.0%}" if share >= 0.005 else "" for share in shares.flat]).reshape(counts.shape)
    figure, axes = plt.subplots(figsize=(7, 4.6))
    sns.heatmap(
        shares, annot=texts, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, linewidths=0.5, ax=axes,
        annot_kws={"fontsize": 9},
    )  # fmt: skip
    axes.set_yticks(
        np.arange(len(CLASSES)) + 0.5,
        [f"{name} ({number:,})" for name, number in zip(CLASSES, counts.sum(axis=1), strict=True)],
        rotation=0,
    )
    axes.set_xticks(np.arange(len(VOTE_CLASSES)) + 0.5, VOTE_CLASSES, rotation=40, ha="right")
    axes.set(ylabel="label (test images)", xlabel="what most annotators say")
    axes.set_title("FER-2013's labels, and what most of ten annotators say")
    return figure


def draw_levels(levels: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Accuracy against label and favourite by the number of annotators who agree; below it the number of images."""
    if not len(levels):
        return draw_sentence("There is no face of which most annotators say one of the seven emotions")
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.8), sharey=True)
    ticks = levels["votes"].tolist()
    places = [f"{'≤' * (row.votes == LEAST)}{row.votes}\n{row.images:,}" for row in levels.itertuples()]
    for axes, column, title in ((left, "favourite", "right by the annotators"), (right, "label", "right by the label")):
        for name, colour in zip(titles, pick_colours(len(titles)), strict=True):
            axes.plot(ticks, levels[f"{name}_{column}"], "o-", color=colour, markersize=4, label=titles[name])
        axes.set(title=title, ylim=(0, 1.02))
        axes.set_xticks(ticks, places)
        axes.yaxis.set_major_formatter(PERCENT)
    right.plot(ticks, levels["favourite_is_label"], "--", color="0.4", label="the annotators themselves")
    left.set_ylabel("share of the test images")
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=count_columns(len(names)), frameon=False)
    figure.supxlabel("annotators of ten who agree, and test images", fontsize="medium")
    sns.despine(figure)
    return figure


def draw_contradicted(table: pd.DataFrame, images: npt.NDArray[np.uint8]) -> Figure:
    """The first thirty of `tabulate_contradicted`: label, what the networks say, and the votes."""
    if not len(table):
        return draw_sentence("There is no face whose label all networks and most annotators contradict")
    rows, columns = GALLERY
    shown = table.head(rows * columns)
    rows = -(-len(shown) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(7, 1.72 * rows + 0.9), squeeze=False)
    for cell in grid.flat:
        cell.axis("off")
    for cell, row in zip(grid.flat, shown.itertuples(), strict=False):
        cell.imshow(images[row.index_in_test], cmap="gray", vmin=0, vmax=255)
        said = textwrap.shorten(row.said, 34, placeholder=" …")
        cell.set_title(f"{row.actual}\n→ {row.predicted}", fontsize=SMALL)
        cell.text(
            0.5, -0.04, textwrap.fill(said, 18), fontsize=SMALL - 0.5, ha="center", va="top", transform=cell.transAxes
        )
    figure.suptitle(f"{len(table):,} test faces whose label nobody else believes", fontsize=TITLE)
    add_note(
        figure,
        "Above each face: its label, and what all networks say instead. Below: the votes of ten annotators, of "
        f"whom at least {SURE} side with the networks. Most votes first, then the most confident.",
    )
    return figure
