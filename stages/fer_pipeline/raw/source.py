"""Read a data set from disk in any form; the form is recognised by content, not by name.

The forms are the challenge's CSV, plain or compressed; pictures in class folders; a table that names pictures beside
it; and any of them in a .zip or .tar(.gz, .bz2, .xz).
"""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from fer_pipeline.core.errors import InputError
from fer_pipeline.raw import listing
from fer_pipeline.raw.assemble import assemble_pictures, assemble_table
from fer_pipeline.raw.classes import LABELS, choose_classes
from fer_pipeline.raw.folders import is_of_fer2013, list_fer2013, list_folders, list_others
from fer_pipeline.raw.images import OTHER_SUFFIXES, Member, is_litter
from fer_pipeline.raw.parsing import plain_path
from fer_pipeline.raw.rows import FER2013, NOWHERE, Options, Rows
from fer_pipeline.raw.table import LONGEST_ROW, find_columns, read_table

COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], Any]]
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DAMAGED = (OSError, EOFError, NotImplementedError, UnicodeDecodeError, zipfile.BadZipFile, tarfile.TarError)
"""What the archive modules raise on a truncated, damaged or unsupported file, besides zlib.error and LZMAError."""

LARGEST_LIST = 1 << 28  # bytes of a table that names pictures


def read_source(source: str | Path, seed: int, options: Options = FER2013) -> Rows:
    """All rows of a data set (FER-2013 by default); `seed` draws missing val or test. InputError if missing or bad."""
    remedy = "put FER-2013 there, or set `dataset` in params.yaml to where it is"
    return read(source, options._replace(seed=seed), remedy)


def read_other(source: str | Path, classes: Sequence[str], size: int, colour: bool) -> Rows:
    """Read all rows of another data set, to be judged on the classes and the faces that networks know.

    It has any form, or pictures at any depth below folders named as the classes; FER-2013's classes may have any of
    their usual names. Rows of other classes are left out and counted.
    """
    usual = {name: [one for one in LABELS if LABELS[one] == LABELS.get(name)] or [name] for name in classes}
    options = Options(0, usual, size, colour, all_test=True)
    rows = read(source, options, "set its path in `other_sets` in params.yaml to where it is")
    kept = np.flatnonzero(rows.usages != NOWHERE)
    if not len(kept):
        raise InputError(f"{source}: no face of {', '.join(classes)}; give some, or remove it from `other_sets`")
    return rows if len(kept) == len(rows.labels) else rows._replace(images=rows.images[kept], labels=rows.labels[kept])


def read(source: str | Path, options: Options, remedy: str = "") -> Rows:
    """Read all rows of a file or a folder."""
    path = Path(source)
    if not str(source) or not path.exists():
        raise InputError(f"'{source}': not found; {remedy}")
    if path.is_dir():
        return read_members(list_folder(path), path, options)
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder; give FER-2013 as downloaded")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; download it again")
    with require_unchanged(path), ThreadPoolExecutor(1) as pool, open(path, "rb") as file:
        md5 = pool.submit(hash_file, path)
        try:
            rows = read_file(file, path, options)
        except (*DAMAGED, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "filename", None) or getattr(error, "errno", None) == errno.ENOSPC:
                raise
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: truncated or damaged archive ({reason}); download it again") from None
        return rows._replace(md5=md5.result())


