"""Train a network with further seeds, and say how far its accuracy depends on the seed.

    python tools/seeds.py compact 2014 2015 --out results/fer2013-best/seeds.json

The first network is the pipeline's own, with the seed in params.yaml. `stages/train.py` trains the others in
build/seeds/<network>-<seed>/, on the same faces.h5 and with the same parameters except the seed. A training that was
stopped continues after its last epoch; a finished one is repeated only if parameters or data have changed. Each network
and their soft vote are scored on test, by the network's own test crops; nothing is chosen among them.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.metrics.comparison import vote
from fer_pipeline.metrics.scores import Measured, measure
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Params, Section
from fer_pipeline.predictions.predictions import SCORED, Predictions
from fer_pipeline.running.stage import catch
from fer_pipeline.training.common.profile import BASE, read_training
from predict import predict_splits

DATA = Path("data/prepared/faces.h5")


class OneSeed(Record):
    seed: Count
    val_accuracy: Share
    accuracy: Share  # on test
    accuracy_unseen: Share | None  # on the test images that are not in train


class Seeds(Record):
    """seeds.json."""

    network: str
    profile: str
    split: str
    seeds: list[OneSeed]
    mean: Share  # mean of the networks' accuracies on test
    lowest: Share
    highest: Share
    vote: Measured  # the soft vote of the networks, with equal weights


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
    scored = {split: splits[split] for split in SCORED}
    found = {
        seed: predict_splits(load_model(args.network, one, precision, facts), scored, facts.classes, crops, one)[0][0]
        for seed, one in paths.items()
    }

    def judge(rows: dict[str, Predictions]) -> Measured:
        return measure(rows["val"], rows["test"], splits["test"].duplicate_of_train, params.evaluate, own)

    listed = [
        OneSeed(seed=seed, val_accuracy=one.val_accuracy, accuracy=one.accuracy, accuracy_unseen=one.accuracy_unseen)
        for seed, one in zip(found, map(judge, found.values()), strict=True)
    ]
    accuracies = [one.accuracy for one in listed]
    seeds = Seeds(
        network=args.network,
        profile=params.profile,
        split=params.prepare.split,
        seeds=listed,
        mean=round(float(np.mean(accuracies)), 6),
        lowest=min(accuracies),
        highest=max(accuracies),
        vote=judge({split: vote([rows[split] for rows in found.values()]) for split in SCORED}),
    )
    write_files({args.out: seeds.to_bytes()})
    for one in seeds.seeds:
        print(f"seed {one.seed}: {one.accuracy:.2%} on test, {one.val_accuracy:.2%} on val")
    print(f"mean {seeds.mean:.2%}, {seeds.lowest:.2%} to {seeds.highest:.2%}; soft vote {seeds.vote.accuracy:.2%}")


if __name__ == "__main__":
    catch(main)
