"""The exported networks: they answer as the trained ones do, and say what they are."""

import ast
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from trainings import FACTS, KERAS, NARROW

import export
import predict
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import load_exported, read_names, to_probabilities
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.faces import Facts, Split, read_faces, write_faces
from fer_pipeline.faces.fer2013 import CLASSES, VOTED
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import MIRRORED, Shape, find_crop, find_network, read_origin
from fer_pipeline.networks.pytorch.files import load_network, pack_network
from fer_pipeline.networks.pytorch.heads import add_votes_head
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.calibration import fit_temperature_to, fit_votes_temperature, temper
from fer_pipeline.predictions.predictions import SCORED
from timing import read_timing

NAMES = ("baseline", "vgg19", "resnet18", "compact")


@pytest.mark.parametrize("name", NAMES)
def test_each_network_says_what_it_is_and_is_measured(finished_pipeline, name):
    metrics = finished_pipeline.path / "metrics"
    splits, _ = read_faces(finished_pipeline.path / "data/prepared/faces.h5")
    report, times = Exports.read(metrics / "export.json", "score_exports"), read_timing(metrics / "timing.json", NAMES)
    assert times.exports.hardware and [*report.networks] == [*times.exports.networks] == [*NAMES]
    float32, int8 = report.networks[name].float32, report.networks[name].int8
    made = read_origin(finished_pipeline.path / read_params().networks[name])
    assert report.networks[name].trained.model_dump() == made
    assert float32.largest_difference <= 1e-4 and int8.lost == pytest.approx(float32.accuracy - int8.accuracy, abs=2e-6)
    for file, precision, found in ((name, "float32", float32), (f"{name}.int8", "int8", int8)):
        path = finished_pipeline.path / "models" / "export" / f"{file}.onnx"
        onnx.checker.check_model(onnx.load(path))
        model = load_exported(path)
        assert (model.classes, model.crop) == (CLASSES, 48 if name == "baseline" else 44)
        told = {"architecture": name, "precision": precision, "trained_on": "drawn faces"}
        told["trained"] = json.dumps(made)
        assert told.items() <= model.metadata.items()
        val, test = (
            (model.predict(rows.images).argmax(axis=1) == rows.labels).mean() for rows in map(splits.get, SCORED)
        )
        accuracies = float(model.metadata["val_accuracy"]), found.accuracy
        assert accuracies == pytest.approx((val, test), abs=1e-6) and found.bytes == path.stat().st_size
        if precision == "float32":  # its temperatures are those of both files
            said = [
                to_probabilities(one, 1.0) for one in model.compute(splits["val"].images, "logits", "votes").values()
            ]
            fitted = fit_temperature_to(said[0], np.eye(7)[splits["val"].labels])
            fitted = fitted, fit_votes_temperature(said[1], splits["val"].votes)
        assert (model.temperature, float(model.metadata["votes_temperature"])) == pytest.approx(fitted, rel=1e-3)
        mirrored = [np.ascontiguousarray(side) for side in (splits["test"].images, splits["test"].images[:, :, ::-1])]
        np.testing.assert_array_equal(*(model.answer(side)[0] for side in mirrored))
        assert json.loads(model.metadata["vote_classes"]) == [*CLASSES, "contempt"]
        agreement = json.loads(model.metadata["val_agreement"])
        assert set(agreement) == {"logits", "votes"} and agreement[model.metadata["answers"]] == max(agreement.values())
        for head, classes in zip(model.answer(np.zeros((3, 48, 48), np.uint8)), (7, 8), strict=True):
            assert head.shape == (3, classes) and head.sum(axis=1) == pytest.approx(1)
        took = getattr(times.exports.networks[name], precision)
        latencies = took.latency_ms.threads_1, took.latency_ms.threads_2
        assert all(0 < latency.median <= latency.p95 for latency in latencies) and took.faces_per_second > 0


