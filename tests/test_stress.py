"""Damaged faces: what a damage does to a face, the scores on damaged faces, and the stages that measure and draw them."""

import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from answers import make_splits, name_classes, predict
from conftest import ROOT, refuse
from test_figures import assert_legible
from test_report import make_stress
from trainings import FACTS

import draw_stress
import stress
from fer_pipeline.faces.faces import write_faces
from fer_pipeline.figures.stress import draw_accuracies, draw_damages
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Augment, KerasAugment, Photo
from fer_pipeline.stress import record
from fer_pipeline.stress.damages import DAMAGES, HELD_OUT, STRENGTHS, damage
from fer_pipeline.stress.record import Held, Stress
from sample import draw_face
from small_network import write_network

SHAPES = [(36, 36), (48, 48), (112, 112, 3)]


def draw_faces(shape, count=6):
    """Drawn faces of FER-2013's kind, enlarged to a shape; in colour each channel has its own tone."""
    faces = [draw_face("happy", 1.0, np.random.default_rng(number)) for number in range(count)]
    places = np.arange(shape[0]) * 48 // shape[0]
    faces = np.stack(faces)[:, places][:, :, places]
    return (faces[..., np.newaxis] * [1.0, 0.8, 0.6]).astype(np.uint8) if len(shape) == 3 else faces


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_damage_grows_and_is_the_same_twice(kind, shape):
    """Every face changes at every strength, and is no nearer to what it was at a greater one."""
    faces = draw_faces(shape)
    kept, far = faces.copy(), []
    for strength in STRENGTHS:
        damaged = damage(faces, kind, strength, 2013, "val")
        assert (damaged.shape, damaged.dtype) == (faces.shape, np.uint8)
        assert damaged.tobytes() == damage(faces, kind, strength, 2013, "val").tobytes()
        far.append(abs(damaged.astype(float) - faces).reshape(len(faces), -1).mean(axis=1))
    assert np.array_equal(faces, kept), "the faces themselves stay as they are"
    assert (far[0] > 0).all() and (np.diff(far, axis=0) >= -0.5).all()
    assert (np.diff(np.mean(far, axis=1)) > 0).all()
    assert np.mean(far[0]) < np.mean(far[-1]) / 1.5


DRAWN = ("side_light", "motion", "noise", "dead_pixels", "turn", "shift", "scale", "eyes_covered", "mouth_covered")


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_is_drawn_follows_from_seed_and_split(kind):
    """And equal faces differ where something is drawn for each."""
    faces = draw_faces((48, 48), 1).repeat(8, axis=0)
    first = damage(faces, kind, 5, 1, "val")
    assert np.array_equal(first, damage(faces, kind, 5, 2, "val")) == (kind not in DRAWN)
    assert np.array_equal(first, damage(faces, kind, 5, 1, "test")) == (kind not in DRAWN)
    assert (len({face.tobytes() for face in first}) > 1) == (kind in DRAWN)


def test_the_strengths_differ_in_their_amount_alone():
    """The pixels that are dead at one strength are so at the next, and light comes from the same side."""
    faces = np.full((3, 48, 48), 128, np.uint8)
    few, many = (damage(faces, "dead_pixels", k, 1, "val") for k in (2, 5))
    assert np.array_equal(many[few != 128], few[few != 128]) and (many != 128).mean() == pytest.approx(0.15, abs=0.02)
    weak, strong = (damage(faces, "side_light", k, 1, "val").astype(float) - 128 for k in (1, 3))
    assert strong == pytest.approx(weak * 0.5 / 0.2, abs=2)


