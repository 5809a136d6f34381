"""Zips and tars of a table or of pictures: damaged, with damaged members, and with such as no sound one has."""

import io
import re
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from faults.damage.case import Case, Place, load_files
from faults.damage.rows import Expected, Face, damage_members, read_pictures, read_plainly
from faults.damage.ways import Generator, change


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pack_hostile_zip(rng: Generator, files: Mapping[str, bytes]) -> tuple[str, bytes]:
    """A zip with a member that no sound one has."""
    kinds = ["outside", "root", "drive", "link", "twice", "bomb", "picture bomb", "zip", "locked", "sizes", "many"]
    what = str(rng.choice(kinds))
    names = {"outside": "../../x.csv", "root": "/etc/x.csv", "drive": "C:\\x.csv", "link": "train/happy/Training_l.png"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if what == "twice":
            with warnings.catch_warnings(action="ignore"):
                archive.writestr(next(iter(files)), b"another")
        elif what in ("bomb", "picture bomb"):
            bomb = "b.csv" if what == "bomb" else "train/happy/Training_b.png"
            with archive.open(bomb, "w", force_zip64=True) as member:
                for _ in range(16):
                    member.write(bytes(1 << 24))
        elif what == "zip":
            archive.writestr("inner.zip", pack_zip(files))
        elif what == "many":
            for number in range(5000):
                archive.writestr(f"{'deep/' * 50}{number}", b"")
        elif what in names:
            info = zipfile.ZipInfo(names[what])
            info.external_attr = (stat.S_IFLNK if what == "link" else stat.S_IFREG) << 16
            archive.writestr(info, b"/etc/passwd")
    packed = bytearray(buffer.getvalue())
    places = [found.start() for found in re.finditer(rb"PK\x01\x02", packed)]
    entry = places[int(rng.integers(len(places)))]
    if what == "locked":
        packed[entry + 8] |= 1
    elif what == "sizes":
        size = int(rng.choice([0, 1, 1 << 16, 1 << 31, 0xFFFFFFFE, 0xFFFFFFFF]))
        struct.pack_into("<I", packed, entry + int(rng.choice([20, 24, 42])), size)
    return f"hostile: {what}", bytes(packed)


def add_sound(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def pack_tar(files: Mapping[str, bytes], compression: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            add_sound(archive, name, content)
    return buffer.getvalue()


def pack_hostile_tar(rng: Generator, files: Mapping[str, bytes], compression: str) -> tuple[str, bytes]:
    """A tar with a member that no sound one has."""
    kinds = {
        "outside": ("../../x.csv", tarfile.REGTYPE),
        "root": ("/etc/x.csv", tarfile.REGTYPE),
        "link": ("train/happy/Training_l.png", tarfile.SYMTYPE),
        "hard link": ("train/happy/Training_l.png", tarfile.LNKTYPE),
        "device": ("train/happy/Training_d.png", tarfile.CHRTYPE),
        "pipe": ("x.csv", tarfile.FIFOTYPE),
        "sparse": ("x.csv", tarfile.GNUTYPE_SPARSE),
        "huge": ("x.csv", tarfile.REGTYPE),
        "unknown": ("x.csv", b"Z"),
        "twice": (next(iter(files)), tarfile.REGTYPE),
        "a long name": ("train/happy/" + "x" * 10_000 + ".png", tarfile.REGTYPE),
    }
    what = str(rng.choice([*kinds]))
    name, type_ = kinds[what]
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type_, "/etc/passwd" if "link" in what else ""
    info.size = 1 << 40 if what == "huge" else 0
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        members = list(files.items())
        place = int(rng.integers(len(members) + 1))
        for before, (member, content) in enumerate([*members, ("", b"")]):
            if before == place:
                archive.addfile(info)
            if member:
                add_sound(archive, member, content)
    return f"hostile: {what}", buffer.getvalue()


def choose_content(rng: Generator, place: Place) -> tuple[dict[str, bytes], list[Face]]:
    """What is packed, a table or pictures, and its rows."""
    if rng.random() < 0.4:
        content = (place.sound / "tables/fer2013.csv").read_bytes()
        return {"fer2013.csv": content}, read_plainly(content) or []
    files = load_files(place.sound / "pictures")
    return files, [*read_pictures(files).values()]


def damage_archive(
    rng: Generator,
    path: Path,
    files: dict[str, bytes],
    rows: list[Face],
    pack: Callable[[Mapping[str, bytes]], bytes],
    pack_hostile: Callable[[Generator, Mapping[str, bytes]], tuple[str, bytes]],
    changed: int = 0,
) -> Case:
    """Its bytes or one of its members damaged, or a hostile member; of damaged bytes, `changed` rows may be others."""
    what, expected = rng.random(), Expected(rows)
    if what < 0.2:
        how, content = pack_hostile(rng, files)
    elif what < 0.4 and len(files) > 1:
        how, files, expected = damage_members(rng, files)
        content = pack(files)
    else:
        how, content = change(rng, pack(files))
        expected = Expected(rows, changed)
    path.write_bytes(content)
    return Case(how, path, expected)


def damage_zip(rng: Generator, place: Place) -> Case:
    path, files, rows = place.inputs / "fer2013.zip", *choose_content(rng, place)
    return damage_archive(rng, path, files, rows, pack_zip, pack_hostile_zip)


def damage_tar(rng: Generator, place: Place) -> Case:
    path, files, rows = place.inputs / "fer2013.tar", *choose_content(rng, place)
    compression = str(rng.choice(["", "", "gz", "bz2", "xz"]))
    pack, pack_hostile = partial(pack_tar, compression=compression), partial(pack_hostile_tar, compression=compression)
    case = damage_archive(rng, path, files, rows, pack, pack_hostile, changed=0 if compression else 16)
    return case._replace(how=f"{compression or 'plain'}: {case.how}")
