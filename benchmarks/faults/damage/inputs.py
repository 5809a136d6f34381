"""How each kind of input is damaged, what reads it as the project does, and what a plain reader makes of it."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from PIL import Image
from ruamel.yaml import YAML

from faults.damage.ways import ODD, Drawn, pack_json, pack_zip
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.predictions.predictions import read_predictions
from fer_pipeline.predictions.record import PredictionTimes
from fer_pipeline.raw.rows import FERPLUS_COLUMNS, USAGES
from fer_pipeline.running.timing import record_times
from timing import read_timing

Face = tuple[int, int, bytes]
"""Label, Usage and pixels of a row."""
FACES, COMPACT, BASELINE = "data/prepared/faces.h5", "models/compact.safetensors", "models/baseline.keras"
MINE = PredictionTimes(latency_ms_batch1=1.0, images_per_second=1.0, hardware="x")
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
LINKS = {"a loop": "..", "/dev/zero": "/dev/zero", "a broken link": "nowhere", "a link to itself": "x.csv"}
LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
HOSTILE_YAML = {
    "a billion laughs": f"a0: &a0 [x]\n{LAUGHS}",
    "a loop": "seed: &a [*a]\n",
    "a loop of dicts": "networks: &a {x: *a}\n",
    "deep": "seed: " + "[" * 20_000,
    "code": "seed: !!python/object/apply:os.system ['false']\n",
    "a set": "networks: !!set {a, b}\n",
    "dates": "profile: 2020-01-01\n",
    "keys of lists": "? [1, 2]\n: 3\n",
    "two documents": "---\nseed: 1\n---\nseed: 2\n",
    "binary": "seed: !!binary aGVsbG8=\n",
}


class Case(NamedTuple):
    """A damaged input, and where it is read."""

    path: Path
    """Before it is damaged: the file or folder of a finished run."""
    work: Path
    """The finished run in which the input is read."""
    sound: Path
    """The same run, only to read."""
    expected: Any = None
    """What an answer has to be; each kind has its own meaning."""


class Expected(NamedTuple):
    """The rows that an answer has to have."""

    rows: list[Face] | None
    """None: the input may not be accepted."""
    changed: int = 0
    """How many of them may differ."""
    more: int = 0
    """How many other rows there may be."""


class Wrong(Exception):
    """An answer that does not follow from the input."""


def load_files(folder: Path) -> dict[str, bytes]:
    """{path below `folder`: bytes}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def read_columns(text: str, names: Sequence[str]) -> Iterator[list[str]]:
    """The fields of each row of a CSV in these columns, read in the simplest way."""
    header, *rows = (row for row in csv.reader(io.StringIO(text, newline="")) if any(field.strip() for field in row))
    known = [name.strip().lower() for name in header]
    return ([row[known.index(name.lower())] for name in names] for row in rows)


def read_table(content: bytes) -> list[Face] | None:
    """The rows of a table; None if it is not a table."""
    try:
        rows = read_columns(content.removeprefix(b"\xef\xbb\xbf").decode("latin-1"), ("emotion", "Usage", "pixels"))
        return [
            (int(label), USAGES.index(usage.strip()), bytes(map(int, pixels.split()))) for label, usage, pixels in rows
        ]
    except (ValueError, IndexError, csv.Error):
        return None


def read_votes(content: bytes) -> list[list[int]] | None:
    """The ten votes of each row; None if the content has none."""
    columns = {vote: column for column, vote in FERPLUS_COLUMNS.items()}
    try:
        return [
            list(map(int, row)) for row in read_columns(content.decode("utf-8-sig"), [*map(columns.get, VOTE_CLASSES)])
        ]
    except (ValueError, IndexError, csv.Error):
        return None


def read_pictures(files: Mapping[str, bytes]) -> list[Face]:
    """The rows of sound pictures whose names begin with their Usage, in prepare's order."""
    rows = []
    for name in sorted(files, key=lambda name: (CLASSES.index(name.split("/")[-2]), name)):
        usage, label = USAGES.index(name.rpartition("/")[2].split("_")[0]), CLASSES.index(name.split("/")[-2])
        rows.append((label, usage, Image.open(io.BytesIO(files[name])).convert("L").tobytes()))
    return rows


def read_rows(path: Path) -> list[Face]:
    """The rows of a faces.h5 of the official split, in the order of its splits."""
    splits = enumerate(read_faces(path)[0].values())
    pairs = [(usage, *pair) for usage, rows in splits for pair in zip(rows.labels, rows.images, strict=True)]
    return [(int(label), usage, image.tobytes()) for usage, label, image in pairs]


def check_rows(case: Case) -> None:
    """Compare prepare's faces.h5 with the rows that are expected."""
    found, expected = read_rows(case.work / FACES), case.expected
    if expected.rows is None:
        raise Wrong("accepts what a plain reader refuses")
    rows = sorted(expected.rows, key=lambda row: row[1])
    missing = sum((Counter(rows) - Counter(found)).values())
    if missing > expected.changed or not len(rows) <= len(found) <= len(rows) + expected.more:
        raise Wrong("rows are lost, altered or added, without a word")
    if found != rows and not missing and len(found) == len(rows):
        raise Wrong("rows are in another order")


