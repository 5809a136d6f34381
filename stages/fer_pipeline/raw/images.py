"""Faces as pictures in class folders: the image-folder release of FER-2013, and other data sets.

FER-2013 comes as train/<class>/*.jpg and test/<class>/*.jpg (or png), 48x48; others as <class>/ anywhere, of any size.
"""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES, SIZE, USAGES
from fer_pipeline.raw.table import list_problems

NAMES_OF_CLASS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid"),
    "happy": ("happy", "happiness", "joy"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral", "neutrality"),
}
LABELS = {name: CLASSES.index(label) for label, names in NAMES_OF_CLASS.items() for name in names}
SUFFIXES = (".jpg", ".jpeg", ".png")
LITTER = ("Thumbs.db", "desktop.ini")
USAGE_CODES = {usage.lower(): code for code, usage in enumerate(USAGES)}
LARGEST_FILE = 1 << 20
"""Bytes; a 48x48 picture takes a few thousand."""
LARGEST_OTHER = 1 << 24
"""Bytes of a picture of another data set."""
OTHER_SUFFIXES = (*SUFFIXES, ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Of another data set's pictures, in Pillow's names; it knows others that call programs."""
CONVERTIBLE = ("RGB", "RGBA", "P", "PA", "LA", "1", "CMYK", "YCbCr")
"""Pillow's 8-bit modes that convert to grey without a choice of scale (16-bit and float modes do not)."""

warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class Member(NamedTuple):
    """A file inside an archive or a folder."""

    size: int
    """Bytes, unpacked."""
    open: Callable[[], IO[bytes]]


def is_litter(name: str) -> bool:
    """Whether a member's name is hidden, or one of the files that operating systems leave behind."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX" or parts[-1] in LITTER


def read_images(
    members: Mapping[str, Member], source: Path, seed: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8], dict[str, int], str]:
    """Read the pictures among `members` ({name with slashes: Member}): all files in a class folder.

    Rows are sorted by class in the challenge's order, and within a class by path, as Keras sorts them. The prefix of
    a file name (Training_, PublicTest_, PrivateTest_) gives the Usage; without it, train is Training, and the files of
    each test class are split in half between PublicTest and PrivateTest, shuffled with `seed`.

    Returns:
        images uint8 (N, 48, 48), labels uint8 (N,), usages uint8 (N,), the number of pictures converted to grey
        by Pillow's mode, and the md5 over names and bytes in order.

    Raises:
        InputError: a folder that is not a class, or bad pictures: the first ten are listed, with the total.
    """
    pictures = find_pictures(members, source)
    images = np.empty((len(pictures), SIZE, SIZE), np.uint8)
    conversions: Counter[str] = Counter()
    problems: list[str] = []
    digest = hashlib.md5(usedforsecurity=False)
    for image, (_, _, name) in zip(images, tqdm(pictures, desc="images", unit=" images", disable=None), strict=True):
        try:
            payload = read_payload(members[name])
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + payload)
            image[:], mode = decode_image(payload)
        except ValueError as error:
            problems.append(f"{name}: {error}")
            continue
        if mode != "L":
            conversions[mode] += 1
    if problems:
        raise InputError(list_problems(source, "picture", problems))
    labels = np.array([label for label, _, _ in pictures], np.uint8)
    usages = find_usages(pictures, source, seed)
    return images, labels, usages, dict(sorted(conversions.items())), digest.hexdigest()


class OtherRows(NamedTuple):
    """The faces of another data set, sorted by class and, within it, by path."""

    images: npt.NDArray[np.uint8]
    """uint8 (N, 48, 48)."""
    labels: npt.NDArray[np.uint8]
    """uint8 (N,), 0..6."""
    left_out: dict[str, int]
    """{folder: pictures} below no folder of a known emotion."""
    scaled: int
    """Pictures that had another size than 48x48."""
    md5: str
    """Over names and bytes, in order."""


def read_class_folders(members: Mapping[str, Member], source: Path) -> OtherRows:
    """Read the pictures among `members` ({name with slashes: Member}) that stand below a folder named after an emotion.

    Every size and colour is taken: the middle square, in grey, scaled to 48x48.

    Raises:
        InputError: no folder of an emotion, or bad pictures: the first ten are listed, with the total.
    """
    pictures: list[tuple[int, str]] = []
    left_out: Counter[str] = Counter()
    for name in members:
        if not name.lower().endswith(OTHER_SUFFIXES):
            continue
        folders = [folder.lower() for folder in name.split("/")[-2::-1]]  # the nearest first
        label = next((LABELS[folder] for folder in folders if folder in LABELS), None)
        if label is not None:
            pictures.append((label, name))
        else:
            left_out[folders[0] if folders else "no folder"] += 1
    if not pictures:
        raise InputError(
            f"{source}: no pictures in folders named after an emotion; expected {', '.join(CLASSES)} (or angry's like "
            "anger), one folder each"
        )
    pictures.sort()
    images = np.empty((len(pictures), SIZE, SIZE), np.uint8)
    problems: list[str] = []
    scaled = 0
    digest = hashlib.md5(usedforsecurity=False)
    for image, (_, name) in zip(images, tqdm(pictures, desc="images", unit=" images", disable=None), strict=True):
        try:
            payload = read_payload(members[name], LARGEST_OTHER)
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + payload)
            image[:], resized = decode_any_size(payload)
            scaled += resized
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise InputError(list_problems(source, "picture", problems))
    labels = np.array([label for label, _ in pictures], np.uint8)
    return OtherRows(images, labels, dict(sorted(left_out.items())), scaled, digest.hexdigest())


def decode_any_size(payload: bytes) -> tuple[npt.NDArray[np.uint8], bool]:
    """The middle square of a picture in grey, uint8 (48, 48), and whether it was scaled for that.

    Raises:
        ValueError: no picture, damaged, too large, or a mode without a plain conversion to grey.
    """
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            if image.mode != "L" and image.mode not in CONVERTIBLE:
                raise ValueError(f"pixels of mode {image.mode}, expected 8-bit grey or colour")
            grey = image.convert("L")
        if grey.size == (SIZE, SIZE):
            return np.asarray(grey), False
        side = min(grey.size)
        left, top = (grey.width - side) // 2, (grey.height - side) // 2
        square = grey.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        return np.asarray(square), True
    except Image.UnidentifiedImageError:
        raise ValueError("not a picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("many millions of pixels, expected a face") from None
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"damaged picture ({error})") from None  # what Pillow raises for one


def read_payload(member: Member, largest: int = LARGEST_FILE) -> bytes:
    """The bytes of a member; an empty or a huge one raises ValueError before it is unpacked."""
    if not 0 < member.size <= largest:
        raise ValueError(f"{member.size:,} bytes, expected a picture of a face")
    with member.open() as file:
        return file.read()


def find_pictures(names: Iterable[str], source: Path) -> list[tuple[int, str, str]]:
    """A sorted list of (label 0..6, folder 'train' or 'test', name) for pictures in <folder>/<class>/.

    Raises:
        InputError: no picture, one elsewhere, a folder that is not a class, or two releases in one source.
    """
    pictures: list[tuple[int, str, str]] = []
    roots: set[str] = set()
    problems: list[str] = []
    for name in names:
        *root, folder, label, _ = ("", "", *name.split("/"))
        if folder.lower() in ("train", "test") and label.lower() in LABELS:
            roots.add("/".join(filter(None, root)))
            pictures.append((LABELS[label.lower()], folder.lower(), name))
        elif folder.lower() in ("train", "test"):
            problems.append(f"{name}: folder {label!r} is not a class; expected {', '.join(CLASSES)}")
        elif name.lower().endswith(SUFFIXES):
            problems.append(f"{name}: expected train/<class>/ or test/<class>/ above it")
    if problems:
        raise InputError(list_problems(source, "picture", sorted(problems)))
    if len(roots) > 1:
        listed = ", ".join(sorted(root or "its top" for root in roots))
        raise InputError(f"{source}: holds several train and test folders, in {listed}; give only one of them")
    if not pictures:
        raise InputError(
            f"{source}: no table with the columns emotion, pixels and Usage, and no pictures in train/<class>/ and "
            "test/<class>/; give FER-2013 as downloaded"
        )
    return sorted(pictures)


def find_usages(pictures: list[tuple[int, str, str]], source: Path, seed: int) -> npt.NDArray[np.uint8]:
    """The Usage of each of `pictures` (from `find_pictures`) as uint8 (N,), positions in `USAGES`.

    Raises:
        InputError: a prefix that contradicts the folder, or a test folder in which only some names have one.
    """
    usages = np.zeros(len(pictures), np.uint8)
    unnamed: dict[int, list[int]] = {}
    problems: list[str] = []
    for i, (label, folder, name) in enumerate(pictures):
        usage = USAGE_CODES.get(name.rpartition("/")[2].split("_")[0].lower())
        if usage is not None and (usage == 0) != (folder == "train"):
            problems.append(f"{name}: {USAGES[usage]} by its name, {folder} by its folder; expected both to agree")
        elif usage is not None:
            usages[i] = usage
        elif folder == "test":
            unnamed.setdefault(label, []).append(i)
    if problems:
        raise InputError(list_problems(source, "picture", problems))
    if unnamed and usages.any():
        example = pictures[next(iter(unnamed.values()))[0]][2]
        raise InputError(f"{source}: {example} has no prefix PublicTest_ or PrivateTest_, and others in test have one")
    generator = np.random.default_rng(seed)
    for positions in unnamed.values():
        shuffled = generator.permutation(positions)
        usages[shuffled] = USAGES.index("PrivateTest")
        usages[shuffled[: len(shuffled) // 2]] = USAGES.index("PublicTest")
    return usages


def decode_image(payload: bytes) -> tuple[npt.NDArray[np.uint8], str]:
    """Decode the bytes of a picture to grey.

    Returns:
        uint8 (48, 48), and Pillow's mode of the file ('L' is grey).

    Raises:
        ValueError: not a JPEG or PNG, damaged, another size, or a mode without a plain conversion to grey.
    """
    try:
        with Image.open(io.BytesIO(payload), formats=("JPEG", "PNG")) as image:
            mode = image.mode
            if image.size != (SIZE, SIZE):
                raise ValueError(f"{image.width}x{image.height} pixels, expected {SIZE}x{SIZE}")
            if mode != "L" and mode not in CONVERTIBLE:
                raise ValueError(f"pixels of mode {mode}, expected 8-bit grey or colour")
            if image.format == "JPEG" and not payload.endswith(b"\xff\xd9"):
                raise ValueError("a truncated JPEG, expected a complete one")  # Pillow would pad it with grey
            grey = image if mode == "L" else image.convert("L")
            return np.frombuffer(grey.tobytes(), np.uint8).reshape(SIZE, SIZE), mode
    except Image.UnidentifiedImageError:
        raise ValueError("not a JPEG or PNG") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"many millions of pixels, expected {SIZE}x{SIZE}") from None
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"damaged picture ({error})") from None  # what Pillow raises for one
