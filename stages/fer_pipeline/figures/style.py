"""How every picture of the project looks, and what several share: galleries of faces, small print, CSV of tables."""

import textwrap
from collections.abc import Sequence
from io import BytesIO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageChops

PALETTE: list[str] = sns.color_palette("colorblind").as_hex()  # ten, for colour-blind readers too; as in .dvc/plots/
PERCENT = PercentFormatter(1, decimals=0)
SMALL = 8  # the smallest font size, in points

sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.15)
plt.rcParams |= {"savefig.dpi": 150, "figure.constrained_layout.use": True}
plt.rcParams["figure.titlesize"] = plt.rcParams["axes.titlesize"]
plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}


def to_png(figure: Figure) -> bytes:
    """A figure as PNG in 256 greys or colours, without a date or version in it. Closes the figure."""
    drawn, content = BytesIO(), BytesIO()
    figure.savefig(drawn)
    plt.close(figure)
    picture = Image.open(drawn).convert("RGB")
    grey = picture.convert("L")
    coloured = ImageChops.difference(picture, grey.convert("RGB")).getbbox()
    (picture.quantize(256) if coloured else grey).save(content, "PNG", optimize=True)  # half the bytes of true colour
    return content.getvalue()


def show_face(axes: Axes, face: npt.NDArray[np.uint8]) -> None:
    """Draw a face, uint8 (height, width) in greys, (height, width, 3) in colour."""
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
    """N faces as in `Split` in rows, a caption above each; N may be 0. The first N axes are the faces'.

    Each row is `row_height` inches high, title and notes together `margin`. `pad`, in points, is below a caption.
    """
    rows = max(1, -(-len(faces) // columns))
    figure, grid = plt.subplots(rows, columns, figsize=(7, row_height * rows + margin), squeeze=False)
    for cell in grid.flat:
        cell.axis("off")
    for cell, face, caption in zip(grid.flat, faces, captions, strict=False):
        show_face(cell, face)
        cell.set_title(caption, fontsize=SMALL, pad=pad)
    figure.suptitle(title, fontsize=title_size)
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