def check_votes(case: Case) -> None:
    rows = read_table((case.sound / "data/raw/sample.csv").read_bytes()) or []
    check_rows(case._replace(expected=Expected(rows)))
    votes = [split.votes for split in read_faces(case.work / FACES)[0].values()]
    order = sorted(range(len(rows)), key=lambda row: rows[row][1])
    if case.expected is None or np.concatenate(votes).tolist() != [case.expected[row] for row in order]:
        raise Wrong("votes are altered, or a plain reader refuses them")


def damage_file(d: Drawn, case: Case) -> Case:
    """Any file, or any file of a folder."""
    path = case.path / d.pick(load_files(case.path)) if case.path.is_dir() else case.path
    return case._replace(path=d.write(path, d.damage(path.read_bytes(), path.suffix)))


def damage_table(d: Drawn, case: Case) -> Case:
    case = damage_file(d, case)
    return case._replace(expected=Expected(read_table(case.path.read_bytes()) if case.path.is_file() else None))


def damage_votes(d: Drawn, case: Case) -> Case:
    case = damage_file(d, case)
    return case._replace(expected=read_votes(case.path.read_bytes()) if case.path.is_file() else None)


def damage_packed(d: Drawn, case: Case) -> Case:
    """A compressed table, damaged inside, or outside, where a checksum shows it."""
    sound, ending = case.path.read_bytes(), d.pick(PACKERS)
    what, pack = d.pick(("outside", "outside", "inside", "a bomb")), PACKERS[ending]
    damaged = d.damage(sound, ".csv") if what == "inside" else sound
    content = pack(sound[:300] + bytes(1 << 24)) * 16 if what == "a bomb" else pack(damaged)
    rows = None if what == "a bomb" else read_table(damaged)
    path = d.write(case.path.with_suffix(f".csv.{ending}"), d.damage(content) if what == "outside" else content)
    return case._replace(path=path, expected=Expected(rows))


def damage_members(d: Drawn, case: Case) -> tuple[dict[str, bytes], Expected]:
    """A table or pictures of which at most one is damaged, lost, renamed or a bomb; and the rows to expect."""
    table = {"fer2013.csv": (case.sound / "data/raw/sample.csv").read_bytes()}
    sound = table if d.chance(40) else load_files(case.sound / "pictures")
    files = dict(sound)
    if d.chance(50):
        files = d.damage_values(files)
        files = files if isinstance(files, dict) and all(isinstance(one, bytes) for one in files.values()) else {}
    if d.chance(10):
        files[d.pick(ODD) or "x"] = d.pick((b"emotion,pixels,Usage\n", b"/etc/passwd", bytes(1 << 28), pack_zip(sound)))
    kept = {name: content for name, content in files.items() if sound.get(name) == content}
    if sound is not table:
        return files, Expected(read_pictures(kept), more=len(files) - len(kept))
    return files, Expected(read_table(next(iter(files.values()), b"")))


def damage_folder(d: Drawn, case: Case) -> Case:
    """A folder of pictures or of a table, perhaps with odd files in it."""
    path, (files, expected) = case.work / "inputs/fer2013", damage_members(d, case)
    path.mkdir()
    for name, content in files.items():
        with contextlib.suppress(OSError, ValueError):  # no name of a file
            file = path / name.replace("../", "").strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    what, odd = d.pick(("nothing", "nothing", *LINKS, "a pipe")), path / d.pick(("x", "x.csv", "Training_x.png"))
    if what == "a pipe":
        os.mkfifo(odd)
    elif what in LINKS:
        odd.symlink_to(LINKS[what])
    return case._replace(path=path, expected=expected)


def damage_zip(d: Drawn, case: Case) -> Case:
    """Damaged members, or damaged bytes, which a checksum shows; in half of those the directory at the end."""
    files, expected = damage_members(d, case)
    content, what = pack_zip(files), d.pick(("nothing", "bytes", "directory"))
    start = content.find(b"PK\x01\x02")
    content = d.damage(content) if what == "bytes" else content
    content = content[:start] + d.flip(content[start:]) if what == "directory" else content
    return case._replace(path=d.write(case.work / "inputs/fer2013.zip", content), expected=expected)


