"""Make pretrained/ from a kept run: a network that a clone comes with, and its card.

    make release NAME=fer2013-best          # the compact network; another one with NETWORK=...

pretrained/ then has <network>.onnx and <network>.int8.onnx, the files that results/<name>/dvc.lock names; photo.onnx,
which takes photos and judges their faces by the int8 file; for a network of PyTorch <network>.safetensors, its weights
in float16, to train on from; <network>.json, everything that was measured of them; and README.md, the card, which
card.md.j2 makes from that JSON alone. Test rows are only measured on. The files come from models/ or DVC's cache, the
rows from data/prepared/ or the cache.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from numpy.typing import NDArray

import checkout
from fer_pipeline.answers.recognition import PHOTO
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.exported.onnx import DRAWN, OUTPUT, VOTES, OnnxModel, load_exported, to_probabilities
from fer_pipeline.exported.record import ExportedTimes
from fer_pipeline.faces.faces import Facts, Split, read_faces
from fer_pipeline.faces.votes import find_majority, has_label
from fer_pipeline.inference.photo_file import build_photo
from fer_pipeline.metrics.annotators import Annotators, judge_network
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import Measured, bound_accuracy, measure, sum_calibration_error
from fer_pipeline.networks.network import CENTRE, find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import SCORED, Predictions, as_written
from fer_pipeline.report.show import percent
from fer_pipeline.running.stage import catch
from fer_pipeline.stress.damages import DAMAGES
from fer_pipeline.stress.record import Held, Stress, Summary
from fer_pipeline.training.common.run import Training
from kept import DATA, read_facts
from origin import Origin
from timing import read_timing

FILES = {"float32": "{}.onnx", "int8": "{}.int8.onnx"}
"""{precision: name of the file}, with the network's name to fill in."""
MOST_LOST = 0.05  # points of val accuracy that weights may lose in float16


class Accuracy(Record):
    """How accurate one file is on test, averaged over one crop or ten."""

    measured: Measured  # compared with the labels; its temperature is fitted to this file's answers on val
    annotators: Annotators | None  # None if the data have no votes
    votes_ci95: Interval | None  # 95 % interval of the second head's agreement with the annotators' majority


class ReleasedFile(Record):
    """One of the two files."""

    bytes: Count
    sha256: str
    temperature: float  # of the softmax, in the file's metadata
    ece: Share  # expected calibration error of its first head on test, by one crop and with `temperature`
    answers: str  # the head that its `probabilities` come from
    val_agreement: dict[str, Share] | None
    """{head: how often it agrees with the annotators' majority on val}; None if the data have no votes."""
    answers_accuracy: Share | None
    """How often `probabilities` agree with the annotators' majority on the test faces that have one of the seven
    emotions as theirs, by one crop."""
    answers_ece: Share | None  # expected calibration error of `probabilities` on these faces
    lost_on_val: float  # points of val accuracy that it has less than the float32 file, by one crop
    kept_in_float32: list[str]
    one_crop: Accuracy
    ten_crops: Accuracy
    speed: ExportedTimes | None  # as the kept run measured it


class Weights(Record):
    """<network>.safetensors."""

    bytes: Count
    sha256: str
    val_accuracy: Share  # of the first head, by one crop
    lost_on_val: float  # points of val accuracy that it has less than the trained network in float32


class Damaged(Summary):
    """The int8 file's answers about damaged test faces, as the kept run measured them."""

    rows: Count
    clean: Held  # the same faces as they are


class Card(Record):
    """pretrained/<network>.json."""

    network: str
    run: str  # folder of results/
    profile: str
    split: str
    seed: Count
    dataset: str
    test_rows: Count
    parameters: Count
    macs: Count
    training: Training
    speed_hardware: str | None
    origin: Origin  # what made the network, as the run says
    files: dict[str, ReleasedFile]  # {precision: file}
    weights: Weights | None  # None for a network of Keras
    damaged: Damaged


def fetch(path: str, md5: str, cache: Path) -> Path:
    """The path of a run's file: `path` if it still has that MD5, or its place in DVC's cache."""
    for place in (Path(path), cache / "files" / "md5" / md5[:2] / md5[2:]):
        if place.is_file() and hashlib.md5(place.read_bytes()).hexdigest() == md5:
            return place
    raise InputError(f"{path}: the file of that run (MD5 {md5}) is neither there nor in DVC's cache; run `dvc pull`")


