"""Pictures in class folders: FER-2013's train/<class>/ and test/<class>/, and other data sets' folders."""

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.raw.classes import LABELS, Choice, Form
from fer_pipeline.raw.images import OTHER_SUFFIXES, SUFFIXES, Picture
from fer_pipeline.raw.parsing import excerpt, refuse
from fer_pipeline.raw.rows import USAGES
from fer_pipeline.raw.splits import PARTS, UNKNOWN, Parts


class Listed(NamedTuple):
    """Pictures that folders or a table name; each list is as long as `pictures`, or empty."""

    pictures: list[Picture]
    parts: Parts  # see `complete_parts`
    form: Form = "folders"
    subjects: Sequence[str] = ()
    votes: npt.NDArray[np.uint8] | None = None  # see `Rows`
    voted: tuple[str, ...] = ()
    groups: Mapping[str, list[str]] = MappingProxyType({})


def find_prefix(name: str) -> int | None:
    """The position in `USAGES` that the prefix of a file's name tells, if it has one."""
    prefixes = {usage.lower(): code for code, usage in enumerate(USAGES)}
    return prefixes.get(name.rpartition("/")[2].split("_")[0].lower())


def is_of_fer2013(names: Collection[str]) -> bool:
    """Whether files lie in FER-2013's folders train/<class>/ or test/<class>/: with its prefixes, or no val beside."""
    folders = {name: name.lower().split("/")[-3] for name in names if name.count("/") > 1}
    ours = [name for name, folder in folders.items() if folder in ("train", "test")]
    has_val = any(PARTS.get(folder) == 1 for folder in folders.values())
    return bool(ours) and (not has_val or any(find_prefix(name) is not None for name in ours))


def list_fer2013(names: Collection[str], source: Path, seed: int) -> Listed:
    """The pictures of FER-2013: all files in train/ and test/, whose parts are positions in `USAGES`.

    They are sorted by class in the challenge's order, and within a class by path, as Keras sorts them. Raises
    `InputError` as `find_usages`; or for a picture elsewhere, a folder that is not a class, or two releases in one
    source.
    """
    pictures: list[tuple[int, str, str]] = []
    roots: set[str] = set()
    problems: list[str] = []
    for name in sorted(names):
        *root, folder, label, _ = ("", "", *name.split("/"))
        if folder.lower() in ("train", "test") and label.lower() in LABELS:
            roots.add("/".join(filter(None, root)) or "its top")
            pictures.append((LABELS[label.lower()], folder.lower(), name))
        elif folder.lower() in ("train", "test"):
            problems.append(
                f"{name}: folder {label!r} is not a class; expected {', '.join(CLASSES)}, or yours named by "
                "prepare.classes in params.yaml"
            )
        elif name.lower().endswith(SUFFIXES):
            problems.append(f"{name}: expected train/<class>/ or test/<class>/ above it")
    refuse(source, "picture", problems)
    if len(roots) > 1:
        found = ", ".join(sorted(roots))
        raise InputError(f"{source}: holds several train and test folders, in {found}; give only one of them")
    pictures.sort()
    usages = find_usages(pictures, source, seed)
    return Listed([Picture(name, CLASSES[label]) for label, _, name in pictures], usages)


def find_usages(pictures: list[tuple[int, str, str]], source: Path, seed: int) -> npt.NDArray[np.uint8]:
    """The Usage of each of `pictures`, (label, 'train' or 'test', name), as uint8 (N,), positions in `USAGES`.

    The prefix of a file name (Training_, PublicTest_, PrivateTest_) gives it. Without one, train is Training, and the
    files of each test class are shuffled with `seed` and split in half between PublicTest and PrivateTest. Raises
    `InputError`: a prefix that contradicts the folder, or a test folder in which only some names have one.
    """
    usages = np.zeros(len(pictures), np.uint8)
    unnamed: dict[int, list[int]] = {}
    problems: list[str] = []
    for i, (label, folder, name) in enumerate(pictures):
        usage = find_prefix(name)
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


def list_folders(names: Collection[str], source: Path, seed: int) -> Listed:
    """The pictures in folders that are named as their classes, with or without train, val and test above them.

    If folders are train and test only, and names have the challenge's prefixes, these give the parts. Raises
    `InputError` for no picture, one elsewhere, or class folders in several places.
    """
    found = sorted(name for name in names if name.lower().endswith(OTHER_SUFFIXES))
    places = [("", "", "", *name.split("/"))[-4:-1] for name in found]  # the folders above, with the class last
    split = any(part.lower() in PARTS for _, part, _ in places)
    pictures, parts, roots, problems = [], [], set(), []
    for name, (_, part, label) in zip(found, places, strict=True):
        if not label or (split and part.lower() not in PARTS):
            problems.append(
                f"{name}: expected {'train/, val/ or test/ and ' * split}a folder named as its class above it"
            )
            continue
        pictures.append(Picture(name, label))
        parts.append(PARTS[part.lower()] if split else UNKNOWN)
        roots.add(name.rsplit("/", 3 if split else 2)[0] if name.count("/") > (2 if split else 1) else "its top")
    refuse(source, "picture", problems)
    if not pictures:
        raise InputError(
            f"{source}: no table with the columns emotion, pixels and Usage, and no pictures in train/<class>/ and "
            "test/<class>/, or named by a table with path and label; see docs/data.md"
        )
    if others := sorted({*names} - {*found}):
        some = ", ".join(map(excerpt, others[:3])) + ", ..." * (len(others) > 3)
        print(f"warning: {source}: {len(others):,} files are no pictures, left out: {some}", file=sys.stderr)
    if len(roots) > 1:
        listed = ", ".join(sorted(roots)[:5])
        raise InputError(f"{source}: class folders in {len(roots):,} places ({listed}); give one, or a table of paths")
    if {*parts} == {0, 2} and any(find_prefix(name) for name in found):
        folders = [(0, "train" if part == 0 else "test", name) for part, name in zip(parts, found, strict=True)]
        return Listed(pictures, find_usages(folders, source, seed))
    return Listed(pictures, np.array(parts, np.uint8))


def list_others(names: Collection[str], source: Path, choice: Choice) -> tuple[Listed, dict[str, int]]:
    """The pictures below a folder, at any depth, that is named as a class; and {folder: pictures} of all others.

    Raises `InputError` if there are none.
    """
    pictures: list[Picture] = []
    left_out: dict[str, int] = {}
    for name in sorted(names):
        if not name.lower().endswith(OTHER_SUFFIXES):
            continue
        folders = [folder.lower() for folder in name.split("/")[-2::-1]] or ["no folder"]  # the nearest first
        if label := next((folder for folder in folders if choice.find(folder) >= 0), None):
            pictures.append(Picture(name, label))
        else:
            left_out[folders[0]] = left_out.get(folders[0], 0) + 1
    if not pictures:
        expected = f"expected {', '.join(choice.classes)}{' (or like anger for angry)' * ('angry' in choice.classes)}"
        raise InputError(f"{source}: no pictures in folders named after an emotion; {expected}, one folder each")
    return Listed(pictures, np.full(len(pictures), 2, np.uint8)), dict(sorted(left_out.items()))
