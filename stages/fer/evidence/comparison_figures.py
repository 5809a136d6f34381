"""The pictures of the comparison: what `stages/compare.py` tabulates, drawn."""

import textwrap

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fer.evidence.paper import NAMES
from fer.evidence.plots import set_style, to_png

TITLES = NAMES | {"ensemble": "Soft vote of the three"}
SOURCES = {"literature": "Table 1 of the paper", "paper": "the paper's networks", "ours": "ours"}
GALLERY = (3, 6)
"""Rows and columns of faces."""
TITLE, SMALL = 11, 8
"""Points: of titles over a whole picture, and of the smallest type, for notes and the names above faces."""


def draw_comparison(tables, images, label):
    """{name: PNG bytes} of literature, class_f1, ensembles, agreement and all_wrong.

    Args:
        tables: {name: DataFrame} as `stages/compare.py` makes them.
        images: uint8 (N, 48, 48), those of test.
        label: the sentence under each picture that sets ours beside the paper's.
    """
    set_style()
    figures = {
        "literature": draw_literature(tables["literature"], label),
        "class_f1": draw_class_f1(tables["class_f1"]),
        "ensembles": draw_ensembles(tables["ensembles"]),
        "agreement": draw_agreement(tables["agreement"]),
        "all_wrong": draw_all_wrong(tables["all_wrong"], images),
    }
    return {name: to_png(figure) for name, figure in figures.items()}


