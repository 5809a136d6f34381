"""The kinds of input: sound files, how they are damaged, what reads them, and what then has to be true."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from matplotlib.cbook import get_sample_data
from PIL import Image
from ruamel.yaml import YAML

from clones import AFTER_FILE, KILL_DVC, KILL_STAGE, Project
from damage import ODD, Drawn, pack_json, pack_zip, put, read_table, read_votes
from faults.common import ONE_THREAD
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.predictions.predictions import read_predictions
from fer_pipeline.predictions.record import PredictionTimes
from fer_pipeline.raw.rows import USAGES
from fer_pipeline.running.timing import record_times
from small_network import write_network
from timing import read_timing

Face = tuple[int, int, bytes]  # label, Usage and pixels of a row
TABLE, VOTES, FACES = "data/raw/sample.csv", "data/raw/sample_votes.csv", "data/prepared/faces.h5"
COMPACT, BASELINE, ONNX = "models/compact.safetensors", "models/baseline.keras", "models/small.onnx"
SMOKE = Path("profiles/smoke.yaml")
MINE = PredictionTimes(latency_ms_batch1=1.0, images_per_second=1.0, hardware="x")
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
BOMB = "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
HOSTILE_YAML = (
    *(BOMB, "seed: " + "[" * 20_000, "---\nseed: 1\n---\nseed: 2\n", "", "seed: &a [*a]", "networks: &a {x: *a}"),
    *("seed: !!python/object/apply:os.system ['false']", "seed: !!binary aGVsbG8=", "networks: !!set {a, b}"),
    *("profile: 2020-01-01", "{[1, 2]: 3}"),
)
CODE = b"cos\nmkdir\n(Vinputs/unpickled\ntR."  # a pickle that makes a folder when it is read
Check = Callable[[], str]
"""What is wrong with the result if a damaged input was accepted, or an empty string."""


def load_files(place: Path) -> dict[str, bytes]:
    """{path below `place`: bytes} of all files in a folder, or of one file."""
    files = sorted(path for path in (place, *place.rglob("*")) if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def read_pictures(files: Mapping[str, bytes]) -> list[Face]:
    """The rows of sound pictures whose names begin with their Usage, in prepare's order."""
    rows = []
    for name in sorted(files, key=lambda name: (CLASSES.index(name.split("/")[-2]), name)):
        usage, label = USAGES.index(name.rpartition("/")[2].split("_")[0]), CLASSES.index(name.split("/")[-2])
        rows.append((label, usage, Image.open(io.BytesIO(files[name])).convert("L").tobytes()))
    return rows


def read_rows() -> list[Face]:
    """The rows of faces.h5, which has the official split, in the order of its splits."""
    splits = enumerate(read_faces(FACES)[0].values())
    pairs = [(usage, *pair) for usage, rows in splits for pair in zip(rows.labels, rows.images, strict=True)]
    return [(int(label), usage, image.tobytes()) for usage, label, image in pairs]


def check_rows(expected: list[Face] | None, changed: int = 0, more: int = 0) -> str:
    """Compare faces.h5 with the rows to expect (None: none), of which `changed` may differ; others may be `more`."""
    if expected is None:
        return "accepts what a plain reader refuses"
    found, rows = read_rows(), sorted(expected, key=lambda row: row[1])
    missing = sum((Counter(rows) - Counter(found)).values())
    if missing > changed or not len(rows) <= len(found) <= len(rows) + more:
        return "rows are lost, altered or added, without a word"
    return "rows are in another order" if found != rows and not missing and len(found) == len(rows) else ""


def check_votes(path: Path) -> str:
    rows, expected = read_table(Path(TABLE).read_bytes()), read_votes(path.read_bytes())
    votes = np.concatenate([split.votes for split in read_faces(FACES)[0].values()]).tolist()
    order = sorted(range(len(rows)), key=lambda row: rows[row][1])
    altered = expected is None or votes != [list(expected[row]) for row in order]
    return "votes are altered, or a plain reader refuses them" if altered else check_rows(rows)


