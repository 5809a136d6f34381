"""The pictures on what the labels are worth, drawn from the tables of `fer_pipeline.metrics.labels`."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.figures.parts import SMALL, TITLE, add_note, draw_gallery, draw_sentence
from fer_pipeline.figures.style import PERCENT, count_columns, pick_colours
from fer_pipeline.metrics.labels import LEAST, SURE

ROWS, COLUMNS = 5, 6
"""Faces of the gallery of contradicted labels."""


def draw_annotators(counts: npt.NDArray[np.int64]) -> Figure:
    """The annotators' confusion matrix against the labels, int64 (7, 10), as shares of each row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = np.array([f"{share:.0%}" if share >= 0.005 else "" for share in shares.flat]).reshape(counts.shape)
    figure, axes = plt.subplots(figsize=(7, 4.6))
    sns.heatmap(
        shares, annot=texts, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, linewidths=0.5, ax=axes,
        annot_kws={"fontsize": 9},
    )  # fmt: skip
    rows = [f"{name} ({number:,})" for name, number in zip(CLASSES, counts.sum(axis=1), strict=True)]
    axes.set_yticks(np.arange(len(CLASSES)) + 0.5, rows, rotation=0)
    axes.set_xticks(np.arange(len(VOTE_CLASSES)) + 0.5, VOTE_CLASSES, rotation=40, ha="right")
    axes.set(ylabel="label (test images)", xlabel="class with most votes (the first, if tied)")
    axes.set_title("FER-2013's labels, and the class with most votes of ten annotators")
    return figure


def draw_levels(levels: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Accuracy against label and favourite, by the number of annotators who agree; its ticks give the images."""
    if not len(levels):
        return draw_sentence("There is no face whose class with most votes is one of the seven emotions")
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.8), sharey=True)
    ticks = levels["votes"].tolist()
    places = [f"{'≤' * (row.votes == LEAST)}{row.votes}\n{row.images:,}" for row in levels.itertuples()]
    kinds = ((left, "favourite", "predicts the class with most votes"), (right, "label", "predicts the label"))
    for axes, column, title in kinds:
        for name, colour in zip(titles, pick_colours(len(titles)), strict=True):
            axes.plot(ticks, levels[f"{name}_{column}"], "o-", color=colour, markersize=4, label=titles[name])
        axes.set(title=title, ylim=(0, 1.02))
        axes.set_xticks(ticks, places)
        axes.yaxis.set_major_formatter(PERCENT)
    right.plot(ticks, levels["favourite_is_label"], "--", color="0.4", label="class with most votes")
    left.set_ylabel("share of the test images")
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=count_columns(len(names)), frameon=False)
    note = "votes of ten annotators for the most-voted class; below, number of test images"
    figure.supxlabel(note, fontsize="medium")
    return figure


def draw_contradicted(table: pd.DataFrame, images: npt.NDArray[np.uint8]) -> Figure:
    """The first thirty of `tabulate_contradicted`: label, what the networks predict, and the votes."""
    described = f"whose label all networks and at least {SURE} of 10 annotators contradict"
    if not len(table):
        return draw_sentence(f"There is no face {described}")
    shown = table.head(ROWS * COLUMNS)
    captions = [f"{row.actual}\n→ {row.predicted}" for row in shown.itertuples()]
    title = f"{len(table):,} test images {described}"
    figure = draw_gallery(images[shown["index_in_test"]], captions, title, COLUMNS, 1.72, 0.9, pad=6, title_size=TITLE)
    for cell, said in zip(figure.axes, shown["said"], strict=False):
        text = textwrap.fill(textwrap.shorten(said, 34, placeholder=" …"), 18)
        cell.text(0.5, -0.04, text, fontsize=SMALL - 0.5, ha="center", va="top", transform=cell.transAxes)
    add_note(
        figure,
        "Above each face: its label, and the class that all networks predict instead. Below: the votes of ten "
        "annotators. Faces with most votes for that class come first, then the most confident.",
    )
    return figure