def damage_tar(d: Drawn, case: Case) -> Case:
    """Damaged members, one perhaps of another type or size, or damaged bytes; a plain tar has no checksum of them."""
    (files, expected), buffer, form = damage_members(d, case), io.BytesIO(), d.pick(("", "", *PACKERS))
    odd, what = d.number(len(files)), d.pick(("nothing", "bytes", "a member"))
    with tarfile.open(fileobj=buffer, mode=f"w:{form}") as archive:
        for number, (name, content) in enumerate(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            if number == odd and what == "a member":
                info = tarfile.TarInfo(d.pick((*ODD, name)))
                info.type, info.linkname = d.pick((b"0", b"1", b"2", b"3", b"5", b"6", b"S", b"Z")), "/etc/passwd"
                info.size = d.pick((0, 1 << 31, 1 << 40))
                archive.addfile(info)
    content = d.damage(buffer.getvalue()) if what == "bytes" else buffer.getvalue()
    changed = 16 if what == "bytes" and not form else 0
    path = d.write(case.work / f"inputs/fer2013.tar{form and '.'}{form}", content)
    return case._replace(path=path, expected=expected._replace(changed=changed))


def damage_params(d: Drawn, case: Case) -> Case:
    """params.yaml or its profile."""
    path = d.pick((case.path, case.work / "profiles/smoke.yaml"))
    if d.chance(80):
        d.write(path, d.damage(path.read_bytes(), path.suffix))
    else:
        path.write_bytes((path.read_bytes() if d.chance(50) else b"") + HOSTILE_YAML[d.pick(HOSTILE_YAML)].encode())
    return case


def check_faces(case: Case) -> None:
    """Rows of an HDF5 file whose bytes were damaged are the sound ones, as it has a checksum."""
    if case.expected and read_rows(case.path) != case.expected:
        raise Wrong("rows are altered")


def damage_faces(d: Drawn, case: Case) -> Case:
    if d.chance(50):
        return damage_file(d, case)
    sound = case.path.read_bytes()
    return case._replace(path=d.write(case.path, d.damage(sound)), expected=read_rows(case.sound / FACES))


def check_predictions(case: Case) -> None:
    found = read_predictions(case.path, read_faces(case.work / FACES)[0])
    rows = list(csv.DictReader(io.StringIO(case.path.read_bytes().decode(), newline="")))
    known = {(row["split"], int(row["index"])): [float(row[emotion]) for emotion in CLASSES] for row in rows}
    if any(
        known[split, index] != one.tolist() for split in found for index, one in enumerate(found[split].probabilities)
    ):
        raise Wrong("probabilities are altered")


def check_times(case: Case) -> None:
    """A stage can add its own times."""
    record_times(case.path, "predict@compact", MINE)
    if read_timing(case.path, ["compact"]).prediction["compact"] != MINE:
        raise Wrong("the times that were added are lost")


def damage_photo(d: Drawn, case: Case) -> Case:
    """A photo, or a black PNG with an impossible number of pixels."""
    if not d.chance(4):
        return damage_file(d, case)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    side, path = d.pick((9_000, 30_000, 100_000)), case.path / "bomb.png"
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    rows = zlib.compress(bytes((side + 1) * min(side, 9_000)), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return case._replace(path=path)


def check_answers(case: Case) -> None:
    """Check the JSON that predict has printed."""

    def refuse_number(text: str) -> None:
        raise Wrong(f"an answer holds {text}, which is not JSON")

    for line in (case.work / "stdout").read_text().splitlines():
        for face in json.loads(line, parse_constant=refuse_number)["faces"]:
            if not abs(sum(face["probabilities"].values()) - 1) < 0.01:
                raise Wrong("probabilities do not add up to 1")


def damage_onnx(d: Drawn, case: Case) -> Case:
    """A damaged ONNX file, or one whose weights are in another file."""
    if not d.chance(10):
        return damage_file(d, case)
    model = onnx.load(case.path)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=d.pick(("../../../etc/passwd", "/etc/passwd", "x")))
    case.path.write_bytes(model.SerializeToString())
    return case


class Hostile:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, ("inputs/unpickled",)


def damage_weights(d: Drawn, case: Case) -> Case:
    """Weights in torchvision's two formats, or code that a reader must not execute."""
    import safetensors.torch
    import torch

    suffix, sound = d.pick((".safetensors", ".pth")), case.path.read_bytes()
    path = case.work / f"inputs/weights{suffix}"
    buffer = io.BytesIO()
    torch.save(safetensors.torch.load(sound), buffer)
    content = d.damage(sound if suffix == ".safetensors" else buffer.getvalue(), suffix)
    d.write(path, pickle.dumps(Hostile()) if d.chance(10) else content)
    profile = case.work / "profiles/smoke.yaml"
    settings = YAML(typ="safe").load(profile)
    settings["compact"]["weights"] = str(path)
    profile.write_bytes(pack_json(settings))
    return case._replace(path=path)


def check_not_executed(case: Case) -> None:
    if Path("inputs/unpickled").exists():
        raise Wrong("code in the file was executed")


def damage_checkpoints(d: Drawn, case: Case) -> Case:
    """A folder of checkpoints in which one file is damaged; the training has to end in the same network."""
    model = COMPACT if case.path.name == "compact" else BASELINE
    return damage_file(d, case)._replace(expected=model)


def check_model(case: Case) -> None:
    if (case.work / case.expected).read_bytes() != (case.sound / case.expected).read_bytes():
        raise Wrong("the training ends in another network")
