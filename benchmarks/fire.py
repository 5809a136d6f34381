"""Kill this project, damage its inputs, move it to another machine, load it: how often it keeps its promises.

    python benchmarks/fire.py kills                 # an hour; the other parts take minutes
    python benchmarks/fire.py damage --count 500
    python benchmarks/fire.py all

The parts are the modules of `benchmarks/faults/`, each with its own docstring: `kills`, `damage`, `same_bytes`,
`processor`, `load`, `sharing`. Each prints a table, writes it to results/fire/<part>.json with machine and versions,
and inserts it into docs/fire.md. Each broken promise is a sentence below the table, and the exit code is then 1. All
random choices follow from `--seed`; `--count` says how much a part draws, by default the part's own number. Only those
two files of the working tree change: everything happens in temporary clones of it.
"""

import argparse
import importlib
import json
import os
import platform
import tempfile
import time
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import checkout
from clones import ENVIRONMENT, ROOT
from faults.common import Settings
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import to_json, write_files
from fer_pipeline.running.hardware import name_cpu
from fer_pipeline.running.stage import catch
from pages import set_table

PARTS = ("kills", "damage", "same_bytes", "processor", "load", "sharing")
LIBRARIES = ("tensorflow", "torch", "dvc", "onnxruntime", "opencv-python-headless", "numpy")
PAGE = "docs/fire.md"


def burn(part: str, settings: Settings) -> list[dict[str, Any]]:
    """Run a part; returns the rows of its table, each with the seconds since the row before it."""
    rows = []
    print(f"## {part}\n\n| what | tried | held | seconds |\n|---|---|---|---|", flush=True)
    before = time.monotonic()
    for what, told in importlib.import_module(f"faults.{part}").run(settings):
        began, before, found = before, time.monotonic(), [*filter(None, told)]
        tried, held, seconds = len(told), len(told) - len(found), before - began
        rows.append({"what": what, "tried": tried, "held": held, "seconds": seconds, "found": found})
        print(f"| {what} | {tried:,} | {held:,} | {seconds:.0f} |", flush=True)
    for row in rows:
        for sentence in row["found"]:
            print(f"- {row['what']}: {sentence}", flush=True)
    return rows


def keep(part: str, rows: list[dict[str, Any]], settings: Settings, seconds: float) -> None:
    """Write results/fire/<part>.json."""
    facts = {
        "seed": settings.seed,
        "seconds": round(seconds),
        "cpu": name_cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "versions": {"python": platform.python_version(), **{library: version(library) for library in LIBRARIES}},
        "rows": rows,
    }
    write_files({str(ROOT / "results" / "fire" / f"{part}.json"): to_json(facts)})


def make_table(part: str) -> str:
    """The lines of a part in docs/fire.md; two rows stand side by side because there are many."""
    facts = json.loads((ROOT / "results" / "fire" / f"{part}.json").read_text(encoding="utf-8"))
    cells = [f"{row['what']} | {row['held']:,} of {row['tried']:,}" for row in facts["rows"]]
    half = (len(cells) + 1) // 2
    pairs = zip_longest(cells[:half], cells[half:], fillvalue=" | ")
    lines = ["| what | held | what | held |", "|---|---|---|---|", *(f"| {left} | {right} |" for left, right in pairs)]
    lines += [
        "",
        f"Seed {facts['seed']}, {facts['cores']} cores of {facts['cpu']}, {facts['seconds'] / 60:.0f} minutes.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=(*PARTS, "all"), metavar="PART", help=", ".join((*PARTS, "all")))
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--count", type=int, help="how much to draw (by default the part's own number)")
    parser.add_argument("--finished", type=Path, metavar="FOLDER", help="a finished run, which spares `damage` its own")
    parser.add_argument("--dry", action="store_true", help="print only; results/fire and docs/fire.md stay as they are")
    args = parser.parse_args()
    broken = 0
    for part in PARTS if "all" in args.parts else dict.fromkeys(args.parts):
        with tempfile.TemporaryDirectory(prefix=f"fire-{part}-") as folder:
            for name in ("TMPDIR", "DVC_SITE_CACHE_DIR"):  # what a killed process leaves there goes with the folder
                ENVIRONMENT[name] = str(Path(folder, name.lower()))
                Path(ENVIRONMENT[name]).mkdir()
            began, settings = time.monotonic(), Settings(args.seed, args.count, Path(folder), args.finished)
            rows = burn(part, settings)
            seconds = time.monotonic() - began
        broken += sum(len(row["found"]) for row in rows)
        print(f"\n{part}: {seconds:.0f} s\n", flush=True)
        if not args.dry:
            keep(part, rows, settings, seconds)
            text = (ROOT / PAGE).read_text(encoding="utf-8")
            text = set_table(text, f"<!-- {part} -->", "<!-- end -->", make_table(part), PAGE)
            write_files({str(ROOT / PAGE): text.encode()})
    if broken:
        raise InputError(f"{broken:,} promises were broken; the sentences below the tables say which")


if __name__ == "__main__":
    catch(main)
