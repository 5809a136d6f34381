"""Score the exported networks as they are used: by onnxruntime, on a CPU, one crop per face.

Reads   models/export/<name>.onnx and <name>.int8.onnx of each network, data/prepared/faces.h5
Writes  metrics/export.json, and their speed, into metrics/timing.json
Alone   python stages/score_exports.py --models models/export --data data/prepared/faces.h5 --report metrics/export.json
            --timing metrics/timing.json

Accuracy is on test; fer_pipeline/exported/record.py explains all figures. Times are from grey faces in memory to
probabilities: of one face (200 calls) with one thread and with two, and of batches of 64 on all cores.
"""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.exported.onnx import REMEDY, load_exported, read_metadata
from fer_pipeline.exported.record import (
    Exported,
    ExportedTimes,
    Exports,
    ExportTimes,
    Latencies,
    Latency,
    Precisions,
    PrecisionTimes,
    Quantised,
)
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.params.read import read_params
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.stage import run
from fer_pipeline.running.timing import record_times, time_calls

CALLS = 200
BATCH = 64
BATCHES = 10


@contextlib.contextmanager
def require_valid(path: Path, key: str) -> Iterator[None]:
    """Turn what a missing or an odd `key` in a file's metadata raises, a record's refusal too, into an `InputError`."""
    try:
        yield
    except (KeyError, ValueError):
        raise InputError(f"{path}: {key} is missing in its metadata, or damaged; {REMEDY}") from None


def measure(path: Path, rows: Split) -> Exported:
    """What is known of one exported network, on `rows`."""
    model = load_exported(path)
    predicted = model.predict(rows.images).argmax(axis=1)
    with require_valid(path, "largest_difference"):
        return Exported(
            accuracy=round(float((predicted == rows.labels).mean()), 6),
            largest_difference=float(model.metadata["largest_difference"]),
            bytes=path.stat().st_size,
        )


def measure_quantised(path: Path, rows: Split, float32: Exported) -> Quantised:
    """As `measure`, and beside the network in `float32`."""
    int8 = measure(path, rows)
    with require_valid(path, "kept_in_float32"):
        return Quantised(
            **dict(int8),
            lost=round(float32.accuracy - int8.accuracy, 6),
            kept_in_float32=json.loads(read_metadata(path)["kept_in_float32"]),
        )


def measure_speed(path: Path, faces: NDArray[np.uint8]) -> ExportedTimes:
    """How fast one exported network is, on `faces` uint8 (N, 48, 48)."""
    model = load_exported(path)
    batch = np.resize(faces, (BATCH, *faces.shape[1:]))
    seconds = time_calls(lambda: model.predict(batch), BATCHES)
    return ExportedTimes(
        latency_ms=Latencies(**{f"threads_{count}": measure_latency(path, faces[:1], count) for count in (1, 2)}),
        faces_per_second=round(BATCH / float(np.median(seconds)), 1),
    )


def measure_latency(path: Path, face: NDArray[np.uint8], threads: int) -> Latency:
    """The milliseconds for one face uint8 (1, 48, 48)."""
    model = load_exported(path, threads)
    median, late = np.percentile(time_calls(lambda: model.predict(face), CALLS), [50, 95])
    return Latency(median=round(1000 * float(median), 3), p95=round(1000 * float(late), 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path, help="folder of the exported networks")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--report", required=True, help="JSON to write")
    parser.add_argument("--timing", required=True, help="JSON to add to: how fast they are")
    args = parser.parse_args()
    test = read_faces(args.data)[0]["test"]
    networks, times = {}, {}
    for name in read_params().networks:
        large, small = args.models / f"{name}.onnx", args.models / f"{name}.int8.onnx"
        float32 = measure(large, test)
        networks[name] = Precisions(float32=float32, int8=measure_quantised(small, test, float32))
        times[name] = PrecisionTimes(float32=measure_speed(large, test.images), int8=measure_speed(small, test.images))
        for (precision, found), (_, took) in zip(networks[name], times[name], strict=True):
            face = took.latency_ms.threads_2.median
            print(f"{name} {precision}: {found.accuracy:.2%} on test, {face:.1f} ms a face with 2 threads")
    write_files({args.report: Exports(networks=networks).to_bytes()})
    record_times(args.timing, "score_exports", ExportTimes(networks=times, hardware=name_cpu()))


if __name__ == "__main__":
    run(main)
