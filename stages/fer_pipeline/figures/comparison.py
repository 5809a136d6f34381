"""The pictures that compare networks and annotators, drawn from the tables that `stages/compare.py` writes."""

from collections import Counter
from collections.abc import Mapping
from itertools import cycle
from textwrap import fill, shorten
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer_pipeline.faces.fer2013 import NAME, VOTES_NAME
from fer_pipeline.figures.style import (
    MANY,
    PALETTE,
    PERCENT,
    SMALL,
    add_note,
    draw_gallery,
    draw_sentence,
    size_matrix,
    slant,
    to_png,
    write_percent,
)
from fer_pipeline.metrics.annotators import LEAST, SURE
from fer_pipeline.metrics.comparison import ENSEMBLE_TITLE
from fer_pipeline.predictions.predictions import Bytes

SOURCES = {"literature": ("Table 1 of the paper", "o"), "paper": ("the paper's networks", "s"), "ours": ("ours", "D")}
"""{source of an accuracy: (its name, its mark)}"""
NO_VOTES = "The data set has no votes of annotators"
NO_LITERATURE = "The paper compares accuracies on FER-2013, which these data are not"
SIX_COLUMNS: dict[str, Any] = {"columns": 6, "margin": 0.9, "pad": 6, "title_size": 10}  # for much text


def draw_comparison(
    tables: Mapping[str, pd.DataFrame],
    images: Bytes,
    titles: Mapping[str, str],
    label: str,
    favourites: pd.DataFrame | None,
    data: str,
) -> dict[str, bytes]:
    """{name: PNG} of every picture of the comparison. To add one, write its function and list it here.

    `tables` are those of `stages/compare.py`, `images` the test images as in `Split`, `titles` {network: title};
    `label` says where the figures come from, `data` is the name of the data set. Without votes (`favourites`, see
    `draw_annotators`) or a table with the literature pictures say so.
    """
    study, ten = "literature" in {*tables["literature"]["source"]}, data in (NAME, VOTES_NAME)
    figures = {
        "literature": draw_literature(tables["literature"], label) if study else draw_sentence(NO_LITERATURE),
        "class_f1": draw_class_f1(tables["class_f1"], titles),
        "ensembles": draw_ensembles(tables["ensembles"]),
        "agreement": draw_agreement(tables["agreement"]),
        "all_wrong": draw_all_wrong(tables["all_wrong"], images, list(titles)),
    }
    if favourites is None:
        figures |= dict.fromkeys(("annotators", "levels", "contradicted"), draw_sentence(NO_VOTES))
    else:
        figures["annotators"] = draw_annotators(favourites, ten)
        figures["levels"] = draw_levels(tables["levels"], titles, ten)
        figures["contradicted"] = draw_contradicted(tables["contradicted"], images, ten)
    return {name: to_png(figure) for name, figure in figures.items()}


def draw_literature(table: pd.DataFrame, label: str) -> Figure:
    """Figure 10: accuracies on one axis, the highest on top; a hollow mark is an accuracy on another data set."""
    figure, axes = plt.subplots(figsize=(7, 0.27 * len(table) + 1.3))
    colours = dict(zip(SOURCES, PALETTE, strict=False))
    names = []
    for place, row in enumerate(table[::-1].itertuples()):
        elsewhere = row.source == "literature" and row.dataset != "FER-2013"
        axes.plot([0, row.accuracy], [place, place], color="0.85", linewidth=1, zorder=1)
        (mark,) = axes.plot(row.accuracy, place, SOURCES[row.source][1], color=colours[row.source], markersize=6.5)
        mark.set_markerfacecolor("white" if elsewhere else colours[row.source])
        write_near(axes, f"{row.accuracy:.2%}", (row.accuracy, place), (7, 0), va="center")
        work = f"{row.name} {row.year}, {row.dataset}"
        names.append({"paper": f"{row.name}, the paper", "ours": f"{row.name}, this run"}.get(row.source, work))
    axes.set_yticks(range(len(table)), names)
    for tick, source in zip(axes.get_yticklabels(), table["source"][::-1], strict=True):
        tick.set_fontweight("bold" if source == "ours" else "normal")
    lowest = min(0.55, table["accuracy"].min() - 0.05)
    highest = min(1.08, table["accuracy"].max() + 0.06)
    axes.set(xlim=(max(0, lowest), highest), ylim=(-0.7, len(table) - 0.3), xlabel="accuracy")
    axes.set_title("Accuracy: literature, paper and this run")
    axes.xaxis.set_major_formatter(PERCENT)
    axes.grid(False, axis="y")
    handles = [
        Line2D([], [], color=colours[source], marker=mark, linestyle="", label=name)
        for source, (name, mark) in SOURCES.items()
        if source in set(table["source"])
    ]
    hollow = Line2D([], [], color=colours["literature"], markerfacecolor="white", marker="o", linestyle="")
    hollow.set_label("Table 1, on another data set")
    handles.insert(1, hollow)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False, columnspacing=1)
    add_note(figure, label)
    sns.despine(figure, left=True)
    return figure


