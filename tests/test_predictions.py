"""The predictions CSV: what is written comes back, and what cannot be right is refused with its place."""

import csv
import io

import numpy as np
import pytest
from answers import make_splits, name_classes
from conftest import refuse

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.predictions.predictions import COLUMNS, as_written, read_predictions, read_votes, to_csv, votes_to_csv

LINES = """split,index,actual,predicted,confidence,angry,disgust,fear,happy,sad,surprise,neutral
val,0,angry,angry,0.700000,0.700000,0.100000,0.000000,0.000000,0.000000,0.000000,0.200000
val,1,happy,neutral,0.400000,0.000000,0.300000,0.000000,0.300000,0.000000,0.000000,0.400000
test,0,neutral,fear,0.500000,0.000000,0.000000,0.500000,0.000000,0.500000,0.000000,0.000000
test,1,surprise,surprise,1.000000,0.000000,0.000000,0.000000,0.000000,0.000000,1.000000,0.000000
test,2,sad,sad,0.250000,0.125000,0.125000,0.125000,0.125000,0.250000,0.125000,0.125000
"""

ROWS = LINES.splitlines(keepends=True)
FACES = make_splits({"val": [0, 3], "test": [6, 5, 4]})
"""The images of `LINES`."""


def write(tmp_path, text):
    path = tmp_path / "vgg19.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("classes", [CLASSES, ("bored", "not 'bored'"), name_classes(100)], ids=len)
def test_what_is_written_comes_back(classes, tmp_path):
    rng, counts = np.random.default_rng(1), {"val": 300, "test": 500}
    k = len(classes)
    drawn = {
        name: (rng.integers(0, k, count).astype(np.uint8), rng.dirichlet(np.full(k, 0.1), count).astype(np.float32))
        for name, count in counts.items()
    }
    content = to_csv({name: as_written(classes, *one) for name, one in drawn.items()}).decode()
    faces = make_splits({name: labels for name, (labels, _) in drawn.items()})
    read = read_predictions(write(tmp_path, content), faces, classes)
    for name, (labels, probabilities) in drawn.items():
        assert read[name].classes == classes
        np.testing.assert_array_equal(read[name].actual, labels)
        np.testing.assert_allclose(read[name].probabilities, probabilities, atol=6e-7)
    rows = list(csv.DictReader(io.StringIO(content)))
    assert tuple(rows[0]) == (*COLUMNS, *classes)
    places = [(name, str(index)) for name, count in counts.items() for index in range(count)]
    assert [(row["split"], row["index"]) for row in rows] == places
    for row in rows:  # what each row says holds for its own digits
        shares = [float(row[name]) for name in classes]
        assert (row["predicted"], float(row["confidence"])) == (classes[shares.index(max(shares))], max(shares))
        assert all(len(row[column].split(".")[1]) == 6 for column in ("confidence", *classes))


def test_shares_are_made_to_add_up_and_ties_in_print_go_to_the_first_class():
    shares = np.array([[2.0, 0, 0, 0, 2.00000001, 0, 0]])
    _, row = to_csv({"val": as_written(CLASSES, np.array([4], np.uint8), shares)}).decode().splitlines()
    assert row.startswith("val,0,sad,angry,0.500000,0.500000,0.000000")


def test_a_table_by_hand(tmp_path):
    read = read_predictions(write(tmp_path, LINES), FACES, CLASSES)
    assert read["val"].actual.tolist() == [0, 3]
    assert read["test"].actual.tolist() == [6, 5, 4]
    assert read["test"].predicted.tolist() == [2, 5, 4]
    assert read["test"].confidence.tolist() == [0.5, 1, 0.25]
    assert read["test"].probabilities.dtype == np.float64


BAD = {
    "nothing": (LINES, ""),
    "a column gone": (",neutral\n", "\n"),
    "more fields than columns": ("0.200000\n", "0.200000,7,8\n"),
    "half a row": (",0.125000\n", "\n"),
    "an empty line": ("val,1", "\nval,1"),
    "another split": ("val,1", "train,1"),
    "no index": ("val,1", "val,-1"),
    "no such class": ("val,1,happy", "val,1,contempt"),
    "a class as a number": ("happy,neutral", "happy,6"),
    "no share": ("0.000000,0.200000", ",0.200000"),
    "not a number": ("0.700000,0.700000", "0.700000,nan"),
    "below zero": ("0.700000,0.100000", "1.200000,-0.400000"),
    "shares of more than one": ("0.200000\n", "0.200012\n"),
    "shares of less than one": ("0.200000\n", "0.100000\n"),
    "another class predicted": ("val,0,angry,angry", "val,0,angry,sad"),
    "the second of equals": ("neutral,fear", "neutral,sad"),
    "another confidence": ("angry,0.700000", "angry,0.600000"),
    "no confidence": ("angry,0.700000", "angry,"),
    "a row twice": ("test,2", "test,1"),
    "a row gone": (ROWS[4], ""),
    "no val": ("val,", "test,1"),
    "other ends of lines": ("\n", "\r\n"),
    "rows in another order": ("".join(ROWS[1:3]), ROWS[2] + ROWS[1]),
}  # fmt: skip


SAID = "not what `predict` writes for these faces; run `dvc repro predict`"


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_right_is_refused(case, tmp_path):
    old, new = BAD[case]
    assert old in LINES
    changed = LINES.replace(old, new, -1 if case in ("no val", "other ends of lines") else 1)
    path = write(tmp_path, changed)
    assert refuse(read_predictions, path, FACES, CLASSES) == f"{path}: {SAID}"


def test_no_file_and_no_text(tmp_path):
    assert "vgg19.csv: not found; run" in refuse(read_predictions, tmp_path / "vgg19.csv", FACES, CLASSES)
    path = tmp_path / "vgg19.csv"
    for content in (b"\x89HDF\r\n\x1a\n\xff\xfe", bytes(20_000)):
        path.write_bytes(content)
        assert refuse(read_predictions, path, FACES, CLASSES) == f"{path}: {SAID}"


@pytest.mark.parametrize("test", [(6, 5, 4, 0), (6, 5), (6, 5, 3)])
def test_rows_of_other_data(test, tmp_path):
    path = write(tmp_path, LINES)
    assert SAID in refuse(read_predictions, path, FACES | make_splits({"test": test}), CLASSES)


def test_votes_come_back_and_none_are_a_header_alone(tmp_path):
    voted = (*CLASSES, "contempt")
    shares = {name: np.full((len(one.labels), 8), 0.125) for name, one in FACES.items()}
    for said in (shares, {}):
        path = write(tmp_path, votes_to_csv(said, voted).decode())
        found = read_votes(path, FACES, voted)
        assert found.keys() == said.keys() and all((found[name] == said[name]).all() for name in said)
        path.write_text(path.read_text() + "\n")
        assert SAID in refuse(read_votes, path, FACES, voted)
