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
from PIL.PngImagePlugin import PngInfo

PALETTE: list[str] = sns.color_palette("colorblind").as_hex()  # ten, for colour-blind readers too; as in .dvc/plots/
PERCENT = PercentFormatter(1, decimals=0)
SMALL = 8  # the smallest font size, in points
FACES = ("Shows", "faces")  # key and text in the PNG of a figure that shows faces of the data
LEVEL = 72  # characters of names that fit side by side
MANY = 8  # with more classes a matrix shows percentages alone, and faces of all classes go into several rows

sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.15)
plt.rcParams |= {"savefig.dpi": 150, "figure.constrained_layout.use": True}
plt.rcParams["figure.titlesize"] = plt.rcParams["axes.titlesize"]
plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}


def to_png(figure: Figure) -> bytes:
    """A figure as PNG in 256 greys or colours, without a date or version in it. Closes the figure.

    One with images, which are faces here, says so in the file: `shows_faces`.
    """
    images = [image for axes in figure.axes for image in axes.images]
    photos = any(np.asarray(image.get_array()).ndim == 3 for image in images)
    said = PngInfo()
    if images:
        said.add_text(*FACES)
    drawn, content = BytesIO(), BytesIO()
    figure.savefig(drawn)
    plt.close(figure)
    picture = Image.open(drawn).convert("RGB")
    grey = picture.convert("L")
    coloured = ImageChops.difference(picture, grey.convert("RGB")).getbbox()
    reduced = picture.quantize(256) if coloured else grey  # half the bytes of true colour
    if photos and coloured:  # skin in dots, as it would be in patches, but the ground without
        dotted = picture.quantize(palette=reduced, dither=Image.Dither.FLOYDSTEINBERG)
        dotted.paste(reduced, mask=grey.point(lambda tone: 255 * (tone == 255)))
        reduced = dotted
    reduced.save(content, "PNG", optimize=True, pnginfo=said)
    return content.getvalue()


def shows_faces(png: bytes) -> bool:
    """Whether a picture made by `to_png` shows faces of the data."""
    return FACES in Image.open(BytesIO(png)).info.items()


def slant(axes: Axes, names: Sequence[str]) -> bool:
    """Slant the labels below, which are `names` of classes, where they have no room side by side; returns whether."""
    if len(names) * max(map(len, names)) <= LEVEL:
        return False
    plt.setp(axes.get_xticklabels(), rotation=50, ha="right", rotation_mode="anchor", fontsize=SMALL)
    return True


def name_classes(figure: Figure, axes: Axes, names: Sequence[str], counts: Sequence[int]) -> None:
    """The classes, each with a number of images, below bars at 0, 1, ...; the figure grows with their number."""
    texts = [f"{name}\n{count:,}" for name, count in zip(names, counts, strict=True)]
    axes.set_xticks(range(len(names)), texts)
    if slant(axes, names):
        axes.set_xticklabels([text.replace("\n", " (") + ")" for text in texts])
        figure.set_size_inches(max(7, 0.2 * len(names) + 1), figure.get_figheight() + 1)


def size_matrix(classes: int) -> tuple[float, float]:
    """Width and height of a figure whose cells have room for a percentage."""
    side = max(7, 0.2 * classes + 2)
    return side, side


def write_percent(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.str_]:
    """The texts of a matrix' cells: shares in percent, none below a half."""
    return np.reshape([f"{100 * share:.0f}" if share >= 0.005 else "" for share in shares.flat], shares.shape)


def fold(names: Sequence[str]) -> tuple[list[slice], list[str]]:
    """How to cut a row of classes into rows of at most `MANY` whose names have room; and the names, in lines."""
    longest = min(max(len(word) for name in names for word in name.split()), 20)
    rows = -(-len(names) // min(MANY, 90 // (longest + 1)))
    length = -(-len(names) // rows)
    slices = [slice(start, start + length) for start in range(0, len(names), length)]
    return slices, [textwrap.fill(name, max(longest, 80 // length)) for name in names]


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
