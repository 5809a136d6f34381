"""What prepare makes rows of: tables, compressed ones, folders of pictures, votes; and plain readers of them."""

import bz2
import csv
import gzip
import io
import lzma
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faults.damage.case import Case, Place, Wrong, call, damage_file, load_files
from faults.damage.ways import BYTES, TEXTS, Generator, change

Face = tuple[int, int, bytes]
"""Label, Usage and pixels of a row."""


def read_plainly(content: bytes) -> list[Face] | None:
    """The rows of a table in the simplest way; None where it is none."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    try:
        quoted = list(csv.reader(io.StringIO(text, newline=""))) if '"' in text else None
        lines = quoted or [line.strip("\r").split(",") for line in text.split("\n")]
        header, *rows = [row for row in lines if any(field.strip() for field in row)]
        names = [name.strip().lower() for name in header]
        emotion, pixels, usage = (names.index(name) for name in ("emotion", "pixels", "usage"))
        usages = ("Training", "PublicTest", "PrivateTest")
        return [
            (int(row[emotion]), usages.index(row[usage].strip()), bytes(map(int, row[pixels].split()))) for row in rows
        ]
    except (ValueError, IndexError, csv.Error):
        return None


def read_rows(path: Path) -> list[Face]:
    """The rows of a faces.h5 of the official split, in the order of its splits."""
    from fer_pipeline.faces.faces import read_faces

    splits, _ = read_faces(path)
    return [
        (int(label), usage, image.tobytes())
        for usage, rows in enumerate(splits.values())
        for label, image in zip(rows.labels, rows.images, strict=True)
    ]


class Expected(NamedTuple):
    """Which rows an answer has to have."""

    rows: list[Face] | None
    """None: it may not be accepted."""
    changed: int = 0
    """How many of them may be others."""
    lost: int = 0
    """How many of them may be missing."""
    more: int = 0
    """How many there may be beside them."""


def check_rows(found: list[Face], expected: Expected) -> None:
    """Raise `Wrong` where rows are others than expected."""
    if expected.rows is None:
        raise Wrong("accepts what a plain reader refuses")
    rows = sorted(expected.rows, key=lambda row: row[1])
    if found == rows:
        return
    missing = sum((Counter(rows) - Counter(found)).values())
    if missing > expected.changed + expected.lost:
        raise Wrong(f"rows are {'lost' if len(found) < len(rows) else 'others than were written'}, without a word")
    if not len(rows) - expected.lost <= len(found) <= len(rows) + expected.more:
        raise Wrong("there are more or fewer rows than were written, without a word")
    if not missing and len(found) == len(rows):
        raise Wrong("rows are in another order")


def prepare_arguments(case: Case, place: Place, votes: str | None = None) -> list[str]:
    out = place.outputs
    return [
        *("--source", str(case.path), "--split", "official", *(["--votes", votes] if votes else [])),
        *("--out", f"{out}/faces.h5", "--report", f"{out}/data.json"),
    ]


def read_prepared(case: Case, place: Place) -> None:
    call("stages/prepare.py", prepare_arguments(case, place))
    check_rows(read_rows(place.outputs / "faces.h5"), case.expected)


def command_prepare(case: Case, place: Place) -> list[str]:
    return ["stages/prepare.py", *prepare_arguments(case, place)]


def damage_table(rng: Generator, place: Place) -> Case:
    case = damage_file(rng, place, "tables/fer2013.csv", BYTES if rng.random() < 0.4 else TEXTS)
    return case._replace(expected=Expected(read_plainly(case.path.read_bytes()) if case.path.is_file() else None))


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def damage_packed(rng: Generator, place: Place) -> Case:
    """A compressed table: damaged inside, or outside, where a checksum tells."""
    sound = (place.sound / "tables/fer2013.csv").read_bytes()
    ending = str(rng.choice([*PACKERS]))
    path = place.inputs / f"fer2013.csv.{ending}"
    if rng.random() < 0.03:
        bomb = PACKERS[ending](sound[:300] + bytes(1 << 24)) * 16
        path.write_bytes(bomb)
        return Case("a bomb", path, Expected(None))
    if rng.random() < 0.3:
        how, content = change(rng, sound, TEXTS)
        path.write_bytes(PACKERS[ending](content))
        return Case(f"{how}, packed", path, Expected(read_plainly(content)))
    packed = PACKERS[ending](sound)
    how, content = change(rng, packed)
    path.write_bytes(content)
    return Case(f"{ending}: {how}", path, Expected(read_plainly(sound)))


def read_pictures(files: Mapping[str, bytes]) -> dict[str, Face]:
    """{name: its row} of sound pictures whose names begin with their Usage, in prepare's order."""
    from PIL import Image

    from fer_pipeline.faces.fer2013 import CLASSES

    usages = {"Training": 0, "PublicTest": 1, "PrivateTest": 2}
    rows = {}
    for name, content in sorted(files.items(), key=lambda item: (CLASSES.index(item[0].split("/")[-2]), item[0])):
        with Image.open(io.BytesIO(content)) as image:
            usage = usages[name.rpartition("/")[2].split("_")[0]]
            rows[name] = (CLASSES.index(name.split("/")[-2]), usage, image.convert("L").tobytes())
    return rows


