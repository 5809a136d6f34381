"""Several people and machines: a real DVC remote in a folder, and queued experiments; test_fire.py has one over SSH."""

import pytest
from conftest import Project, Table

from clones import set_up_make


def test_a_fresh_clone_pulls_and_runs_nothing(finished_clone, tmp_path):
    """One sets up the remote and pushes; another clones, pulls, and has everything."""
    fresh = Project(tmp_path / "fresh")
    set_up_make(finished_clone)
    finished_clone.run("make", "remote", f"URL={tmp_path / 'a store'}")
    finished_clone.commit()
    finished_clone.run("git", "clone", "-q", ".", fresh.path)
    finished_clone.run("dvc", "push")

    outputs = [out["path"] for stage in fresh.read_lock()["stages"].values() for out in stage["outs"]]
    missing = {path for path in outputs if not (fresh.path / path).exists()}
    assert {"data/raw/sample.csv", "data/prepared/faces.h5", "models/vgg19.safetensors", "plots/report.html"} <= missing
    fresh.run("dvc", "pull")
    assert fresh.read_outs() == finished_clone.read_outs()
    printed = fresh.run("dvc", "repro")
    assert "Data and pipelines are up to date." in printed
    assert "Running stage" not in printed
    assert fresh.run("git", "status", "--porcelain") == ""


@pytest.mark.parametrize("argument", [(), ("URL=",), ("URL= ",)])
def test_a_remote_needs_a_url(clone, argument):
    """It is refused in one sentence, before anything is installed or written."""
    printed = clone.run("make", "--no-print-directory", "remote", *argument, code=2, URL="")
    assert printed.splitlines()[0].startswith("error: no URL: name a folder, ssh://HOST/PATH or s3://BUCKET/PATH")
    assert not (clone.path / ".venv").exists()
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_remote_brings_what_its_kind_needs(clone):
    """A bucket needs packages that the lock file leaves out; a folder and SSH need none."""
    (clone.path / ".venv" / "bin").mkdir(parents=True)
    (clone.path / ".venv" / ".ready").touch()
    for name in ("python", "dvc"):
        (clone.path / ".venv" / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (clone.path / ".venv" / "bin" / name).chmod(0o755)
    for url in ("/srv/dvc", "ssh://host/srv/dvc"):
        assert "pip" not in clone.run("make", "remote", f"URL={url}")
    printed = clone.run("make", "remote", "URL=s3://bucket/faces")
    assert "--constraint requirements.lock .[remote]\n" in printed
    assert "dvc remote add --force --default team s3://bucket/faces\n" in printed


@pytest.mark.release
def test_queued_experiments_find_ones_own_data(finished_clone):
    """Runs of the queue have a copy with what git and DVC know: data that `dvc add` took in is there, two at once."""
    (finished_clone.path / "data" / "raw" / "mine.csv").write_bytes(Table(per_class=(5, 5, 5)).csv())
    finished_clone.run("dvc", "add", "-q", "data/raw/mine.csv")
    finished_clone.edit("params.yaml", {"dataset: data/raw/sample.csv": "dataset: data/raw/mine.csv"})
    finished_clone.commit()
    assert "data/raw/mine.csv.dvc" in finished_clone.run("git", "ls-files")
    train_rows = {"official": 35, "paper": 28}
    for split in train_rows:
        finished_clone.run("dvc", "exp", "run", "--queue", "-n", split, "-S", f"prepare.split={split}", "prepare")
    finished_clone.run("dvc", "exp", "run", "--run-all", "-j", "2")
    for split, rows in train_rows.items():
        finished_clone.run("dvc", "exp", "apply", split)
        assert finished_clone.read_data_report()["split"] == split
        assert finished_clone.read_data_report()["rows"]["train"]["total"] == rows
