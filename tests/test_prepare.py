"""prepare: the splits, the HDF5 file, the report, and what bad input leaves behind."""

import hashlib
import json
import os
import tracemalloc

import h5py
import numpy as np
import pytest
from conftest import Table, encode, refuse, write_folder, write_zip
from PIL import Image
from test_source import draw, draw_table

import prepare
from fer_pipeline.faces import faces
from fer_pipeline.faces.faces import SPLITS, Facts, Split, read_faces
from fer_pipeline.faces.fer2013 import CLASSES, NAME, VOTED
from fer_pipeline.raw.rows import USAGES


def test_official_split_in_plain_h5py(run_stage, tmp_path, table):
    """In a process of its own, as users run it."""
    source, out = tmp_path / "x.csv", tmp_path / "out" / "faces.h5"
    source.write_bytes(table.csv())
    paths = ("--source", source, "--out", out, "--report", tmp_path / "data.json")
    process = run_stage("prepare", *paths, "--split", "official")
    assert process.returncode == 0, process.stderr
    with h5py.File(out) as file:
        assert sorted(file) == ["test", "train", "val"]
        assert tuple(file.attrs["classes"]) == CLASSES
        assert file.attrs["split"] == "official"
        assert file.attrs["source_md5"] == hashlib.md5(source.read_bytes()).hexdigest()
        for usage, name in enumerate(SPLITS):
            rows = table.usages == usage
            images, labels = file[name]["images"], file[name]["labels"]
            assert (images.dtype, images.chunks, images.compression) == (np.uint8, (128, 48, 48), "gzip")
            assert np.array_equal(images, table.images[rows]) and np.array_equal(labels, table.labels[rows])
            assert labels.dtype == np.uint8
        assert "duplicate_of_train" not in file["train"]
        assert file["test"]["duplicate_of_train"].dtype == bool


def test_paper_split_takes_the_first_fifths(run_prepare):
    """Counted by hand: of 11 training rows per class the first 2 go; of 6 + 5 test rows the first 2 are val as well."""
    table = Table(per_class=(11, 6, 5))
    _, out, report = run_prepare(table, "paper")
    splits, facts = read_faces(out)
    assert facts.split == "paper"
    for label in range(7):
        training, testing = (table.images[(table.labels == label) & of] for of in (table.usages == 0, table.usages > 0))
        for name, expected in (("train", training[2:]), ("val", testing[:2]), ("test", testing)):
            assert np.array_equal(splits[name].images[splits[name].labels == label], expected)
    report = json.loads(report.read_text())
    expected = "Val is the first fifth of each test class, and so inside test: inferred from the study's counts."
    assert report["note"] == expected
    assert report["duplicates"]["across"]["test_rows_in_val"] == 14


def test_paper_split_of_folders_goes_by_sorted_names(tmp_path):
    """Keras sorts names, so PrivateTest files come before PublicTest files, and _10 before _9."""
    table = Table(per_class=(5, 5, 5))
    files = {name.replace("_0000", "_"): payload for name, payload in table.files().items()}
    source = prepare.read_source(write_folder(tmp_path / "x", files), seed=1)
    places = prepare.divide(source.labels, source.usages, "paper")
    names = sorted(name for name in files if name.startswith("test/fear/"))
    chosen = [i for i in places["val"] if source.labels[i] == CLASSES.index("fear")]
    assert [encode(source.images[i]) for i in chosen] == [files[name] for name in names[:2]]
    assert all("PrivateTest" in name for name in names[:2])


@pytest.mark.parametrize("form", ["csv", "zip"])
def test_the_same_input_gives_the_same_bytes(form, run_prepare, run_stage, tmp_path, table):
    """In another process, and from a file of another date."""
    source = tmp_path / "x"
    source.write_bytes(table.csv()) if form == "csv" else write_zip(source, table.files())
    _, out, report = run_prepare(source)
    first = out.read_bytes(), report.read_bytes()
    out.unlink()
    os.utime(source, (1, 1))
    run_stage("prepare", "--source", source, "--split", "official", "--out", out, "--report", report)
    assert (out.read_bytes(), report.read_bytes()) == first