@pytest.mark.parametrize("size", [48, 96])
def test_boxes_and_glasses_cover_eyes_and_mouth(size):
    """In pixels of a face of 48: eyes at 18 from the top, the mouth at 38."""
    faces = np.full((1, size, size), 200, np.uint8)
    changed = {
        kind: damage(faces, kind, 3, 4, "val")[0] != 200 for kind in ("eyes_covered", "mouth_covered", "glasses")
    }
    for kind, middle, height in (("eyes_covered", 18, 10), ("mouth_covered", 38, 10), ("glasses", 18, 16)):
        rows = np.flatnonzero(changed[kind].any(axis=1)) * 48 / size
        assert (rows.mean(), np.ptp(rows)) == pytest.approx((middle, height), abs=1.3), kind
    assert changed["eyes_covered"][18 * size // 48, [15 * size // 48, 32 * size // 48]].all()
    assert not changed["glasses"][18 * size // 48, [15 * size // 48, 32 * size // 48]].any(), "eyes are seen through"


WORDS = {
    "motion": "motion",
    "dead_pixels": "dead|salt|pepper|impulse",
    "jpeg": "jpe?g|compress",
    "glasses": "glass|frame",
}


def test_no_training_varies_faces_by_what_is_held_out():
    """Neither a key of `augment` nor the code that varies training faces speaks of it."""
    assert {*HELD_OUT} == {*WORDS} and {*HELD_OUT} < {*DAMAGES} and len(HELD_OUT) >= 4
    keys = {*Augment.model_fields, *Photo.model_fields, *KerasAugment.model_fields}
    code = [path.read_text() for path in (ROOT / "stages/fer_pipeline/training").rglob("*.py")]
    assert len(code) > 10
    for kind, words in WORDS.items():
        assert not [key for key in keys if re.search(words, key)], kind
    assert not re.search("HELD_OUT|fer_pipeline.stress", "".join(code))


def test_scores_by_hand():
    """Four answers with confidences 0.5 and 0.9, two bins: |1/2 - 0.7| overall, as all lie in the upper one."""
    rows = predict([0, 0, 1, 1], [0, 1, 1, 0], np.array([0.5, 0.9, 0.9, 0.5]))
    settings = read_params().evaluate.model_copy(update={"bins": 2, "threshold": 0.6})
    assert record.score(rows, settings) == Held(accuracy=0.5, calibration_error=0.2, uncertain=0.5)


def test_mean_and_worst_by_hand():
    """Three kinds of two strengths; each measure has its worst in a place of its own."""
    values = {"noise": [(0.8, 0.1, 0.2), (0.6, 0.3, 0.2)], "jpeg": [(0.7, 0.2, 0.3), (0.5, 0.1, 0.1)], "turn": [(0.9, 0.1, 0.6), (0.7, 0.4, 0.2)]}  # fmt: skip
    kinds = {kind: [Held(**dict(zip(Held.model_fields, one, strict=True))) for one in values[kind]] for kind in values}
    found = record.summarise(kinds, kinds)
    assert found.mean.model_dump() == pytest.approx({"accuracy": 0.7, "calibration_error": 0.2, "uncertain": 0.266667})
    assert {key: tuple(one.values()) for key, one in found.worst.model_dump().items()} == {
        "accuracy": (0.5, "jpeg", 2),
        "calibration_error": (0.4, "turn", 2),
        "uncertain": (0.6, "turn", 1),
    }
    seen = record.summarise(kinds, kinds.keys() - {*HELD_OUT})
    assert seen.mean.accuracy == 0.75 and seen.worst.accuracy.kind == "noise"
    assert record.summarise(kinds, HELD_OUT).mean.accuracy == 0.6


@pytest.fixture
def paths(tmp_path):
    """The options of `stages/stress.py` for 14 rows of noise in each split, and a small network."""
    labels = {split: np.arange(14) % 7 for split in ("train", "val", "test")}
    write_faces(tmp_path / "faces.h5", make_splits(labels), FACTS._replace(voted=()))
    model = write_network(tmp_path / "small.int8.onnx")
    return {"model": model, "data": tmp_path / "faces.h5", "report": tmp_path / "stress" / "vgg19.json"}


def list_arguments(paths):
    return [part for name, path in paths.items() for part in (f"--{name}", path)]


@pytest.fixture
def set_rows(monkeypatch):
    """Set `stress.rows`."""
    params = read_params()

    def change(rows):
        section = params.stress.model_copy(update={"rows": rows})
        monkeypatch.setattr(stress, "read_params", lambda: params.model_copy(update={"stress": section}))

    return change


@pytest.mark.parametrize(("rows", "judged"), [(5, 5), (14, 14), (1000, 14), (None, 14)])
def test_a_network_is_judged_on_so_many_rows(rows, judged, paths, call_stage, set_rows):
    set_rows(rows)
    written = []
    for _ in range(2 if rows == 5 else 1):
        process = call_stage(stress, *list_arguments(paths))
        assert process.returncode == 0, process.stderr
        written.append(paths["report"].read_bytes())
    found = Stress.read(paths["report"], "stress")
    assert len({*written}) == 1 and (found.val.rows, found.test.rows) == (judged, judged)
    assert [*found.test.kinds] == [*DAMAGES] and found.val != found.test
    cells = [one.accuracy for scores in found.test.kinds.values() for one in scores]
    assert found.test.mean.accuracy == pytest.approx(np.mean(cells), abs=1e-6)
    unseen = [one.accuracy for kind in HELD_OUT for one in found.test.kinds[kind]]
    assert (found.test.unseen.mean.accuracy, found.test.unseen.worst.accuracy.value) == pytest.approx(
        (np.mean(unseen), min(unseen)), abs=1e-6
    )
    assert re.search(
        rf"small.int8: \d+\.\d\d% of {judged} test faces; damaged .* at worst \(.*, strength [1-5]\)", process.stdout
    )


def test_the_rows_are_drawn_by_seed():
    rows = make_splits({"val": np.arange(70) % 7})["val"]
    first, again, other = (stress.draw_rows(rows, 20, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.images, again.images) and not np.array_equal(first.images, other.images)
    places = [np.flatnonzero((rows.images == image).all(axis=(1, 2))).item() for image in first.images]
    assert places == sorted({*places}) and first.labels.tolist() == [place % 7 for place in places]


BAD = {
    "no network": ({"model": "gone.onnx"}, "gone.onnx: not found; run `dvc repro export`"),
    "no data": ({"data": "gone.h5"}, "gone.h5: not found; run `dvc repro prepare`"),
    "another size": ({"classes": name_classes(7), "shape": (60, 60), "size": "64"}, r"small.int8: takes faces \(64, 64\), the data have \(48, 48\)"),
    "other classes": ({"classes": ("a", "b")}, "classes are a, b, those of the data angry, disgust"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case, paths, call_stage, tmp_path):
    changes, message = BAD[case]
    if "classes" in changes:
        write_network(paths["model"], **changes)
    else:
        paths |= {name: tmp_path / file for name, file in changes.items()}
    process = call_stage(stress, *list_arguments(paths))
    assert process.returncode == 1 and re.search(message, process.stderr) and process.stderr.count("\n") == 1
    assert not paths["report"].exists()


def test_a_record_of_other_strengths_is_refused(tmp_path):
    content = make_stress(0)
    content["val"]["kinds"]["noise"].pop()
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert "val.kinds.noise: List should have at least 5 items" in refuse(Stress.read, tmp_path / "x.json", "stress")


def test_the_pictures_are_legible():
    """A panel and a row of faces for each kind; nothing overlaps."""
    networks = ["Baseline CNN", "VGG19", "ResNet18", "Compact"]
    table = draw_stress.tabulate({name: Stress.model_validate(make_stress(0.02)) for name in networks})
    figure = draw_accuracies(table, [draw_stress.HEADS[kind] for kind in HELD_OUT], networks)
    assert [axes.get_title() for axes in figure.axes] == [*draw_stress.HEADS.values()]
    marked = [axes.get_title() for axes in figure.axes if axes.get_facecolor()[0] < 1]
    assert marked == ["Motion blur", "Dead pixels", "JPEG", "Glasses"]
    assert_legible(figure, "accuracy")
    for shape in ((48, 48), (64, 64, 3)):
        assert_legible(draw_damages(draw_stress.vary(draw_faces(shape, 1), 1), STRENGTHS), "damages")
    plt.close("all")


def test_drawing_reads_every_networks_file(paths, call_stage, tmp_path):
    for name in read_params().networks:
        (tmp_path / f"{name}.json").write_text(json.dumps(make_stress(0.02)))
    arguments = list_arguments({"metrics": tmp_path, "data": paths["data"], "plots": tmp_path / "plots"})
    process = call_stage(draw_stress, *arguments)
    assert process.returncode == 0, process.stderr
    pictures = {path.name: path.read_bytes()[:4] for path in (tmp_path / "plots").iterdir()}
    assert pictures == dict.fromkeys(("damages.png", "accuracy.png"), b"\x89PNG")
    (tmp_path / "vgg19.json").unlink()
    process = call_stage(draw_stress, *arguments)
    assert process.returncode == 1 and "vgg19.json: not found; run `dvc repro stress`" in process.stderr
