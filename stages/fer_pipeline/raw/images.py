"""Pictures in class folders: FER-2013's train/<class>/ and test/<class>/, other data sets' <class>/ anywhere."""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES, SIZE
from fer_pipeline.raw.parsing import parse_all, refuse
from fer_pipeline.raw.rows import USAGES, Rows

SYNONYMS = ("anger", "disgusted", "fearful", "happiness", "sadness", "surprised", "neutrality")
LABELS = {name: label for names in (CLASSES, SYNONYMS) for label, name in enumerate(names)} | {"afraid": 2, "joy": 3}
SUFFIXES = (".jpg", ".jpeg", ".png")
LITTER = ("Thumbs.db", "desktop.ini")
LARGEST_FILE = 1 << 20  # bytes; a 48x48 picture takes a few thousand
LARGEST_OTHER = 1 << 24  # bytes of a picture of another data set
OTHER_SUFFIXES = (*SUFFIXES, ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FORMATS = (
    "JPEG",
    "PNG",
    "BMP",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
)  # as Pillow names them; some of its others start programs
MODES = ("L", "RGB", "RGBA", "P", "PA", "LA", "1", "CMYK", "YCbCr")  # 8-bit modes: to grey without a choice of scale

warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


class Member(NamedTuple):
    """A file inside an archive or a folder."""

    size: int  # bytes, unpacked
    open: Callable[[], Any]  # gives a binary file


def is_litter(name: str) -> bool:
    """Whether a member is hidden, or a file that operating systems leave behind."""
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] == "__MACOSX" or parts[-1] in LITTER


def read_images(members: Mapping[str, Member], source: Path, seed: int) -> Rows:
    """Read the pictures of FER-2013 among `members` ({name with slashes: Member}): all files in train/ and test/.

    Rows are sorted by class in the challenge's order, and within a class by path, as Keras sorts them. Raises
    `InputError` as `find_usages` and `decode_all`; or for no picture, one elsewhere, a folder that is not a class, or
    two releases in one source.
    """
    pictures: list[tuple[int, str, str]] = []
    roots: set[str] = set()
    problems: list[str] = []
    for name in sorted(members):
        *root, folder, label, _ = ("", "", *name.split("/"))
        if folder.lower() in ("train", "test") and label.lower() in LABELS:
            roots.add("/".join(filter(None, root)) or "its top")
            pictures.append((LABELS[label.lower()], folder.lower(), name))
        elif folder.lower() in ("train", "test"):
            problems.append(f"{name}: folder {label!r} is not a class; expected {', '.join(CLASSES)}")
        elif name.lower().endswith(SUFFIXES):
            problems.append(f"{name}: expected train/<class>/ or test/<class>/ above it")
    refuse(source, "picture", problems)
    if len(roots) > 1:
        found = ", ".join(sorted(roots))
        raise InputError(f"{source}: holds several train and test folders, in {found}; give only one of them")
    if not pictures:
        raise InputError(
            f"{source}: no table with the columns emotion, pixels and Usage, and no pictures in train/<class>/ and "
            "test/<class>/; give FER-2013 as downloaded"
        )
    pictures.sort()
    usages = find_usages(pictures, source, seed)
    return decode_all([(label, name) for label, _, name in pictures], usages, members, source, any_size=False)


