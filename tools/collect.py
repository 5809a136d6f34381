"""Keep a finished run: copy its figures to results/<name>/, and set its tables into the pages that have a place for it.

    make results NAME=fer2013-cpu

results/<name>/ then has metrics/ (JSON, timing.json among them), plots/ (PNG), predictions/ (of val and test, as in
data/predictions/), report.html, timing.html, dvc.lock, and run.json: profile, data, split, seed, hardware and versions
of this machine, the wall time of each stage, and what made each network. Pictures of faces are left out, also of the
report: they stay with those who have the data. Networks that different hardware, versions or commits made are refused
without --mixed, with which the tables tell them apart. It keeps its seeds.json and their predictions if tools/seeds.py
wrote them for this run. A page has a place for the tables between two comments, the first of which names the run:
README.md or results/README.md, and docs/benchmark.md. The tables are made from results/<name>/ alone.
"""

import argparse
import base64
import csv
import os
import platform
import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from ruamel.yaml import YAML

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, to_json, write_files
from fer_pipeline.exported.record import Exports
from fer_pipeline.faces.faces import Facts, Split, read_faces
from fer_pipeline.figures.style import shows_faces
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.groups import Names, read_groups
from fer_pipeline.networks.network import find_crop, find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.predictions import SCORED
from fer_pipeline.raw.record import Data
from fer_pipeline.report.show import NONE, decimal, listing, percent
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.origin import list_versions
from fer_pipeline.running.stage import LOG, catch
from kept import DATA, ENDINGS, ROWS_FILE, find_settings, name_seed, pack, place_predictions, read_facts, read_seeds
from origin import Origin, find_differences, find_origin
from pages import set_table
from times import write_times
from timing import read_timing

ROWS = {
    "official": ("PrivateTest", "PublicTest"),
    "paper": ("both, 7,178 rows", "1,432 of them"),
    "made": ("its test faces", "its val faces"),
}
"""{split: (its test rows, its val rows)}."""
CLOSING = "<!-- end of results -->"
PAGES = dict.fromkeys(("README.md", "results/README.md"), "results.md.j2") | {"docs/benchmark.md": "benchmark.md.j2"}
"""{page: the template of its tables}."""
LEFT_OUT = """<p style="margin: 0; padding: 1rem; color: #1c2024">This picture shows faces of the data set, so it is not
kept here. The report of your own run has it.</p>"""
LIBRARIES = ("tensorflow", "keras", "torch", "torchvision", "scikit-learn", "numpy", "dvc")

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def tabulate_rows(splits: Mapping[str, Split], facts: Facts, groups: Names) -> bytes:
    """What a run's scores need to know of its val and test rows beside the predictions: a CSV with a line for each."""
    tables = []
    for split, faces in splits.items():
        columns: dict[str, Any] = {"split": split, "index": range(len(faces.labels))}
        columns |= {"actual": np.array(facts.classes)[faces.labels], "in_train": faces.duplicate_of_train}
        tables.append(pd.DataFrame(columns))
        if faces.votes is not None:
            tables[-1] = tables[-1].join(pd.DataFrame(faces.votes, columns=facts.vote_classes).add_prefix("votes: "))
    tables[-1] = tables[-1].join(pd.DataFrame(groups).add_prefix("group: "))  # the last rows are those of test
    return pd.concat(tables).to_csv(index=False, lineterminator="\n").encode()


def leave_faces_out(page: str) -> str:
    """The HTML of a report with a sentence in place of each picture that shows faces of the data."""

    def replace(image: re.Match[str]) -> str:
        return LEFT_OUT if shows_faces(base64.b64decode(image[1])) else image[0]

    return re.sub(r'<img src="data:image/png;base64,([^"]+)"[^>]*>', replace, page)


