"""How each kind of input is damaged, what reads it as the project does, and what a plain reader makes of it."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import re
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from PIL import Image
from ruamel.yaml import YAML

from faults.damage.ways import ODD, Drawn, pack_json, pack_zip, put
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import CLASSES, VOTE_CLASSES
from fer_pipeline.predictions.predictions import read_predictions
from fer_pipeline.predictions.record import PredictionTimes
from fer_pipeline.raw.rows import FERPLUS_COLUMNS, USAGES
from fer_pipeline.running.timing import record_times
from timing import read_timing

Face = tuple[int, int, bytes]
"""Label, Usage and pixels of a row."""
TABLE, VOTES, FACES = "data/raw/sample.csv", "data/raw/sample_votes.csv", "data/prepared/faces.h5"
COMPACT, BASELINE, ONNX = "models/compact.safetensors", "models/baseline.keras", "models/small.onnx"
SMOKE = Path("profiles/smoke.yaml")
MINE = PredictionTimes(latency_ms_batch1=1.0, images_per_second=1.0, hardware="x")
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
ONE_LINE = """
seed: &a [*a]
networks: &a {x: *a}
seed: !!python/object/apply:os.system ['false']
networks: !!set {a, b}
profile: 2020-01-01
{[1, 2]: 3}
seed: !!binary aGVsbG8=
"""
HOSTILE_YAML = (BOMB, "seed: " + "[" * 20_000, "---\nseed: 1\n---\nseed: 2\n", *ONE_LINE.split("\n"))
CODE = b"cos\nmkdir\n(Vinputs/unpickled\ntR."
"""A pickle that makes a folder when it is read."""


class Case(NamedTuple):
    """A damaged input of the finished run in the current folder."""

    path: Path
    """Before it is damaged: the file or folder of the run."""
    sound: Path
    """The same run, only to read."""
    expected: Any = None
    """What an answer has to be; each kind has its own meaning. None for rows or votes that may not be accepted."""
    changed: int = 0
    """How many of the expected rows may differ."""
    more: int = 0
    """How many other rows there may be."""


def load_files(folder: Path) -> dict[str, bytes]:
    """{path below `folder`: bytes}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def read_columns(content: bytes, names: Sequence[str]) -> Iterator[list[str]]:
    """The fields of each row of a CSV in these columns, read in the simplest way."""
    lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    header, *rows = (row for row in lines if any(field.strip() for field in row))
    known = [name.strip().lower() for name in header]
    return ([row[known.index(name.lower())] for name in names] for row in rows)


def read_table(content: bytes) -> list[Face] | None:
    """The rows of a table; None if it is not a table."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").encode()
    with contextlib.suppress(ValueError, IndexError, csv.Error):
        rows = read_columns(text, ("emotion", "Usage", "pixels"))
        return [(int(label), USAGES.index(usage.strip()), bytes(map(int, face.split()))) for label, usage, face in rows]
    return None


def read_votes(content: bytes) -> list[list[int]] | None:
    """The ten votes of each row; None if the content has none."""
    columns = {vote: column for column, vote in FERPLUS_COLUMNS.items()}
    with contextlib.suppress(ValueError, IndexError, csv.Error):
        return [list(map(int, row)) for row in read_columns(content, [columns[vote] for vote in VOTE_CLASSES])]
    return None


def read_pictures(files: Mapping[str, bytes]) -> list[Face]:
    """The rows of sound pictures whose names begin with their Usage, in prepare's order."""
    rows = []
    for name in sorted(files, key=lambda name: (CLASSES.index(name.split("/")[-2]), name)):
        usage, label = USAGES.index(name.rpartition("/")[2].split("_")[0]), CLASSES.index(name.split("/")[-2])
        rows.append((label, usage, Image.open(io.BytesIO(files[name])).convert("L").tobytes()))
    return rows


