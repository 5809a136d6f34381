"""What the tests of trainings share: small data, and the stage in this process or in its own."""

import csv
import hashlib
import json
import os
import re
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
from fer_pipeline.faces.faces import Facts, Split
from fer_pipeline.faces.faces import write_faces as write_h5
from fer_pipeline.faces.fer2013 import CLASSES, NAME, SIZE, VOTED
from fer_pipeline.networks import baseline
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import CENTRE, Shape, read_origin
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Compute
from fer_pipeline.training.common import checkpoints
from fer_pipeline.training.common.profile import read_training
from fer_pipeline.training.common.run import HISTORY

COMPUTE = Compute(precision="auto", threads="auto", deterministic=True, compile=False, devices="auto")
FLOAT32 = COMPUTE.model_copy(update={"precision": "float32"})
SEED = 7
PAPER = read_training(read_params(), "baseline", "paper")
KERAS = PAPER.model_copy(
    update={"width": 0.125, "dropout": 0.1, "dropout_dense": 0.2, "norm_momentum": 0.5}
    | {"learning_rate": 1e-2, "schedule": "one_cycle", "batch_size": 16, "epochs": 4}
)
PYTORCH = read_training(read_params(), "resnet18", "smoke").model_copy(
    update={"width": 0.1, "batch_size": 16, "epochs": 4, "schedule": "one_cycle", "learning_rate": 0.05, "dropout": 0.2}
    | {"labels": "emotion"}
)
FACTS = Facts(NAME, CLASSES, VOTED, SIZE, False, "official", "0" * 32)
NARROW = Shape(0.1, 0.0, 7, 1)
SHALLOW = ((32, 64),)
"""The baseline's blocks with two convolutions instead of six: Keras takes most of a training to trace its layers."""


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


TRAIN, VAL = make_rows(70, 1), make_rows(35, 2)


def write_faces(path, train=TRAIN, val=VAL, facts=FACTS):
    """faces.h5 with 70 train rows, 35 val rows and 35 test rows, or with other train and val rows."""
    splits = {"train": train._replace(duplicate_of_train=None), "val": val, "test": val}
    write_h5(path, splits, facts if train.votes is not None else facts._replace(voted=()))
    return path


