"""Keep a finished run: copy its figures to results/<name>/, and set its tables into the pages that have a place for it.

    make results NAME=fer2013-cpu

results/<name>/ then has metrics/ (JSON, timing.json among them), plots/ (PNG), report.html, timing.html, dvc.lock, and
run.json: profile, data, split, seed, versions, hardware, and the wall time of each stage. It keeps its seeds.json if
tools/seeds.py wrote that for this run. A page has a place for the tables between two comments, the first of which names
the run: README.md or results/README.md, and docs/benchmark.md. The tables are made from results/<name>/ alone.
"""

import argparse
import csv
import json
import os
import platform
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

import checkout  # noqa: F401
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import to_json, write_files
from fer_pipeline.exported.record import Exports
from fer_pipeline.metrics.comparison import Comparison, Ensemble
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import Measured
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.raw.record import Data
from fer_pipeline.report.show import NONE, listing
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.stage import LOG, catch
from fer_pipeline.training.common.profile import BASE, lay_over
from seeds import Seeds
from times import write_times
from timing import Timing, read_timing

ROOT = Path(__file__).parents[1]

ROWS = {"official": ("PrivateTest", "PublicTest"), "paper": ("both, 7,178 rows", "1,432 of them")}
"""{split: (its test rows, its val rows)}."""
CLOSING = "<!-- end of results -->"
WIDTH = 120
"""Limit of a line of prose, in characters."""
LIBRARIES = ("tensorflow", "keras", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "dvc")


def read_seconds(log: Iterable[str], commands: Mapping[str, str]) -> dict[str, float | None]:
    """How long each stage took when it last succeeded: {stage: seconds after its imports, None where unknown}.

    Args:
        log: lines of logs/stages.csv.
        commands: {stage: its command, as in dvc.lock}.
    """
    last = {tuple(shlex.split(line[3])): float(line[1]) for line in csv.reader(log) if line[2] == "0"}
    return {stage: last.get(tuple(shlex.split(command))) for stage, command in commands.items()}


def list_stages(lock: dict[str, Any]) -> dict[str, Any]:
    """{stage: its entry in `lock`, the content of dvc.lock}, without stages that are no longer in dvc.yaml."""
    known = subprocess.run(["dvc", "stage", "list", "--name-only"], stdout=subprocess.PIPE, text=True, check=True)
    return {stage: lock["stages"][stage] for stage in known.stdout.split() if stage in lock["stages"]}


def describe_run(stages: Mapping[str, Any], trainings: Mapping[str, float]) -> dict[str, Any]:
    """The content of run.json.

    Args:
        stages: the result of `list_stages`.
        trainings: {stage: seconds of all its epochs}, which the log understates if a training was stopped and resumed.
    """
    params = read_params()
    log = LOG.read_text(encoding="utf-8").splitlines() if LOG.exists() else []
    seconds = read_seconds(log, {stage: entry["cmd"] for stage, entry in stages.items()})
    seconds |= {stage: max(trainings[stage], seconds[stage] or 0) for stage in trainings}
    return {
        "profile": params.profile,
        "dataset": Path(params.dataset).name,
        "split": params.prepare.split,
        "seed": params.seed,
        "hardware": {"cpu": name_cpu(), "cores": os.cpu_count(), "system": platform.platform(terse=True)},
        "versions": {"python": platform.python_version(), **{library: version(library) for library in LIBRARIES}},
        "minutes": round(sum(filter(None, seconds.values())) / 60, 1),
        "stages_seconds": seconds,
    }


