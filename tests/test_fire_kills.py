"""The parts `kills` and `same_bytes` of benchmarks/fire.py: a small share of each, and that they see what is wrong."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, find_runs
from ruamel.yaml import YAML

sys.path.append(str(ROOT / "benchmarks"))

from faults import kills, same_bytes
from faults.common import Settings

PREPARED = ("data/raw/sample.csv", "data/prepared/faces.h5", "metrics/data.json", "plots/data/classes.png")


@pytest.fixture
def pipeline(finished_pipeline, tmp_path):
    """As if the undisturbed run had been that of the last stage only."""
    fresh = tmp_path / "fresh"
    shutil.copytree(finished_pipeline.path, fresh, symlinks=True)
    shutil.rmtree(fresh / ".dvc/cache/runs")
    yaml = YAML()
    lock = yaml.load(fresh / kills.LOCK)
    lock["stages"]["report"]["cmd"] = "another"
    yaml.dump(lock, fresh / kills.LOCK)
    return kills.Pipeline(fresh, finished_pipeline.path, 8)


@pytest.fixture
def folder(finished_pipeline, tmp_path):
    """A run that has ended as it should."""
    kills.find_log(tmp_path / "run").touch()
    return shutil.copytree(finished_pipeline.path, tmp_path / "run", symlinks=True)


def test_a_share_of_the_faults(pipeline, monkeypatch, tmp_path):
    """One kill, and what takes seconds; all of it holds."""
    few = {what: kills.OTHERS[what][-1:] for what in (kills.READ_ONLY, ".dvc/tmp/rwlock cut short")}
    monkeypatch.setattr(kills, "run_undisturbed", lambda folder, **_: pipeline)
    monkeypatch.setattr(kills, "OTHERS", few)
    rows = list(kills.run(Settings(0, 1, tmp_path)))
    assert [row.what for row in rows[1:]] == [
        kills.READ_ONLY,
        ".dvc/tmp/rwlock cut short (1 with rm .dvc/tmp/rwlock)",
    ]
    assert [(row.tried, row.held, row.found) for row in rows] == [(1, 1, ())] * 3
    assert rows[0].what in kills.KILLS
    assert {path.name for path in tmp_path.iterdir()} == {"fresh"}


def test_what_is_wrong_after_a_fault_is_told(pipeline, folder):
    def find():
        return list(kills.find_wrong(0, "", folder, pipeline))

    assert find() == []
    model = folder / "models/compact.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    assert find() == ["1 files differ: models/compact.safetensors"]
    (folder / "plots/compact/test/more.png").touch()
    (folder / "metrics/compare.json").unlink()
    assert "3 files differ" in find()[0]
    (folder / "metrics/.compare.1.unfinished.json").touch()
    trace = 'Traceback (most recent call last):\n  File "x", line 1, in <module>\n    import x\n'
    kills.find_log(folder).write_text(f"a\n{trace}KeyboardInterrupt\n{trace}KeyError: 'y'\nb\n")
    with subprocess.Popen(["sleep", "60"], cwd=folder) as left:
        found = find()
        left.kill()
    assert found[1:] == [
        "left behind: metrics/.compare.1.unfinished.json",
        "still running: sleep",
        "a traceback: KeyError: 'y'",
    ]
    wrong = next(kills.find_wrong(255, "x\nERROR: y\n", folder, pipeline))
    assert wrong == "the next dvc repro ended with 255: ERROR: y"


def test_a_lock_in_another_order_says_the_same(pipeline, folder):
    yaml = YAML()
    lock = yaml.load(folder / kills.LOCK)
    lock["stages"]["sample"] = lock["stages"].pop("sample")
    yaml.dump(lock, folder / kills.LOCK)
    assert kills.is_reordered(pipeline.finished / kills.LOCK, folder / kills.LOCK)
    assert list(kills.find_wrong(0, "", folder, pipeline)) == []
    del lock["stages"]["report"]["deps"][0]
    yaml.dump(lock, folder / kills.LOCK)
    assert list(kills.find_wrong(0, "", folder, pipeline)) == ["1 files differ: dvc.lock"]


def test_a_fault_that_did_not_hold(pipeline, tmp_path):
    """It is counted, and told with what is needed to repeat it."""

    def fault(draw, pipeline, folder):
        folder.mkdir()
        return kills.End((f"drew {draw.integers(1000)}",), stops=("report, after 1.00 s",))

    row = kills.sum_up("a fault", [kills.try_fault("a fault", 4, fault, pipeline, Settings(7, None, tmp_path))])
    drawn = np.random.default_rng([7, 4, *b"a fault"]).integers(1000)
    assert row[:3] == ("a fault", 1, 0)
    assert row.found == (f"seed 7, number 4, report, after 1.00 s: drew {drawn}",)


@pytest.mark.parametrize(
    ("code", "printed", "wrong"),
    [(1, "error: Read-only file system", 0), (0, "read-only file system", 1), (1, "error: another", 1)],
)
def test_a_fault_has_to_be_said(code, printed, wrong):
    assert len(kills.check_sentence(code, printed, "read-only file system", kills.End(())).wrong) == wrong


def test_remedies_are_those_of_the_page():
    page = (ROOT / "docs/trouble.md").read_text()
    assert all(remedy.removeprefix("rm ") in page for remedy in kills.REMEDIES.values())


def test_another_place_on_the_same_cache(finished_pipeline, finished_clone, tmp_path):
    """The first two stages run there; a byte that differs is told."""
    fresh = tmp_path / "fresh"
    shutil.copytree(finished_pipeline.path, fresh, symlinks=True)
    for name in PREPARED:
        (fresh / name).unlink()
    place = same_bytes.PLACES[-1]
    code, clone = same_bytes.run_there(place, fresh, finished_clone.path, tmp_path)
    assert code == 0, kills.read_log(clone)
    assert find_runs(kills.read_log(clone)) == {"sample", "prepare"}
    rows = list(same_bytes.compare(place, clone, finished_clone.path, 8))
    assert {row.what.partition(",")[0] for row in rows} == set(same_bytes.CLASSES.values())
    assert all(row.tried == row.held > 0 for row in rows)
    data = json.loads((clone / "metrics/data.json").read_text())
    (clone / "metrics/data.json").write_text(json.dumps(data))
    differ = [row for row in same_bytes.compare(place, clone, finished_clone.path, 8) if row.held < row.tried]
    assert [(row.what, row.tried - row.held, row.found) for row in differ] == [
        (f"metrics, {place.name}", 1, ("metrics/data.json differs",))
    ]
