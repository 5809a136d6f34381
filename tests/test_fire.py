"""A small share of each part of `benchmarks/fire.py`, and promises that these parts rest on."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from apps import serve
from conftest import ENVIRONMENT, ROOT, refuse, write_network

import score_exports
from clones import PULL_ANEW, PUSH_AGAIN, PUSH_ANEW
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import load_exported
from fer_pipeline.faces.faces import Split


def run_part(*arguments):
    """Run a part of the benchmark; {row: (tried, held)}."""
    command = [sys.executable, "benchmarks/fire.py", *arguments, "--dry"]
    process = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200)
    assert process.returncode == 0, process.stdout + process.stderr
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| ([\d,]+) \| \d+ \|$", process.stdout, re.MULTILINE)
    return {what: (int(tried.replace(",", "")), int(held.replace(",", ""))) for what, tried, held in rows}


NEEDS_SSHD = pytest.mark.skipif(
    not shutil.which("sshd", path="/usr/sbin:/usr/bin"), reason="needs Debian's openssh-server"
)


@pytest.mark.release
@pytest.mark.parametrize(
    ("part", "arguments", "count"),
    [
        ("damage", ("--count", "20"), 20),  # one input at least of each kind, through the script itself
        ("load", ("--count", "3", "--seed", "1"), 24),
        pytest.param("sharing", ("--count", "1"), 13, marks=NEEDS_SSHD),
    ],
)
def test_a_share_of_a_part(part, arguments, count, finished_pipeline):
    finished = ("--finished", str(finished_pipeline.path)) if part == "damage" else ()
    rows = run_part(part, *arguments, *finished)
    assert len(rows) == count
    assert all(tried == held > 0 for tried, held in rows.values())


@pytest.mark.release
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs QEMU's user mode (Debian's qemu-user)")
def test_numpy_with_avx2_has_the_same_bytes_on_another_processor():
    """With default settings this processor may differ from an emulated one; with common ones it does not."""
    settings = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", "OPENBLAS_CORETYPE": "Haswell"}
    command = [sys.executable, ROOT / "benchmarks/faults/operations.py", "numpy"]
    printed = [
        subprocess.check_output([*emulator, *command], env=ENVIRONMENT | settings | {"OPENBLAS_NUM_THREADS": "1"})
        for emulator in ([], ["qemu-x86_64", "-cpu", "Haswell"])
    ]
    assert len(json.loads(printed[0])) == 4
    assert printed[0] == printed[1]


def test_an_exported_network_has_to_answer(tmp_path):
    """It is refused when it is loaded, not in the middle of somebody's photos."""
    path = write_network(tmp_path / "x.onnx")
    load_exported(path)
    sound = onnx.load(path)
    for value in (np.nan, 1e38):
        model = onnx.ModelProto()
        model.CopyFrom(sound)
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((1936, 7), value, np.float32), "weights"))  # fmt: skip
        path.write_bytes(model.SerializeToString())
        assert "not finite" in refuse(load_exported, path)
    sound.graph.node[3].op_type = "Relu"
    del sound.graph.node[3].attribute[:]
    path.write_bytes(sound.SerializeToString())
    assert "gives no probabilities" in refuse(load_exported, path)
    write_network(path, votes_temperature="1.0")  # and no second head
    assert "x: fails" in refuse(load_exported, path)


@pytest.mark.parametrize("value", [None, "", "yes", "NaN", "{}"])
@pytest.mark.parametrize("key", ["largest_difference", "kept_in_float32"])
def test_metadata_that_score_exports_cannot_read(key, value, tmp_path):
    rows = Split(np.zeros((2, 48, 48), np.uint8), np.zeros(2, np.uint8), None)
    metadata = {"largest_difference": "0.001", "kept_in_float32": "[]"} | {key: value}
    path = write_network(tmp_path / "x.onnx", **{name: text for name, text in metadata.items() if text is not None})
    float32 = write_network(tmp_path / "y.onnx", largest_difference="0.001")
    with pytest.raises(InputError, match=rf"x\.onnx: {key} is missing in its metadata, or damaged"):
        score_exports.measure_both(float32, path, rows)


def test_a_network_that_has_just_been_removed(tmp_path, monkeypatch):
    """Between its name being looked up and its file being opened: a sentence, and no entry in the list."""
    with monkeypatch.context() as patched:
        patched.setattr(serve.recognition, "find_model", lambda name: tmp_path / "gone.onnx")
        assert "gone.onnx: no such file" in refuse(serve.open_recogniser, "gone")
    listed = iter([["gone"]])
    monkeypatch.setattr(serve.recognition, "list_models", lambda: next(listed, []))
    monkeypatch.setattr(serve.app.state, "model", "gone", raising=False)
    assert json.loads(serve.answer_models().body) == {"models": [], "default": "gone"}


@pytest.mark.parametrize("command", [PUSH_AGAIN, PULL_ANEW, PUSH_ANEW])
def test_the_manual_says_how_to_share_after_a_fault(command):
    """The part `sharing` does the same."""
    page = (ROOT / "docs/trouble.md").read_text()
    assert f"`{command}`" in page and "`make verify" in page