def damage_file(d: Drawn, place: Path, check: Callable[[Path], str] = lambda path: "") -> tuple[Path, Check]:
    """Any file, or any file of a folder."""
    path = place / d.pick(load_files(place)) if place.is_dir() else place
    d.write(path, d.damage(path.read_bytes(), path.suffix))
    return path, partial(check, path)


def damage_packed(d: Drawn, place: Path) -> tuple[Path, Check]:
    """A compressed table, damaged inside, or outside, where a checksum shows it."""
    content, ending = place.read_bytes(), d.pick(PACKERS)
    what, pack = d.pick(("outside", "outside", "inside", "a bomb")), PACKERS[ending]
    content = d.damage(content, ".csv") if what == "inside" else content
    expected = None if what == "a bomb" else read_table(content)
    packed = pack(content[:300] + bytes(1 << 24)) * 16 if what == "a bomb" else pack(content)
    path = d.write(place.with_suffix(f".csv.{ending}"), d.damage(packed) if what == "outside" else packed)
    return path, partial(check_rows, expected)


def damage_members(d: Drawn) -> tuple[dict[str, bytes], Check]:
    """A table or pictures of which at most one is damaged, lost, renamed or a bomb."""
    table = {"fer2013.csv": Path(TABLE).read_bytes()}
    sound = table if d.chance(40) else load_files(Path("pictures"))
    files = dict(sound)
    if d.chance(50):
        files = d.damage_values(files)
        files = files if isinstance(files, dict) and all(isinstance(one, bytes) for one in files.values()) else {}
    if d.chance(10):
        files[d.pick(ODD) or "x"] = d.pick((b"emotion,pixels,Usage\n", b"/etc/passwd", bytes(1 << 28), pack_zip(sound)))
    if sound is table:
        return files, partial(check_rows, read_table(next(iter(files.values()), b"")))
    kept = {name: content for name, content in files.items() if sound.get(name) == content}
    return files, partial(check_rows, read_pictures(kept), more=len(files) - len(kept))


def damage_folder(d: Drawn, place: Path) -> tuple[Path, Check]:
    """A folder of pictures or of a table, perhaps with odd files in it."""
    path, (files, check) = place / "fer2013", damage_members(d)
    path.mkdir()
    for name, content in files.items():
        with contextlib.suppress(OSError, ValueError):  # no name of a file
            file = path / name.replace("../", "").strip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    odd = path / d.pick(("x", "x.csv", "Training_x.png"))
    put(odd, d.pick(("", "", "..", "/dev/zero", "nowhere", odd.name, "a pipe")))
    return path, check


def damage_zip(d: Drawn, place: Path) -> tuple[Path, Check]:
    """Damaged members, or damaged bytes, which a checksum shows; in half of those the directory at the end."""
    (files, check), what = damage_members(d), d.pick(("nothing", "bytes", "directory"))
    content = pack_zip(files)
    start = content.find(b"PK\x01\x02") if what == "directory" else 0
    content = content if what == "nothing" else content[:start] + d.damage(content[start:])
    return d.write(place / "fer2013.zip", content), check


def damage_tar(d: Drawn, place: Path) -> tuple[Path, Check]:
    """Damaged members, one perhaps of another type or size, or damaged bytes; a plain tar has no checksum of them."""
    (files, check), buffer, form = damage_members(d), io.BytesIO(), d.pick(("", "", *PACKERS))
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
    path = d.write(place / f"fer2013.tar{form and '.'}{form}", content)
    return path, partial(check, changed=16) if what == "bytes" and not form else check


def damage_params(d: Drawn, place: Path) -> tuple[Path, Check]:
    """params.yaml or its profile."""
    path = d.pick((place, SMOKE))
    if d.chance(80):
        return damage_file(d, path)
    path.write_bytes((path.read_bytes() if d.chance(50) else b"") + d.pick(HOSTILE_YAML).encode())
    return path, lambda: ""


def damage_faces(d: Drawn, place: Path) -> tuple[Path, Check]:
    """What faces.h5 holds, or its bytes: then rows that are read are the sound ones, as it has a checksum."""
    if d.chance(50):
        return damage_file(d, place)
    rows = read_rows()
    d.write(place, d.damage(place.read_bytes()))
    return place, lambda: "" if read_rows() == rows else "rows are altered"


