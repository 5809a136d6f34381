"""Whether another kind of processor gives the same bytes, as libraries are and where all may do the same only.

Kinds of processor are this one, two that QEMU emulates where Debian's `qemu-user` is installed, neither with AVX-512
nor VNNI, and those of earlier runs: results/fire/processors.json keeps the bytes of each, by setting, library and
operation. A row compares those of this one with all others. The last rows are the whole run of the sample, in float32
and with AVX2, beside the scores that are tracked; they are left out where `count`, for a test, says how many libraries
are tried.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from conftest import ENVIRONMENT, ROOT, Clone

from faults.common import ONE_THREAD, Row, Settings
from faults.operations import LIBRARIES
from fer_pipeline.core.files import write_files
from fer_pipeline.running.hardware import name_cpu

FILE = ROOT / "results" / "fire" / "processors.json"
AVX2 = "AVX2 and one thread"
KINDS = {
    "as it is": {},
    AVX2: {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",  # AVX2 here is another code on Intel's than on AMD's
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "1",
        "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "false",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        **ONE_THREAD,
    },
}
"""{how the libraries are set: their environment}."""
EMULATED = {"Intel Haswell": "Haswell", "AMD EPYC of 2019": "EPYC-Rome"}
"""{a kind of processor: its name in QEMU}."""
TITLES = {
    "pytorch": "PyTorch",
    "keras": "TensorFlow",
    "numpy": "NumPy",
    "onnxruntime": "ONNX Runtime",
    "opencv": "OpenCV",
}
SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1", "ece": "calibration error"}
UNABLE = {"pytorch": ["resampling"]}
"""{library: operations at which QEMU 7.2 fails}."""


def find_bytes(library: str, environment: dict[str, str], emulated: str | None = None) -> dict[str, str]:
    """{operation: SHA-256} of a library in a process of its own, on this processor or on one that QEMU emulates."""
    qemu = ["qemu-x86_64", "-cpu", emulated] if emulated else []
    left_out = UNABLE.get(library, []) if emulated else []
    process = subprocess.run(
        [*qemu, sys.executable, Path(__file__).with_name("operations.py"), library, *left_out],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    found: dict[str, str] = json.loads(process.stdout.splitlines()[-1])
    return found


def compare(found: dict[str, str], others: dict[str, dict[str, str]]) -> tuple[int, list[str]]:
    """How many pairs of operations were compared, and in words which differ; `others` are by kind of processor."""
    pairs = [(operation, cpu) for cpu, known in others.items() for operation in found if operation in known]
    return len(pairs), [f"{name} differs from that of {cpu}" for name, cpu in pairs if found[name] != others[cpu][name]]


def run_sample(folder: Path) -> Path:
    """A clone after the sample's run with AVX2 and float32."""
    folder.mkdir()
    clone = Clone(folder)
    clone.edit("params.yaml", {"precision: auto": "precision: float32"})
    clone.commit()
    subprocess.run(["dvc", "repro", "-q", "compare"], cwd=folder, env=ENVIRONMENT | KINDS[AVX2], check=True)
    return folder


def compare_scores(folder: Path, other: Path, began: float) -> Iterator[Row]:
    """A row for each score of metrics/summary in two folders: of how many networks it is the same."""
    files = sorted((folder / "metrics/summary").glob("*.json"))
    ours, theirs = (
        {file.stem: json.loads((place / "metrics/summary" / file.name).read_text()) for file in files}
        for place in (folder, other)
    )
    for key, title in SCORES.items():
        moves = {name: 100 * abs(scores[key] - theirs[name][key]) for name, scores in ours.items()}
        differ = tuple(f"that of {name} differs by {move:.2f} points" for name, move in moves.items() if move)
        what = f"{title} in the sample's run by AVX2 and float32, at most {max(moves.values()):.1f} points apart"
        yield Row(what, len(moves), len(moves) - len(differ), time.monotonic() - began, differ)


def run(settings: Settings) -> Iterator[Row]:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    here, emulated = name_cpu(), EMULATED if shutil.which("qemu-x86_64") else {}
    for kind, environment in KINDS.items():
        for library in list(LIBRARIES)[: settings.count]:
            began = time.monotonic()
            for cpu, name in {here: None, **{f"{cpu}, emulated": name for cpu, name in emulated.items()}}.items():
                known.setdefault(cpu, {}).setdefault(kind, {})[library] = find_bytes(library, environment, name)
            others = {
                cpu: of[kind][library] for cpu, of in known.items() if cpu != here and library in of.get(kind, {})
            }
            tried, differ = compare(known[here][kind][library], others)
            yield Row(f"{TITLES[library]}, {kind}", tried, tried - len(differ), time.monotonic() - began, tuple(differ))
    if settings.count is None:
        write_files({str(FILE): (json.dumps(known, indent=1) + "\n").encode()})
        began = time.monotonic()
        yield from compare_scores(ROOT, run_sample(settings.folder / "sample"), began)