def make_table(folder: Path, page: str) -> str:
    """Two tables and the sentences about the run in `folder` (results/<name>), for README.md or results/README.md."""
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    metrics = folder / "metrics"
    compare = Comparison.read(metrics / "compare.json", "compare")
    titles = {name: network.TITLE for name, network in find_networks(compare.table7).items()}
    timing = read_timing(metrics / "timing.json", titles)
    lines = [
        "| network | test | 95 % interval | val | the paper | minutes of training |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in titles.items():
        scores = Scores.read(metrics / f"{name}.json", "evaluate")
        printed, training = compare.table7[name].paper, timing.training[name]
        low, high = scores.accuracy_ci95
        lines.append(
            f"| {title} | {scores.accuracy:.2%} | {low:.2%} to {high:.2%} | {scores.val_accuracy:.2%} "
            f"| {f'{printed.accuracy:.2%}' if printed else NONE} "
            f"| {f'{training.seconds / 60:.0f}' if training else NONE} |"
        )
    votes: dict[str, Measured | Ensemble] = {
        "Soft vote of all": compare.ensemble,
        "Soft vote, weights by val loss": compare.weighted_ensemble,
    }
    for title, vote in votes.items():
        low, high = vote.accuracy_ci95
        lines.append(f"| {title} | {vote.accuracy:.2%} | {low:.2%} to {high:.2%} | {vote.val_accuracy:.2%} | | |")
    rows = Data.read(metrics / "data.json", "prepare").rows
    link = f"{'' if page.startswith('results/') else 'results/'}{folder.name}"
    sentences = (
        f"Profile `{facts['profile']}`, split `{facts['split']}`, {rows['test']['total']:,} test images, seed "
        f"{facts['seed']}. The pipeline ran on {facts['hardware']['cores']} cores of {facts['hardware']['cpu']}"
        f"{tell_other_hardware(facts['hardware']['cpu'], titles, timing)}; all its stages took "
        f"{facts['minutes']:.0f} minutes. [{folder.name}]({link}/) has all results.{tell_seeds(folder, titles)}"
    )
    lines += [
        "",
        *textwrap.wrap(sentences, WIDTH, break_long_words=False, break_on_hyphens=False),
        "",
        "The same networks exported, one crop per face, two threads:",
        "",
        "| network | test, float32 | test, int8 | MB, float32 | MB, int8 | ms per face, float32 | ms per face, int8 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in Exports.read(metrics / "export.json", "score_exports").networks.items():
        both, times = (found.float32, found.int8), timing.exports and timing.exports.networks.get(name)
        cells = [f"{one.accuracy:.2%}" for one in both] + [f"{one.bytes / 1e6:.1f}" for one in both]
        if times:
            cells += [f"{one.latency_ms.threads_2.median:.1f}" for one in (times.float32, times.int8)]
        else:
            cells += [NONE, NONE]
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tell_seeds(folder: Path, titles: Mapping[str, str]) -> str:
    """A space and a sentence on the accuracies under further seeds; empty if the run in `folder` has none."""
    seeds = read_seeds(folder)
    if not seeds:
        return ""
    numbers, (low, high) = listing([str(one.seed) for one in seeds.seeds]), seeds.vote.accuracy_ci95
    return (
        f" Over the seeds {numbers}, {titles[seeds.network]} averages {seeds.mean:.2%} (from {seeds.lowest:.2%} to "
        f"{seeds.highest:.2%}); the soft vote of these networks has {seeds.vote.accuracy:.2%} (95 % interval "
        f"{low:.2%} to {high:.2%})."
    )


def read_seeds(folder: Path) -> Seeds | None:
    """seeds.json in `folder`, a kept or a finished run; None if there is none or if it belongs to another run.

    Raises:
        InputError: seeds.json is not as tools/seeds.py writes it.
    """
    path = folder / "seeds.json"
    if not path.exists():
        return None
    try:
        seeds = Seeds.model_validate_json(path.read_bytes())
    except ValidationError:
        raise InputError(f"{path}: not as tools/seeds.py writes it; run that again, or remove the file") from None
    scores = folder / "metrics" / f"{seeds.network}.json"
    own = Scores.read(scores, "evaluate").accuracy if scores.exists() else None
    return seeds if seeds.seeds[0].accuracy == own else None


def keep_seeds(folder: Path, unfinished: Path) -> None:
    """Copy seeds.json, which took hours of training, from `folder` to `unfinished` if both hold the same run."""
    path = folder / "seeds.json"
    if path.exists():
        shutil.copyfile(path, unfinished / path.name)
        if not read_seeds(unfinished):
            (unfinished / path.name).unlink()
            print(f"{path}: left out, as it belongs to another run; write it again with tools/seeds.py")


def tell_other_hardware(cpu: str, titles: Mapping[str, str], timing: Timing) -> str:
    """A clause on the networks that were trained on other hardware than `cpu`; empty if there is none."""
    used = {name: times.hardware for name, times in timing.training.items() if times and times.hardware != cpu}
    trained = [
        f"{listing([titles[name] for name in used if used[name] == hardware])} on {hardware}"
        for hardware in dict.fromkeys(used.values())
    ]
    return f", but trained {listing(trained)}" if trained else ""


def make_lines(folder: Path, page: str) -> str:
    """The table for docs/benchmark.md on the run in `folder`, in the columns of the table of published networks."""
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    lock = YAML(typ="safe").load(folder / "dvc.lock")
    metrics = folder / "metrics"
    data, compare = Data.read(metrics / "data.json", "prepare"), Comparison.read(metrics / "compare.json", "compare")
    measured_on, chosen_on = ROWS[facts["split"]]
    lines = [
        "| ours | accuracy, % | 95 % interval | unseen | measured on | epoch chosen on | parameters | input "
        "| pretraining | extra data | crops |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]

    def add(title: str, measured: Measured, *cells: str) -> None:
        low, high = (f"{100 * limit:.2f}" for limit in measured.accuracy_ci95)
        unseen = measured.accuracy_unseen
        known = [
            f"{100 * measured.accuracy:.2f}",
            f"{low} to {high}",
            NONE if unseen is None else f"{100 * unseen:.2f}",
        ]
        lines.append(f"| {' | '.join([title, *known, measured_on, chosen_on, *cells])} |")

    networks = find_networks(compare.table7)
    for name, network in networks.items():
        scores = Scores.read(metrics / f"{name}.json", "evaluate")
        settings = find_settings(lock["stages"][f"train_{name}"]["params"], facts["profile"], name)
        voted = data.votes_md5 is not None and settings.get("labels") == "emotion+votes"
        weights = {"none": "none", "imagenet": "ImageNet"}.get(settings.get("weights", "none"), "a file")
        crops = {1: "one", 10: "ten"}[network.TEST_CROPS]
        cost = f"{scores.cost.parameters / 1e6:.1f} M"
        add(network.TITLE, scores, cost, str(network.INPUT_SIZE), weights, "FER+ votes" if voted else "none", crops)
    add("Soft vote of all", compare.ensemble, *[NONE] * 5)
    if seeds := read_seeds(folder):
        add(f"Soft vote of {networks[seeds.network].TITLE} under {len(seeds.seeds)} seeds", seeds.vote, *[NONE] * 5)
    return "\n".join(lines)


def find_settings(params: Mapping[str, Any], profile: str, name: str) -> dict[str, Any]:
    """The settings with which a network was trained, from the `params` of its stage in dvc.lock."""
    if earlier := params["params.yaml"].get(f"profiles.{profile}.{name}"):  # runs older than profiles/
        return dict(earlier)
    base, changes = (params.get(f"profiles/{one}.yaml", {}).get(name, {}) for one in (BASE, profile))
    return lay_over(base, changes)


def set_table(text: str, name: str, table: str, page: str) -> str:
    """The `text` of a page with `table` between the two comments of the run `name`, each on a line of its own.

    Raises:
        InputError: the closing comment is missing.
    """
    opening, lines = f"<!-- results {name} -->", text.split("\n")
    start = lines.index(opening) + 1
    end = lines.index(CLOSING, start) if CLOSING in lines[start:] else len(lines)
    if end == len(lines) or any(line.startswith("<!-- results ") for line in lines[start:end]):
        raise InputError(f"{page}: no line {CLOSING} before the next run; add one after {opening}")
    return "\n".join([*lines[:start], table, *lines[end:]])


def find_pages(name: str) -> dict[str, str]:
    """{page: its text} of the pages that have a place for the run `name`.

    Raises:
        InputError: neither README.md nor results/README.md has a place for it.
    """
    opening = f"<!-- results {name} -->"
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
    pages = {page: text for page, text in texts.items() if opening in text.split("\n")}
    if not {"README.md", "results/README.md"} & pages.keys():
        raise InputError(
            f"README.md: no place for the run; add two lines there or in results/README.md, {opening} and {CLOSING}"
        )
    return pages


def set_tables(folder: Path) -> dict[str, str]:
    """{page: its text with the table of the run in `folder`} of the pages that have a place for it."""
    name, pages = folder.name, find_pages(folder.name)
    return {page: set_table(text, name, PAGES[page](folder, page), page) for page, text in pages.items()}


PAGES = {"README.md": make_table, "results/README.md": make_table, "docs/benchmark.md": make_lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the run, as in results/<name>")
    name = parser.parse_args().name
    if not name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"'{name}' cannot name a run; use letters, digits, - and _")
    os.chdir(ROOT)
    if subprocess.run(["dvc", "status", "--quiet"]).returncode:
        raise InputError("the pipeline is not up to date; run `dvc repro` first (`dvc status` says what is missing)")
    folder = Path("results") / name
    for page, text in find_pages(name).items():  # a missing place fails here, before anything is copied
        set_table(text, name, "", page)
    unfinished = folder.with_name(f".{name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    write_times()
    stages = list_stages(YAML(typ="safe").load(Path("dvc.lock")))
    outs = {Path(out["path"]) for entry in stages.values() for out in entry.get("outs", ())}
    outs.add(Path("metrics/timing.json"))  # no stage's out; missing if nothing ran on this machine
    files = [*Path("metrics").rglob("*.json"), *Path("plots").rglob("*.png")]
    made = [path for path in files if outs & {path, *path.parents} and path.name != "sample.png"]
    for path in (*made, Path("dvc.lock")):
        (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, unfinished / path)
    for page in ("report.html", "timing.html"):
        shutil.copyfile(Path("plots") / page, unfinished / page)
    timing = read_timing("metrics/timing.json", read_params().networks)
    trainings = {f"train_{network}": times.seconds for network, times in timing.training.items() if times}
    (unfinished / "run.json").write_bytes(to_json(describe_run(stages, trainings)))
    keep_seeds(folder, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    pages = set_tables(folder)
    write_files({page: text.encode() for page, text in pages.items()})
    print(f"-> {folder}, {', '.join(pages)}")


if __name__ == "__main__":
    catch(main)
