"""Score a kept run again from its predictions alone, and compare the scores with those in its JSON files.

    make rescore NAME=mine

Neither networks nor faces are needed: results/<name>/predictions/ has the answers about each val and test row, its
label, its annotators' votes and whether train has the same image. It computes every accuracy, interval, test,
calibration, vote and ensemble anew, also those of seeds.json, but nothing that needs train faces, damaged faces or
exports, and no network's cost. Exit code 1 if a value differs.
"""

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

import checkout
from compare import judge as judge_together
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.metrics.evaluation import Scores, judge
from fer_pipeline.metrics.scores import summarise
from fer_pipeline.predictions.record import NetworkFacts
from fer_pipeline.running.stage import catch
from kept import Run, name_seed, read_run, read_seeds, score_seeds

OF_TRAIN = {"train_accuracy", "overfitting_gap"}


def score_again(run: Run) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(file, what it has, what it should have) for the JSON files of a kept run."""
    folder, seed, settings, kept = run.folder, run.params["seed"], run.settings, run.compare
    names, seeds = [*kept.table7], read_seeds(folder, folder)
    if not seeds and (folder / "seeds.json").exists():
        raise InputError(f"{folder}/seeds.json: the first accuracy is not that of the run; `git checkout` it")
    others = [name_seed(seeds.network, one.seed) for one in seeds.seeds[1:]] if seeds else []
    rows, votes = run.read([*names, *others]), run.read_votes(names)
    for name in names:
        path = f"metrics/{name}.json"
        own = Scores.read(folder / path, "evaluate")
        facts = NetworkFacts(cost=own.cost, device=own.device, precision=own.precision)
        again = judge(rows[name], rows[name][""]["val"], votes[name], run.splits, run.groups, facts, settings, seed)
        yield path, own.model_dump(exclude=OF_TRAIN, exclude_unset=True), again.model_dump(exclude=OF_TRAIN)
        path = f"metrics/summary/{name}.json"
        yield path, json.loads((folder / path).read_text()), summarise(again).model_dump()
    if seeds:
        of_seeds = {one.seed: rows[name] for one, name in zip(seeds.seeds, (seeds.network, *others), strict=True)}
        scores, whole = score_seeds(of_seeds, run.in_train, settings), seeds.model_dump(exclude_unset=True)
        listed = [one | scored for one, scored in zip(whole["seeds"], scores["seeds"], strict=True)]
        yield "seeds.json", whole, whole | scores | {"seeds": listed, "vote": scores["vote"].model_dump()}
    of_views = {name: rows[name]["_views"] for name in names}
    of_crops = {name: rows[name][""] for name in names}
    together, _ = judge_together(of_crops, of_views, run.splits["test"], run.voted, settings, seed)
    found = kept.model_copy(update=together).model_dump(mode="json")
    yield "metrics/compare.json", kept.model_dump(mode="json", exclude_unset=True), found
    path = "metrics/summary/ensemble.json"
    yield path, json.loads((folder / path).read_text()), summarise(together["ensemble"]).model_dump()


def list_differences(kept: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where two contents of a JSON file differ, and by what; an older file may lack keys."""
    if isinstance(kept, dict) and isinstance(found, dict) and kept.keys() <= found.keys():
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
    for file, kept, found in score_again(read_run(folder)):
        differences = [*list_differences(kept, found)]
        print(f"{file}: {f'{len(differences)} values differ' if differences else 'as the predictions say'}")
        problems += [f"{file}: {one}" for one in differences]
    if problems:
        shown = "\n  ".join(problems[:10])
        raise InputError(f"{len(problems)} values are not what the predictions say:\n  {shown}")


if __name__ == "__main__":
    catch(main)
