"""What several pictures share: galleries of faces, small print, a sentence in place of a picture; tables as CSV."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TITLE, SMALL = 11, 8
"""Font sizes in points: of the title of a gallery in the comparison, and of the smallest text."""


def show_face(axes: Axes, face: npt.NDArray[np.uint8]) -> None:
    """Draw a face, uint8 (height, width), in greys."""
    axes.imshow(face, cmap="gray", vmin=0, vmax=255)


def draw_gallery(
    faces: npt.NDArray[np.uint8],
    captions: Sequence[str],
    title: str,
    columns: int = 8,
    row_height: float = 1.2,
    margin: float = 0.4,
    pad: float = 3,
    title_size: float | None = None,
) -> Figure:
    """Faces uint8 (N, height, width) in rows, a caption above each; N may be 0. The first N axes are the faces'.

    Each row is `row_height` inches high, title and notes together `margin`. `pad`, in points, is between a caption and
    its face; `title_size` is in points, too, or None: as large as the title of a plot.
    """
    rows = max(1, -(-len(faces) // columns))
    figure, grid = plt.subplots(rows, columns, figsize=(7, row_height * rows + margin), squeeze=False)
    for cell in grid.flat:
        cell.axis("off")
    for cell, face, caption in zip(grid.flat, faces, captions, strict=False):
        show_face(cell, face)
        cell.set_title(caption, fontsize=SMALL, pad=pad)
    figure.suptitle(title, fontsize=title_size or plt.rcParams["axes.titlesize"])
    return figure


def draw_sentence(text: str) -> Figure:
    """A sentence in place of a picture."""
    figure, axes = plt.subplots(figsize=(7, 0.8))
    axes.axis("off")
    axes.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def add_note(figure: Figure, text: str) -> None:
    """Small print under a picture."""
    figure.supxlabel(textwrap.fill(text, 105), fontsize=SMALL, color="0.3")


def table_to_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV without its index; floats have six decimals."""
    return str(table.to_csv(index=False, float_format="%.6f", lineterminator="\n")).encode()