def test_report_counts_by_hand(run_prepare):
    """One blank image, one image three times under two labels, one test row that is also in train."""
    table = Table()
    of = {usage: np.flatnonzero(table.usages == i) for i, usage in enumerate(USAGES)}
    a, b, c, blank, leaked = of["Training"][:5]
    table.images[blank] = 99
    table.images[b] = table.images[c] = table.images[a]
    for row, label in ((a, 0), (b, 0), (c, 4)):
        table.rows[row] = ("Training", label)
    same_label = [row for row in of["PrivateTest"] if table.rows[row][1] == table.rows[leaked][1]]
    table.images[same_label[0]] = table.images[leaked]
    _, out, report = run_prepare(table)
    train = table.images[of["Training"]]
    expected = {
        "pixels": {"train_mean": round(train.mean(), 4), "train_std": round(train.std(), 4)},
        "blank_images": {"train": 1, "val": 0, "test": 0},
        "duplicates": {
            "within": {"train": 2, "val": 0, "test": 0},
            "across": {"val_rows_in_train": 0, "test_rows_in_train": 1, "test_rows_in_val": 0},
            "conflicting_labels": {"images": 1, "rows": 3},
        },
    }
    report = json.loads(report.read_text())
    assert report | expected == report
    assert (report["source"]["rows"], report["source"]["kind"], report["rows"]["val"]["disgust"]) == (63, "table", 2)
    assert [report["rows"][name]["total"] for name in SPLITS] == [35, 14, 14]
    splits, _ = read_faces(out)
    assert np.array_equal(splits["test"].duplicate_of_train, of["PrivateTest"] == same_label[0])
    assert not splits["val"].duplicate_of_train.any()


def test_pictures_of_the_data(run_prepare, tmp_path, table):
    run_prepare(table, plots=tmp_path / "plots")
    counts = {"train": 5, "val": 2, "test": 2}
    rows = [f"{name},{emotion},{n},{1 / 7:.6f}" for name, n in counts.items() for emotion in CLASSES]
    expected = ["split,emotion,images,share", *rows]
    assert (tmp_path / "plots" / "classes.csv").read_text().splitlines() == expected
    with Image.open(tmp_path / "plots" / "faces.png") as picture:
        assert picture.width >= 1000 and np.asarray(picture.convert("L")).std() > 20


@pytest.mark.parametrize("option", ["source", "votes"])
def test_no_input_is_overwritten(option, run_prepare, tmp_path, table):
    read = tmp_path / "read.csv"
    read.write_bytes(table.csv())
    stderr, *_ = run_prepare(**{"source": table, option: read}, out=read, code=1)
    assert f"--{option} and --out name the same file (" in stderr
    assert read.read_bytes() == table.csv()


def test_an_unknown_split_is_named(run_prepare, table):
    assert run_prepare(table, "offical", code=1)[0] == "error: --split is 'offical', expected official or paper\n"


def test_a_class_without_faces_gives_a_warning(run_prepare, tmp_path, table):
    lines = [line for line in table.lines() if not line.startswith("1,") or line.endswith("Training")]
    (tmp_path / "x.csv").write_text("\n".join(["emotion,pixels,Usage", *lines, ""]))
    stderr, *_ = run_prepare(tmp_path / "x.csv")
    expected = [f"warning: {tmp_path / 'x.csv'}: {name} has no disgust face" for name in ("val", "test")]
    assert stderr.splitlines() == expected


def test_an_empty_split_is_refused(run_prepare):
    for per_class, empty in {(0, 2, 2): "train", (2, 0, 2): "val", (2, 2, 0): "test"}.items():
        assert f"leaves no row for {empty}" in run_prepare(Table(per_class), code=1)[0]


FOR_FIVE = "its numbers were taken for FER-2013's; to name your own classes, in the order of the numbers, set prepare.classes to [name of 0, "


def test_numbers_are_fer2013s_only_if_train_has_all_seven(run_prepare, set_prepare, tmp_path, table):
    """Of five classes, these would be taken for angry to sad; a list names them."""
    lines = [line for line in table.lines() if line[0] in "01234"]
    (tmp_path / "five.csv").write_text("\n".join(["emotion,pixels,Usage", *lines, ""]))
    stderr, out, _ = run_prepare(tmp_path / "five.csv", code=1)
    assert f"five.csv: train has no face of surprise, neutral; {FOR_FIVE}" in stderr and not out.exists()
    set_prepare(classes=["e", "d", "c", "b", "a"])
    _, out, _ = run_prepare(tmp_path / "five.csv")
    assert read_faces(out)[1].classes == ("e", "d", "c", "b", "a")
    set_prepare(classes={7: [4, 3], "a": [1]})
    _, out, _ = run_prepare(tmp_path / "five.csv")
    assert read_faces(out)[1].classes == ("7", "a")
    set_prepare(split="paper", classes=[*"edcba"])
    assert "prepare.split paper is the study's split of FER-2013" in run_prepare(tmp_path / "five.csv", "paper", 1)[0]
    set_prepare(size=48)
    rows = write_folder(tmp_path / "x", draw_table("path,label", [f"faces/{{}}.png,{i}" for i in range(5)], 4))
    assert f"x: train has no face of surprise, neutral; {FOR_FIVE}" in run_prepare(rows, code=1)[0]


