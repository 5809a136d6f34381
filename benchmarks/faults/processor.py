"""Whether another processor gives the same bytes: with the libraries' default settings, and with common ones.

A row compares this processor with two that QEMU emulates if Debian's `qemu-user` is installed (neither has AVX-512 or
VNNI), and with those of earlier runs: results/fire/processors.json keeps a checksum for each processor, setting,
library and operation. The last rows compare the scores of a run of the sample, in float32 and with AVX2, with the
scores in git. `count` is how many libraries are tried; those last rows and processors.json are then left out.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from clones import ROOT, Clone, find_reason
from faults.common import ONE_THREAD, Row, Settings
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.running.hardware import name_cpu

FILE = ROOT / "results" / "fire" / "processors.json"
AVX2 = "AVX2 and one thread"
KINDS = {
    "as it is": {},
    AVX2: {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",  # AVX2 would choose different code on Intel and on AMD
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "1",
        "TENSORFLOW_USE_CUSTOM_CONTRACTION_KERNEL": "false",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        **ONE_THREAD,
    },
}
"""{setting: its environment variables}."""
EMULATED = {"Intel Haswell, emulated": "Haswell", "AMD EPYC of 2019, emulated": "EPYC-Rome"}  # QEMU's names for them
TITLES = {"pytorch": "PyTorch", "keras": "TensorFlow", "numpy": "NumPy"}
TITLES |= {"onnxruntime": "ONNX Runtime", "opencv": "OpenCV"}
SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1", "ece": "calibration error"}


def find_bytes(library: str, environment: dict[str, str], emulated: str) -> dict[str, str]:
    """{operation: SHA-256} of a library in a process of its own, on this processor or on one that QEMU emulates."""
    command = [sys.executable, Path(__file__).with_name("operations.py"), library]
    if emulated:
        command = ["qemu-x86_64", "-cpu", emulated, *command, "resampling"]  # which fails in QEMU 7.2
    printed = subprocess.check_output(command, env=os.environ | environment, stderr=subprocess.PIPE, timeout=600)
    return json.loads(printed.splitlines()[-1])


def compare_scores(folder: Path) -> Iterator[Row]:
    """Run the sample with AVX2 and float32 in a clone; for each score, a row of the networks that have it unchanged."""
    clone = Clone(folder)
    clone.edit("params.yaml", {"precision: auto": "precision: float32"})
    code, printed = clone.call("dvc", "repro", "-q", "compare", **KINDS[AVX2])
    if code:
        raise InputError(f"the sample's run with AVX2 and float32 ended with {code}: {find_reason(printed)}")
    committed, here = (
        {file.stem: json.loads(file.read_text()) for file in sorted((place / "metrics/summary").glob("*.json"))}
        for place in (ROOT, folder)
    )
    for key, title in SCORES.items():
        moves = {name: 100 * abs(here[name][key] - scores[key]) for name, scores in committed.items()}
        apart = f"up to {max(moves.values()):.1f} points apart"
        what = f"{title} by AVX2 and float32 as in the committed run ({apart})"
        yield what, [f"{name} differs by {move:.2f} points" if move else "" for name, move in moves.items()]


def run(settings: Settings) -> Iterator[Row]:
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    here, emulated = name_cpu(), EMULATED if shutil.which("qemu-x86_64") else {}
    for kind, environment in KINDS.items():
        for library in list(TITLES)[: settings.count]:
            for cpu, name in {here: "", **emulated}.items():
                known.setdefault(cpu, {}).setdefault(kind, {})[library] = find_bytes(library, environment, name)
            told, mine = [], known[here][kind][library]
            for cpu in sorted(known.keys() - {here}):
                others = known[cpu].get(kind, {}).get(library, {})
                same = {name: others[name] == mine[name] for name in mine if name in others}
                told += ["" if same[name] else f"{name} differs from the result on {cpu}" for name in same]
            yield f"{TITLES[library]}, {kind}", told
    if settings.count is None:
        write_files({str(FILE): (json.dumps(known, indent=1) + "\n").encode()})
        yield from compare_scores(settings.folder / "sample")
