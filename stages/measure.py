"""Measure the exported networks as they are used: by onnxruntime, on a CPU, one crop per face.

Reads   models/export/<name>.onnx and <name>.int8.onnx of each network, data/prepared/faces.h5
Writes  metrics/export.json
Alone   python stages/measure.py --models models/export --data data/prepared/faces.h5 --report metrics/export.json

Per network and precision: accuracy on test, the largest difference in a probability from the network in its framework
(measured on test by the export), size, the milliseconds that one face takes with one thread and with two (median and
95th percentile of 200 calls), and the faces per second in batches of 64 on all cores. For int8 also the accuracy that
it lost and the layers kept in float32. Times are from grey faces in memory to probabilities, on this machine.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from fer.core.stage import run, to_json, write_files
from fer.data.faces import read_faces
from fer.evidence.paper import NAMES
from fer.inference.onnx import load_exported
from fer.training.run import name_cpu

CALLS = 200
THREADS = (1, 2)
BATCH = 64
BATCHES = 10


def measure(path, rows):
    """What is known of one exported network (see the module), on `rows` (`fer.data.faces.Split`)."""
    model = load_exported(path)
    predicted = model.predict(rows.images).argmax(axis=1)
    batch = np.resize(rows.images, (BATCH, *rows.images.shape[1:]))
    seconds = time_calls(model, batch, BATCHES)
    return {
        "accuracy": round(float((predicted == rows.labels).mean()), 6),
        "largest_difference": float(model.metadata["largest_difference"]),
        "bytes": path.stat().st_size,
        "latency_ms": {f"threads_{threads}": measure_latency(path, rows.images[:1], threads) for threads in THREADS},
        "faces_per_second": round(BATCH / float(np.median(seconds)), 1),
    }


def measure_latency(path, face, threads):
    """{median, p95}: milliseconds for one face uint8 (1, 48, 48)."""
    seconds = time_calls(load_exported(path, threads), face, CALLS)
    median, late = np.percentile(seconds, [50, 95])
    return {"median": round(1000 * float(median), 3), "p95": round(1000 * float(late), 3)}


def time_calls(model, faces, count):
    """The seconds of each of `count` predictions, after a tenth as many to warm up."""
    seconds = []
    for _ in range(count // 10 + count):
        began = time.perf_counter()
        model.predict(faces)
        seconds.append(time.perf_counter() - began)
    return seconds[-count:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", required=True, type=Path, help="folder of the exported networks")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--report", required=True, help="JSON to write")
    args = parser.parse_args()
    test = read_faces(args.data)[0]["test"]
    networks = {}
    for name in NAMES:
        large, small = args.models / f"{name}.onnx", args.models / f"{name}.int8.onnx"
        float32, int8 = measure(large, test), measure(small, test)
        int8["lost"] = round(float32["accuracy"] - int8["accuracy"], 6)
        int8["kept_in_float32"] = json.loads(load_exported(small).metadata["kept_in_float32"])
        networks[name] = {"float32": float32, "int8": int8}
        for precision, found in networks[name].items():
            face = found["latency_ms"]["threads_2"]["median"]
            print(f"{name} {precision}: {found['accuracy']:.2%} on test, {face:.1f} ms a face with 2 threads")
    write_files({args.report: to_json({"device": name_cpu(), "networks": networks})})


if __name__ == "__main__":
    run(main)
