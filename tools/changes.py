"""Say whether the pipeline, run anew, gave other results than those in git, and how to take that back.

    make repro              # ends with it

Whoever changed neither parameters nor code gets the recorded bytes on the kind of processor that they were recorded
on; another one multiplies in other steps, and rounds differently.
"""

import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

ROOT = Path(__file__).parents[1]
RESULTS = ("dvc.lock", "metrics", "plots")
INPUTS = ("params.yaml", "profiles", "dvc.yaml", "stages", "requirements.lock")


def list_changed(root: Path, paths: tuple[str, ...]) -> list[str]:
    """The files below `paths` that differ from the last commit, untracked ones too; empty outside a git checkout."""
    command = ["git", "status", "--porcelain", "--", *paths]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return found.stdout.splitlines() if found.returncode == 0 else []


def read_causes(lock: str) -> dict[str, Any]:
    """What dvc.lock says each stage was run with: command, parameters and files of code; empty where it is none."""
    try:
        stages = YAML(typ="safe").load(lock)["stages"]
        return {
            stage: [
                entry["cmd"],
                entry.get("params"),
                [(dep["path"], dep.get("md5")) for dep in entry.get("deps", []) if dep["path"].startswith("stages/")],
            ]
            for stage, entry in stages.items()
        }
    except (YAMLError, TypeError, KeyError, AttributeError):
        return {}


def describe_changes(root: Path) -> str | None:
    """The sentences for the folder `root`; None where others than those in git were asked for."""
    results = list_changed(root, RESULTS)
    if list_changed(root, INPUTS):
        return None
    recorded = subprocess.run(["git", "show", "HEAD:dvc.lock"], cwd=root, capture_output=True, text=True)
    now = (root / "dvc.lock").read_text(encoding="utf-8") if (root / "dvc.lock").exists() else ""
    if recorded.returncode or read_causes(recorded.stdout) != read_causes(now):
        return None
    if not results:
        return "The results are those in git; `make report` shows them on one page."
    count = f"{len(results)} file{'s' if len(results) > 1 else ''} of results"
    return (
        f"{count} differ from those in git, though neither parameters nor code were changed: this processor or its "
        f"libraries round differently.\n`git checkout {' '.join(RESULTS)}` takes them back; `git diff` shows them."
    )


if __name__ == "__main__":
    if sentences := describe_changes(ROOT):
        print(sentences)