def read_rows(path: str | Path = FACES) -> list[Face]:
    """The rows of a faces.h5 of the official split, in the order of its splits."""
    splits = enumerate(read_faces(path)[0].values())
    pairs = [(usage, *pair) for usage, rows in splits for pair in zip(rows.labels, rows.images, strict=True)]
    return [(int(label), usage, image.tobytes()) for usage, label, image in pairs]


def check_rows(case: Case) -> str:
    """Compare prepare's faces.h5 with the rows that are expected."""
    if case.expected is None:
        return "accepts what a plain reader refuses"
    found, rows = read_rows(), sorted(case.expected, key=lambda row: row[1])
    missing = sum((Counter(rows) - Counter(found)).values())
    if missing > case.changed or not len(rows) <= len(found) <= len(rows) + case.more:
        return "rows are lost, altered or added, without a word"
    return "rows are in another order" if found != rows and not missing and len(found) == len(rows) else ""


def check_votes(case: Case) -> str:
    rows = read_table((case.sound / TABLE).read_bytes()) or []
    votes = np.concatenate([split.votes for split in read_faces(FACES)[0].values()]).tolist()
    order = sorted(range(len(rows)), key=lambda row: rows[row][1])
    altered = case.expected is None or votes != [case.expected[row] for row in order]
    return "votes are altered, or a plain reader refuses them" if altered else check_rows(case._replace(expected=rows))


def damage_file(d: Drawn, case: Case) -> Case:
    """Any file, or any file of a folder."""
    path = case.path / d.pick(load_files(case.path)) if case.path.is_dir() else case.path
    return case._replace(path=d.write(path, d.damage(path.read_bytes(), path.suffix)))


def damage_text(read: Callable[[bytes], list[Any] | None], d: Drawn, case: Case) -> Case:
    """A table, or the votes."""
    case = damage_file(d, case)
    return case._replace(expected=read(case.path.read_bytes()) if case.path.is_file() else None)


def damage_packed(d: Drawn, case: Case) -> Case:
    """A compressed table, damaged inside, or outside, where a checksum shows it."""
    sound, ending = case.path.read_bytes(), d.pick(PACKERS)
    what, pack = d.pick(("outside", "outside", "inside", "a bomb")), PACKERS[ending]
    damaged = d.damage(sound, ".csv") if what == "inside" else sound
    content = pack(sound[:300] + bytes(1 << 24)) * 16 if what == "a bomb" else pack(damaged)
    rows = None if what == "a bomb" else read_table(damaged)
    path = d.write(case.path.with_suffix(f".csv.{ending}"), d.damage(content) if what == "outside" else content)
    return case._replace(path=path, expected=rows)


def damage_members(d: Drawn, case: Case) -> tuple[dict[str, bytes], Case]:
    """A table or pictures of which at most one is damaged, lost, renamed or a bomb; and the rows to expect."""
    table = {"fer2013.csv": (case.sound / TABLE).read_bytes()}
    sound = table if d.chance(40) else load_files(case.sound / "pictures")
    files = dict(sound)
    if d.chance(50):
        files = d.damage_values(files)
        files = files if isinstance(files, dict) and all(isinstance(one, bytes) for one in files.values()) else {}
    if d.chance(10):
        files[d.pick(ODD) or "x"] = d.pick((b"emotion,pixels,Usage\n", b"/etc/passwd", bytes(1 << 28), pack_zip(sound)))
    if sound is table:
        return files, case._replace(expected=read_table(next(iter(files.values()), b"")))
    kept = {name: content for name, content in files.items() if sound.get(name) == content}
    return files, case._replace(expected=read_pictures(kept), more=len(files) - len(kept))


def damage_folder(d: Drawn, case: Case) -> Case:
    """A folder of pictures or of a table, perhaps with odd files in it."""
    path, (files, case) = case.path / "fer2013", damage_members(d, case)
    path.mkdir()
    for name, content in files.items():
        with contextlib.suppress(OSError, ValueError):  # no name of a file
            file = path / name.replace("../", "").strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    odd = path / d.pick(("x", "x.csv", "Training_x.png"))
    put(odd, d.pick(("", "", "..", "/dev/zero", "nowhere", odd.name, "a pipe")))
    return case._replace(path=path)


