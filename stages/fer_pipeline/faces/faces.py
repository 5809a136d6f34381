"""faces.h5, the prepared data set: its layout, writing it and reading it."""

import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES, SIZE, SPLITS, VOTE_CLASSES

CHUNK_ROWS = 128  # rows per HDF5 chunk of 288 KiB: small enough to fetch a row quickly, large enough to compress well


class Split(NamedTuple):
    """The rows of one split."""

    images: npt.NDArray[np.uint8]  # uint8 (N, 48, 48), 0..255
    labels: npt.NDArray[np.uint8]  # uint8 (N,), 0..6, positions in `CLASSES`
    duplicate_of_train: npt.NDArray[np.bool_] | None  # bool (N,): whether train has the same image; None for train
    votes: npt.NDArray[np.uint8] | None = None  # uint8 (N, 10), 0..10: how many chose each of `VOTE_CLASSES`, if known


def pack_faces(splits: Mapping[str, Split], split: str, source_md5: str) -> memoryview:
    """The bytes of faces.h5, equal for equal content; `split` is 'official' or 'paper', `source_md5` the raw data's."""
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs["classes"] = CLASSES
        file.attrs["split"] = split
        file.attrs["source_md5"] = source_md5
        if any(rows.votes is not None for rows in splits.values()):
            file.attrs["vote_classes"] = VOTE_CLASSES
        for name, rows in splits.items():
            group = file.create_group(name)
            write_chunks(group, "images", rows.images)
            group["labels"] = rows.labels
            if rows.duplicate_of_train is not None:
                group["duplicate_of_train"] = rows.duplicate_of_train
            if rows.votes is not None:
                group["votes"] = rows.votes
    return content.getbuffer()


def write_chunks(group: h5py.Group, name: str, rows: npt.NDArray[np.uint8]) -> None:
    """Write `rows` chunked and gzipped, compressing on all cores (HDF5's own filter uses one)."""
    chunk_shape = (CHUNK_ROWS, *rows.shape[1:])
    larger = (None, *rows.shape[1:])  # h5py requires this if a chunk is larger than the data
    options = {"maxshape": larger, "chunks": chunk_shape, "compression": "gzip", "compression_opts": 1}
    dataset = group.create_dataset(name, rows.shape, rows.dtype, **options)

    def compress(start: int) -> bytes:
        chunk = np.zeros(chunk_shape, rows.dtype)
        part = rows[start : start + CHUNK_ROWS]
        chunk[: len(part)] = part
        packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)  # on photographs: twice as fast, 4 % larger
        return packer.compress(chunk.tobytes()) + packer.flush()

    starts = range(0, len(rows), CHUNK_ROWS)
    with ThreadPoolExecutor() as pool:
        for start, compressed in zip(starts, pool.map(compress, starts), strict=True):
            dataset.id.write_direct_chunk((start, 0, 0), compressed)


def read_faces(path: str | Path) -> tuple[dict[str, Split], dict[str, str]]:
    """Read all of faces.h5: {'train', 'val', 'test': Split}, and its attributes `split` and `source_md5`.

    Raises `InputError` if the file is missing or not HDF5, or has another layout, other classes, a label or vote out of
    range, or an empty split.
    """
    remedy = "run `dvc repro prepare`"
    if not Path(path).is_file():
        raise InputError(f"{path}: not found; {remedy}")
    try:
        with h5py.File(path, "r") as file:
            for key, expected in (("classes", [*CLASSES]), ("vote_classes", [*VOTE_CLASSES])):
                found = [str(name) for name in np.atleast_1d(file.attrs.get(key, []))]
                if found != expected and (found or key == "classes"):
                    raise InputError(f"{key} are {', '.join(found) or 'missing'}, expected {', '.join(expected)}")
            splits = {name: read_split(file, name, "vote_classes" in file.attrs) for name in SPLITS}
            return splits, {key: str(file.attrs[key]) for key in ("split", "source_md5")}
    except InputError as error:
        raise InputError(f"{path}: {error}; {remedy}") from None
    except Exception as error:  # h5py may raise almost anything on a damaged file
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not HDF5, damaged, or of another layout ({reason}); {remedy}") from None


def read_split(file: h5py.File, name: str, voted: bool) -> Split:
    """One group of faces.h5 as a `Split`, with votes if `voted`; `read_faces` adds file and remedy to its errors."""
    count = file[f"{name}/labels"].shape[0]
    if count == 0:
        raise InputError(f"{name} is empty")
    layout = {"images": ("uint8", (count, SIZE, SIZE)), "labels": ("uint8", (count,))}
    if name != "train":
        layout["duplicate_of_train"] = ("bool", (count,))
    if voted:
        layout["votes"] = ("uint8", (count, len(VOTE_CLASSES)))
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
    if rows.labels.max() >= len(CLASSES):
        raise InputError(f"{name} has label {rows.labels.max()}, expected 0..6")
    if rows.votes is not None and rows.votes.max() > 10:
        raise InputError(f"{name} has {rows.votes.max()} votes for one class, expected 0..10")
    return rows
