"""Train a network with further seeds, and say how far its accuracy depends on the seed.

    python tools/seeds.py compact 2014 2015 --out results/fer2013-best/seeds.json

The first network is the pipeline's own, with the seed in params.yaml. `stages/train.py` trains the others in
build/seeds/<network>-<seed>/, on the same faces.h5 and with the same parameters except the seed. A training that was
stopped continues after its last epoch; a finished one is repeated only if parameters or data have changed. Each network
and their soft vote are scored on test, by the network's own test crops; nothing is chosen among them. The folder of
the JSON keeps the predictions of the further seeds, `predictions/<network>-<seed>.csv.gz` and its like.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.metrics.comparison import vote
from fer_pipeline.metrics.scores import Measured, average, measure
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import find_network, list_views, read_origin
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Evaluate, Params, Section
from fer_pipeline.predictions.predictions import SCORED, Predictions
from fer_pipeline.running.stage import catch
from fer_pipeline.training.common.profile import BASE, read_training
from fer_pipeline.training.common.run import Training
from predict import predict_ways

DATA = Path("data/prepared/faces.h5")


class OneSeed(Record):
    seed: Count
    val_accuracy: Share
    accuracy: Share  # on test
    accuracy_unseen: Share | None  # on the test images that are not in train
    hardware: str | None = None  # that trained it; as what follows, None in older files
    versions: dict[str, str] | None = None
    val_accuracy_views: Share | None = None  # by the network's `test_views`
    accuracy_views: Share | None = None  # likewise, on test
    best_epoch: Count | None = None  # from 1
    epochs: Count | None = None  # how many ran


class Seeds(Record):
    """seeds.json."""

    network: str
    profile: str
    split: str
    seeds: list[OneSeed]
    mean: Share  # mean of the networks' accuracies on test
    lowest: Share
    highest: Share
    mean_views: Share | None = None  # of `accuracy_views`
    vote: Measured  # the soft vote of the networks, with equal weights


def pack(content: bytes) -> bytes:
    """`content` compressed, without the time: the same bytes each time."""
    return gzip.compress(content, mtime=0)


def place_predictions(seeds: Path, network: str, seed: int, ending: str) -> Path:
    """Where the predictions of one seed are kept, beside the file `seeds`."""
    return seeds.parent / "predictions" / f"{network}-{seed}{ending}.gz"


def train(folder: Path, network: str, data: Path, params: Params, settings: Section) -> Path:
    """Train `network` on `data` in `folder`, with `settings` instead of its profile's, unless that was done already.

    Returns the trained network's file; the folder also has training.json, history.csv and timing.json. A training that
    was stopped goes on; InputError if it fails.
    """
    model, origin = folder / Path(params.networks[network]).name, folder / "origin"
    facts, start = (
        [params.seed, params.compute.model_dump(), settings.model_dump()],
        Path(getattr(settings, "weights", "")),
    )
    contents = [one.read_bytes() for one in (data, start) if one.is_file()]
    made_from = hashlib.sha256(b"".join([json.dumps(facts).encode(), *contents])).hexdigest()
    if model.exists() and origin.exists() and origin.read_text() == made_from:
        return model
    shutil.copytree("stages", folder / "stages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "profiles").mkdir(exist_ok=True)
    whole = params.model_copy(update={"profile": BASE}).model_dump()
    for name, content in {"params": whole, f"profiles/{BASE}": {network: settings.model_dump()}}.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    command = f"stages/train.py --report training.json --history history.csv --timing timing.json --model {model.name}"
    which = ["--name", network, "--data", str(data.absolute())]
    if subprocess.run([sys.executable, *command.split(), *which], cwd=folder).returncode:
        raise InputError(f"{folder}: the training of {network} failed; the lines above say why")
    origin.write_text(made_from)
    return model


def score(
    found: Mapping[int, Mapping[str, Mapping[str, Predictions]]], in_train: NDArray[np.bool_] | None, settings: Evaluate
) -> dict[str, Any]:
    """What seeds.json says of accuracies, from {seed: {way: {split: predictions}}}, the run's own seed first."""
    own, *_ = found

    def judge(rows: Mapping[str, Predictions]) -> Measured:
        return measure(rows["val"], rows["test"], in_train, settings, own)

    listed = []
    for seed, ways in found.items():
        measured, by_views = judge(ways[""]), [average(ways["_views"][split].correct) for split in SCORED]
        one = {"seed": seed, "val_accuracy_views": by_views[0], "accuracy_views": by_views[1]}
        listed.append(one | {key: getattr(measured, key) for key in ("val_accuracy", "accuracy", "accuracy_unseen")})
    accuracies = [one["accuracy"] for one in listed]
    return {
        "seeds": listed,
        "mean": round(float(np.mean(accuracies)), 6),
        "lowest": min(accuracies),
        "highest": max(accuracies),
        "mean_views": round(float(np.mean([one["accuracy_views"] for one in listed])), 6),
        "vote": judge({split: vote([ways[""][split] for ways in found.values()]) for split in SCORED}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="one of those in params.yaml")
    parser.add_argument("seeds", nargs="+", type=int, metavar="seed", help="other than that in params.yaml")
    parser.add_argument("--out", required=True, type=Path, help="JSON to write")
    args = parser.parse_args()
    os.chdir(ROOT)
    params = read_params()
    own, networks, precision = params.seed, params.networks, params.compute.precision
    if args.network not in networks:
        raise InputError(f"params.yaml lists no network {args.network!r}; it has {', '.join(networks)}")
    if len({own, *args.seeds}) < 1 + len(args.seeds):
        raise InputError(f"the seeds {own} (params.yaml's), {', '.join(map(str, args.seeds))} are not all different")
    path = Path(networks[args.network])
    if subprocess.run(["dvc", "status", "--quiet", f"train_{args.network}"]).returncode:
        raise InputError(f"{path} is not up to date; run `dvc repro train_{args.network}` first")
    settings, paths = read_training(params, args.network), {own: path}
    for seed in args.seeds:
        folder = Path("build") / "seeds" / f"{args.network}-{seed}"
        paths[seed] = train(folder, args.network, DATA, params.model_copy(update={"seed": seed}), settings)
    (splits, facts), crops = read_faces(DATA), find_network(args.network).TEST_CROPS
    views = list_views(params.test_views[args.network])
    scored = {split: splits[split] for split in SCORED}
    found: dict[int, dict[str, dict[str, Predictions]]] = {}
    files: dict[Path, bytes] = {}
    for seed, path in paths.items():
        model = load_model(args.network, path, precision, facts)
        found[seed], tables = predict_ways(model, scored, facts, path, crops, views)
        if seed != own:  # the run keeps those of its own
            files |= {place_predictions(args.out, args.network, seed, key): pack(said) for key, said in tables.items()}
    reports = {seed: one.with_name("training.json") for seed, one in paths.items()}
    reports[own] = Path("metrics/train") / f"{args.network}.json"

    made: dict[int, dict[str, Any]] = {}
    for seed, path in paths.items():
        origin, trained = read_origin(path), Training.read(reports[seed], f"train_{args.network}")
        made[seed] = {key: origin.get(key) for key in ("hardware", "versions")}
        made[seed] |= {"best_epoch": trained.best_epoch, "epochs": trained.epochs_run}
    scores = score(found, splits["test"].duplicate_of_train, params.evaluate)
    listed = [OneSeed(**one, **made[one["seed"]]) for one in scores.pop("seeds")]
    run = {"network": args.network, "profile": params.profile, "split": params.prepare.split}
    seeds = Seeds(**run, seeds=listed, **scores)
    write_files(files | {args.out: seeds.to_bytes()})
    for one in seeds.seeds:
        print(f"seed {one.seed}: {one.accuracy:.2%} on test, {one.val_accuracy:.2%} on val")
    print(f"mean {seeds.mean:.2%}, {seeds.lowest:.2%} to {seeds.highest:.2%}; soft vote {seeds.vote.accuracy:.2%}")


if __name__ == "__main__":
    catch(main)
