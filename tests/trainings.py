"""What the tests of both frameworks' trainings share: small data, and the stage in this process or in its own."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import train as stage
from fer_pipeline.faces.faces import Split, pack_faces
from fer_pipeline.params.schema import Compute
from fer_pipeline.training.common import checkpoints
from fer_pipeline.training.common.run import HISTORY

COMPUTE = Compute(precision="auto", deterministic=True, compile=False, devices="auto", num_nodes=1, strategy="auto")
FLOAT32 = COMPUTE.model_copy(update={"precision": "float32"})
SEED = 7
ENDINGS = {"baseline": "keras"}


def make_rows(count, seed):
    """`count` noisy images of seven patterns, one per class; eight of ten annotators say the class, two contempt."""
    patterns = np.random.default_rng(0).integers(60, 196, (7, 6, 6)).repeat(8, axis=1).repeat(8, axis=2)
    labels = np.arange(count) % 7
    images = patterns[labels] + np.random.default_rng(seed).integers(-30, 31, (count, 48, 48))
    votes = np.zeros((count, 10), np.uint8)
    votes[np.arange(count), labels] = 8
    votes[np.arange(count), 7] = 2  # contempt
    votes[0] = 0, 0, 0, 0, 0, 0, 0, 0, 0, 10  # no face
    return Split(images.astype(np.uint8), labels.astype(np.uint8), np.zeros(count, bool), votes)


def write_faces(path, **changes):
    """faces.h5 with 70 train rows, 35 val rows and 35 test rows, or with the splits in `changes` instead."""
    splits = {"train": make_rows(70, 1)._replace(duplicate_of_train=None), "val": make_rows(35, 2)}
    path.write_bytes(pack_faces({**splits, "test": make_rows(35, 3), **changes}, "official", "0" * 32))
    return path


class Outputs:
    """The files that a training of `name` writes into a folder."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.model = folder / f"x.{ENDINGS.get(name, 'safetensors')}"
        self.report, self.history, self.timing = (folder / file for file in ("x.json", "x.csv", "timing.json"))

    def exist(self):
        return any(path.exists() for path in (self.model, self.report, self.history))

    def read(self):
        """The bytes of model and history, which are the same for the same training."""
        return self.model.read_bytes(), self.history.read_bytes()

    def read_report(self):
        return json.loads(self.report.read_text(encoding="utf-8"))

    def read_times(self):
        return json.loads(self.timing.read_text(encoding="utf-8"))[f"train_{self.name}"]

    def read_history(self):
        with open(self.history, newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]

    def check(self, epochs, images):
        """Report, history and times agree with each other after `epochs` epochs with so many `images` each."""
        report, times, rows = self.read_report(), self.read_times(), self.read_history()
        assert tuple(rows[0]) == HISTORY
        assert [row["epoch"] for row in rows] == [*range(1, epochs + 1)]
        best = max(rows, key=lambda row: row["val_accuracy"])
        assert all(report[key] == best[key] for key in HISTORY[2:]) and report["best_epoch"] == best["epoch"]
        assert (report["epochs_run"], report["stopped"]) == (epochs, f"after all {epochs} epochs")
        assert report["device"] in ("cpu", "cuda") and report["precision"] in ("float32", "bfloat16")
        assert times["images_per_second"] == pytest.approx(epochs * images / times["seconds"], rel=0.2)
        assert times["hardware"] and not {"seconds", "images_per_second"} & report.keys()

    def arguments(self, data):
        """The stage's command line."""
        flags = {key: getattr(self, key) for key in ("model", "report", "history", "timing")}
        pairs = {"name": self.name, "data": data, **flags}
        return [part for key, value in pairs.items() for part in (f"--{key}", str(value))]


def train_here(outputs, states, data, settings, compute=COMPUTE, seed=SEED):
    """Run the stage in this process, with checkpoints below `states`; returns `outputs`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "CHECKPOINTS", states)
        patch.setattr(checkpoints, "list_code", list)  # what other tests have imported has no part in the hash
        patch.setattr(sys, "argv", ["train.py", *outputs.arguments(data)])
        patch.setattr(stage, "read_params", lambda: SimpleNamespace(compute=compute, seed=seed))
        patch.setattr(stage, "read_training", lambda *_: settings)
        stage.main()
    return outputs


class Copy:
    """The scripts with params of their own in a folder, run as processes."""

    def __init__(self, folder, data, name, settings, compute=COMPUTE):
        self.folder, self.data, self.outputs = folder, data, Outputs(folder / "out", name)
        shutil.copytree(ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        params = YAML(typ="safe").load(ROOT / "params.yaml")
        params |= {"profile": "tried", "seed": SEED, "compute": compute.model_dump()}
        files = {"params": params, "profiles/paper": {}, "profiles/tried": {name: settings.model_dump()}}
        (folder / "profiles").mkdir()
        for file, content in files.items():
            (folder / f"{file}.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML

    def start(self, *launcher):
        """The process of a training that has just started, by itself or under a launcher."""
        command = [sys.executable, *launcher, "stages/train.py", *self.outputs.arguments(self.data)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, **options)

    def finish(self, *launcher, code=0):
        """Train to the end; what was printed on stdout and on stderr."""
        process = self.start(*launcher)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == code, errors
        return output, errors

    def stop(self, text, number):
        """Send a signal to a training that has printed `text` and has a checkpoint; it writes no output. Its stderr."""
        process = self.start()
        assert any(text in line for line in process.stdout), process.stderr.read()
        deadline = time.monotonic() + 60
        while not self.find("last.*") and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == {signal.SIGINT: 130}.get(number, -number), errors
        assert "Traceback" not in errors and not self.outputs.exist()
        return errors

    def find(self, pattern):
        """Paths below the checkpoints of the training."""
        return sorted(self.folder.glob(f".checkpoints/{self.outputs.name}-*/{pattern}"))
