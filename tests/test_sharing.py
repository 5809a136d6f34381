"""Several people and machines: real DVC remotes, a folder and one over real SSH, and queued experiments."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Project, Table
from ruamel.yaml import YAML

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


def set_up(project):
    """Give a clone a .venv that `make` finds ready, with the dvc of these tests and a python that installs nothing."""
    folder = project.path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "dvc").symlink_to(Path(sys.executable).with_name("dvc"))
    (folder / "python").symlink_to("/bin/false")
    (project.path / ".venv" / ".ready").touch()


@pytest.fixture
def folder(tmp_path):
    """URL of a folder, which need not be there yet, and the settings that each user makes for it: none."""
    return str(tmp_path / "a store"), {}


@pytest.fixture
def ssh(tmp_path):
    """URL of a folder behind an SSH server of our own, and a user's settings for it."""
    if not SSHD:
        pytest.skip("no sshd here; install Debian's package openssh-server")
    with serve_ssh(tmp_path) as served:
        yield served


@contextlib.contextmanager
def serve_ssh(folder):
    """URL of folder/store behind an SSH server on a free port of this machine, and a user's settings for it."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # an empty folder that a server of root's insists on
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "user_key.pub",
        "AuthenticationMethods": "publickey",
        "PidFile": "none",
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
        "UsePAM": "no",
    }
    config, log = folder / "sshd_config", folder / "sshd.log"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    server = subprocess.Popen([SSHD, "-D", "-f", config, "-E", log])
    try:
        wait_for(port, server, log)
        (folder / "store").mkdir()
        url = f"ssh://127.0.0.1:{port}{folder}/store"
        yield url, {"user": getpass.getuser(), "keyfile": str(folder / "user_key")}
    finally:
        server.terminate()
        server.wait()


def wait_for(port, server, log):
    """Wait until the server answers."""
    for _ in range(200):
        assert server.poll() is None, log.read_text()
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise TimeoutError(log.read_text())


@pytest.mark.parametrize("remote", ["folder", "ssh"])
def test_a_fresh_clone_pulls_and_runs_nothing(remote, request, finished_clone, tmp_path):
    """One sets up the remote and pushes; another clones, pulls, and has everything."""
    url, settings = request.getfixturevalue(remote)
    home = {"HOME": str(tmp_path / "home"), "SSH_AUTH_SOCK": ""}  # nobody's own keys and hosts
    Path(home["HOME"]).mkdir()
    fresh = Project(tmp_path / "fresh")

    set_up(finished_clone)
    finished_clone.run("make", "remote", f"URL={url}")
    finished_clone.commit()
    finished_clone.run("git", "clone", "-q", ".", fresh.path)
    for project in (finished_clone, fresh):
        for name, value in settings.items():
            project.run("dvc", "remote", "modify", "--local", "team", name, value)
    finished_clone.run("dvc", "push", **home)

    lock = YAML(typ="safe").load(fresh.path / "dvc.lock")
    outputs = [out["path"] for stage in lock["stages"].values() for out in stage["outs"]]
    missing = {path for path in outputs if not (fresh.path / path).exists()}
    assert {"data/raw/sample.csv", "data/prepared/faces.h5", "models/vgg19.safetensors", "plots/report.html"} <= missing
    fresh.run("dvc", "pull", **home)
    for path in missing:
        assert (fresh.path / path).read_bytes() == (finished_clone.path / path).read_bytes()
    printed = fresh.run("dvc", "repro")
    assert "Data and pipelines are up to date." in printed
    assert "Running stage" not in printed
    assert fresh.run("git", "status", "--porcelain") == ""
    assert not list(Path(home["HOME"]).rglob("known_hosts"))


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
