"""Pictures: read from a folder or an archive, and decoded into faces."""

import hashlib
import io
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from fer_pipeline.faces.fer2013 import SIZE
from fer_pipeline.raw.parsing import refuse
from fer_pipeline.raw.rows import FER2013, Options, Pixels

SUFFIXES = (".jpg", ".jpeg", ".png")
LITTER = ("Thumbs.db", "desktop.ini")
LARGEST_FILE = 1 << 20  # bytes; a 48x48 picture takes a few thousand
LARGEST_OTHER = 1 << 26  # bytes of a picture of another data set, which may be a whole photo
OTHER_SUFFIXES = (*SUFFIXES, ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "AVIF", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""As Pillow names them; some of its others start programs. FER-2013 has the first two."""
MODES = ("L", "RGB", "RGBA", "P", "PA", "LA", "1", "CMYK", "YCbCr")  # 8-bit modes: to grey without a choice of scale
SMALLEST, LONGEST = 16, 8  # pixels of a side, and how many times the other side it may be

Box = tuple[float, float, float, float]  # left, top, width and height in pixels

warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class Member(NamedTuple):
    """A file inside an archive or a folder."""

    size: int  # bytes, unpacked
    open: Callable[[], Any]  # gives a binary file


class Picture(NamedTuple):
    """A picture that a folder or a table names, and what they tell of it."""

    name: str  # of the member
    label: str = ""
    box: Box | None = None  # of the face


class Decoded(NamedTuple):
    """Faces of N pictures in their order, without those of photos in which no face was found."""

    images: Pixels  # uint8 (N, S, S) or (N, S, S, 3)
    conversions: dict[str, int]  # see `Rows`
    scaled: int
    md5: str  # of their names and bytes, in the order in which they were read
    kept: list[int]  # positions of the N pictures among those that were given


def is_litter(name: str) -> bool:
    """Whether a member is hidden, or a file that operating systems leave behind."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX" or parts[-1] in LITTER


def decode_all(
    pictures: Sequence[Picture], members: Mapping[str, Member], source: Path, options: Options, digest: Any = None
) -> Decoded:
    """Decode pictures: in FER-2013's formats alone where there is no `digest` to add names and bytes to.

    Others are read in the order of their names. `InputError` lists the first ten bad pictures and counts all.
    """
    strict = digest is None
    digest = digest or hashlib.md5(usedforsecurity=False)
    size, largest = options.size or SIZE, LARGEST_FILE if strict else LARGEST_OTHER
    images = np.empty((len(pictures), size, size, *((3,) if options.colour else ())), np.uint8)
    modes: Counter[str] = Counter()
    problems, faceless, scaled = [], set(), 0
    order = range(len(pictures)) if strict else sorted(range(len(pictures)), key=lambda i: pictures[i].name)
    for i in tqdm(order, desc="images", unit=" images", disable=None):
        name, _, box = pictures[i]
        try:
            if not 0 < members[name].size <= largest:
                raise ValueError(f"{members[name].size:,} bytes, expected 1 to {largest:,}")
            with members[name].open() as file:
                payload = file.read()
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + payload)
            face, mode, was_scaled = decode(payload, options, box, strict)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if face is None:
            faceless.add(i)
        else:
            images[i] = face
            modes[mode] += mode != ("RGB" if options.colour else "L")
            scaled += was_scaled
    refuse(source, "picture", problems)
    kept = [i for i in range(len(pictures)) if i not in faceless]
    for place, i in enumerate(kept if faceless else ()):  # in place, as `images[kept]` would be a copy
        images[place] = images[i]
    return Decoded(images[: len(kept)], dict(sorted((+modes).items())), scaled, digest.hexdigest(), kept)


def decode(
    payload: bytes, options: Options = FER2013, box: Box | None = None, strict: bool = False
) -> tuple[Pixels | None, str, bool]:
    """A picture as a face, uint8 (S, S), or (S, S, 3) in colour; Pillow's mode of the file, and whether it was scaled.

    The face is what `box` holds, else the largest face that `options.crop` finds (None if it finds none), else the
    middle square. Found faces count as scaled, others if their size is not `options.size` (None: 48). `strict` takes
    JPEG and PNG only. Raises ValueError: not a picture, damaged, an unexpected size, too small or too narrow, or a mode
    without a plain conversion to 8 bits.
    """
    size = options.size or SIZE
    exact = options.size is None and box is None and options.crop is None
    kind, expected = "JPEG or PNG" if strict else "picture", f"{size}x{size}" if exact else "a face"
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS[:2] if strict else FORMATS) as image:
            if exact and image.size != (size, size):
                hint = "set prepare.size in params.yaml to scale it"
                raise ValueError(f"{image.width}x{image.height} pixels, expected {expected}; {hint}")
            if image.mode not in MODES:
                raise ValueError(f"pixels of mode {image.mode}, expected 8-bit grey or colour")
            if strict and image.format == "JPEG" and not payload.endswith(b"\xff\xd9"):
                raise ValueError("a truncated JPEG, expected a complete one")  # Pillow would pad it with grey
            require_shape(*image.size, "pixels")
            mode = image.mode
            if options.crop and not box:
                image.load()
                return options.crop(payload), "L" if not options.colour else "RGB", True
            if not strict:
                ImageOps.exif_transpose(image, in_place=True)
            plain = image.convert("RGB" if options.colour else "L")
    except Image.UnidentifiedImageError:
        raise ValueError(f"not a {kind}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"many millions of pixels, expected {expected}") from None
    except (OSError, SyntaxError, EOFError, IndexError, KeyError, TypeError, ArithmeticError, struct.error) as error:
        raise ValueError(f"damaged picture ({error})") from None
    if box:
        plain = cut_box(plain, box)
    return scale(plain, size), mode, plain.size != (size, size)


def scale(image: Image.Image, size: int) -> Pixels:
    """The middle square of a picture, scaled down by area averaging and up linearly: uint8 (size, size[, 3])."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    method = Image.Resampling.BOX if side > size else Image.Resampling.BILINEAR  # BOX: the mean of an area
    if image.size != (size, size):
        image = image.resize((size, size), method, (left, top, left + side, top + side))
    return np.asarray(image)


def require_shape(width: float, height: float, what: str) -> None:
    """Raise ValueError for a picture, or a box, that cannot show a face."""
    if min(width, height) < SMALLEST or max(width, height) > LONGEST * min(width, height):
        limits = f"sides of {SMALLEST} pixels or more, none over {LONGEST} times the other"
        raise ValueError(f"{width:g}x{height:g} {what}, expected {limits}")


def cut_box(image: Image.Image, box: Box) -> Image.Image:
    """The square around the middle of a box; outside the picture, its border is repeated."""
    left, top, width, height = box
    require_shape(width, height, "pixels in the box")
    x, y, side = left + width / 2, top + height / 2, round(max(width, height))
    if not (0 <= x < image.width and 0 <= y < image.height and side <= 2 * max(image.size)):
        where = f"{width:g}x{height:g} at {left:g}, {top:g}"
        raise ValueError(f"a box of {where} in a picture of {image.width}x{image.height}, expected one inside it")
    columns = (round(x - side / 2) + np.arange(side)).clip(0, image.width - 1)
    rows = (round(y - side / 2) + np.arange(side)).clip(0, image.height - 1)
    return Image.fromarray(np.asarray(image)[np.ix_(rows, columns)])
