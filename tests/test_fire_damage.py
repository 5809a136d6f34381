"""A share of what `benchmarks/fire.py damage` tries, and that its checks fail where something is wrong."""

import errno
import os
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, Table, write_network

import measure
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import load_exported
from fer_pipeline.faces.faces import Split

sys.path.append(str(ROOT / "benchmarks"))

from faults.damage import trying, workers
from faults.damage.case import Place, Wrong
from faults.damage.kinds import KINDS
from faults.damage.rows import Expected, check_rows, read_plainly
from faults.damage.trying import draw_case, find_lost, judge, run_here

ROWS = [(0, 0, b"a"), (1, 0, b"b"), (2, 1, b"c"), (3, 2, b"d")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage")
    workers.set_up(path, keras=False)
    return path


@pytest.fixture
def place(tmp_path):
    (tmp_path / "out").mkdir()
    return Place(tmp_path, tmp_path / "in", tmp_path / "out", tmp_path)


@pytest.mark.parametrize("name", ["tables", "zips", "votes", "faces.h5", "photos", "exported networks"])
def test_a_share(name, folder, monkeypatch):
    monkeypatch.setattr(workers, "WORKERS", 1)
    row = workers.try_kind(name, 12, 0, folder)
    assert (row.tried, row.held, row.found) == (12, 12, ())


def test_through_the_script(folder, monkeypatch):
    """And what is there, the outputs of before too, depends on seed and number alone."""
    monkeypatch.setattr(trying, "EVERY", 1)
    place = workers.place_worker(folder)
    assert trying.try_one("tables", 1, 0, place).problem is None
    first, content = draw_case("tables", 1, 0, place), (place.inputs / "fer2013.csv").read_bytes()
    assert draw_case("tables", 1, 0, place) == first and (place.inputs / "fer2013.csv").read_bytes() == content
    assert draw_case("tables", 2, 0, place) != first
    assert find_lost(KINDS["tables"], place) is None
    (place.outputs / "faces.h5").write_bytes(b"")
    assert find_lost(KINDS["tables"], place) == "outputs of before were touched by a run that failed"


@pytest.mark.parametrize(
    ("code", "said", "problem"),
    [
        (0, "", None),
        (0, "warning: x has no happy face\n", None),
        (1, "error: x: not found; run `dvc repro`", None),
        (1, "error: x: 2 bad rows:\n  line 3: 0 pixels\n", None),
        (1, "", "0 sentences: "),
        (1, "error: x\nerror: y", "2 sentences: error: x\nerror: y"),
        (0, "error: x", "exit code 0: error: x"),
        (2, "usage", "exit code 2: usage"),
        (1, "Traceback (most recent call last):\nKeyError: 'x'", "a traceback, KeyError: 'x'"),
    ],
)
def test_how_a_stage_may_end(code, said, problem):
    assert judge(code, said) == problem


def test_what_may_be_raised(place):
    def fail(error):
        raise error

    assert run_here(lambda: None, place) == (0, "", None)
    assert run_here(lambda: os.write(2, b"x") and None, place) == (0, "x", None)
    assert run_here(lambda: fail(InputError("x; y")), place) == (1, "error: x; y", None)
    assert run_here(lambda: fail(OSError(errno.ENOSPC, "full", "x")), place)[:2] == (1, "error: x: full; free some space and run again")  # fmt: skip
    assert run_here(lambda: fail(Wrong("rows are lost")), place)[2] == "rows are lost"
    assert run_here(lambda: fail(KeyError("x")), place)[2] == "KeyError in fail of test_fire_damage.py: 'x'"
    assert run_here(lambda: fail(OSError("no number")), place)[2].startswith("OSError in fail")


@pytest.mark.parametrize(
    ("found", "expected", "right"),
    [
        (ROWS, Expected(ROWS), True),
        (ROWS, Expected(ROWS[::-1]), False),  # the order within a Usage
        (ROWS[:2], Expected(ROWS), False),
        (ROWS[:3], Expected(ROWS, changed=16), False),
        (ROWS[:3], Expected(ROWS, lost=1), True),
        ([*ROWS, ROWS[0]], Expected(ROWS), False),
        ([*ROWS, ROWS[0]], Expected(ROWS, more=1), True),
        ([(6, 0, b"a"), *ROWS[1:]], Expected(ROWS), False),
        ([(6, 0, b"a"), *ROWS[1:]], Expected(ROWS, changed=1), True),
        (ROWS, Expected(None), False),
    ],
)
def test_rows_that_are_others(found, expected, right):
    if right:
        check_rows(found, expected)
    else:
        with pytest.raises(Wrong):
            check_rows(found, expected)


def test_the_plain_reader():
    table = Table((2, 1, 1))
    rows = read_plainly(table.csv())
    assert rows == [(int(label), int(usage), image.tobytes()) for label, usage, image in zip(table.labels, table.usages, table.images, strict=True)]  # fmt: skip
    assert read_plainly(table.csv().replace(b",", b'","')) is None
    assert read_plainly(table.csv().replace(b"Training", b"Drilling")) is None


def sleep(name, seed, place, pipe):
    time.sleep(60 + pipe.recv())


def die(name, seed, place, pipe):
    os._exit(3 + pipe.recv())


def eat(name, seed, place, pipe):
    kept = np.ones(1_500_000_000 + pipe.recv(), np.uint8)
    time.sleep(60 + kept[0])


@pytest.mark.parametrize(
    ("what", "problem"),
    [(sleep, "takes more than 3 s"), (die, "the process died with exit code 3"), (eat, "takes more than 2 GB")],
)
def test_what_hangs_dies_or_eats_memory(what, problem, place, monkeypatch):
    monkeypatch.setattr(workers, "work", what)
    monkeypatch.setattr(workers, "LOADING_SECONDS", 3 if what is sleep else 30)
    monkeypatch.setattr(workers, "MEMORY", 900_000_000)  # half of it is taken by this module's imports
    worker = workers.Worker("tables", 0, place)
    assert worker.ask(0).problem == problem
    assert worker.process is None


def test_an_exported_network_has_to_answer(tmp_path):
    """It is refused when it is loaded, not in the middle of somebody's photos."""
    import onnx

    path = write_network(tmp_path / "x.onnx")
    load_exported(path)
    sound = onnx.load(path)
    for value, message in ((np.nan, "not finite"), (1e38, "not finite")):
        model = onnx.ModelProto()
        model.CopyFrom(sound)
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((1936, 7), value, np.float32), "weights"))  # fmt: skip
        path.write_bytes(model.SerializeToString())
        with pytest.raises(InputError, match=message):
            load_exported(path)
    sound.graph.node[3].op_type = "Relu"
    del sound.graph.node[3].attribute[:]
    path.write_bytes(sound.SerializeToString())
    with pytest.raises(InputError, match="gives no probabilities"):
        load_exported(path)
    write_network(path, votes_temperature="1.0")  # and no second head
    with pytest.raises(InputError, match="x: fails"):
        load_exported(path)


@pytest.mark.parametrize("value", [None, "", "yes", "NaN", "2", "[]"])
@pytest.mark.parametrize("key", ["largest_difference", "kept_in_float32"])
def test_metadata_that_measure_cannot_read(key, value, tmp_path):
    rows = Split(np.zeros((2, 48, 48), np.uint8), np.zeros(2, np.uint8), None)
    metadata = {"largest_difference": "0.001", "kept_in_float32": "[]"} | {key: value}
    path = write_network(tmp_path / "x.onnx", **{name: text for name, text in metadata.items() if text is not None})
    float32 = measure.measure(write_network(tmp_path / "y.onnx", largest_difference="0.001"), rows)
    if (key, value) == ("kept_in_float32", "[]"):
        assert measure.measure_quantised(path, rows, float32).kept_in_float32 == []
        return
    with pytest.raises(InputError, match=rf"x\.onnx: {key} is missing in its metadata, or damaged"):
        measure.measure_quantised(path, rows, float32)