def read_file(file: IO[bytes], path: Path, options: Options) -> Rows:
    """Read a zip, a tar or a table (the last two plain or compressed), recognised by the first bytes."""
    start = file.read(512)
    file.seek(0)
    if start.startswith(b"PK"):
        with zipfile.ZipFile(file) as archive:
            check_member_count(archive, file)
            return read_members(collect(list_zip(archive, path), path), path, options)
    decompress = next((opener for magic, opener in COMPRESSIONS.items() if start.startswith(magic)), None)
    content = decompress(file) if decompress else file
    is_tar = content.read(512)[257:262] == b"ustar"
    content.seek(0)
    if is_tar:
        with tempfile.TemporaryFile() if decompress else nullcontext(file) as plain:
            if decompress:  # else only readable from start to end
                shutil.copyfileobj(content, plain)
                plain.seek(0)
            with tarfile.open(fileobj=plain, mode="r:") as archive:
                members = collect(list_tar(archive), path)
                require_end(plain, archive.offset)
                return read_members(members, path, options)
    if listing.find_columns(content.readline(LONGEST_ROW)):
        raise InputError(f"{path}: a table that names pictures; give the folder that holds it and them, {path.parent}")
    content.seek(0)
    rows = read_table(content, str(path), None if decompress else path.stat().st_size, options.classes is not None)
    return assemble_table(rows, str(path), options)


@contextmanager
def require_unchanged(path: Path) -> Iterator[None]:
    """Raise `InputError` if a file or folder changes while the block runs; it replaces an `InputError` of the block."""

    def stamp() -> bytes:
        digest = hashlib.blake2b()  # of what there is of a folder's files, which may be many
        for file in (path / name for name in sorted(list_folder(path))) if path.is_dir() else [path]:
            if file.exists():
                state = file.stat()
                digest.update(b"%b\0%d %d\0" % (os.fsencode(file), state.st_size, state.st_mtime_ns))
        return digest.digest()

    before = stamp()
    try:
        yield
    except InputError:
        if stamp() == before:
            raise
    if stamp() != before:
        raise InputError(f"{path}: changed while it was read; wait until it is complete and run again")


def hash_file(path: Path) -> str:
    """The md5 of a file, as a hex digest."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def list_folder(path: Path) -> dict[str, Member]:
    """{name below `path`: Member} of a folder's files; links are followed, unreadable folders raise `OSError`."""

    def fail(error: OSError) -> None:
        raise error

    members: dict[str, Member] = {}
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(path, onerror=fail, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            raise InputError(f"{folder}: a link to a folder that was read already; remove it")
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not is_litter(name))
        for file in (Path(folder, name) for name in names if not is_litter(name)):
            size = file.stat().st_size
            if not file.is_file():  # opening a pipe might wait forever
                raise InputError(f"{file}: neither a file nor a folder; remove it")
            members[file.relative_to(path).as_posix()] = Member(size, partial(file.open, "rb"))
    return members


def list_zip(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, bool, Member]]:
    """Yield each member's name, whether it is a plain file, and its `Member`; `InputError` for an encrypted one."""
    for info in archive.infolist():
        if info.flag_bits & 1:
            raise InputError(f"{path}: {info.filename} is encrypted; unpack it and give the unpacked file")
        if not info.is_dir():
            is_link = info.external_attr >> 28 == 0o12
            yield info.filename, not is_link, Member(info.file_size, partial(archive.open, info))


def list_tar(archive: tarfile.TarFile) -> Iterator[tuple[str, bool, Member]]:
    """Yield as `list_zip`."""
    for info in archive:
        if not info.isdir():
            yield info.name, info.isfile(), Member(info.size, partial(archive.extractfile, info))


def collect(found: Iterable[tuple[str, bool, Member]], path: Path) -> dict[str, Member]:
    """{normalised name: Member} of an archive; `InputError` for unsafe or repeated names, links and devices."""
    members: dict[str, Member] = {}
    for name, is_file, member in found:
        if (plain := plain_path(name)) is None:
            raise InputError(f"{path}: member {name!r} points outside the archive; do not trust it, download it again")
        if not is_file:
            raise InputError(f"{path}: member {name!r} is a link or a device; pack the file itself")
        if plain in members:
            raise InputError(f"{path}: member {name!r} appears twice; pack the archive again")
        if not is_litter(plain):
            members[plain] = member
    return members