@pytest.mark.parametrize("name", ["vgg19", "resnet18", "compact"])
def test_float32_answers_as_the_network_itself(finished_pipeline, name):
    """By hand, in PyTorch: the middle 44 pixels, grey three times, divided by 255; and their mirror image."""
    network = load_network(finished_pipeline.path / "models" / f"{name}.safetensors").network
    faces = read_faces(finished_pipeline.path / "data/prepared/faces.h5")[0]["test"].images
    with torch.inference_mode():
        crops = torch.from_numpy(faces[:, None, 2:46, 2:46]).float().expand(-1, 3, -1, -1) / 255
        sides = [network(side).double().split([7, 8], dim=1) for side in (crops, crops.flip(3))]
    emotion, votes = (((one.softmax(1) + other.softmax(1)) / 2).log() for one, other in zip(*sides, strict=True))
    model = load_exported(finished_pipeline.path / "models" / "export" / f"{name}.onnx")
    assert model.predict(faces) == pytest.approx((emotion / model.temperature).softmax(1).numpy(), abs=1e-4)
    temperature = float(model.metadata["votes_temperature"])
    probabilities, shares = model.answer(faces)
    assert shares == pytest.approx((votes / temperature).softmax(1).numpy(), abs=1e-4)
    chosen = {"logits": emotion, "votes": votes[:, :7]}[model.metadata["answers"]]
    temperature = float(model.metadata["answers_temperature"])
    assert probabilities == pytest.approx((chosen / temperature).softmax(1).numpy(), abs=1e-4)


MAJORITIES = np.array([[0, 0, 0, 8, 1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 9, 0, 0, 0, 0, 0], [0, 0, 0, 5, 5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 9, 0, 0]], np.uint8)  # fmt: skip
"""Happy, sad, none, and contempt, which is none of the seven."""


@pytest.mark.parametrize("better", ["logits", "votes"])
def test_the_head_that_agrees_with_annotators_answers(better):
    """One says happy and sad, as they do; the other says happy of both, and contempt is not asked for."""
    logits = {"logits": np.zeros((4, 7)), "votes": np.zeros((4, 8))}
    for one in logits.values():
        one[:, 3] = 2
    logits[better][1, 4] = 4
    logits["votes"][:, 7] = 9
    val = Split(np.zeros((4, 48, 48), np.uint8), np.array([3, 3, 3, 3], np.uint8), None, MAJORITIES)
    said = export.choose_answers(logits, val, 7, 1.7)
    assert said["answers"] == better
    agreement = json.loads(said["val_agreement"])
    assert agreement == {"logits": 0.5, "votes": 0.5} | {better: 1.0}
    assert float(said["answers_temperature"]) < 0.2  # it was right about both, and may be surer
    for rows in (val._replace(votes=None), val._replace(votes=MAJORITIES[[2, 2, 3, 3]])):
        assert export.choose_answers(logits, rows, 7, 1.7) == {"answers": "logits", "answers_temperature": "1.7"}


def test_the_baseline_answers_as_the_network_itself(finished_pipeline):
    """That computes in the training's precision, bfloat16 on some machines."""
    splits, facts = read_faces(finished_pipeline.path / "data/prepared/faces.h5")
    faces = splits["test"].images
    network = load_model("baseline", finished_pipeline.path / "models/baseline.keras", "auto", facts)
    said = network.predict(faces, MIRRORED)[0][:, :7]
    model = load_exported(finished_pipeline.path / "models/export/baseline.onnx")
    assert model.predict(faces) == pytest.approx(temper(said, model.temperature), abs=0.05)


OWN = {
    "three in colour": ("compact", FACTS._replace(classes=("bored & tired", "calm", "don't know"), voted=(), size=64, colour=True)),
    "eight by votes": ("compact", FACTS._replace(classes=VOTED, voted=VOTED)),
    "twenty": ("compact", FACTS._replace(classes=tuple(map("class {}".format, range(20))), voted=(), size=112)),
    "two and a vote in Keras": ("baseline", FACTS._replace(classes=("x", "y"), voted=("x", "y", "z"), size=40, colour=True)),
}  # fmt: skip
"""{what is particular: a network, and the facts of its data}."""


def draw_split(facts: Facts, seed: int, count: int = 40) -> Split:
    """Noise, with labels in turn, and votes for the label."""
    labels = np.arange(count) % len(facts.classes)
    images = np.random.default_rng(seed).integers(0, 256, (count, *facts.shape), np.uint8)
    votes = 9 * np.eye(len(facts.vote_classes), dtype=np.uint8)[labels] if facts.voted else None
    return Split(images, labels.astype(np.uint8), np.zeros(count, bool), votes)