def write_near(axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], **look: Any) -> None:
    """A small text beside a point of a plot, `offset` points away from it."""
    axes.annotate(text, point, offset, textcoords="offset points", fontsize=SMALL, **look)


def draw_class_f1(table: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Bars of F1 per class, one colour per network; a class without test images stays empty."""
    figure, axes = plt.subplots(figsize=(max(7, 0.3 * len(table) + 1), 3.4))
    colours = dict(zip(titles.values(), cycle(PALETTE), strict=False)) | {ENSEMBLE_TITLE: "0.35"}
    named = table.rename(columns={**titles, "ensemble": ENSEMBLE_TITLE})
    sns.barplot(
        named.melt("emotion", var_name="network", value_name="F1").dropna(), x="emotion", y="F1", hue="network",
        order=list(table["emotion"]), hue_order=list(colours), palette=colours, saturation=1, legend=False, ax=axes,
    )  # fmt: skip
    axes.set(xlabel="", ylabel="F1", ylim=(0, 1), title="F1 per class on test")
    if slant(axes, [*table["emotion"]]):
        figure.set_figheight(4.4)
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    columns = len(handles) if len(handles) <= 4 else 3
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def draw_ensembles(table: pd.DataFrame) -> Figure:
    """Accuracy on test of each network and soft vote, with its 95 % interval; the note gives the chosen weights."""
    figure, axes = plt.subplots(figsize=(7, 0.36 * len(table) + 1.5))
    colours = dict(zip(table["kind"].unique(), PALETTE, strict=False))
    singles = table[table["kind"] == "one network"]
    axes.axvline(singles["accuracy"].max(), color="0.6", linewidth=1, linestyle="--", zorder=1)
    names = []
    for place, row in enumerate(table[::-1].itertuples()):
        axes.plot([row.ci95_low, row.ci95_high], [place, place], color=colours[row.kind], linewidth=2, alpha=0.5)
        axes.plot(row.accuracy, place, "o", color=colours[row.kind], markersize=7)
        gain = "" if row.kind == "one network" else f" ({row.gain_points:+.2f})".replace("-", "−")
        text, box = f"{row.accuracy:.2%}{gain}", {"color": "white", "pad": 0}
        write_near(axes, text, (row.accuracy, place), (0, 8), ha="center", bbox=box)
        name = "All" if len(row.weights.split()) == len(singles) else row.name
        names.append("All, weighted" if row.kind == "weights chosen on val" else name)
    axes.set_yticks(range(len(table)), names)
    axes.set(ylim=(-0.6, len(table) - 0.2), title="Each network, and the soft votes")
    axes.set_xlabel("accuracy on test, with its 95 % interval")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.grid(False, axis="y")
    handles = [Line2D([], [], color=colour, marker="o", label=kind) for kind, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    weights = zip(singles["name"], table["weights"].iloc[-1].split(), strict=True)
    add_note(
        figure,
        "A soft vote is the mean of its members' probabilities. In brackets: points more than the member best on val. "
        f"Dashed: the highest accuracy of one network. Weights chosen on val: {', '.join(map(' '.join, weights))}.",
    )
    sns.despine(figure, left=True)
    return figure


def draw_agreement(table: pd.DataFrame) -> Figure:
    """A bar per class: the shares of its images that all, some or none of the networks classify correctly."""
    columns = [column for column in table.columns if column.startswith("right_by_")]
    networks = len(columns) - 1
    names = ["all", *(f"{count} of {networks}" for count in range(networks - 1, 0, -1)), "none"]
    colours = sns.color_palette("cividis", len(names))[::-1]
    figure, axes = plt.subplots(figsize=(7, max(3.6, 0.25 * len(table) + 1.4)))
    places = range(len(table) - 1, -1, -1)
    left = 0 * table["images"]
    for column, name, colour in zip(columns, names, colours, strict=True):
        bars = axes.barh(places, table[column], left=left, color=colour, label=name, linewidth=0)
        texts = [f"{share:.0%}" if share >= 0.05 else "" for share in table[column]]
        ink = "black" if np.dot(colour, (0.299, 0.587, 0.114)) > 0.5 else "white"
        axes.bar_label(bars, texts, label_type="center", fontsize=SMALL, color=ink)
        left = left + table[column]
    axes.set_yticks(places, [f"{row.emotion} ({row.images:,})" for row in table.itertuples()])
    axes.set(xlim=(0, 1), xlabel="share of the test images of the class")
    axes.set_title(f"How many of the {networks} networks classify an image correctly")
    axes.xaxis.set_major_formatter(PERCENT)
    axes.grid(False)
    figure.legend(loc="outside lower center", ncols=7, frameon=False, columnspacing=1.2, handlelength=1.4)
    sns.despine(figure, left=True)
    return figure


def draw_all_wrong(table: pd.DataFrame, images: Bytes, networks: list[str]) -> Figure:
    """The first images that no network gets right; `networks` are the columns of `table` with their predictions."""
    shown = table.head(18)
    captions = [name_errors(row, networks) for row in shown.to_dict("records")]
    lines = max((caption.count("\n") for caption in captions), default=0)
    title = "Every test image is classified correctly by at least one network"
    if len(table):
        title = (
            f"{count_shown(table, shown)} that no network classifies correctly; on {table['same'].sum():,} all agree"
        )
    figure = draw_gallery(images[shown["index"]], captions, title, row_height=1.2 + 0.15 * lines, **SIX_COLUMNS)
    if len(table):
        add_note(
            figure,
            "Above each face: its row in test, its label, and the classes that networks predict (×2: two networks). "
            "Faces on which all predict the same class come first (is the label right?), then the most confident.",
        )
    return figure


def count_shown(table: pd.DataFrame, shown: pd.DataFrame) -> str:
    """'7 test images', or '18 of 129 test images' where not all are shown."""
    of = f"{len(shown)} of " if len(shown) < len(table) else ""
    return f"{of}{len(table):,} test image{'s' if len(table) > 1 else ''}"


def name_errors(row: Mapping[str, Any], networks: list[str]) -> str:
    """The text above a face: its row, its label, and the classes predicted instead, the most frequent first."""
    votes = Counter(row[name] for name in networks).most_common()
    instead = votes[0][0] if len(votes) == 1 else ", ".join(f"{one} ×{n}" if n > 1 else one for one, n in votes)
    wrapped = fill(instead.replace(" ×", "\xa0×"), 14).replace("\xa0", " ")
    label = fill(f"{row['index']}: {row['actual']}", 18)
    return f"{label}\n→ {wrapped}"


def draw_annotators(table: pd.DataFrame, ten: bool) -> Figure:
    """The annotators' confusion matrix against the labels, one row per class, as shares of each row.

    `ten` says whether each face has ten annotators, here and below.
    """
    counts = table.to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    many = len(table) > MANY
    texts = np.array([f"{share:.0%}" if share >= 0.005 else "" for share in shares.flat]).reshape(counts.shape)
    figure, axes = plt.subplots(figsize=size_matrix(len(table)) if many else (7, 4.6))
    sns.heatmap(
        shares, annot=write_percent(shares) if many else texts, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False,
        linewidths=0.5, ax=axes, annot_kws={"fontsize": 7.5 if many else 9},
    )  # fmt: skip
    rows = [f"{name} ({number:,})" for name, number in zip(table.index, counts.sum(axis=1), strict=True)]
    axes.set_yticks(np.arange(len(table)) + 0.5, rows, rotation=0)
    axes.set_xticks(np.arange(len(table.columns)) + 0.5, table.columns, rotation=40, ha="right")
    axes.set(ylabel="label (test images)", xlabel="class with most votes (the first, if tied)")
    if many:
        axes.tick_params(labelsize=SMALL)
    of = " of ten annotators" if ten else ""
    axes.set_title(f"Labels, and the class with most votes{of}{', in % of the row' if many else ''}")
    return figure


def draw_levels(levels: pd.DataFrame, titles: Mapping[str, str], ten: bool) -> Figure:
    """Accuracy against label and favourite, by the number of annotators who agree; its ticks give the images."""
    if not len(levels):
        return draw_sentence("There is no face whose class with most votes is one of the labels'")
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.8), sharey=True)
    ticks = levels["votes"].tolist()
    shown = [f"{votes}" if ten else f"{10 * votes}%" for votes in ticks]
    least = ["≤" * (votes == LEAST) for votes in ticks]
    places = [f"{one}{text}\n{n:,}" for one, text, n in zip(least, shown, levels["images"], strict=True)]
    kinds = ((left, "favourite", "predicts the class with most votes"), (right, "label", "predicts the label"))
    for axes, column, title in kinds:
        for name, colour in zip(titles, cycle(PALETTE), strict=False):
            axes.plot(ticks, levels[f"{name}_{column}"], "o-", color=colour, markersize=4, label=titles[name])
        axes.set(title=title, ylim=(0, 1.02))
        axes.set_xticks(ticks, places)
        axes.yaxis.set_major_formatter(PERCENT)
    right.plot(ticks, levels["favourite_is_label"], "--", color="0.4", label="class with most votes")
    left.set_ylabel("share of the test images")
    handles, names = right.get_legend_handles_labels()
    columns = len(names) if len(names) <= 4 else 3
    figure.legend(handles, names, loc="outside upper center", ncols=columns, frameon=False)
    votes = "votes of ten annotators" if ten else "share of a face's votes"
    note = f"{votes} for the most-voted class; below, number of test images"
    figure.supxlabel(note, fontsize="medium")
    return figure


def draw_contradicted(table: pd.DataFrame, images: Bytes, ten: bool) -> Figure:
    """The first thirty of `tabulate_contradicted`: label, what the networks predict, and the votes."""
    most = f"{SURE} of 10" if ten else f"{10 * SURE}% of the"
    described = f"whose label all networks and at least {most} annotators contradict"
    if not len(table):
        return draw_sentence(f"There is no face {described}")
    shown = table.head(30)
    captions = [f"{fill(row.actual, 18)}\n{fill(f'→ {row.predicted}', 18)}" for row in shown.itertuples()]
    title = f"{count_shown(table, shown)} {described}"
    row_height = 1.72 + 0.12 * (max(caption.count("\n") for caption in captions) - 1)
    figure = draw_gallery(images[shown["index_in_test"]], captions, title, row_height=row_height, **SIX_COLUMNS)
    for cell, said in zip(figure.axes, shown["said"], strict=False):
        text = fill(shorten(said, 34, placeholder=" …"), 18)
        cell.text(0.5, -0.04, text, fontsize=SMALL - 0.5, ha="center", va="top", transform=cell.transAxes)
    add_note(
        figure,
        "Above each face: its label, and the class that all networks predict instead. Below: the votes of "
        f"{'ten' if ten else 'the'} annotators. Faces with most votes for that class come first, then the most "
        "confident.",
    )
    return figure