class Training:
    """A training of the network `name` in a folder: its outputs, and its checkpoints."""

    def __init__(self, folder, name, data, compute=COMPUTE, seed=SEED, **changes):
        self.folder, self.name, self.data, self.compute, self.seed = folder, name, data, compute, seed
        ending, settings = ("keras", KERAS) if name == "baseline" else ("safetensors", PYTORCH)
        self.settings = settings.model_copy(update=changes)
        files = {"model": f"x.{ending}", "report": "x.json", "history": "x.csv", "timing": "timing.json"}
        self.paths = {key: folder / "out" / file for key, file in files.items()}
        self.states, self.model = folder / ".checkpoints", self.paths["model"]
        pairs = {"name": name, "data": data, **self.paths}
        self.arguments = [part for key, value in pairs.items() for part in (f"--{key}", str(value))]

    def run(self):
        """Run the stage in this process; returns itself."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(baseline, "BLOCKS", SHALLOW)
            patch.setattr(checkpoints, "CHECKPOINTS", self.states)
            patch.setattr(checkpoints, "list_code", list)  # what other tests have imported has no part in the hash
            patch.setattr(sys, "argv", ["train.py", *self.arguments])
            patch.setattr(stage, "read_params", lambda: SimpleNamespace(compute=self.compute, seed=self.seed))
            patch.setattr(stage, "read_training", lambda *_: self.settings)
            stage.main()
        return self

    def exist(self):
        return any(path.exists() for path in self.paths.values())

    def find(self, pattern):
        """Paths below the checkpoints of the training."""
        return sorted(self.states.glob(f"{self.name}-*/{pattern}"))

    def read(self):
        """The bytes of model and history, which are the same for the same training."""
        return self.model.read_bytes(), self.paths["history"].read_bytes()

    def read_report(self):
        return json.loads(self.paths["report"].read_text(encoding="utf-8"))

    def read_times(self):
        return json.loads(self.paths["timing"].read_text(encoding="utf-8"))[f"train_{self.name}"]

    def read_history(self):
        rows = csv.DictReader(self.paths["history"].read_text(encoding="utf-8").splitlines())
        return [{key: float(value) for key, value in row.items()} for row in rows]

    def check(self):
        """The outputs agree with each other, and the checkpoints are gone; what the network predicts for val."""
        report, rows, times, epochs = self.read_report(), self.read_history(), self.read_times(), self.settings.epochs
        assert tuple(rows[0]) == HISTORY
        assert [row["epoch"] for row in rows] == [*range(1, epochs + 1)]
        best = max(rows, key=lambda row: row["val_accuracy"])
        assert all(report[key] == best[key] for key in HISTORY[2:]) and report["best_epoch"] == best["epoch"]
        assert (report["epochs_run"], report["stopped"]) == (epochs, f"after all {epochs} epochs")
        network = load_model(self.name, self.model, self.compute.precision, FACTS)
        assert all(report[key] == getattr(network, key) for key in ("device", "precision"))
        assert report["parameters"] == network.count_parameters()
        origin = read_origin(self.model)
        made = {"hardware": network.hardware, "device": network.device, "seed": self.seed}
        assert made.items() <= origin.items() and {"python", "numpy"} < origin["versions"].keys()
        assert times["md5"] == hashlib.md5(self.model.read_bytes()).hexdigest()
        assert times["hardware"] == network.hardware and not {"seconds", "images_per_second"} & report.keys()
        images = epochs * (70 if self.name == "baseline" else 64)  # PyTorch leaves out rows beyond the last full batch
        fewest, most = ((times["images_per_second"] + half) * (times["seconds"] + half) for half in (-0.051, 0.051))
        assert fewest <= images <= most  # both are rounded to 0.1: a training of 0.15 s may say 0.2
        said = network.predict(VAL.images, CENTRE)[0]
        assert (said[:, :7].argmax(axis=1) == VAL.labels).mean() == pytest.approx(report["val_accuracy"], abs=1e-6)
        assert [path.name for path in self.states.iterdir()] == [f"{self.name}.lock"]
        return said


class Copy(Training):
    """A training by the scripts, copied into its folder with params of their own and run as processes."""

    def __init__(self, *arguments, **changes):
        super().__init__(*arguments, **changes)
        shutil.copytree(ROOT / "stages", self.folder / "stages", ignore=shutil.ignore_patterns("__pycache__"))
        network = self.folder / "stages/fer_pipeline/networks/baseline.py"
        network.write_text(network.read_text().replace(f"BLOCKS = {baseline.BLOCKS}", f"BLOCKS = {SHALLOW}"))
        params = YAML(typ="safe").load(ROOT / "params.yaml")
        params |= {"profile": "tried", "seed": self.seed, "compute": self.compute.model_dump()}
        tried = {self.name: self.settings.model_dump()}
        (self.folder / "profiles").mkdir()
        for file, content in {"params": params, "profiles/paper": {}, "profiles/tried": tried}.items():
            (self.folder / f"{file}.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML

    def start(self, *launcher):
        """The process of a training that has just started, by itself or under a launcher."""
        command = [sys.executable, *launcher, "stages/train.py", *self.arguments]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, **options)

    def finish(self, *launcher):
        """Train to the end; what was printed on stderr."""
        process = self.start(*launcher)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return errors

    def stop(self, epoch, number):
        """Send a signal to a training that begins this epoch and has a checkpoint; it writes no output. Its stderr."""
        process = self.start()
        begins = f"Epoch {epoch}/|epoch {epoch - 1} "  # Keras prints it at the start of an epoch, PyTorch at the end
        assert any(re.search(begins, line) for line in process.stdout), process.stderr.read()
        deadline = time.monotonic() + 60
        while not self.find("last.*") and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == {signal.SIGINT: 130}.get(number, -number), errors
        assert "Traceback" not in errors and not self.exist()
        return errors