def pack_untrained(name: str, facts: Facts, origin: dict | None = None) -> bytes:
    """The file of a narrow network with random weights."""
    build, counts = find_network(name).build, (len(facts.classes), len(facts.voted))
    if name == "baseline":
        from fer_pipeline.networks.keras.files import pack_network as pack

        return pack(build(KERAS, facts.shape, counts[0], votes=counts[1]), origin)
    torch.manual_seed(0)
    network = build(Shape(0.1, 0.0, counts[0], facts.channels))
    network = add_votes_head(network, counts[1]) if facts.voted else network
    return pack_network(name, 0.1, network.state_dict(), facts, origin)


@pytest.mark.parametrize("form", OWN)
def test_a_network_of_any_classes_size_and_colour(form, call_stage, tmp_path):
    """Its files say which, and answer as the network itself, which crops and orders channels by its own code."""
    name, facts = OWN[form]
    splits = {split: draw_split(facts, seed) for seed, split in enumerate(("train", "val", "test"))}
    ending = {"keras": "keras", "pytorch": "safetensors"}[find_network(name).FRAMEWORK]
    data, model, out = tmp_path / "faces.h5", tmp_path / f"x.{ending}", tmp_path / "export"
    write_faces(data, splits | {"train": splits["train"]._replace(duplicate_of_train=None)}, facts)
    origin = {"seed": 5, "versions": {"numpy": "2.4"}} if facts.voted else {}  # older files have none
    model.write_bytes(pack_untrained(name, facts, origin))
    assert read_origin(model) == origin
    common = ("--name", name, "--model", model, "--data", data)
    for process in (
        call_stage(predict, *common, "--out", tmp_path / "said", "--timing", tmp_path / "timing.json"),
        call_stage(export, *common, "--out", out),
    ):
        assert process.returncode == 0, process.stderr
    faces, count = splits["test"].images, len(facts.classes)
    own = load_model(name, model, "float32", facts).predict(faces, MIRRORED)[0]
    for file, tolerance in ((f"{name}.onnx", 1e-4), (f"{name}.int8.onnx", 0.1)):
        exported = load_exported(out / file)
        assert (exported.classes, read_names(exported.metadata, "vote_classes"), exported.shape) == (
            facts.classes,
            facts.voted,
            facts.shape,
        )
        assert (exported.crop, exported.colour) == (find_crop(name, facts.size), facts.colour)
        assert exported.metadata.get("trained") == (json.dumps(origin) if origin else None)
        heads = exported.compute(faces, "logits", *(["votes"] if facts.voted else []))
        said = np.hstack([to_probabilities(head, 1.0) for head in heads.values()])
        assert said == pytest.approx(own, abs=tolerance) and said.shape[1] == count + len(facts.voted)
        assert exported.answer(faces)[0].shape == (len(faces), count)
    with pytest.raises(InputError, match=r"takes faces \(.*, the data have \(99, 99\); run `dvc repro -f -s export`"):
        exported.predict(np.zeros((1, 99, 99), np.uint8))


