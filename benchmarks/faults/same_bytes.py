"""The narrow pipeline elsewhere, from nothing: every out and dvc.lock the same, byte for byte.

The first clone is that of `faults/kills.py`. Two more are compared with it: one runs from nothing, one on the first
one's DVC cache. Nothing is drawn; `count` is how many of the two are tried.
"""

from collections import defaultdict
from collections.abc import Iterator

from clones import find_reason
from faults.common import Row, Settings, make_row
from faults.kills import run_undisturbed

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
CACHE = "dvc cache dir --local ../../finished/.dvc/cache && "
PLACES = {
    "elsewhere, from nothing": (
        "elsewhere/zweite Kopie für später",
        "umask 077 && dvc repro",
        {"TZ": "Asia/Kathmandu", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "4711"},
    ),
    "elsewhere, on the first one's cache": (
        "third/on the cache",
        f"umask 022 && {CACHE} dvc repro",
        {"TZ": "America/St_Johns", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
    ),
}
"""{name: the folder of a clone, what runs there, and its environment}."""


def run(settings: Settings) -> Iterator[Row]:
    first = run_undisturbed(settings.folder)
    outs = first.finished.read_outs()
    for name, (place, script, environment) in list(PLACES.items())[: settings.count]:
        clone, home = first.fresh.copy(settings.folder / place), (settings.folder / place).with_name("home")
        home.mkdir()
        code, printed = clone.call("sh", "-c", script, HOME=str(home), **environment)
        others, told = {} if code else clone.read_outs(), defaultdict(list)
        for path in sorted(outs.keys() | others.keys()):
            kind = next(kind for beginning, kind in CLASSES.items() if path.startswith(beginning))
            told[kind].append("" if outs.get(path) == others.get(path) else f"{path} differs")
        if code:
            told = {"all": [f"dvc repro ended with {code}: {find_reason(printed)}"]}
        for kind, sentences in told.items():
            yield make_row(f"{kind}, {name}", sentences)
