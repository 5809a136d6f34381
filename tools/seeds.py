"""Train a network of a kept run with further seeds, and say how far its accuracy depends on the seed.

    python tools/seeds.py fer2013-photos compact 2014 2015

`stages/train.py` trains them in build/seeds/<network>-<seed>/, on any hardware, with the run's faces.h5 and the
parameters in its dvc.lock except the seed. A training that was stopped continues after its last epoch. Each network and
the soft vote of all are scored on test, by the network's own test crops; nothing is chosen among them. After each seed
results/<run>/ has its predictions, predictions/<network>-<seed>.csv.gz and its like, and seeds.json, to which later
calls add. Mean, range and soft vote stand below the run's first table.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import checkout
from collect import set_tables
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, write_files
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.networks.load import load_model
from fer_pipeline.networks.network import find_network, list_views, read_origin
from fer_pipeline.params.read import read_params, validate
from fer_pipeline.params.schema import TRAININGS, Params, Section
from fer_pipeline.predictions.predictions import SCORED
from fer_pipeline.running.origin import describe_start
from fer_pipeline.running.stage import catch
from fer_pipeline.training.common.profile import BASE
from fer_pipeline.training.common.run import Training
from kept import (
    DATA,
    OneSeed,
    Run,
    Seeds,
    find_settings,
    name_seed,
    pack,
    place_predictions,
    read_run,
    read_seeds,
    score_seeds,
)
from predict import predict_ways

ROOMS = ("core", "faces", "networks", "training")
"""Whose code a training runs."""


def train(folder: Path, network: str, data: Path, params: Params, settings: Section) -> Path:
    """Train `network` on `data` in `folder`, with `settings` instead of its profile's, unless this code did so already.

    Returns the trained network's file; the folder also has training.json, history.csv and timing.json. A training that
    was stopped goes on; InputError if it fails.
    """
    model, origin = folder / Path(params.networks[network]).name, folder / "origin"
    start = Path(getattr(settings, "weights", ""))
    facts = [params.seed, params.compute.model_dump(), settings.model_dump()]
    code = [path for room in ROOMS for path in sorted(Path("stages/fer_pipeline", room).rglob("*.py"))]
    contents = [one.read_bytes() for one in (data, start, *code) if one.is_file()]
    made_from = hashlib.sha256(b"".join([json.dumps(facts).encode(), *contents])).hexdigest()
    if model.exists() and origin.exists() and origin.read_text() == made_from:
        return model
    shutil.copytree("stages", folder / "stages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "profiles").mkdir(exist_ok=True)
    if start.is_file():
        settings = settings.model_copy(update={"weights": str(start.absolute())})
    whole = params.model_copy(update={"profile": BASE}).model_dump()
    for name, content in {"params": whole, f"profiles/{BASE}": {network: settings.model_dump()}}.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    command = f"stages/train.py --report training.json --history history.csv --timing timing.json --model {model.name}"
    which = ["--name", network, "--data", str(data.absolute())]
    if subprocess.run([sys.executable, *command.split(), *which], cwd=folder).returncode:
        raise InputError(f"{folder}: the training of {network} failed; the lines above say why")
    origin.write_text(made_from)
    return model


def describe(origin: Mapping[str, Any], trained: Training) -> dict[str, Any]:
    """What seeds.json says of a training beside its accuracies."""
    made = {key: origin.get(key) for key in ("hardware", "versions", "commit", "clean")}
    return made | {"best_epoch": trained.best_epoch, "epochs": trained.epochs_run}


def read_settings(run: Run, network: str) -> tuple[Params, Section]:
    """The parameters that a kept run had for a network, and the settings of its training.

    InputError if the run has no such network, if they do not fit the code as it is now, or if `DATA` is not the run's.
    """
    networks, lock = run.params["networks"], run.folder / "dvc.lock"
    if network not in networks:
        raise InputError(f"{run.folder} has no network {network!r}; it has {', '.join(networks)}")
    trained = run.stages[f"train_{network}"]
    (md5,) = (one["md5"] for one in trained["deps"] if one["path"] == DATA.as_posix())
    if not DATA.is_file() or hashlib.md5(DATA.read_bytes()).hexdigest() != md5:
        raise InputError(
            f"{DATA} is missing, or not the run's (MD5 {md5}); run `dvc repro prepare` with its data and parameters"
        )
    views = run.stages[f"predict@{network}"]["params"]["params.yaml"][f"test_views.{network}"]
    own = {"networks": {network: networks[network]}, "test_views": {network: views}}
    own |= trained["params"]["params.yaml"]
    params = validate(read_params().model_dump() | own, Params, lambda key: f"{lock}: {'.'.join(key)}")
    schema = next(section for ending, section in TRAININGS.items() if networks[network].endswith(ending))
    settings = find_settings(run.stages, run.facts["profile"], network)
    return params, validate(settings, schema, lambda key: f"{lock}: {'.'.join([network, *key])}")


def list_seeds(run: Run, network: str) -> dict[int, dict[str, Any]]:
    """{seed: what seeds.json says of it}, the run's own first. InputError if the file is about another network."""
    kept, stage = read_seeds(run.folder, run.folder), f"train_{network}"
    if kept and kept.network != network:
        raise InputError(f"{run.folder / 'seeds.json'} has those of {kept.network}; a run keeps those of one network")
    trained = Training.read(run.folder / "metrics" / "train" / f"{network}.json", stage)
    others = {one.seed: one.model_dump() for one in kept.seeds[1:]} if kept else {}
    return {run.facts["seed"]: describe(run.facts["networks"][network], trained)} | others


