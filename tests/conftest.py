"""Small data sets in every form that people have, the real one where FER2013 names it, and clones of this project."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
import torchvision  # noqa: F401 (before any test brings TensorFlow: the other order crashes the process)
from browser import browser  # noqa: F401 (a fixture)
from filelock import FileLock
from matplotlib.cbook import get_sample_data
from PIL import Image

import fer_pipeline.inference.opencv  # noqa: F401 (before any test brings OpenCV: it reads its limits as it is loaded)
import prepare
from clones import ENVIRONMENT, ROOT, Clone, Project, make_narrow  # noqa: F401 (ENVIRONMENT is for tests)
from damage import pack_zip
from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.raw.rows import USAGES
from fer_pipeline.running.stage import catch
from small_network import write_network


class Table:
    """A small table of distinct faces: `per_class` rows of each class in each Usage, interleaved."""

    def __init__(self, per_class=(5, 2, 2)):
        rng, counts = np.random.default_rng(0), zip(USAGES, per_class, strict=True)
        rows = [(usage, label) for usage, count in counts for label in range(7) for _ in range(count)]
        self.rows = [rows[i] for i in rng.permutation(len(rows))]
        self.images = rng.integers(0, 256, (len(rows), 48, 48), dtype=np.uint8)
        self.labels = np.array([label for _, label in self.rows])
        self.usages = np.array([USAGES.index(usage) for usage, _ in self.rows])

    def __len__(self):
        return len(self.rows)

    def lines(self):
        """The rows in the challenge's form, without the header and without line ends."""
        faces = [" ".join(map(str, image.ravel().tolist())) for image in self.images]
        return [f"{label},{face},{usage}" for (usage, label), face in zip(self.rows, faces, strict=True)]

    def csv(self):
        """The challenge's CSV as bytes."""
        return "\n".join(["emotion,pixels,Usage", *self.lines(), ""]).encode()

    def files(self, prefix=True, format="png", names=CLASSES):
        """{path: bytes} of the image-folder release; numbered within its class, in the order of the rows."""
        files = {}
        for i, ((usage, label), image) in enumerate(zip(self.rows, self.images, strict=True)):
            folder = "train" if usage == "Training" else "test"
            name = f"{usage}_{i:05d}" if prefix else f"{i:05d}"
            files[f"{folder}/{names[label]}/{name}.{format}"] = encode(image, format)
        return files


def encode(image, format="png", mode="L"):
    """The bytes of a picture of `image` (uint8, height x width, grey, or RGB with its mode)."""
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, {"jpg": "JPEG"}.get(format, format.upper()))
    return buffer.getvalue()


def write_folder(folder, files):
    """Write {path: bytes} below `folder`."""
    for name, payload in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload)
    return folder


def write_zip(path, files):
    """Write {path: bytes} into a zip."""
    path.write_bytes(pack_zip(files))
    return path


def find(content, source):
    """What holds the value of a source such as 'metrics/compare.json: ensembles[6].gain_points', and its key there."""
    file, key = source.split(": ", 1)
    *above, last = (int(place) if place else name for name, place in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key))
    return reduce(getitem, above, content[file]), last


def put(content, values):
    """Change values in {path: content}, by their sources (see `find`); an object keeps its other keys."""
    for source, value in values.items():
        holder, key = find(content, source)
        old = holder.get(key) if isinstance(holder, dict) else holder[key]
        holder[key] = old | value if isinstance(old, dict) and value else value
    return content


def refuse(call, *arguments, **options):
    """The sentence with which a call refuses its input."""
    with pytest.raises(InputError) as error:
        call(*arguments, **options)
    return str(error.value)


PAPERS = ("baseline", "vgg19", "resnet18")
"""The paper's networks."""


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """The path of a small exported network."""
    return write_network(tmp_path_factory.mktemp("network") / "small.onnx")