def damage_zip(d: Drawn, case: Case) -> Case:
    """Damaged members, or damaged bytes, which a checksum shows; in half of those the directory at the end."""
    files, case = damage_members(d, case)
    content, what = pack_zip(files), d.pick(("nothing", "bytes", "directory"))
    start = content.find(b"PK\x01\x02") if what == "directory" else 0
    content = content if what == "nothing" else content[:start] + d.damage(content[start:])
    return case._replace(path=d.write(case.path / "fer2013.zip", content))


def damage_tar(d: Drawn, case: Case) -> Case:
    """Damaged members, one perhaps of another type or size, or damaged bytes; a plain tar has no checksum of them."""
    (files, case), buffer, form = damage_members(d, case), io.BytesIO(), d.pick(("", "", *PACKERS))
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
    path = d.write(case.path / f"fer2013.tar{form and '.'}{form}", content)
    return case._replace(path=path, changed=16 if what == "bytes" and not form else 0)


def damage_params(d: Drawn, case: Case) -> Case:
    """params.yaml or its profile."""
    path = d.pick((case.path, SMOKE))
    if d.chance(80):
        d.write(path, d.damage(path.read_bytes(), path.suffix))
    else:
        path.write_bytes((path.read_bytes() if d.chance(50) else b"") + d.pick(HOSTILE_YAML).encode())
    return case


def damage_faces(d: Drawn, case: Case) -> Case:
    """What faces.h5 holds, or its bytes: then rows that are read are the sound ones, as it has a checksum."""
    if d.chance(50):
        return damage_file(d, case)
    return case._replace(path=d.write(case.path, d.damage(case.path.read_bytes())), expected=read_rows(case.path))


def check_faces(case: Case) -> str:
    return "rows are altered" if case.expected and read_rows(case.path) != case.expected else ""


def check_predictions(case: Case) -> str:
    found = read_predictions(case.path, read_faces(FACES)[0])
    for row in csv.DictReader(io.StringIO(case.path.read_bytes().decode(), newline="")):
        known = found.get(row["split"])
        if known and known.probabilities[int(row["index"])].tolist() != [float(row[emotion]) for emotion in CLASSES]:
            return "probabilities are altered"
    return ""


def check_times(case: Case) -> str:
    """A stage can add its own times."""
    record_times(case.path, "predict@compact", MINE)
    kept = read_timing(case.path, ["compact"]).prediction["compact"] == MINE
    return "" if kept else "the times that were added are lost"


def damage_photo(d: Drawn, case: Case) -> Case:
    """A photo, or a black PNG of 9,000x9,000 pixels, which may say that it has far more."""
    if not d.chance(4):
        return damage_file(d, case)
    buffer, side = io.BytesIO(), d.pick((9_000, 30_000, 100_000))
    Image.new("L", (9_000, 9_000)).save(buffer, "PNG")
    start, content = buffer.getvalue()[:12], buffer.getvalue()[33:]
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = case.path / "bomb.png"
    path.write_bytes(start + header + struct.pack(">I", zlib.crc32(header)) + content)
    return case._replace(path=path)


def check_answers(case: Case) -> str:
    """Check the JSON that predict has printed."""
    printed = Path("stdout").read_text()
    faces = [face for line in printed.splitlines() for face in json.loads(line)["faces"]]
    wrong = any(abs(sum(face["probabilities"].values()) - 1) > 0.01 for face in faces)
    return "an answer is not JSON, or no probabilities" if wrong or re.search(r"\b(NaN|Infinity)\b", printed) else ""


def damage_onnx(d: Drawn, case: Case) -> Case:
    """A damaged ONNX file, or one whose weights are in another file."""
    if not d.chance(10):
        return damage_file(d, case)
    model = onnx.load(case.path)
    place = d.pick(("../../../etc/passwd", "/etc/passwd", "x"))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], place)
    model.graph.initializer[0].ClearField("raw_data")
    case.path.write_bytes(model.SerializeToString())
    return case