def draw_literature(table, label):
    """Figure 10: accuracies on one axis, the highest on top; hollow marks are accuracies on other data sets."""
    figure, axes = plt.subplots(figsize=(7, 0.27 * len(table) + 1.3))
    colours = dict(zip(SOURCES, sns.color_palette("colorblind"), strict=False))
    marks = {"literature": "o", "paper": "s", "ours": "D"}
    places = range(len(table) - 1, -1, -1)
    for place, row in zip(places, table.itertuples(), strict=True):
        elsewhere = row.source == "literature" and row.dataset != "FER-2013"
        face = "white" if elsewhere else colours[row.source]
        axes.plot([0, row.accuracy], [place, place], color="0.85", linewidth=1, zorder=1)
        axes.plot(
            row.accuracy, place, marks[row.source], color=colours[row.source], markerfacecolor=face, markersize=6.5
        )
        axes.annotate(
            f"{row.accuracy:.2%}",
            (row.accuracy, place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
        )
    axes.set_yticks(places, [name_row(row) for row in table.itertuples()])
    for tick, source in zip(axes.get_yticklabels(), table["source"], strict=True):
        tick.set_fontweight("bold" if source == "ours" else "normal")
    lowest = min(0.55, table["accuracy"].min() - 0.05)
    axes.set(xlim=(max(0, lowest), min(1.08, table["accuracy"].max() + 0.06)), ylim=(-0.7, len(table) - 0.3))
    axes.set(xlabel="accuracy", title="Literature, paper and this run on one axis")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False, axis="y")
    handles = [
        plt.Line2D([], [], color=colours[source], marker=marks[source], linestyle="", label=name)
        for source, name in SOURCES.items()
    ]
    hollow = {"color": colours["literature"], "markerfacecolor": "white", "marker": "o", "linestyle": ""}
    handles.insert(1, plt.Line2D([], [], **hollow, label="the same, on other data"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False, columnspacing=1)
    add_note(figure, label)
    sns.despine(figure, left=True)
    return figure


def name_row(row):
    """The label of a row of Figure 10."""
    if row.source == "literature":
        return f"{row.name} {row.year}, {row.dataset}"
    return f"{row.name}, {'the paper' if row.source == 'paper' else 'this run'}"


def draw_class_f1(table):
    """Bars of F1 per class, one colour per network; a class without test images stays empty."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    long = table.rename(columns=TITLES).melt("emotion", var_name="network", value_name="F1").dropna()
    order = [TITLES[name] for name in table.columns[1:]]
    sns.barplot(long, x="emotion", y="F1", hue="network", order=list(table["emotion"]), hue_order=order, ax=axes)
    axes.set(xlabel="", ylabel="F1", ylim=(0, 1), title="F1 per class on test")
    axes.get_legend().remove()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    sns.despine(figure)
    return figure


def draw_ensembles(table):
    """Accuracy on test of each network and soft vote, with its 95 % interval; the note names the chosen weights."""
    figure, axes = plt.subplots(figsize=(7, 0.36 * len(table) + 1.3))
    colours = dict(zip(table["kind"].unique(), sns.color_palette("colorblind"), strict=False))
    best = table.loc[table["kind"] == "one network", "accuracy"].max()
    axes.axvline(best, color="0.6", linewidth=1, linestyle="--", zorder=1)
    places = range(len(table) - 1, -1, -1)
    for place, row in zip(places, table.itertuples(), strict=True):
        axes.plot([row.ci95_low, row.ci95_high], [place, place], color=colours[row.kind], linewidth=2, alpha=0.5)
        axes.plot(row.accuracy, place, "o", color=colours[row.kind], markersize=7)
        gain = "" if row.kind == "one network" else f" ({row.gain_points:+.2f})".replace("-", "−")
        axes.annotate(
            f"{row.accuracy:.2%}{gain}",
            (row.accuracy, place),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=SMALL,
            bbox={"color": "white", "pad": 0},
        )
    axes.set_yticks(places, [name_vote(row) for row in table.itertuples()])
    axes.set(ylim=(-0.6, len(table) - 0.2), xlabel="accuracy on test, with its 95 % interval")
    axes.set_title("Each network, and the soft votes of two and three")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.grid(False, axis="y")
    handles = [plt.Line2D([], [], color=colour, marker="o", label=kind) for kind, colour in colours.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    weights = table["weights"].iloc[-1].replace(" ", " : ")
    note = (
        "A soft vote is the mean of its members' probabilities. In brackets: points gained over the best member. "
        f"Dashed: the best single network. Weights chosen on val: {weights}, in the order above."
    )
    add_note(figure, note)
    sns.despine(figure, left=True)
    return figure


def name_vote(row):
    """The label of a row of the ensembles."""
    if row.kind == "weights chosen on val":
        return "All three, weighted"
    return "All three" if row.name.count("+") == 2 else row.name


def draw_agreement(table):
    """Per class, the shares of images that three, two, one or none of the networks get right, as one bar."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    names = {3: "all three", 2: "two", 1: "one", 0: "none"}
    colours = sns.color_palette("cividis", len(names))[::-1]
    places = range(len(table) - 1, -1, -1)
    left = 0 * table["images"]
    for (count, name), colour in zip(names.items(), colours, strict=True):
        shares = table[f"right_by_{count}"]
        bars = axes.barh(places, shares, left=left, color=colour, label=name, linewidth=0)
        texts = [f"{share:.0%}" if share >= 0.06 else "" for share in shares]
        axes.bar_label(bars, texts, label_type="center", fontsize=SMALL, color="black" if count > 1 else "white")
        left = left + shares
    axes.set_yticks(places, [f"{row.emotion} ({row.images:,})" for row in table.itertuples()])
    axes.set(xlim=(0, 1), xlabel="share of the test images of the class")
    axes.set_title("How many of the three networks get an image right")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    sns.despine(figure, left=True)
    return figure


def draw_all_wrong(table, images):
    """The first images that no network gets right: the row of test, the actual class and what is predicted instead."""
    height, width = GALLERY
    shown = table.head(height * width)
    height = max(1, -(-len(shown) // width))
    figure, grid = plt.subplots(height, width, figsize=(7, 1.5 * height + 0.8), squeeze=False)
    for cell in grid.flat:
        cell.axis("off")
    for cell, row in zip(grid.flat, shown.to_dict("records"), strict=False):
        cell.imshow(images[row["index"]], cmap="gray", vmin=0, vmax=255)
        said = [row[name] for name in NAMES]
        instead = said[0] if row["same"] else ", ".join(said)
        cell.set_title(f"{row['index']}: {row['actual']}\n" + textwrap.fill(f"→ {instead}", 16), fontsize=SMALL)
    if len(table):
        same = int(table["same"].sum())
        number = f"{len(table):,} test image{'s' if len(table) > 1 else ''}"
        head = f"{number} that no network gets right; on {same:,} of them all three say the same"
        add_note(
            figure,
            "Above each face: its row in test, its label, and what baseline, VGG19 and ResNet18 say instead. First "
            "come those where all three say the same (is the label right?), the most confident first.",
        )
    else:
        head = "Every test image is read right by one network at least"
    figure.suptitle(head, fontsize=TITLE)
    return figure


def add_note(figure, text):
    """Small print under a picture."""
    figure.supxlabel(textwrap.fill(text, 105), fontsize=SMALL, color="0.3")