FACES = np.random.default_rng(0).integers(0, 256, (40, 48, 48), np.uint8)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """The file of a narrow ResNet18, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "x.safetensors"
    path.write_bytes(pack_network("resnet18", 0.1, find_network("resnet18").build(NARROW).state_dict(), FACTS))
    return path


@pytest.fixture(scope="module")
def exported(narrow):
    return export.convert_pytorch(narrow, "resnet18", FACTS)


@pytest.fixture(scope="module")
def prepared(exported, tmp_path_factory):
    """The exported network ready to be quantised, and the ranges of its activations."""
    ready = export.prepare(exported[0], tmp_path_factory.mktemp("prepared"))
    return ready, export.find_ranges(ready, FACES, 44)


def test_no_path_of_this_machine_is_in_the_file(exported):
    assert str(ROOT).encode() not in exported[0] and b".py" not in exported[0]


def test_int8_is_smaller_and_close(exported, prepared):
    content, forward = exported
    small = export.answer_mirrored(export.quantise(*prepared, []), ["logits"])
    assert abs(softmax(export.run_onnx(small, 44, FACES, "logits")["logits"], axis=1) - forward(FACES)).max() < 0.1
    layer = [node.name for node in onnx.load(prepared[0]).graph.node if "layer4.1.conv2.weight" in str(node.input)]
    larger = export.quantise(*prepared, layer)
    assert len(small) < len(larger) < len(content) and len(small) < 0.6 * len(content)


def test_weights_leave_room_for_a_sum_of_two(prepared):
    """A processor without VNNI adds two products of uint8 and int8 in 16 bits."""
    graph = onnx.load_from_string(export.quantise(*prepared, [])).graph
    weights = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    largest = max(int(abs(one.astype(int)).max()) for one in weights if one.ndim > 1)
    assert largest == 64 and 2 * 255 * largest < 2**15


@given(st.floats(2**-100, 2**100, width=32), st.sampled_from([-1, 1]))
def test_ranges_are_rounded_outwards(size, sign):
    end = np.float32(sign * size)
    rounded = export.round_outwards(end)
    assert rounded.dtype == np.float32 and np.sign(rounded) == sign
    assert abs(end) <= abs(rounded) <= abs(end) * (1 + 1 / 16)
    assert export.round_outwards(rounded) == rounded == export.round_outwards(end + (rounded - end) / 2)
    assert export.round_outwards(np.float32(0)) == 0


def test_a_batchnorm_that_is_no_convolutions(finished_pipeline, tmp_path):
    """The baseline has seven behind its ReLUs; ResNet18's are folded into its convolutions."""
    exports = finished_pipeline.path / "models" / "export"
    count = {
        name: len(export.list_norms(export.prepare((exports / f"{name}.onnx").read_bytes(), tmp_path)))
        for name in ("baseline", "resnet18")
    }
    assert count["baseline"] >= 2 * 7 and count["resnet18"] == 0


@pytest.mark.parametrize(
    ("good", "norms", "expected"),
    [(1, ["a"], []), (2, ["a"], ["batch normalisation"]), (9, ["a"], ["all of it"]), (9, [], ["all of it"])],
)
def test_parts_stay_in_float32_until_little_is_lost(good, norms, expected, exported, monkeypatch):
    """All trials before the one numbered `good` lose half of the accuracy."""
    tried = []
    monkeypatch.setattr(export, "list_norms", lambda _: norms)
    monkeypatch.setattr(export, "quantise", lambda prepared, ranges, kept: tried.append(kept) or b"small")
    monkeypatch.setattr(export, "answer_mirrored", lambda content, _: content)
    monkeypatch.setattr(export, "run_onnx", lambda *_: tried[-1])
    monkeypatch.setattr(export, "score", lambda *_: 1.0 if len(tried) in (0, good) else 0.5)
    val = SimpleNamespace(images=FACES, labels=range(200))
    small, kept, on_val = export.quantise_well(exported[0], {}, FACES, 44, val)
    assert tried == [[], norms][: min(good, 1 + len(norms))] and kept == expected
    assert (small, on_val) == ((exported[0], {}) if good == 9 else (b"small", tried[-1]))


def test_another_networks_file(narrow):
    with pytest.raises(InputError, match="architecture is resnet18, expected vgg19"):
        export.convert_pytorch(narrow, "vgg19", FACTS)
    with pytest.raises(InputError, match="classes is angry, .*, where the data have a, b; train it anew"):
        export.convert_pytorch(narrow, "resnet18", FACTS._replace(classes=("a", "b")))


def test_what_the_pages_say_in_python(finished_pipeline):
    """Their lines, as they are, but for the name of a photo."""
    texts = [(ROOT / page).read_text() for page in ("README.md", "docs/use.md")]
    assert str(CLASSES).replace("'", '"') in texts[0]
    (find, session), (_, cropped) = (re.findall(r"```python\n(.*?)```", text, re.DOTALL) for text in texts)
    find = find.replace("photo.jpg", "docs/photos/eileen-collins.jpg")
    told = "\nprint(np.shape(probabilities), annotators.shape, both_heads.shape)\n"

    def run(lines):
        return finished_pipeline.run(sys.executable, "-c", lines, PYTHONPATH="stages")

    assert run(find).startswith("happy 1.0 (180, 63, 89, 112) 10\n")
    names = ast.literal_eval(run(session))
    assert len(names) == 2 and set(names) < set(CLASSES)
    assert run(cropped + told).endswith("(2, 7) (2, 8) (2, 15)\n")
