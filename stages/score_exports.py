"""Score the exported networks as they are used: by onnxruntime, on a CPU, one crop per face and its mirror image.

Reads   models/export/<name>.onnx and <name>.int8.onnx of each network, data/prepared/faces.h5
Writes  metrics/export.json, and their speed, into metrics/timing.json
Alone   python stages/score_exports.py --models models/export --data data/prepared/faces.h5 --report metrics/export.json
            --timing metrics/timing.json

Accuracy is on test; fer_pipeline/exported/record.py explains all figures. Times are from faces in memory to
probabilities: of one face (200 calls) with one thread and with two, and of batches of 64 on all cores.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.core.record import Share
from fer_pipeline.exported import record
from fer_pipeline.exported.onnx import REMEDY, load_exported
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.params.read import read_params
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.stage import run
from fer_pipeline.running.timing import record_times, time_calls

CALLS = 200
BATCH = 64
BATCHES = 10


def read_fact(path: Path, metadata: dict[str, str], key: str, kind: Any) -> Any:
    """A value of the metadata of the file `path`, JSON of a type; an `InputError` says if it is missing or odd."""
    try:
        return TypeAdapter(kind).validate_json(metadata[key], strict=True)
    except (KeyError, ValueError):
        raise InputError(f"{path}: {key} is missing in its metadata, or damaged; {REMEDY}") from None


def measure(path: Path, rows: Split) -> tuple[record.Exported, dict[str, str]]:
    """What is known of one exported network, on `rows`; and its file's metadata."""
    model = load_exported(path)
    exported = record.Exported(
        accuracy=round(float((model.predict(rows.images).argmax(axis=1) == rows.labels).mean()), 6),
        largest_difference=read_fact(path, model.metadata, "largest_difference", Share),
        bytes=path.stat().st_size,
    )
    return exported, model.metadata


def measure_both(path: Path, int8: Path, rows: Split) -> record.Precisions:
    """What is known of a network in float32, in the file `path`, and in int8."""
    exported, metadata = measure(path, rows)
    quantised, of_int8 = measure(int8, rows)
    return record.Precisions(
        float32=exported,
        int8=record.Quantised(
            **dict(quantised),
            lost=round(exported.accuracy - quantised.accuracy, 6),
            kept_in_float32=read_fact(int8, of_int8, "kept_in_float32", list[str]),
        ),
        trained=read_fact(path, metadata, "trained", record.Trained) if "trained" in metadata else None,
    )


def measure_speed(path: Path, faces: NDArray[np.uint8]) -> record.ExportedTimes:
    """How fast one exported network is, on `faces`, as in `Split`."""
    model = load_exported(path)
    batch = np.resize(faces, (BATCH, *faces.shape[1:]))
    seconds = time_calls(lambda: model.predict(batch), BATCHES)
    latencies = {f"threads_{count}": measure_latency(path, faces[:1], count) for count in (1, 2)}
    rate = round(BATCH / float(np.median(seconds)), 1)
    return record.ExportedTimes(latency_ms=record.Latencies(**latencies), faces_per_second=rate)


def measure_latency(path: Path, face: NDArray[np.uint8], threads: int) -> record.Latency:
    """Milliseconds for `face`, uint8 (1, S, S) or (1, S, S, 3): median and 95th percentile of `CALLS` calls."""
    model = load_exported(path, threads)
    median, late = np.percentile(time_calls(lambda: model.predict(face), CALLS), [50, 95])
    return record.Latency(median=round(1000 * float(median), 3), p95=round(1000 * float(late), 3))


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
        files = {"float32": args.models / f"{name}.onnx", "int8": args.models / f"{name}.int8.onnx"}
        networks[name] = both = measure_both(files["float32"], files["int8"], test)
        speeds = {precision: measure_speed(path, test.images) for precision, path in files.items()}
        times[name] = record.PrecisionTimes(**speeds)
        for precision, found in {"float32": both.float32, "int8": both.int8}.items():
            face = speeds[precision].latency_ms.threads_2.median
            print(f"{name} {precision}: {found.accuracy:.2%} on test, {face:.1f} ms a face with 2 threads")
    write_files({args.report: record.Exports(networks=networks).to_bytes()})
    record_times(args.timing, "score_exports", record.ExportTimes(networks=times, hardware=name_cpu()))


if __name__ == "__main__":
    run(main)