def damage_members(rng: Generator, files: dict[str, bytes]) -> tuple[str, dict[str, bytes], Expected]:
    """Pictures of which one is damaged, lost or in another place, before they are packed."""
    rows = read_pictures(files)
    name = str(rng.choice([*files]))
    others = [row for other, row in rows.items() if other != name]
    what, files = str(rng.choice(["damaged", "lost", "moved", "beside", "table"])), dict(files)
    if what == "damaged":
        how, files[name] = change(rng, files[name])
        return f"a picture: {how}", files, Expected(others, more=1)
    content = files[name] if what in ("beside", "table") else files.pop(name)
    if what == "moved":
        folders = ["train/x/", "", "train/", "train/Happy/", "TRAIN/happy/", "b/train/happy/", "valid/happy/"]
        folder = str(rng.choice(folders))
        files[f"{folder}{name.rpartition('/')[2]}"] = content
        return f"a picture in {folder or 'no folder'}", files, Expected(others, more=1)
    if what == "beside":
        odd = str(rng.choice(["train/happy/.x.png", "Thumbs.db", "notes.txt", "__MACOSX/train/happy/x.png", "README"]))
        files[odd] = b"emotion" if rng.random() < 0.5 else rng.bytes(1000)
        return f"{odd} beside them", files, Expected([*rows.values()])
    if what == "table":
        files["x.csv"] = b"emotion,pixels,Usage\n"
        return "a table beside them", files, Expected([*rows.values()])
    return "a picture lost", files, Expected(others)


def damage_folder(rng: Generator, place: Place) -> Case:
    """A folder of pictures, or of a table."""
    path = place.inputs / "fer2013"
    if rng.random() < 0.7:
        how, files, expected = damage_members(rng, load_files(place.sound / "pictures"))
    else:
        how, content = change(rng, (place.sound / "tables/fer2013.csv").read_bytes(), TEXTS)
        files, expected = {"fer2013.csv": content}, Expected(read_plainly(content))
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    if rng.random() < 0.2:
        what = str(rng.choice(["a pipe", "a link to itself", "a broken link", "a loop", "/dev/zero", "a long name"]))
        odd = path / str(rng.choice(["x", "x.csv", "train/happy/Training_x.png"]))
        odd.parent.mkdir(parents=True, exist_ok=True)
        odd.unlink(missing_ok=True)
        if what == "a pipe":
            os.mkfifo(odd)
        elif what == "a long name":
            odd.with_name("x" * 250).write_bytes(b"")
        else:
            odd.symlink_to({"a loop": "..", "/dev/zero": "/dev/zero", "a broken link": "nowhere"}.get(what, odd.name))
        how = f"{how}, {what}"
    return Case(how, path, expected)


def damage_votes(rng: Generator, place: Place) -> Case:
    case = damage_file(rng, place, "votes/fer2013new.csv", BYTES if rng.random() < 0.4 else TEXTS)
    return case._replace(expected=read_votes_plainly(case.path.read_bytes()) if case.path.is_file() else None)


def read_votes_plainly(content: bytes) -> list[list[int]] | None:
    """The ten votes of each row, in the simplest way."""
    from fer_pipeline.faces.fer2013 import VOTE_CLASSES
    from fer_pipeline.raw.rows import FERPLUS_COLUMNS

    columns = {vote: column.lower() for column, vote in FERPLUS_COLUMNS.items()}
    try:
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        names = [name.strip().lower() for name in header]
        places = [names.index(columns[vote]) for vote in VOTE_CLASSES]
        return [[int(row[place]) for place in places] for row in rows if any(field.strip() for field in row)]
    except (ValueError, IndexError, csv.Error):
        return None


def read_prepared_votes(case: Case, place: Place) -> None:
    from fer_pipeline.faces.faces import read_faces

    sound = place.sound / "votes" / "fer2013.csv"
    call("stages/prepare.py", prepare_arguments(Case("", sound), place, str(case.path)))
    rows = read_plainly(sound.read_bytes()) or []
    check_rows(read_rows(place.outputs / "faces.h5"), Expected(rows))
    votes = [split.votes for split in read_faces(place.outputs / "faces.h5")[0].values()]
    if case.expected is None or any(one is None for one in votes):
        raise Wrong("accepts what a plain reader refuses")
    order = sorted(range(len(rows)), key=lambda row: rows[row][1])
    if np.concatenate(votes).tolist() != [case.expected[row] for row in order]:
        raise Wrong("votes are others than were written")


def command_votes(case: Case, place: Place) -> list[str]:
    sound = Case("", place.sound / "votes" / "fer2013.csv")
    return ["stages/prepare.py", *prepare_arguments(sound, place, str(case.path))]