def require_end(content: IO[bytes], offset: int) -> None:
    """Raise `TarError` unless only zeros follow the last member: `tarfile` takes a damaged header for the end."""
    content.seek(offset)
    size = 0
    while part := content.read(1 << 20):  # to the end, where gzip has its checksum
        size += len(part)
        if part.strip(b"\0"):
            raise tarfile.ReadError("a member's header is damaged, or something follows the end")
    if size < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it has no end")


def check_member_count(archive: zipfile.ZipFile, file: IO[bytes]) -> None:
    """Raise `BadZipFile` if a zip's directory and last record differ in the file count: `zipfile` does not check."""
    file.seek(-22, io.SEEK_END)
    record = file.read(22)
    count = int.from_bytes(record[10:12], "little")
    if record.startswith(b"PK\5\6") and count < 0xFFFF and count != len(archive.infolist()):
        raise zipfile.BadZipFile(f"{len(archive.infolist()):,} of {count:,} members are listed")


def read_members(members: Mapping[str, Member], path: Path, options: Options) -> Rows:
    """Read the only table among `members` with the pictures that it names, or the pictures if there is no table."""
    tables = {name: columns for name in sorted(members) if (columns := read_columns(name, members[name]))}
    faces = sorted(filter(looks_like_face, members)) if "pixels" in {c for one in tables.values() for c in one} else []
    if len(tables) > 1 or (tables and faces):
        found = ", ".join([*tables][:3] + faces[:1])
        raise InputError(f"{path}: holds more than one data set ({found}); give only one of them")
    if not tables:
        if lists := [name for name in sorted(members) if name.lower().endswith(".csv")]:
            print(f"warning: {path}: {lists[0]} is not read, as it lacks the columns path and label", file=sys.stderr)
        return read_pictures(members, path, options)
    (name,) = tables
    if "pixels" in tables[name] and path.is_dir():
        return read(path / name, options)
    if "pixels" in tables[name]:
        with members[name].open() as file:
            rows = read_table(file, f"{path}: {name}", members[name].size, options.classes is not None)
        return assemble_table(rows, str(path), options)
    if members[name].size > LARGEST_LIST:
        raise InputError(f"{path}: {name} has over {LARGEST_LIST >> 20} MiB; expected a row per face")
    with members[name].open() as file:
        content = file.read()
    pictures = {one: member for one, member in members.items() if one != name}
    listed = listing.read_list(content, f"{path}: {name}", name.rpartition("/")[0], pictures, options.by_votes)
    return assemble_pictures(listed, members, path, options, hashlib.md5(content, usedforsecurity=False))


def read_pictures(members: Mapping[str, Member], path: Path, options: Options) -> Rows:
    """Read pictures in class folders."""
    if options.plain and is_of_fer2013(members):
        return assemble_pictures(list_fer2013(members, path, options.seed), members, path, options, fer2013=True)
    digest = hashlib.md5(usedforsecurity=False)
    if not options.all_test:
        return assemble_pictures(list_folders(members, path, options.seed), members, path, options, digest)
    choice = choose_classes([], options.classes, str(path), by_votes=False, whole=False)
    listed, left_out = list_others(members, path, choice)
    return assemble_pictures(listed, members, path, options, digest)._replace(left_out=left_out)


def looks_like_face(name: str) -> bool:
    """Whether a member is in train/<class>/ or test/<class>/."""
    return name.lower().split("/")[-3:-2] in (["train"], ["test"])


def read_columns(name: str, member: Member) -> list[str] | None:
    """The columns of a member that starts with the header of the challenge's table, or of one that names pictures."""
    if looks_like_face(name) or name.lower().endswith(OTHER_SUFFIXES):
        return None
    with member.open() as file:
        header = file.readline(LONGEST_ROW)
    found = find_columns(header) or listing.find_columns(header)
    plain = re.sub(rb"[;\t]", b",", header.strip(b"\xff\xfe").replace(b"\0", b""))
    if not found and listing.find_columns(plain):
        raise InputError(f"{name}: a table that is not separated by commas, or not UTF-8; save it as CSV in UTF-8")
    return found