@pytest.fixture(scope="session")
def photo_file():
    """A JPEG of 512x600 pixels with one face, about 210 pixels wide around (264, 217): it comes with matplotlib."""
    return Path(get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def run_stage():
    """Run a stage as a user does: a process of its own; returns what `subprocess.run` does."""

    def run(script, *args):
        command = [sys.executable, ROOT / "stages" / f"{script}.py", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def call_stage(capfd, monkeypatch):
    """Run a stage's module in this process, a second faster than `run_stage`; returns what `subprocess.run` does."""

    def call(module, *args):
        monkeypatch.setattr("sys.argv", [f"{module.__name__}.py", *map(str, args)])
        capfd.readouterr()
        code, sentence = 0, ""
        try:
            catch(module.main)
        except SystemExit as end:
            code, sentence = (1, f"{end.code}\n") if isinstance(end.code, str) else (end.code, "")
        printed = capfd.readouterr()
        return subprocess.CompletedProcess(args, code, printed.out, printed.err + sentence)

    return call


@pytest.fixture
def run_prepare(call_stage, tmp_path):
    """Run `prepare` on a path or a `Table`, check its exit `code`; returns its stderr, and the paths of HDF5 and JSON."""

    def run(source, split="official", code=0, **options):
        if isinstance(source, Table):
            (tmp_path / "x.csv").write_bytes(source.csv())
            source = tmp_path / "x.csv"
        paths = {"out": tmp_path / "out" / "faces.h5", "report": tmp_path / "out" / "data.json"}
        options = {"source": source, "split": split, **paths, **options}
        process = call_stage(prepare, *(part for name, value in options.items() for part in (f"--{name}", value)))
        assert process.returncode == code and "Traceback" not in process.stderr, process.stderr
        return process.stderr, options["out"], options["report"]

    return run


@pytest.fixture
def set_prepare(monkeypatch):
    """Change settings of the section `prepare` of params.yaml."""
    params = prepare.read_params()

    def change(**settings):
        section = type(params.prepare).model_validate(params.prepare.model_dump() | settings)
        monkeypatch.setattr(prepare, "read_params", lambda: params.model_copy(update={"prepare": section}))

    return change


@pytest.fixture(scope="session")
def real_zip():
    """The path of FER-2013 as a zip of image folders."""
    if "FER2013" not in os.environ:
        pytest.skip("the environment variable FER2013 does not name the real data")
    return Path(os.environ["FER2013"])


def pytest_configure():
    """Tests started in the background inherit that SIGINT is ignored, and so do their processes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Share out the tests so that no worker waits for the finished pipeline, and none ends with all slow tests.

    Workers start with parts of equal length. The first part begins with tests that read the finished pipeline, and
    each part ends with some of those that work in a copy of it, which take longest.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    slow = [item for item in items if "finished_clone" in item.fixturenames]
    quick = [item for item in items if item not in slow]
    quick.sort(key=lambda item: "finished_pipeline" not in item.fixturenames)
    size, parts = -(-len(items) // workers), []
    for worker in range(workers):
        last = slow[worker::workers]
        parts += [*quick[: size - len(last)], *last]
        del quick[: size - len(last)]
    items[:] = parts + quick


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "clone")


@pytest.fixture(scope="session")
def finished_pipeline(tmp_path_factory, worker_id):
    """A narrow clone in which every stage has run: a minute, so once for all workers, and only to read or copy."""
    shared = tmp_path_factory.getbasetemp().parent if worker_id != "master" else tmp_path_factory.mktemp("finished")
    path = shared / "finished-pipeline"
    with FileLock(shared / "finished-pipeline.lock"):
        if not path.exists():
            shutil.rmtree(shared / "unfinished-pipeline", ignore_errors=True)
            clone = make_narrow(Clone(shared / "unfinished-pipeline"))
            clone.run("dvc", "repro", "-q")
            clone.commit()
            clone.path.rename(path)
    return Project(path)


def find_runs(printed):
    """The stages that `dvc repro` ran, or would."""
    return set(re.findall(r"Running stage '(.+?)'", printed))


@pytest.fixture
def finished_clone(finished_pipeline, tmp_path):
    """A copy of its own of `finished_pipeline`."""
    return finished_pipeline.copy(tmp_path / "finished")