def read_seconds(log: Iterable[str], commands: Mapping[str, str]) -> dict[str, float | None]:
    """{stage: seconds after its imports when it last succeeded, None where unknown}.

    `log` has the lines of logs/stages.csv; `commands` is {stage: its command, as in dvc.lock}.
    """
    last = {tuple(shlex.split(line[3])): float(line[1]) for line in csv.reader(log) if line[2] == "0"}
    return {stage: last.get(tuple(shlex.split(command))) for stage, command in commands.items()}


def describe_run(
    stages: Mapping[str, Any], trainings: Mapping[str, float], origins: Mapping[str, Origin]
) -> dict[str, Any]:
    """The content of run.json, from {stage: its entry in dvc.lock} and {training's stage: seconds of all epochs}.

    The log understates the seconds of a training that was stopped and resumed.
    """
    params = read_params()
    log = LOG.read_text(encoding="utf-8").splitlines() if LOG.exists() else []
    seconds = read_seconds(log, {stage: entry["cmd"] for stage, entry in stages.items()})
    seconds |= {stage: max(trainings[stage], seconds[stage] or 0) for stage in trainings}
    return {
        "profile": params.profile,
        "dataset": Path(params.dataset).name,
        "split": Data.read("metrics/data.json", "prepare").split,
        "seed": params.seed,
        "hardware": {"cpu": name_cpu(), "cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": list_versions(LIBRARIES),
        "networks": {
            name: origin.model_dump() | {"predictions": f"predictions/{name}.csv.gz"}
            for name, origin in origins.items()
        },
        "minutes": round(sum(filter(None, seconds.values())) / 60, 1),
        "stages_seconds": seconds,
    }


def make_table(folder: Path, page: str) -> str:
    """The text between a page's two comments about the run in `folder` (results/<name>)."""
    (facts, stages), metrics = read_facts(folder), folder / "metrics"
    compare = Comparison.read(metrics / "compare.json", "compare")
    data = Data.read(metrics / "data.json", "prepare")
    networks = find_networks(compare.table7)
    timing = read_timing(metrics / "timing.json", networks)
    origins = {name: Origin.model_validate(one) for name, one in facts["networks"].items()}
    elsewhere: dict[str | None, list[str]] = {}  # {hardware: titles}
    for name, one in origins.items():
        if one.hardware != facts["hardware"]["cpu"]:
            elsewhere.setdefault(one.hardware, []).append(networks[name].TITLE)
    codes = {one.code for one in origins.values()}
    unlike = bool(find_differences(origins)) or len(codes) > 1
    text = TEMPLATES.get_template(PAGES[page]).render(
        folder=folder,
        link=folder.name if page.startswith("results/") else f"results/{folder.name}",
        facts=facts,
        compare=compare,
        networks=networks,
        inputs={name: find_crop(name, data.size) for name in networks},
        scores={name: Scores.read(metrics / f"{name}.json", "evaluate") for name in networks},
        data=data,
        exports=Exports.read(metrics / "export.json", "score_exports"),
        timing=timing,
        elsewhere=[f"{listing(titles)} on {kind or 'unknown hardware'}" for kind, titles in elsewhere.items()],
        origins=origins,
        unlike=unlike,
        scorable=all(one.predictions for one in origins.values()),
        seeds=read_seeds(folder, folder),
        settings={name: find_settings(stages, facts["profile"], name) for name in networks},
        rows=ROWS,
        NONE=NONE,
    )
    return text.strip("\n")


def wrap(text: str) -> str:
    """Sentences in lines of at most 120 characters."""
    return textwrap.fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


TEMPLATES.filters |= {one.__name__: one for one in (decimal, listing, percent, wrap)}


def keep_seeds(folder: Path, unfinished: Path) -> None:
    """Copy seeds.json, which took hours, and its predictions from `folder` to `unfinished` if both are of one run."""
    path = folder / "seeds.json"
    if seeds := read_seeds(folder, unfinished):
        said = [
            place_predictions(folder, name_seed(seeds.network, one.seed), ending)
            for one in seeds.seeds
            for ending in ENDINGS
        ]
        for file in (path, *filter(Path.exists, said)):
            (unfinished / file.relative_to(folder)).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, unfinished / file.relative_to(folder))
    elif path.exists():
        print(f"{path}: left out, as it belongs to another run; write it again with tools/seeds.py")


