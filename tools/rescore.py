"""Score a kept run again from its predictions alone, and compare the scores with those in its JSON files.

    make rescore NAME=mine

Neither networks nor faces are needed: results/<name>/predictions/ has the answers about each val and test row, its
label, its annotators' votes and whether train has the same image. Every accuracy, interval, test, calibration, vote and
ensemble is computed anew, also those of seeds.json; not so what rests on train faces, and the cost of a network. Exit
code 1 if a value differs.
"""

import argparse
import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

import checkout
from collect import ROWS_FILE, read_seeds
from compare import judge as judge_together
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.votes import NO_CLASS
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores, judge
from fer_pipeline.metrics.groups import Names
from fer_pipeline.metrics.scores import summarise
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import SCORED, WAYS, read_predictions, read_votes
from fer_pipeline.predictions.record import NetworkFacts
from fer_pipeline.running.stage import catch
from seeds import score as score_seeds

OF_TRAIN = {"train_accuracy", "overfitting_gap"}


def read_rows(content: bytes, classes: tuple[str, ...]) -> tuple[dict[str, Split], tuple[str, ...], Names]:
    """The val and test rows of a run without faces, the names of the columns of votes, and the groups of test rows."""
    table = pd.read_csv(BytesIO(gzip.decompress(content)), dtype=str, keep_default_na=False)
    voted, kinds = ([name for name in table if name.startswith(prefix)] for prefix in ("votes: ", "group: "))
    splits = {}
    for split in SCORED:
        rows = table[table["split"] == split]
        labels = np.array([classes.index(name) for name in rows["actual"]], np.uint8)
        votes = rows[voted].to_numpy(np.uint8) if voted else None
        in_train = (rows["in_train"] == "True").to_numpy()
        splits[split] = Split(np.empty((len(rows), 0, 0), np.uint8), labels, in_train, votes)
    groups = {kind.removeprefix("group: "): rows[kind].to_numpy(str) for kind in kinds}  # of the last split, test
    return splits, tuple(name.removeprefix("votes: ") for name in voted), groups


def score_again(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(file, what it has, what it should have) for the JSON files of a kept run."""
    if not (folder / ROWS_FILE).is_file():
        raise InputError(f"{folder}: keeps no predictions; keep the run again with `make results NAME={folder.name}`")
    stages = YAML(typ="safe").load(folder / "dvc.lock")["stages"]
    params = stages["compare"]["params"]["params.yaml"]
    seed, settings = params["seed"], Evaluate.model_validate(params["evaluate"])
    kept = Comparison.read(folder / "metrics" / "compare.json", "compare")
    names, classes = [*kept.table7], (*kept.ensemble.per_class,)
    splits, voted, groups = read_rows((folder / ROWS_FILE).read_bytes(), classes)
    with tempfile.TemporaryDirectory() as unpacked:
        for file in folder.glob("predictions/*.csv.gz"):
            (Path(unpacked) / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        seeds = read_seeds(folder, folder)
        others = [f"{seeds.network}-{one.seed}" for one in seeds.seeds[1:]] if seeds else []
        rows = {
            name: {way: read_predictions(f"{unpacked}/{name}{way}.csv", splits, classes) for way in WAYS}
            for name in (*names, *others)
        }
        votes = {
            name: {
                way: read_votes(f"{unpacked}/{name}{way}_votes.csv", splits, voted[: -len(NO_CLASS)]) for way in WAYS
            }
            for name in names
        }
    for name in names:
        path = f"metrics/{name}.json"
        own = Scores.read(folder / path, "evaluate")
        facts = NetworkFacts(cost=own.cost, device=own.device, precision=own.precision)
        again = judge(rows[name], rows[name][""]["val"], votes[name], splits, groups, facts, settings, seed)
        yield path, own.model_dump(exclude=OF_TRAIN), again.model_dump(exclude=OF_TRAIN)
    if seeds:
        of_seeds = {one.seed: rows[name] for one, name in zip(seeds.seeds, (seeds.network, *others), strict=True)}
        scores = score_seeds(of_seeds, splits["test"].duplicate_of_train, settings)
        whole = seeds.model_dump()
        listed = [one | scored for one, scored in zip(whole["seeds"], scores["seeds"], strict=True)]
        yield "seeds.json", whole, whole | scores | {"seeds": listed, "vote": scores["vote"].model_dump()}
    of_views = {name: rows[name]["_views"] for name in names}
    together, _ = judge_together(
        {name: rows[name][""] for name in names}, of_views, splits["test"], voted, settings, seed
    )
    found = kept.model_copy(update=together).model_dump(mode="json")
    yield "metrics/compare.json", kept.model_dump(mode="json"), found
    path = "metrics/summary/ensemble.json"
    yield path, json.loads((folder / path).read_text()), summarise(together["ensemble"]).model_dump()


def list_differences(kept: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where two contents of a JSON file differ, and by what."""
    if isinstance(kept, dict) and isinstance(found, dict) and kept.keys() == found.keys():
        for key, one in kept.items():
            yield from list_differences(one, found[key], f"{place}.{key}" if place else key)
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for number, one in enumerate(kept):
            yield from list_differences(one, found[number], f"{place}[{number}]")
    elif kept != found and not (isinstance(kept, float) and isinstance(found, float) and abs(kept - found) < 2e-6):
        yield f"{place} is {kept}, by the predictions {found}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of a kept run, as in results/<name>")
    folder = ROOT / "results" / parser.parse_args().name
    os.chdir(ROOT)
    problems = []
    for file, kept, found in score_again(folder):
        differences = [*list_differences(kept, found)]
        print(f"{file}: {f'{len(differences)} values differ' if differences else 'as the predictions say'}")
        problems += [f"{file}: {one}" for one in differences]
    if problems:
        shown = "\n  ".join(problems[:10])
        raise InputError(f"{len(problems)} values are not what the predictions say:\n  {shown}")


if __name__ == "__main__":
    catch(main)