def test_a_class_that_train_lacks_is_refused(run_prepare, set_prepare, tmp_path):
    """Also one that only test has."""
    set_prepare(classes="auto", size=48)
    rows = [f"faces/{{}}.png,{pair}" for pair in ("a,train", "b,train", "a,val", "a,test", "c,test", "b,test")]
    stderr, *_ = run_prepare(write_folder(tmp_path / "x", draw_table("path,label,split", rows)), code=1)
    assert stderr.endswith("train has no face of c; give some, or set prepare.classes to [a, b] in params.yaml\n")


def test_votes_groups_and_boxes_of_a_table(run_prepare, set_prepare, tmp_path):
    """Three classes, of which the annotators' majority is the label; a fourth that they could choose."""
    voted = {"glad": "7,1,1,1,0,0", "sad": "1,6,0,2,1,0", "calm": "0,0,9,1,0,0", "": "4,4,0,0,1,1"}
    header = "path,split,x,y,w,h,group_age,votes_Glad,votes_Sad,votes_calm,votes_contempt,votes_unknown,votes_no_face"
    rows = [
        f"faces/{{}}.png,{split},8,8,48,48,{age},{votes}"
        for split in ("train", "val", "test") for age in ("old", "new") for votes in voted.values()
    ]  # fmt: skip
    set_prepare(classes={"calm": [], "moved": ["glad", "sad"]}, labels="votes", colour=True)
    source = write_zip(tmp_path / "set.zip", draw_table(header, rows))
    stderr, out, report = run_prepare(source, votes="data/no_votes.csv")
    assert stderr.endswith("rows that are left out: 6 without a majority\n")
    splits, facts = read_faces(out)
    assert facts.voted == ("calm", "moved", "contempt") and facts.shape == (48, 48, 3) and facts.name == "set.zip"
    assert splits["test"].labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert splits["test"].votes.tolist() == [[9, 0, 1, 0, 0]] * 2 + [[1, 8, 1, 0, 0], [0, 7, 2, 1, 0]] * 2
    assert (splits["train"].images[0] == draw(2)[8:56, 8:56]).all()
    with h5py.File(out) as file:
        assert file.attrs["group_age"].tolist() == ["new", "old"]
        assert file["val/group_age"][:].tolist() == [1, 0, 0, 0, 1, 1] and file["val/group_age"].dtype == np.uint16
    found = json.loads(report.read_text())
    assert (found["no_majority"], found["source"]["rows"]) == ({"train": 2, "val": 2, "test": 2}, 24)


def test_the_largest_face_of_a_photo_is_cropped(run_prepare, set_prepare, tmp_path, photo_file):
    """Photos without a face are named and counted; a box needs no detector."""
    photo = np.asarray(Image.open(photo_file))
    sides = {"a": encode(photo, mode="RGB"), "b": encode(photo[:, ::-1], mode="RGB")}
    files = {f"{name}/{i}.png": content for name, content in sides.items() for i in range(3)}
    files |= {"a/none.png": encode(np.zeros((300, 300, 3), np.uint8), mode="RGB")}
    set_prepare(classes="auto", size=64, crop=True, colour=True)
    stderr, out, report = run_prepare(write_folder(tmp_path / "set", files))
    assert "no face found in 1 pictures, left out: 'a/none.png'" in stderr
    assert json.loads(report.read_text())["without_face"] == 1
    splits, facts = read_faces(out)
    face = Image.fromarray(photo[112:322, 159:369]).resize((64, 64))  # around the place that conftest.py tells
    difference = splits["train"].images[0].astype(int) - np.asarray(face)
    assert facts.shape == (64, 64, 3) and np.abs(difference).mean() < 40
    blank = {f"{name}/{i}.png": files["a/none.png"] for name in "ab" for i in range(3)}
    assert "no face found in any picture" in run_prepare(write_folder(tmp_path / "blank", blank), code=1)[0]


