"""faces.h5, the prepared data set: its layout, writing it and reading it."""

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.parallel import map_threads
from fer_pipeline.faces.votes import NO_CLASS

SPLITS = ("train", "val", "test")
CHUNK = 128 * 48 * 48  # bytes of faces in an HDF5 chunk: small enough to fetch a row quickly, and compresses well


class Facts(NamedTuple):
    """What is true of the data set as a whole: the attributes of faces.h5, which everything after `prepare` follows."""

    name: str  # 'FER-2013', 'FER+', or that of the source's file or folder
    classes: tuple[str, ...]  # K names, in the order of the labels
    voted: tuple[str, ...]  # V names that annotators chose from, `classes` first; empty without votes
    size: int  # height and width of a face, in pixels
    colour: bool  # whether faces have three channels (RGB), or one (grey)
    split: str  # how the rows were split: 'official', 'paper', or 'made' by `prepare`
    source_md5: str

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return 3 if self.colour else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a face: (size, size), in colour (size, size, 3)."""
        return (self.size, self.size, *((3,) if self.colour else ()))

    @property
    def vote_classes(self) -> tuple[str, ...]:
        """The columns of votes: `voted` and `NO_CLASS`; empty without votes."""
        return (*self.voted, *NO_CLASS) if self.voted else ()


class Split(NamedTuple):
    """The rows of one split; S is the size of a face, K the number of classes."""

    images: npt.NDArray[np.uint8]  # uint8 (N, S, S), or (N, S, S, 3) in colour, 0..255
    labels: npt.NDArray[np.uint8]  # uint8 (N,), 0..K-1, positions in `Facts.classes`
    duplicate_of_train: npt.NDArray[np.bool_] | None  # bool (N,): whether train has the same image; None for train
    votes: npt.NDArray[np.uint8] | None = None  # uint8 (N, V + 2): how many chose each of `Facts.vote_classes`
    groups: Mapping[str, npt.NDArray[np.uint16]] = {}  # {such as age: (N,), positions in the names of its groups}


class Chosen:
    """Rows of an array in place of an array of them, which are copied only as they are taken."""

    def __init__(self, array: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> None:
        self.array, self.rows = array, rows
        self.shape, self.dtype, self.ndim = (len(rows), *array.shape[1:]), array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return self.array[self.rows[places]]


def write_faces(
    path: str | Path, splits: Mapping[str, Split], facts: Facts, groups: Mapping[str, Sequence[str]] = {}
) -> None:
    """Write faces.h5 to `path`: equal bytes for equal content. Images may be `Chosen`; `groups` has names."""
    with open(path, "w+b") as content, h5py.File(content, "w") as file:
        attributes = {key: getattr(facts, key) for key in ("name", "classes", "split", "source_md5", "vote_classes")}
        file.attrs.update({key: value for key, value in attributes.items() if value})
        file.attrs.update({f"group_{key}": names for key, names in groups.items()})
        for name, rows in splits.items():
            group = file.create_group(name)
            write_chunks(group, "images", rows.images)
            group["labels"] = rows.labels
            if rows.duplicate_of_train is not None:
                group["duplicate_of_train"] = rows.duplicate_of_train
            if rows.votes is not None:
                group["votes"] = rows.votes
            for key, codes in rows.groups.items():
                group[f"group_{key}"] = codes


def write_chunks(group: h5py.Group, name: str, rows: npt.NDArray[np.uint8]) -> None:
    """Write `rows` chunked and gzipped, compressing on all cores (HDF5's own filter uses one)."""
    count = max(1, CHUNK // math.prod(rows.shape[1:]))
    chunk_shape = (count, *rows.shape[1:])
    larger = (None, *rows.shape[1:])  # h5py requires this if a chunk is larger than the data
    options = {"maxshape": larger, "chunks": chunk_shape, "compression": "gzip", "compression_opts": 1}
    dataset = group.create_dataset(name, rows.shape, rows.dtype, **options)

    def compress(start: int) -> bytes:
        chunk = np.zeros(chunk_shape, rows.dtype)
        part = rows[start : start + count]
        chunk[: len(part)] = part
        packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)  # on photographs: twice as fast, 4 % larger
        return packer.compress(chunk.data) + packer.flush()

    starts = range(0, len(rows), count)
    for start, compressed in zip(starts, map_threads(compress, starts), strict=True):
        dataset.id.write_direct_chunk((start, *[0] * (rows.ndim - 1)), compressed)


def read_faces(path: str | Path, splits: Sequence[str] = SPLITS) -> tuple[dict[str, Split], Facts]:
    """Read `splits` of faces.h5, by default all: {'train', 'val', 'test': Split}, and what is true of the data set.

    Raises `InputError` if the file is missing or not HDF5, or has another layout, a label out of range, or an empty
    split.
    """
    remedy = "run `dvc repro prepare`"
    if not Path(path).is_file():
        raise InputError(f"{path}: not found; {remedy}")
    try:
        with h5py.File(path, "r") as file:
            facts = read_facts(file)
            return {name: read_split(file, name, facts) for name in splits}, facts
    except InputError as error:
        raise InputError(f"{path}: {error}; {remedy}") from None
    except Exception as error:  # h5py may raise almost anything on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not HDF5, damaged, or of another layout ({reason}); {remedy}") from None


def read_facts(file: h5py.File) -> Facts:
    """The attributes of faces.h5; errors as in `read_split`."""
    classes, vote_classes = (tuple(map(str, file.attrs.get(key, ()))) for key in ("classes", "vote_classes"))
    voted, rest = vote_classes[: -len(NO_CLASS)], vote_classes[-len(NO_CLASS) :]
    if len({*classes}) < max(2, len(classes)):
        raise InputError(f"classes are {', '.join(classes) or 'missing'}, expected two or more")
    if vote_classes and (rest != NO_CLASS or voted[: len(classes)] != classes):
        expected = ", ".join((*classes, *NO_CLASS))
        raise InputError(f"vote_classes are {', '.join(vote_classes)}, expected {expected}, or others between them")
    size, colour = file["train/images"].shape[1], file["train/images"].ndim == 4
    texts = (str(file.attrs[key]) for key in ("split", "source_md5"))
    return Facts(str(file.attrs["name"]), classes, voted, size, colour, *texts)


def read_split(file: h5py.File, name: str, facts: Facts) -> Split:
    """One group of faces.h5 as a `Split`; `read_faces` adds file and remedy to its errors."""
    count = file[f"{name}/labels"].shape[0]
    if count == 0:
        raise InputError(f"{name} is empty")
    layout = {"images": ("uint8", (count, *facts.shape)), "labels": ("uint8", (count,))}
    if name != "train":
        layout["duplicate_of_train"] = ("bool", (count,))
    if facts.voted:
        layout["votes"] = ("uint8", (count, len(facts.vote_classes)))
    for key, (kind, shape) in layout.items():
        found = file[f"{name}/{key}"]
        if (found.dtype, found.shape) != (np.dtype(kind), shape):
            raise InputError(f"{name}/{key} holds {found.dtype} {found.shape}, expected {kind} {shape}")
        if not found.id.get_storage_size():
            raise InputError(f"{name}/{key} lacks its rows")
        for start in range(0, count, found.chunks[0]) if found.chunks else ():
            found.id.read_direct_chunk((start, *[0] * (found.ndim - 1)))  # HDF5 would read a lost chunk as zeros
    arrays: dict[str, Any] = {key: file[f"{name}/{key}"][()] for key in layout}
    rows = Split(**{"duplicate_of_train": None} | arrays)
    if rows.labels.max() >= len(facts.classes):
        raise InputError(f"{name} has label {rows.labels.max()}, expected 0..{len(facts.classes) - 1}")
    return rows