def check_predictions(path: Path) -> str:
    found = read_predictions(path, read_faces(FACES)[0], CLASSES)
    for row in csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")):
        known = found.get(row["split"])
        if known and known.probabilities[int(row["index"])].tolist() != [float(row[emotion]) for emotion in CLASSES]:
            return "probabilities are altered"
    return ""


def check_times(path: Path) -> str:
    """A stage can add its own times."""
    record_times(path, "predict@compact", MINE)
    kept = read_timing(path, ["compact"]).prediction["compact"] == MINE
    return "" if kept else "the times that were added are lost"


def check_answers(path: Path) -> str:
    """Check the JSON that predict has printed."""
    printed = Path("stdout").read_text()
    faces = [face for line in printed.splitlines() for face in json.loads(line)["faces"]]
    wrong = any(abs(sum(face["probabilities"].values()) - 1) > 0.01 for face in faces)
    return "an answer is not JSON, or no probabilities" if wrong or re.search(r"\b(NaN|Infinity)\b", printed) else ""


def damage_photo(d: Drawn, place: Path) -> tuple[Path, Check]:
    """A photo, or a black PNG of 9,000x9,000 pixels, which may say that it has far more."""
    if not d.chance(4):
        return damage_file(d, place, check_answers)
    content, path = bytearray(cv2.imencode(".png", np.zeros((9_000, 9_000), np.uint8))[1]), place / "bomb.png"
    content[16:24] = 2 * d.pick((9_000, 30_000, 100_000)).to_bytes(4)
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    path.write_bytes(content)
    return path, partial(check_answers, path)


def damage_onnx(d: Drawn, place: Path) -> tuple[Path, Check]:
    """A damaged ONNX file, or one whose weights are in another file."""
    if not d.chance(10):
        return damage_file(d, place, check_answers)
    model = onnx.load(place)
    weights, elsewhere = model.graph.initializer[0], d.pick(("../../../etc/passwd", "/etc/passwd", "x"))
    onnx.external_data_helper.set_external_data(weights, elsewhere)
    weights.ClearField("raw_data")
    place.write_bytes(model.SerializeToString())
    return place, partial(check_answers, place)


def damage_weights(d: Drawn, place: Path) -> tuple[Path, Check]:
    """Weights in torchvision's two formats, or code that a reader must not execute."""
    import safetensors.torch
    import torch

    path, buffer = Path(d.pick(("inputs/weights.safetensors", "inputs/weights.pth"))).absolute(), io.BytesIO()
    torch.save(safetensors.torch.load_file(place), buffer)
    content = buffer.getvalue() if path.suffix == ".pth" else place.read_bytes()
    d.write(path, CODE if d.chance(10) else d.damage(content, path.suffix))
    settings = YAML(typ="safe").load(SMOKE)
    settings["compact"]["weights"] = str(path)
    SMOKE.write_bytes(pack_json(settings))
    return path, lambda: ""


def damage_checkpoints(d: Drawn, place: Path) -> tuple[Path, Check]:
    """Any checkpoint: a training from it has to end in the same network."""
    sound, other = load_files(Path("models")), "the training ends in another network"
    return damage_file(d, place, lambda path: "" if load_files(Path("models")) == sound else other)


