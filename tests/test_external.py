"""Other data sets: pictures of any size in folders of emotions, judged by all networks, and learnt from by none."""

import json
import re

import numpy as np
import pytest
from conftest import encode, find_runs, refuse, write_folder, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import damage
import score_external
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.predictions.predictions import as_written
from fer_pipeline.raw.images import decode
from fer_pipeline.raw.rows import Options
from fer_pipeline.raw.source import read_other


def draw_face(seed, height=48, width=48):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def test_class_folders_of_any_depth_size_and_colour(tmp_path):
    """As CK+48 comes: folders of emotions, people below them; contempt and loose pictures are left out and counted."""
    files = {
        "CK+48/anger/S010_004.png": encode(draw_face(1)),
        "CK+48/anger/S011/S011_004.png": encode(draw_face(2)),
        "CK+48/happy/x.bmp": encode(draw_face(3, 96, 96), "bmp"),
        "CK+48/surprise/wide.png": encode(draw_face(4, 60, 120)),
        "CK+48/contempt/y.png": encode(draw_face(5)),
        "CK+48/loose.png": encode(draw_face(6)),
        "CK+48/anger/notes.txt": b"nothing",
    }
    for source in (write_folder(tmp_path / "folder", files), write_zip(tmp_path / "set.zip", files)):
        rows = read_other(source, CLASSES, 48, colour=False)
        assert [CLASSES[label] for label in rows.labels] == ["angry", "angry", "happy", "surprise"]
        assert np.array_equal(rows.images[:2], [draw_face(1), draw_face(2)])
        assert (rows.scaled, rows.left_out) == (2, {"ck+48": 1, "contempt": 1})
    middle = Image.fromarray(draw_face(4, 60, 120)[:, 30:90]).resize((48, 48), Image.Resampling.BOX)
    assert abs(rows.images[3].astype(int) - np.asarray(middle)).max() <= 1


def test_any_form_is_read_for_the_classes_of_the_data(tmp_path, table):
    """A table of pixels by FER-2013's names for its numbers; pictures in colour and in another size."""
    (tmp_path / "x.csv").write_bytes(table.csv())
    rows = read_other(tmp_path / "x.csv", ("happy", "bored", "sad"), 64, colour=False)
    expected = [{3: 0, 4: 2}[label] for label in table.labels.tolist() if label in (3, 4)]
    assert rows.labels.tolist() == expected and rows.images.shape == (18, 64, 64)
    assert rows.left_out == {str(label): 9 for label in (0, 1, 2, 5, 6)}
    files = {f"a/{name}/1.png": encode(draw_face(1, 64, 64)) for name in ("Very-Bored", "happy", "joy", "other")}
    rows = read_other(write_folder(tmp_path / "set", files), ("happy", "very bored"), 96, colour=True)
    assert (rows.labels.tolist(), rows.images.shape, rows.left_out) == ([0, 0, 1], (3, 96, 96, 3), {"other": 1})
    said = refuse(read_other, tmp_path / "x.csv", ("calm", "glad"), 48, colour=False)
    assert "x.csv: no face of calm, glad; give some" in said


def test_colour_becomes_grey():
    grey, _, scaled = decode(encode(np.full((48, 48, 3), (200, 100, 0), np.uint8), mode="RGB"))
    assert not scaled and abs(int(grey[0, 0]) - (0.299 * 200 + 0.587 * 100)) <= 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"one/a.png": encode(draw_face(1))}, "no pictures in folders named after an emotion"),
        ({"happy/a.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}, "happy/a.png: not a picture"),
        ({}, "not found; set its path in `other_sets` in params.yaml"),
    ],
)
def test_bad_pictures_are_named(files, message, tmp_path):
    assert re.search(message, refuse(read_other, write_folder(tmp_path / "set", files), CLASSES, 48, colour=False))


@settings(max_examples=200, deadline=None)
@given(data=st.data(), format=st.sampled_from(["png", "bmp", "gif", "jpeg", "tiff", "webp"]))
def test_damage_gives_a_face_or_a_sentence(data, format):
    content = data.draw(damage.damaged(encode(draw_face(7, 20, 30), format)))
    try:
        face, *_ = decode(content, Options(size=48))
    except ValueError as error:
        assert str(error)
    else:
        assert face.shape == (48, 48) and face.dtype == np.uint8


def test_scores_by_hand():
    """Three faces of two classes: two right; the balanced accuracy is over the classes that the set has."""
    probabilities = np.full((3, 7), 0.05)
    probabilities[[0, 1, 2], [0, 3, 3]] = 0.7
    scores = score_external.judge(as_written(CLASSES, np.array([0, 0, 3], np.uint8), probabilities), 200, 1)
    assert scores.accuracy == pytest.approx(2 / 3, abs=1e-6)
    assert scores.balanced_accuracy == pytest.approx((0.5 + 1) / 2)
    assert scores.confusion[0][0] == scores.confusion[0][3] == scores.confusion[3][3] == 1
    assert scores.per_class["angry"].support == 2 and scores.per_class["fear"].support == 0


def test_a_set_goes_through_the_pipeline(finished_clone):
    """The sample's own test faces, on which the networks do what they did, and two train faces."""
    splits, _ = read_faces(finished_clone.path / "data" / "prepared" / "faces.h5")
    faces = [(splits["test"], row) for row in range(35)] + [(splits["train"], row) for row in range(2)]
    files = {f"{CLASSES[rows.labels[row]]}/{n:03}.png": encode(rows.images[row]) for n, (rows, row) in enumerate(faces)}
    files["contempt/1.png"] = encode(draw_face(1))
    write_folder(finished_clone.path / "data" / "raw" / "mine", files)
    finished_clone.edit("params.yaml", {"other_sets: {}": "other_sets: {mine: data/raw/mine}"})
    printed = finished_clone.run("dvc", "repro")
    assert set(find_runs(printed)) == {"score_external@mine", "report"}
    found = json.loads((finished_clone.path / "metrics" / "other" / "mine.json").read_text())
    assert (found["faces"], found["scaled"], found["seen"], found["left_out"]) == (37, 0, 2, {"contempt": 1})
    for name, scores in found["networks"].items():
        before = json.loads((finished_clone.path / "metrics" / f"{name}.json").read_text())["accuracy"]
        assert abs(scores["accuracy"] * 37 - before * 35) <= 2 + 1e-3
        assert np.sum(scores["confusion"]) == 37
        assert scores["accuracy_ci95"][0] <= scores["accuracy"] <= scores["accuracy_ci95"][1]
    page = (finished_clone.path / "plots" / "report.html").read_text()
    assert "Other data sets" in page and re.search(r"\b2 of the faces\s+are also in FER-2013", page)
    finished_clone.edit("params.yaml", {"other_sets: {mine: data/raw/mine}": "other_sets: {mine: data/raw/gone}"})
    assert "Traceback" not in finished_clone.run("dvc", "repro", code=255)