def shift_for_crops(faces: NDArray[np.uint8], crop: int, crops: int) -> list[NDArray[np.uint8]]:
    """Faces (N, S, S, ...), once for each crop: moved and mirrored so that their centre crops are TenCrop's."""
    if crops == 1:
        return [faces]
    edge = (faces.shape[1] - crop) // 2
    shifts = [(0, 0), *itertools.product((edge, -edge), repeat=2)]
    return [np.roll(mirrored, shift, axis=(1, 2)) for mirrored in (faces, faces[:, :, ::-1]) for shift in shifts]


def predict(model: OnnxModel, faces: NDArray[np.uint8], crops: int, head: str) -> NDArray[np.float64]:
    """One head's probabilities, averaged over the crops, without the file's temperature: as in `stages/predict.py`."""
    moved = shift_for_crops(faces, model.crop, crops)
    return np.mean([to_probabilities(model.compute(one, head)[head], 1.0) for one in moved], axis=0)


def measure_accuracy(model: OnnxModel, splits: dict[str, Split], crops: int, settings: Evaluate, seed: int) -> Accuracy:
    """How accurate a file is on test, by one crop or ten."""
    test = splits["test"]
    rows = {
        one: as_written(model.classes, splits[one].labels, predict(model, splits[one].images, crops, OUTPUT))
        for one in SCORED
    }
    second = predict(model, test.images, crops, VOTES) if model.has_votes else None
    annotators = judge_network(rows["test"], second, test.votes)
    interval = None
    if annotators and annotators.votes_accuracy is not None:
        right = np.arange(annotators.rows) < round(annotators.votes_accuracy * annotators.rows)
        interval = bound_accuracy(right, settings.bootstrap, seed)
    measured = measure(rows["val"], rows["test"], test.duplicate_of_train, settings, seed)
    return Accuracy(measured=measured, annotators=annotators, votes_ci95=interval)


def measure_file(
    path: Path, splits: dict[str, Split], seed: int, speed: ExportedTimes | None, float32: ReleasedFile | None
) -> ReleasedFile:
    """Everything that the card says about one file; `float32` is the float32 file, None when that one is measured."""
    model, content, settings = load_exported(path), path.read_bytes(), read_params().evaluate
    test = splits["test"]
    one, ten = (measure_accuracy(model, splits, crops, settings, seed) for crops in (1, 10))
    reference = float32.one_crop if float32 else one
    majority = np.full(len(test.labels), -1) if test.votes is None else find_majority(test.votes)
    known = has_label(majority, len(model.classes))
    said = (
        as_written(model.classes, majority[known].astype(np.uint8), model.answer(test.images[known])[0])
        if known.any()
        else None
    )
    return ReleasedFile(
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        temperature=model.temperature,
        ece=sum_calibration_error(Predictions(model.classes, test.labels, model.predict(test.images)), settings.bins),
        answers=model.metadata["answers"],
        val_agreement=json.loads(model.metadata.get("val_agreement", "null")),
        answers_accuracy=said and round(float(said.correct.mean()), 6),
        answers_ece=said and sum_calibration_error(said, settings.bins),
        lost_on_val=round(100 * (reference.measured.val_accuracy - one.measured.val_accuracy), 2),
        kept_in_float32=json.loads(model.metadata["kept_in_float32"]),
        one_crop=one,
        ten_crops=ten,
        speed=speed,
    )