def write_seeds(run: Run, network: str, listed: Mapping[int, dict[str, Any]]) -> Seeds:
    """Score all seeds by their predictions; write seeds.json, and the tables of the run."""
    own, *others = listed
    names = {own: network} | {seed: name_seed(network, seed) for seed in sorted(others)}
    said = run.read(names.values())
    scores = score_seeds({seed: said[name] for seed, name in names.items()}, run.in_train, run.settings)
    rows = [OneSeed(**listed[one["seed"]] | one) for one in scores.pop("seeds")]
    facts = {key: run.facts[key] for key in ("profile", "split")}
    seeds = Seeds(network=network, seeds=rows, **facts, **scores)
    write_files({run.folder / "seeds.json": seeds.to_bytes()})
    write_files({page: text.encode() for page, text in set_tables(run.folder).items()})
    return seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a folder of results/")
    parser.add_argument("network", help="one of its networks")
    parser.add_argument("seeds", nargs="+", type=int, metavar="seed", help="other than the run's")
    args = parser.parse_args()
    os.chdir(ROOT)
    network, run = args.network, read_run(Path("results") / args.run)
    params, settings = read_settings(run, network)
    if params.seed in args.seeds:
        raise InputError(f"{params.seed} is the run's own seed; name others")
    set_tables(run.folder, lambda *_: "")  # a missing place fails here, before anything is trained
    (splits, facts), views = read_faces(DATA, SCORED), list_views(params.test_views[network])
    code = describe_start()  # before this writes into the checkout
    seeds = None
    for seed in dict.fromkeys(args.seeds):
        if seed in list_seeds(run, network):
            continue
        name, changed = name_seed(network, seed), params.model_copy(update={"seed": seed})
        path = train(Path("build/seeds") / name, network, DATA, changed, settings)
        report = Training.read(path.with_name("training.json"), f"train_{network}")
        model = load_model(network, path, params.compute.precision, facts)
        _, tables = predict_ways(model, splits, facts, path, find_network(network).TEST_CROPS, views)
        write_files({place_predictions(run.folder, name, end): pack(said) for end, said in tables.items()})
        made = describe(read_origin(path) | code, report)
        seeds = write_seeds(run, network, list_seeds(run, network) | {seed: made})
    seeds = seeds or write_seeds(run, network, list_seeds(run, network))
    for one in seeds.seeds:
        print(f"seed {one.seed}: {one.accuracy:.2%} on test, {one.val_accuracy:.2%} on val")
    print(f"mean {seeds.mean:.2%}, {seeds.lowest:.2%} to {seeds.highest:.2%}; soft vote {seeds.vote.accuracy:.2%}")


if __name__ == "__main__":
    catch(main)
