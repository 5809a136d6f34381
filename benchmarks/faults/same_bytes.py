"""The narrow pipeline elsewhere, from nothing: every out the same, byte for byte, and dvc.lock.

The first clone is that of `faults/kills.py`. Two more are compared with it: one that runs from nothing, and one on the
first one's DVC cache. Nothing is drawn; `count` is how many of the two are tried.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faults.common import Row, Settings
from faults.kills import (
    LONG,
    copy_clone,
    find_differences,
    find_reason,
    read_log,
    read_outs,
    run_command,
    run_undisturbed,
    start,
)

CLASSES = {
    "models/export/": "exports",
    "models/": "models",
    "data/predictions/": "predictions",
    "data/": "data",
    "metrics/": "metrics",
    "plots/report.html": "report",
    "plots/": "plots",
    "dvc.lock": "dvc.lock",
}
"""{how a path begins: what it is}; the first that fits."""


class Place(NamedTuple):
    """Where a clone runs, and what is different there."""

    name: str
    folder: str
    environment: dict[str, str]
    umask: int
    on_cache: bool
    """Whether it takes the DVC cache of the first clone as its own."""


PLACES = (
    Place(
        name="elsewhere, from nothing",
        folder="elsewhere/zweite Kopie für später",
        environment={"TZ": "Asia/Kathmandu", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "4711"},
        umask=0o077,
        on_cache=False,
    ),
    Place(
        name="elsewhere, on the first one's cache",
        folder="third/on the cache",
        environment={"TZ": "America/St_Johns", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
        umask=0o022,
        on_cache=True,
    ),
)


def run_there(place: Place, fresh: Path, first: Path, folder: Path) -> tuple[int, Path]:
    """Run the pipeline in a copy of the clone `fresh`, in that place below `folder`; exit code, and the copy."""
    clone, home = folder / place.folder, (folder / place.folder).with_name("home")
    home.mkdir(parents=True)
    copy_clone(fresh, clone)
    if place.on_cache:
        run_command(clone, "dvc", "cache", "dir", "--local", str(first / ".dvc" / "cache"))
    dvc = start(clone, "dvc", "repro", umask=place.umask, HOME=str(home), **place.environment)
    return dvc.wait(LONG), clone


def compare(place: Place, clone: Path, first: Path, seconds: float) -> Iterator[Row]:
    """A row for each class of outs."""
    outs, others = read_outs(first), read_outs(clone)
    paths, found = defaultdict(list), defaultdict(list)
    for path in sorted(outs.keys() | others.keys()):
        paths[classify(path)].append(path)
    for path in find_differences(outs, others):
        found[classify(path)].append(f"{path} differs")
    for kind in paths:
        tried, differ = len(paths[kind]), found[kind]
        yield Row(f"{kind}, {place.name}", tried, tried - len(differ), seconds / len(paths), tuple(differ))


def classify(path: str) -> str:
    return next(kind for beginning, kind in CLASSES.items() if path.startswith(beginning))


def run(settings: Settings) -> Iterator[Row]:
    pipeline = run_undisturbed(settings.folder)
    for place in PLACES[: settings.count]:
        began = time.monotonic()
        code, clone = run_there(place, pipeline.fresh, pipeline.finished, settings.folder)
        seconds = time.monotonic() - began
        if code:
            reason = f"dvc repro ended with {code}: {find_reason(read_log(clone))}"
            yield Row(place.name, 1, 0, seconds, (reason,))
        else:
            yield from compare(place, clone, pipeline.finished, seconds)