def round_weights(path: Path, network: str, val: Split, facts: Facts) -> tuple[bytes, Weights]:
    """The trained network in `path` with its weights in float16, and what the card says of that file.

    InputError if that loses more than `MOST_LOST`.
    """

    from fer_pipeline.networks.pytorch.files import pack, read_tensors
    from fer_pipeline.networks.pytorch.model import load_model

    state, metadata = read_tensors(path)
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    content, accuracies = pack(halves, metadata), []
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        for one in (path, file.name):
            said = load_model(one, network, "float32", facts).predict(val.images, CENTRE)[0, :, : len(facts.classes)]
            accuracies.append(float((said.argmax(axis=1) == val.labels).mean()))
    lost = round(100 * (accuracies[0] - accuracies[1]), 2)
    if lost > MOST_LOST:
        raise InputError(
            f"{path}: in float16 it loses {lost} points of val accuracy, {MOST_LOST} at most; train it anew"
        )
    digest = hashlib.sha256(content).hexdigest()
    return content, Weights(bytes=len(content), sha256=digest, val_accuracy=round(accuracies[1], 6), lost_on_val=lost)


def make_card(card: Card) -> str:
    """pretrained/README.md."""
    best = card.files["float32"].ten_crops
    recalls = [(emotion, scores.recall or 0.0) for emotion, scores in best.measured.per_class.items()]
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["percent"] = percent
    return environment.from_string((ROOT / "tools" / "card.md.j2").read_text(encoding="utf-8")).render(
        card=card,
        title=find_network(card.network).TITLE,
        names={kind: file.format(card.network) for kind, file in FILES.items()},
        best=best,
        damages=DAMAGES,
        ranked=sorted(recalls, key=lambda pair: pair[1]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of a kept run, as in results/<name>")
    parser.add_argument("network", help="one of that run's networks")
    args = parser.parse_args()
    name, network = args.name, args.network
    os.chdir(ROOT)
    folder = Path("results") / name
    facts, stages = read_facts(folder)
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    cache = Path(subprocess.check_output(["dvc", "cache", "dir"], text=True).strip())
    faces = DATA.as_posix()
    paths = {kind: f"models/export/{file.format(network)}" for kind, file in FILES.items()}
    for needed in (*paths.values(), faces):
        if needed not in outputs:
            raise InputError(f"{folder}/dvc.lock: the run made no {needed}; release a run that has {network}")
    found = {kind: fetch(path, outputs[path], cache) for kind, path in paths.items()}
    if load_exported(found["float32"]).metadata["trained_on"] == DRAWN:
        raise InputError(f"{folder}: the run's networks know drawn faces only; release a run on FER-2013")
    splits, data = read_faces(fetch(faces, outputs[faces], cache))
    contents = {f"pretrained/{FILES[kind].format(network)}": path.read_bytes() for kind, path in found.items()}
    contents[f"pretrained/{PHOTO}.onnx"] = build_photo(found["int8"])
    weights = None
    for out in stages[f"train_{network}"]["outs"]:
        if out["path"].endswith(".safetensors"):
            trained = fetch(out["path"], out["md5"], cache)
            contents[f"pretrained/{network}.safetensors"], weights = round_weights(
                trained, network, splits["val"], data
            )
    damaged = Stress.read(folder / "metrics" / "stress" / f"{network}.json", f"stress@{network}").test
    scores = Scores.read(folder / "metrics" / f"{network}.json", "evaluate")
    speeds = read_timing(folder / "metrics" / "timing.json", [network]).exports
    speed = dict(speeds.networks.get(network, ())) if speeds else {}
    files: dict[str, ReleasedFile] = {}
    for kind, path in found.items():  # float32 first
        files[kind] = measure_file(path, splits, facts["seed"], speed.get(kind), files.get("float32"))
    card = Card(
        network=network,
        run=name,
        **{key: facts[key] for key in ("profile", "split", "seed", "dataset")},
        test_rows=len(splits["test"].labels),
        parameters=scores.cost.parameters,
        macs=scores.cost.macs,
        training=Training.read(folder / "metrics" / "train" / f"{network}.json", f"train_{network}"),
        origin=Origin.model_validate(facts["networks"][network]),
        speed_hardware=speeds.hardware if speeds else None,
        files=files,
        weights=weights,
        damaged=Damaged(**{field: getattr(damaged, field) for field in Damaged.model_fields}),
    )
    contents |= {f"pretrained/{network}.json": card.to_bytes(), "pretrained/README.md": make_card(card).encode()}
    write_files(contents)
    best = card.files["float32"].ten_crops.measured
    print(f"-> pretrained/: {best.accuracy:.2%} on test by ten crops")


if __name__ == "__main__":
    catch(main)