def make_sound(run: Project) -> None:
    """Write into a finished run of the pipeline what it does not have: checkpoints, archives, photos, videos."""
    for stage, count in (("train_baseline", 1), ("train_compact", 2)):  # killed after their first epoch
        strike = AFTER_FILE.format(count=count, strike=f"{KILL_DVC}; {KILL_STAGE}")
        run.start("dvc", "repro", "-f", "-s", stage, stage=stage, strike=strike, **ONE_THREAD).communicate(timeout=600)
    run.call("dvc", "checkout")
    for folder in (run.path / ".checkpoints").glob("*-*"):
        folder.rename(folder.with_name(folder.name.partition("-")[0]))
    tables = [run.path / "data/raw" / name for name in ("sample.csv", "sample_votes.csv")]
    lines = [table.read_bytes().splitlines(keepends=True) for table in tables]
    kept = [row for row, line in enumerate(lines[0]) if row % 5 == 1 or row == 0 or line.startswith(b"1,")]
    for table, content in zip(tables, lines, strict=True):  # every fifth row of the sample, and all of its rarest class
        table.write_bytes(b"".join(content[row] for row in kept))
    for number, (label, usage, pixels) in enumerate(read_table((run.path / "data/raw/sample.csv").read_bytes()) or []):
        name = f"{'test' if usage else 'train'}/{CLASSES[label]}/{USAGES[usage]}_{number:05d}"
        for ending in ("png", "jpg") if number % 4 == 0 else ("png",):
            path = run.path / "pictures" / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.frombuffer(pixels, np.uint8).reshape(48, 48))
    write_network(run.path / "models/small.onnx", 0, largest_difference="0.001", kept_in_float32="[]")
    picture = cv2.resize(cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False))), (128, 150))
    for folder in ("photos", "videos", "inputs"):
        (run.path / folder).mkdir()
    for ending in ("jpg", "png", "webp", "gif", "tiff", "bmp", "avif"):
        cv2.imwrite(str(run.path / f"photos/photo.{ending}"), picture)
    cv2.imwrite(str(run.path / "photos/face.png"), picture[20:80, 40:100])
    for ending in ("mp4", "avi", "mkv", "mov"):
        path = run.path / f"videos/video.{ending}"
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 150))
        for frame in range(4):
            video.write(np.roll(picture, 2 * frame, axis=1))
        video.release()


class Kind(NamedTuple):
    """A kind of input: what is damaged at `place` of a finished run is read by a stage, or by a command in which {} is
    the path that `damage` returns beside the check. The module `library` takes seconds and is loaded in advance."""

    share: int
    """Of ten thousand inputs; few where each takes seconds."""
    place: str
    script: str
    damage: Callable[[Drawn, Path], tuple[Path, Check]] = damage_file
    library: str = "fer_pipeline.raw.source"


PREPARE = f"stages/prepare.py --source {{}} --split official --out {FACES} --report metrics/data.json"
SAMPLE, PREDICT = PREPARE.format(TABLE), f"apps/predict.py --json --model {ONNX} {{}}"
TORCH, KERAS = "fer_pipeline.training.pytorch.train", "fer_pipeline.networks.keras.framework"
KINDS: dict[str, Kind] = {  # in the order of the table
    "tables": Kind(
        1500, TABLE, PREPARE, partial(damage_file, check=lambda path: check_rows(read_table(path.read_bytes())))
    ),
    "compressed tables": Kind(600, TABLE, PREPARE, damage_packed),
    "zips": Kind(800, "inputs", PREPARE, damage_zip),
    "tars": Kind(800, "inputs", PREPARE, damage_tar),
    "folders": Kind(500, "inputs", PREPARE, damage_folder),
    "votes": Kind(700, VOTES, f"{SAMPLE} --votes {{}}", partial(damage_file, check=check_votes)),
    "params.yaml": Kind(800, "params.yaml", SAMPLE, damage_params),
    "faces.h5": Kind(300, FACES, "compare", damage_faces),
    "predictions": Kind(300, "data/predictions/compact.csv", "compare", partial(damage_file, check=check_predictions)),
    "metrics": Kind(300, "metrics", "report"),
    "times": Kind(300, "metrics/timing.json", "tools/times.py", partial(damage_file, check=check_times)),
    "histories": Kind(100, "plots/compact/history.csv", "evaluate@compact"),
    "photos": Kind(700, "photos", PREDICT, damage_photo),
    "videos": Kind(250, "videos", PREDICT, partial(damage_file, check=check_answers)),
    "exported networks": Kind(400, ONNX, PREDICT.format("--face photos/face.png"), damage_onnx),
    "networks in PyTorch": Kind(100, COMPACT, "predict@compact", library=TORCH),
    "networks in Keras": Kind(40, BASELINE, "predict@baseline", library=KERAS),
    "weights to start from": Kind(60, COMPACT, "train_compact", damage_weights, TORCH),
    "checkpoints of PyTorch": Kind(40, ".checkpoints/compact", "train_compact", damage_checkpoints, TORCH),
    "checkpoints of Keras": Kind(20, ".checkpoints/baseline", "train_baseline", damage_checkpoints, KERAS),
}