def damage_weights(d: Drawn, case: Case) -> Case:
    """Weights in torchvision's two formats, or code that a reader must not execute."""
    import safetensors.torch
    import torch

    suffix, content, buffer = d.pick((".safetensors", ".pth")), case.path.read_bytes(), io.BytesIO()
    if suffix == ".pth":
        torch.save(safetensors.torch.load(content), buffer)
        content = buffer.getvalue()
    path = Path(f"inputs/weights{suffix}").absolute()
    d.write(path, CODE if d.chance(10) else d.damage(content, suffix))
    settings = YAML(typ="safe").load(SMOKE)
    settings["compact"]["weights"] = str(path)
    SMOKE.write_bytes(pack_json(settings))
    return case._replace(path=path)


def check_model(case: Case) -> str:
    """A training from damaged checkpoints has to end in the same network."""
    other = any(Path(model).read_bytes() != (case.sound / model).read_bytes() for model in (COMPACT, BASELINE))
    return "the training ends in another network" if other else ""


class Kind(NamedTuple):
    """A kind of input."""

    share: int
    """Of ten thousand inputs; few where each takes seconds."""
    place: str
    """The file or the folder of a finished run that is damaged."""
    script: str
    """The stage that reads the input, or a command in which {} is its path."""
    damage: Callable[[Drawn, Case], Case] = damage_file
    """Damages `Case.path`; the case that is returned says what is read, and what is expected."""
    check: Callable[[Case], str] = lambda case: ""
    """What is wrong with the result if the input was accepted, or an empty string."""
    library: str = "fer_pipeline.raw.source"
    """A module that is loaded in advance, as it takes seconds."""


PREPARE = f"stages/prepare.py --source {{}} --split official --out {FACES} --report metrics/data.json"
SAMPLE, PREDICT = PREPARE.format(TABLE), f"apps/predict.py --json --model {ONNX} {{}}"
TORCH, KERAS = "lightning", "fer_pipeline.networks.keras.framework"
KINDS: dict[str, Kind] = {
    "tables": Kind(1500, TABLE, PREPARE, partial(damage_text, read_table), check_rows),
    "compressed tables": Kind(600, TABLE, PREPARE, damage_packed, check_rows),
    "zips": Kind(800, "inputs", PREPARE, damage_zip, check_rows),
    "tars": Kind(800, "inputs", PREPARE, damage_tar, check_rows),
    "folders": Kind(500, "inputs", PREPARE, damage_folder, check_rows),
    "votes": Kind(700, VOTES, f"{SAMPLE} --votes {{}}", partial(damage_text, read_votes), check_votes),
    "params.yaml": Kind(800, "params.yaml", SAMPLE, damage_params),
    "faces.h5": Kind(300, FACES, "compare", damage_faces, check_faces),
    "predictions": Kind(300, "data/predictions/compact.csv", "compare", check=check_predictions),
    "metrics": Kind(300, "metrics", "report"),
    "times": Kind(300, "metrics/timing.json", "tools/times.py", check=check_times),
    "histories": Kind(100, "plots/compact/history.csv", "evaluate@compact"),
    "photos": Kind(700, "photos", PREDICT, damage_photo, check_answers),
    "videos": Kind(250, "videos", PREDICT, check=check_answers),
    "exported networks": Kind(400, ONNX, PREDICT.format("--face photos/face.png"), damage_onnx, check_answers),
    "networks in PyTorch": Kind(100, COMPACT, "predict@compact", library=TORCH),
    "networks in Keras": Kind(40, BASELINE, "predict@baseline", library=KERAS),
    "weights to start from": Kind(60, COMPACT, "train_compact", damage_weights, library=TORCH),
    "checkpoints of PyTorch": Kind(40, ".checkpoints/compact", "train_compact", check=check_model, library=TORCH),
    "checkpoints of Keras": Kind(20, ".checkpoints/baseline", "train_baseline", check=check_model, library=KERAS),
}
"""In the order of the table."""