def test_faces_are_in_memory_once(run_prepare, set_prepare, monkeypatch, tmp_path):
    """In all that NumPy and Python allocate for 19 MB of faces: a copy of train alone would add 15 MB."""
    noise, count = np.random.default_rng(0), 1500
    files = {f"{'ab'[i % 2]}/{i}.pgm": b"P5 112 112 255\n" + noise.bytes(112 * 112) for i in range(count)}
    source = write_folder(tmp_path / "set", files)
    del files
    set_prepare(classes="auto", size=112)
    monkeypatch.setattr("fer_pipeline.core.parallel.AHEAD", 2)
    tracemalloc.start()
    try:
        run_prepare(source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.6 * count * 112 * 112


def write_faces(path, changes=(), **columns):
    """A small faces.h5, its rows with `columns` of their own, with `changes` {dataset or attribute: content}.

    None removes it, a tuple is a dataset of which only so many rows were written, {} leaves a group.
    """
    rows = Split(np.zeros((3, 48, 48), np.uint8), np.zeros(3, np.uint8), np.zeros(3, bool))._replace(**columns)
    splits = dict.fromkeys(SPLITS, rows) | {"train": rows._replace(duplicate_of_train=None)}
    voted = () if rows.votes is None else VOTED
    faces.write_faces(path, splits, Facts(NAME, CLASSES, voted, 48, False, "official", "0" * 32))
    with h5py.File(path, "a") as file:
        for key, content in dict(changes).items():
            target = file.attrs if "classes" in key else file
            shape = getattr(target[key], "shape", None)
            del target[key]
            if isinstance(content, tuple):
                file.create_dataset(key, shape, np.uint8, chunks=content[1])[: content[0]] = 1
            elif isinstance(content, dict):
                file.create_group(key)
            elif content is not None:
                target[key] = content
    return path


LAYOUT = "not HDF5, damaged, or of another layout"
SHORT = "test/duplicate_of_train holds bool (2,), expected bool (3,)"
NO_ROWS = {"test/images": np.zeros((0, 48, 48), np.uint8), "test/labels": np.zeros(0, np.uint8)}
BAD_FACES = {
    "one class": ({"classes": ["a"]}, "classes are a, expected two or more"),
    "no classes": ({"classes": None}, "classes are missing"),
    "classes a number": ({"classes": 7}, LAYOUT),
    "classes without votes": ({"classes": ["a", "b"]}, "vote_classes are angry"),
    "no val": ({"val": None}, LAYOUT),
    "no labels": ({"val/labels": None}, LAYOUT),
    "labels scalar": ({"val/labels": 3}, LAYOUT),
    "label 7": ({"val/labels": np.full(3, 7, np.uint8)}, "val has label 7"),
    "other size": ({"val/images": np.zeros((3, 64, 64), np.uint8)}, "val/images holds"),
    "other type": ({"val/images": np.zeros((3, 48, 48))}, "val/images holds"),
    "other count": ({"val/labels": np.zeros(4, np.uint8)}, "val/images holds"),
    "duplicates short": ({"test/duplicate_of_train": np.zeros(2, bool)}, SHORT),
    "a group for a dataset": ({"train/images": {}}, LAYOUT),
    "empty": (NO_ROWS, "test is empty"),
    "a dataset never written, which HDF5 reads as zeros": ({"test/images": (0, None)}, "test/images lacks its rows"),
    "a chunk never written": ({"test/images": (2, (1, 48, 48))}, LAYOUT),
    "other classes of votes": ({"vote_classes": ["happy"]}, "vote_classes are happy, expected angry"),
    "no votes": ({"val/votes": None}, LAYOUT),
}


@pytest.mark.parametrize("case", BAD_FACES)
def test_a_foreign_prepared_file_is_refused(case, tmp_path):
    changes, expected = BAD_FACES[case]
    votes = np.full((3, 10), 1, np.uint8)
    assert np.array_equal(read_faces(write_faces(tmp_path / "sound.h5", votes=votes))[0]["val"].votes, votes)
    said = refuse(read_faces, write_faces(tmp_path / "faces.h5", changes, votes=votes))
    assert "faces.h5: " in said and expected in said and said.endswith("; run `dvc repro prepare`")


def test_a_missing_or_truncated_prepared_file_is_refused(tmp_path):
    path = tmp_path / "faces.h5"
    assert "faces.h5: not found" in refuse(read_faces, path)
    content = write_faces(path).read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1], b"", b"no HDF5 at all"):
        path.write_bytes(damaged)
        assert "faces.h5: not HDF5" in refuse(read_faces, path)


def test_real_images_give_the_known_counts(real_zip):
    """Those of the challenge's split, and of the study's own."""
    real_rows = prepare.read_source(real_zip, seed=1)
    for split, counts in (("official", [28_709, 3_589, 3_589]), ("paper", [22_968, 1_432, 7_178])):
        places = prepare.divide(real_rows.labels, real_rows.usages, split)
        assert [len(places[name]) for name in SPLITS] == counts
    assert np.bincount(real_rows.labels).tolist() == [4953, 547, 5121, 8989, 6077, 4002, 6198]
