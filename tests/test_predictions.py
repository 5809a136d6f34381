"""The predictions CSV: what is written comes back, and what cannot be right is refused with its place."""

import csv
import io

import numpy as np
import pytest
from answers import make_splits, name_classes
from conftest import refuse

from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.predictions.predictions import COLUMNS, as_written, read_predictions, to_csv

LINES = """split,index,actual,predicted,confidence,angry,disgust,fear,happy,sad,surprise,neutral
val,0,angry,angry,0.700000,0.700000,0.100000,0.000000,0.000000,0.000000,0.000000,0.200000
val,1,happy,neutral,0.400000,0.000000,0.300000,0.000000,0.300000,0.000000,0.000000,0.400000
test,0,neutral,fear,0.500000,0.000000,0.000000,0.500000,0.000000,0.500000,0.000000,0.000000
test,1,surprise,surprise,1.000000,0.000000,0.000000,0.000000,0.000000,0.000000,1.000000,0.000000
test,2,sad,sad,0.250000,0.125000,0.125000,0.125000,0.125000,0.250000,0.125000,0.125000
"""


FACES = make_splits({"val": [0, 3], "test": [6, 5, 4]})
"""The images of `LINES`."""


def write(tmp_path, text):
    path = tmp_path / "vgg19.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("classes", [CLASSES, ("bored", "not 'bored'"), name_classes(20)], ids=len)
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


def test_a_table_by_hand_in_any_order(tmp_path):
    head, *rows = LINES.splitlines()
    for text in (LINES, "\n".join([head, *reversed(rows)]), LINES.replace("\n", "\r\n")):
        read = read_predictions(write(tmp_path, text), FACES, CLASSES)
        assert read["val"].actual.tolist() == [0, 3]
        assert read["test"].actual.tolist() == [6, 5, 4]
        assert read["test"].predicted.tolist() == [2, 5, 4]
        assert read["test"].confidence.tolist() == [0.5, 1, 0.25]
        assert read["test"].probabilities.dtype == np.float64


BAD = {
    "nothing": (LINES, "", "columns are '', expected split, index"),
    "a column gone": (",neutral\n", "\n", "columns are"),
    "more fields than columns": ("0.200000\n", "0.200000,7,8\n", "line 2 has 14 fields, expected 12"),
    "half a row": (",0.125000\n", "\n", "line 6 has 11 fields"),
    "an empty line": ("val,1", "\nval,1", "line 3 has 0 fields"),
    "another split": ("val,1", "train,1", "row 1 of train is not in the data"),
    "no index": ("val,1", "val,-1", "row -1 of val is not in the data"),
    "no such class": ("val,1,happy", "val,1,contempt", "row 1 of val: actual is contempt, expected happy"),
    "a class as a number": ("happy,neutral", "happy,6", "row 1 of val: predicted is 6, expected neutral"),
    "no share": ("0.000000,0.200000", ",0.200000", "expected a number"),
    "not a number": ("0.700000,0.700000", "0.700000,nan", "expected a number"),
    "below zero": ("0.700000,0.100000", "1.200000,-0.400000", "row 0 of val: its lowest probability is -0.4, expected 0.0"),
    "shares of more than one": ("0.200000\n", "0.200012\n", "row 0 of val: the sum of its probabilities is 1.00001, expected 1.0"),
    "shares of less than one": ("0.200000\n", "0.100000\n", "row 0 of val: the sum of its probabilities is 0.9, expected 1.0"),
    "another class predicted": ("val,0,angry,angry", "val,0,angry,sad", "row 0 of val: predicted is sad, expected angry"),
    "the second of equals": ("neutral,fear", "neutral,sad", "row 0 of test: predicted is sad, expected fear"),
    "another confidence": ("angry,0.700000", "angry,0.600000", "row 0 of val: confidence is 0.6, expected 0.7"),
    "no confidence": ("angry,0.700000", "angry,", "row 0 of val: confidence is '', expected a number"),
    "a row twice": ("test,2", "test,1", "row 1 of test is there more than once"),
    "a row gone": (LINES.splitlines(keepends=True)[4], "", "row 1 of test is missing"),
    "no val": ("val,", "test,1", "row 10 of test is not in the data"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_right_is_named(case, tmp_path):
    old, new, expected = BAD[case]
    assert old in LINES
    path = write(tmp_path, LINES.replace(old, new) if case == "no val" else LINES.replace(old, new, 1))
    message = refuse(read_predictions, path, FACES, CLASSES)
    assert message.startswith(f"{path}: ") and message.endswith("run `dvc repro predict`")
    assert expected in message and "\n" not in message


def test_no_file_and_no_text(tmp_path):
    assert "vgg19.csv: not found; run" in refuse(read_predictions, tmp_path / "vgg19.csv", FACES, CLASSES)
    path = tmp_path / "vgg19.csv"
    for content, expected in ((b"\x89HDF\r\n\x1a\n\xff\xfe", "no CSV in UTF-8"), (bytes(20_000), "columns are '")):
        path.write_bytes(content)
        message = refuse(read_predictions, path, FACES, CLASSES)
        assert f"vgg19.csv: {expected}" in message and len(message) < 400


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ((6, 5, 4, 0), "row 3 of test is missing"),
        ((6, 5), "row 2 of test is not in the data"),
        ((6, 5, 3), "row 2 of test: actual is sad, expected happy"),
    ],
)
def test_rows_of_other_data(test, expected, tmp_path):
    faces = FACES | make_splits({"test": test})
    assert expected in refuse(read_predictions, write(tmp_path, LINES), faces, CLASSES)