def find_usages(pictures: list[tuple[int, str, str]], source: Path, seed: int) -> npt.NDArray[np.uint8]:
    """The Usage of each of `pictures`, (label, 'train' or 'test', name), as uint8 (N,), positions in `USAGES`.

    The prefix of a file name (Training_, PublicTest_, PrivateTest_) gives it. Without one, train is Training, and the
    files of each test class are shuffled with `seed` and split in half between PublicTest and PrivateTest. Raises
    `InputError`: a prefix that contradicts the folder, or a test folder in which only some names have one.
    """
    codes = {usage.lower(): code for code, usage in enumerate(USAGES)}
    usages = np.zeros(len(pictures), np.uint8)
    unnamed: dict[int, list[int]] = {}
    problems: list[str] = []
    for i, (label, folder, name) in enumerate(pictures):
        usage = codes.get(name.rpartition("/")[2].split("_")[0].lower())
        if usage is not None and (usage == 0) != (folder == "train"):
            problems.append(f"{name}: {USAGES[usage]} by its name, {folder} by its folder; expected both to agree")
        elif usage is not None:
            usages[i] = usage
        elif folder == "test":
            unnamed.setdefault(label, []).append(i)
    refuse(source, "picture", problems)
    if unnamed and usages.any():
        example = pictures[next(iter(unnamed.values()))[0]][2]
        raise InputError(f"{source}: {example} has no prefix PublicTest_ or PrivateTest_, and others in test have one")
    generator = np.random.default_rng(seed)
    for positions in unnamed.values():
        shuffled = generator.permutation(positions)
        usages[shuffled] = USAGES.index("PrivateTest")
        usages[shuffled[: len(shuffled) // 2]] = USAGES.index("PublicTest")
    return usages


def read_class_folders(members: Mapping[str, Member], source: Path) -> Rows:
    """Read the pictures among `members` ({name with slashes: Member}) below a folder named after an emotion.

    Every size and colour is taken. Rows are sorted by class and path, and their Usage is PrivateTest. Raises
    `InputError` without a folder of an emotion, or as `decode_all`.
    """
    pictures: list[tuple[int, str]] = []
    left_out: Counter[str] = Counter()
    for name in members:
        if not name.lower().endswith(OTHER_SUFFIXES):
            continue
        folders = [folder.lower() for folder in name.split("/")[-2::-1]] or ["no folder"]  # the nearest first
        if labels := [LABELS[folder] for folder in folders if folder in LABELS]:
            pictures.append((labels[0], name))
        else:
            left_out[folders[0]] += 1
    if not pictures:
        expected = f"expected {', '.join(CLASSES)} (or angry's like anger), one folder each"
        raise InputError(f"{source}: no pictures in folders named after an emotion; {expected}")
    usages = np.full(len(pictures), USAGES.index("PrivateTest"), np.uint8)
    rows = decode_all(sorted(pictures), usages, members, source, any_size=True)
    return rows._replace(left_out=dict(sorted(left_out.items())))


def decode_all(
    pictures: Sequence[tuple[int, str]],
    usages: npt.NDArray[np.uint8],
    members: Mapping[str, Member],
    source: Path,
    any_size: bool,
) -> Rows:
    """The rows of `pictures`, pairs of label 0..6 and name; InputError lists the first ten bad ones and counts all."""
    digest = hashlib.md5(usedforsecurity=False)
    largest = LARGEST_OTHER if any_size else LARGEST_FILE

    def read(name: str) -> tuple[npt.NDArray[np.uint8], str, bool]:
        if not 0 < members[name].size <= largest:
            raise ValueError(f"{members[name].size:,} bytes, expected a picture of a face")
        with members[name].open() as file:
            payload = file.read()
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + payload)
        return decode(payload, any_size)

    progress = tqdm(pictures, desc="images", unit=" images", disable=None)
    decoded, problems = parse_all(((name, name) for _, name in progress), read)
    refuse(source, "picture", problems)
    images, modes, scaled = zip(*decoded, strict=True)
    labels = np.array([label for label, _ in pictures], np.uint8)
    conversions = {mode: number for mode, number in sorted(Counter(modes).items()) if mode != "L"}
    md5 = digest.hexdigest()
    return Rows(np.stack(images), labels, usages, "images", md5, conversions=conversions, scaled=sum(scaled))


def decode(payload: bytes, any_size: bool) -> tuple[npt.NDArray[np.uint8], str, bool]:
    """A picture in grey, uint8 (48, 48), Pillow's mode of the file ('L' is grey), and whether it was scaled.

    Only with `any_size` is another size or format than FER-2013's taken: the middle square, scaled. Raises ValueError:
    not a picture, damaged, another size, or a mode without a plain conversion to grey.
    """
    size = (SIZE, SIZE)
    kind, expected = ("picture", "a face") if any_size else ("JPEG or PNG", f"{SIZE}x{SIZE}")
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS if any_size else FORMATS[:2]) as image:
            if not any_size and image.size != size:
                raise ValueError(f"{image.width}x{image.height} pixels, expected {expected}")
            if image.mode not in MODES:
                raise ValueError(f"pixels of mode {image.mode}, expected 8-bit grey or colour")
            if not any_size and image.format == "JPEG" and not payload.endswith(b"\xff\xd9"):
                raise ValueError("a truncated JPEG, expected a complete one")  # Pillow would pad it with grey
            grey = image.convert("L")
            if scaled := grey.size != size:
                side = min(grey.size)
                left, top = (grey.width - side) // 2, (grey.height - side) // 2
                grey = grey.crop((left, top, left + side, top + side)).resize(size, Image.Resampling.LANCZOS)
            return np.asarray(grey), image.mode, scaled
    except Image.UnidentifiedImageError:
        raise ValueError(f"not a {kind}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"many millions of pixels, expected {expected}") from None
    except (OSError, SyntaxError, EOFError, IndexError, TypeError, OverflowError) as error:
        raise ValueError(f"damaged picture ({error})") from None