def set_tables(folder: Path, make: Callable[[Path, str], str] = make_table) -> dict[str, str]:
    """{page: its text with what `make` says of the run in `folder`} of the pages that have a place for it."""
    opening, pages = f"<!-- results {folder.name} -->", {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        if opening in text.split("\n"):
            pages[page] = set_table(text, opening, CLOSING, make(folder, page), page)
    if not {"README.md", "results/README.md"} & pages.keys():
        raise InputError(
            f"README.md: no place for the run; add two lines there or in results/README.md, {opening} and {CLOSING}"
        )
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the run, as in results/<name>")
    parser.add_argument("--mixed", action="store_true", help="keep networks that were not trained alike, and say so")
    args = parser.parse_args()
    name = args.name
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"'{name}' cannot name a run; use letters, digits, - and _")
    os.chdir(ROOT)
    if subprocess.run(["dvc", "status", "--quiet"]).returncode:
        raise InputError("the pipeline is not up to date; run `dvc repro` first (`dvc status` says what is missing)")
    models = read_params().networks
    timing = read_timing("metrics/timing.json", models, models)
    origins = {network: find_origin(model, timing.training[network]) for network, model in models.items()}
    if (differences := find_differences(origins)) and not args.mixed:
        raise InputError(
            f"the networks were not trained alike: {'; '.join(differences)}; train them on one machine and commit, or "
            f"keep each as it is by `make results NAME={name} MIXED=1`"
        )
    folder = Path("results") / name
    set_tables(folder, lambda *_: "")  # a missing place fails here, before anything is copied
    unfinished = folder.with_name(f".{name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_times()
    known = subprocess.check_output(["dvc", "stage", "list", "--name-only"], text=True).split()
    yaml = YAML()
    lock = yaml.load(Path("dvc.lock"))  # also of stages that are no longer in dvc.yaml
    lock["stages"] = stages = {stage: lock["stages"][stage] for stage in known if stage in lock["stages"]}
    outs = {Path(out["path"]) for entry in stages.values() for out in entry.get("outs", ())}
    outs.add(Path("metrics/timing.json"))  # no stage's out; missing if nothing ran on this machine
    pictures = [path for path in Path("plots").rglob("*.png") if not shows_faces(path.read_bytes())]
    files = [*Path("metrics").rglob("*.json"), *pictures]
    made = [path for path in files if outs & {path, *path.parents} and path.name != "sample.png"]
    for path in made:
        (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, unfinished / path)
    yaml.dump(lock, unfinished / "dvc.lock")
    packed = {
        place_predictions(unfinished, network, ending): pack(Path("data/predictions", network + ending).read_bytes())
        for network in models
        for ending in ENDINGS
    }
    packed[unfinished / ROWS_FILE] = pack(tabulate_rows(*read_faces(DATA, SCORED), read_groups(DATA)))
    report = leave_faces_out(Path("plots/report.html").read_text(encoding="utf-8"))
    write_files(packed | {unfinished / "report.html": report.encode()})
    shutil.copyfile("plots/timing.html", unfinished / "timing.html")
    trainings = {f"train_{network}": times.seconds for network, times in timing.training.items() if times}
    (unfinished / "run.json").write_bytes(to_json(describe_run(stages, trainings, origins)))
    keep_seeds(folder, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    pages = set_tables(folder)
    write_files({page: text.encode() for page, text in pages.items()})
    print(f"-> {folder}, {', '.join(pages)}")
    if any(one.clean is False for one in origins.values()):
        print("networks were trained in a changed tree: their commit is not all of their code")


if __name__ == "__main__":
    catch(main)
