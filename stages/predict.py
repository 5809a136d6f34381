"""Predict all faces with one trained network, and do all else that needs the network itself.

Reads   a model, and data/prepared/faces.h5.
Writes  data/predictions/<name>.csv and <name>_votes.csv (first and second head on val and test), the first head's from
        one crop in <name>_single_crop.csv and from `test_views` of params.yaml in <name>_views.csv; <name>_train.csv
        (train faces, not augmented), <name>_heat.npz (Grad-CAM), <name>.json (size, device); its speed in
        metrics/timing.json.
Alone   python stages/predict.py --name vgg19 --model models/vgg19.safetensors --data data/prepared/faces.h5
            --out data/predictions --timing metrics/timing.json

A network with ten test crops predicts from TenCrop of each val and test face (section 2), and from its centre crop for
the single-crop files; for one that sees the whole face, both are equal. Train faces are predicted from the centre crop
only: ten crops of 28,709 faces would take ten times as long.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import Facts, Split, read_faces
from fer_pipeline.networks.load import load_model, predict
from fer_pipeline.networks.network import CENTRE, CROPS, View, find_network, list_views
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.heat import pack_heat
from fer_pipeline.predictions.predictions import (
    SCORED,
    WAYS,
    Predictions,
    as_written,
    round_rows,
    to_csv,
    votes_to_csv,
)
from fer_pipeline.predictions.record import Cost, NetworkFacts, PredictionTimes
from fer_pipeline.running.hardware import limit_threads
from fer_pipeline.running.stage import run
from fer_pipeline.running.timing import record_times, time_calls

BATCH = 256  # batch size at which the rate is measured


def predict_splits(
    model: Any, splits: dict[str, Split], classes: Sequence[str], path: str | Path, *ways: Sequence[View]
) -> list[tuple[dict[str, Predictions], dict[str, NDArray[np.float64]]]]:
    """By split: predictions of the first head, and probabilities of the second, float64 (N, V), {} if none.

    There is a result for each of the lists of views, averaged over it.
    """
    results: list[tuple[dict[str, Predictions], dict[str, NDArray[np.float64]]]] = [({}, {}) for _ in ways]
    for split, faces in splits.items():
        for (rows, votes), (first, second) in zip(results, predict(model, faces.images, path, *ways), strict=True):
            rows[split] = as_written(classes, faces.labels, first)
            if second.shape[1]:
                votes[split] = round_rows(second)
    return results


def predict_ways(
    model: Any, splits: dict[str, Split], facts: Facts, path: str | Path, crops: int, views: Sequence[View]
) -> tuple[dict[str, Predictions], dict[str, bytes]]:
    """{split: the first head's predictions by test crops}; {ending: CSV}, also by one crop and by `views`."""
    ways = dict(zip(WAYS, (CROPS[crops], CENTRE, views), strict=True))
    results = dict(zip(ways, predict_splits(model, splits, facts.classes, path, *ways.values()), strict=True))
    tables = {f"{way}.csv": to_csv(rows) for way, (rows, _) in results.items()}
    rows, votes = results[""]
    return rows, tables | {"_votes.csv": votes_to_csv(votes, facts.voted)}


def measure_speed(model: Any, images: NDArray[np.uint8]) -> PredictionTimes:
    """Latency (the median of 30 calls) and rate (the fastest of three batches), in the model's precision."""
    batch = np.resize(images, (BATCH, *images.shape[1:]))
    one = time_calls(lambda: model.predict(batch[:1], CENTRE), 30)
    many = time_calls(lambda: model.predict(batch, CENTRE), 3)
    return PredictionTimes(
        latency_ms_batch1=round(1000 * float(np.median(one)), 3),
        images_per_second=round(BATCH / min(many), 1),
        hardware=model.hardware,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the network")
    parser.add_argument("--model", required=True, help="its file, .keras or .safetensors")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--out", required=True, help="folder for <name>.csv and the files beside it")
    parser.add_argument("--timing", required=True, help="JSON to add to: how fast it is")
    args = parser.parse_args()
    params, network = read_params(), find_network(args.name)
    limit_threads(params.compute.threads)
    splits, facts = read_faces(args.data)
    scored = {split: splits[split] for split in SCORED}
    model = load_model(args.name, args.model, params.compute.precision, facts)
    views = list_views(params.test_views[args.name])
    rows, tables = predict_ways(model, scored, facts, args.model, network.TEST_CROPS, views)
    train, _ = predict_splits(model, {"train": splits["train"]}, facts.classes, args.model, CENTRE)[0]
    test = splits["test"].images
    cost = Cost(
        parameters=model.count_parameters(), macs=model.count_macs(), model_bytes=Path(args.model).stat().st_size
    )
    told = NetworkFacts(cost=cost, device=model.device, precision=model.precision)
    outputs = {
        **tables,
        "_train.csv": to_csv(train),
        "_heat.npz": pack_heat(model, test, rows["test"]) if hasattr(network, "find_explained_layer") else b"",
        ".json": told.to_bytes(),
    }
    write_files({f"{args.out}/{args.name}{ending}": content for ending, content in outputs.items()})
    record_times(args.timing, f"predict@{args.name}", measure_speed(model, test))
    print(f"{args.name}: {sum(len(one.images) for one in splits.values()):,} faces -> {args.out}/{args.name}.csv")


if __name__ == "__main__":
    run(main)
