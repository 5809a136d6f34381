"""Train a network of a kept run with further seeds, and say how far its accuracy depends on the seed.

    python tools/seeds.py fer2013-best compact 2014 2015

`stages/train.py` trains them in build/seeds/<network>-<seed>/, on the run's faces.h5 and with its parameters except the
seed, as its dvc.lock says, on any hardware. A training that was stopped continues after its last epoch.
Each network and the soft vote of all are scored on test, by the network's own test crops; nothing is chosen among them.
results/<run>/ then has seeds.json and the predictions of the seeds, predictions/<network>-<seed>.csv.gz and its like.
Later calls add seeds to those that are there. The accuracies stand below the run's tables.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
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
from fer_pipeline.running.stage import catch
from fer_pipeline.training.common.profile import BASE
from fer_pipeline.training.common.run import Training
from kept import DATA, OneSeed, Run, Seeds, find_settings, pack, place_predictions, read_run, read_seeds, score_seeds
from predict import predict_ways


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


def describe(origin: dict[str, Any], trained: Training) -> dict[str, Any]:
    """What seeds.json says of a training beside its accuracies."""
    made = {key: origin.get(key) for key in ("hardware", "versions")}
    return made | {"best_epoch": trained.best_epoch, "epochs": trained.epochs_run}


def read_settings(run: Run, network: str, profile: str) -> tuple[Params, Section]:
    """The parameters that a kept run had where they matter to a network, and the settings of its training.

    InputError if the run has no such network, if they do not fit the code as it is now, or if `DATA` is not the run's.
    """
    if network not in run.params["networks"]:
        raise InputError(f"{run.folder} has no network {network!r}; it has {', '.join(run.params['networks'])}")
    lock, trained = run.folder / "dvc.lock", run.stages[f"train_{network}"]
    (md5,) = (one["md5"] for one in trained["deps"] if one["path"] == DATA.as_posix())
    if not DATA.is_file() or hashlib.md5(DATA.read_bytes()).hexdigest() != md5:
        raise InputError(
            f"{DATA} is not the run's (MD5 {md5}); run `dvc repro prepare` with the run's data and parameters"
        )
    views = run.stages[f"predict@{network}"]["params"]["params.yaml"][f"test_views.{network}"]
    changes = {**run.params, **trained["params"]["params.yaml"], "test_views": {network: views}}
    changes["networks"] = {network: run.params["networks"][network]}
    now = read_params().model_dump()
    params = validate(
        now | {key: changes[key] for key in now.keys() & changes}, Params, lambda key: f"{lock}: {'.'.join(key)}"
    )
    schema = next(section for ending, section in TRAININGS.items() if params.networks[network].endswith(ending))
    settings = find_settings(run.stages, profile, network)
    return params, validate(settings, schema, lambda key: f"{lock}: {'.'.join([network, *key])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a folder of results/")
    parser.add_argument("network", help="one of its networks")
    parser.add_argument("seeds", nargs="+", type=int, metavar="seed", help="other than the run's")
    args = parser.parse_args()
    os.chdir(ROOT)
    network, folder = args.network, Path("results") / args.run
    run, facts = read_run(folder), json.loads((folder / "run.json").read_text(encoding="utf-8"))
    params, settings = read_settings(run, network, facts["profile"])
    if params.seed in args.seeds:
        raise InputError(f"{params.seed} is the run's own seed; name others")
    kept = read_seeds(folder, folder)
    if kept and kept.network != network:
        raise InputError(f"{folder / 'seeds.json'} has those of {kept.network}; a run keeps those of one network")
    listed = {one.seed: one.model_dump() for one in kept.seeds} if kept else {}
    stage, reports = f"train_{network}", folder / "metrics" / "train"
    listed[params.seed] = describe(facts["networks"][network], Training.read(reports / f"{network}.json", stage))
    (splits, data), views = read_faces(DATA, SCORED), list_views(params.test_views[network])
    for seed in dict.fromkeys(args.seeds):
        if seed in listed:
            continue
        place = Path("build") / "seeds" / f"{network}-{seed}"
        path = train(place, network, DATA, params.model_copy(update={"seed": seed}), settings)
        listed[seed] = describe(read_origin(path), Training.read(path.with_name("training.json"), stage))
        model = load_model(network, path, params.compute.precision, data)
        _, tables = predict_ways(model, splits, data, path, find_network(network).TEST_CROPS, views)
        write_files({place_predictions(folder, network, seed, end): pack(said) for end, said in tables.items()})
    others = sorted(listed.keys() - {params.seed})
    names = {params.seed: network} | {seed: f"{network}-{seed}" for seed in others}
    said = run.read(names.values())
    scores = score_seeds({seed: said[name] for seed, name in names.items()}, run.in_train, run.settings)
    rows = [OneSeed(**listed[one["seed"]] | one) for one in scores.pop("seeds")]
    seeds = Seeds(network=network, profile=facts["profile"], split=facts["split"], seeds=rows, **scores)
    write_files({folder / "seeds.json": seeds.to_bytes()})
    write_files({page: text.encode() for page, text in set_tables(folder).items()})
    for one in seeds.seeds:
        print(f"seed {one.seed}: {one.accuracy:.2%} on test, {one.val_accuracy:.2%} on val")
    print(f"mean {seeds.mean:.2%}, {seeds.lowest:.2%} to {seeds.highest:.2%}; soft vote {seeds.vote.accuracy:.2%}")


if __name__ == "__main__":
    catch(main)
