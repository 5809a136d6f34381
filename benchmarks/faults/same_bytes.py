"""The narrow pipeline elsewhere, from nothing: every out and dvc.lock the same, byte for byte.

The first clone is that of `faults/kills.py`. Two more are compared with it: one runs from nothing, one on the first
one's DVC cache. Nothing is drawn; `count` is how many of the two are tried.
"""

from collections import defaultdict
from collections.abc import Iterator

from clones import find_reason
from faults.common import Row, Settings
from faults.kills import run_undisturbed

KINDS = {"models/export/": "exports", "data/predictions/": "predictions", "plots/report.html": "report"}
"""{how a path begins: what it is}; other paths are what their first folder says."""
PLACES = {
    "elsewhere, from nothing": (
        "elsewhere/zweite Kopie für später",
        "umask 077 && dvc repro",
        {"TZ": "Asia/Kathmandu", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "4711"},
    ),
    "elsewhere, on the first one's cache": (
        "third/on the cache",
        "umask 022 && dvc cache dir --local ../../finished/.dvc/cache && dvc repro",
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
        if code:
            yield f"all, {name}", [f"dvc repro ended with {code}: {find_reason(printed)}"]
            continue
        others, told = clone.read_outs(), defaultdict(list)
        for path in sorted(outs.keys() | others.keys()):
            kind = next((KINDS[start] for start in KINDS if path.startswith(start)), path.partition("/")[0])
            told[kind].append("" if outs.get(path) == others.get(path) else f"{path} differs")
        for kind, sentences in told.items():
            yield f"{kind}, {name}", sentences
