"""The pictures of damaged faces: what the strengths of each kind look like, and how accuracy falls with them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from fer_pipeline.figures.style import PALETTE, PERCENT, SMALL, show_face

COLUMNS = 4
HELD_OUT_GROUND = "0.9"


def draw_damages(rows: Mapping[str, npt.NDArray[np.uint8]], strengths: Sequence[int]) -> Figure:
    """One face under each kind of damage: {name: faces as in `Split`, by strength}, in two columns of kinds."""
    half, width = -(-len(rows) // 2), len(strengths)
    close = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    figure, grid = plt.subplots(half, 2 * width, figsize=(7, 0.55 * half + 0.2), squeeze=False, layout=close)
    for cell in grid.flat:
        cell.axis("off")
    for place, (name, faces) in enumerate(rows.items()):
        cells = grid[place % half, place // half * width :]
        for cell, face in zip(cells, faces, strict=False):
            show_face(cell, face)
        cells[0].text(-0.1, 0.5, name, transform=cells[0].transAxes, ha="right", va="center", fontsize=SMALL)
    for cell, strength in zip(grid[0], [*strengths, *strengths], strict=True):
        cell.set_title(str(strength), fontsize=SMALL, pad=3)
    return figure


def draw_accuracies(table: pd.DataFrame, held_out: Collection[str], networks: Sequence[str]) -> Figure:
    """Accuracy by strength, a panel for each kind and a line for each of `networks`; kinds `held_out` on grey.

    Columns of the table: kind, network, strength (0: the faces as they are) and accuracy.
    """
    kinds, colours = table["kind"].unique(), dict(zip(networks, cycle(PALETTE), strict=False))
    rows = -(-len(kinds) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(7, 1.5 * rows + 0.9), sharex=True, sharey=True, squeeze=False)
    for axes, kind in zip(grid.flat, kinds, strict=False):
        for network, colour in colours.items():
            line = table[(table["kind"] == kind) & (table["network"] == network)]
            axes.plot(line["strength"], line["accuracy"], color=colour, marker="o", markersize=2.5, linewidth=1.3)
        axes.set_title(kind, fontsize=9, pad=3)
        axes.tick_params(labelsize=SMALL)
        if kind in held_out:
            axes.set_facecolor(HELD_OUT_GROUND)
            axes.grid(color="white")
    for axes in grid.flat[len(kinds) :]:
        axes.axis("off")
    grid[0, 0].yaxis.set_major_formatter(PERCENT)
    grid[0, 0].set(xticks=sorted(table["strength"].unique()), ylim=(0, None))
    figure.supylabel("accuracy on test", fontsize=9)
    lines = [Line2D([], [], color=colour, marker="o", markersize=3, label=name) for name, colour in colours.items()]
    handles = [*lines, Patch(facecolor=HELD_OUT_GROUND, label="never in training")]
    columns = len(handles) if len(handles) <= 5 else 3
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=9, frameon=False)
    figure.supxlabel("strength of the damage (0: the faces as they are)", fontsize=9)
    return figure
