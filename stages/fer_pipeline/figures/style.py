"""How every picture of the project looks."""

from io import BytesIO
from itertools import cycle, islice

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageChops

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
    plt.rcParams |= {"savefig.dpi": 150, "figure.constrained_layout.use": True}
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
