"""Say whether the results of the pipeline differ from those in git, and how to restore the ones in git.

    make repro              # ends with this

With unchanged parameters and code, a processor of the kind that made the results in git gives the same bytes; another
kind does its arithmetic in other steps, and rounds differently.
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
    """The files under `paths` that differ from the last commit or are untracked; empty outside a git checkout."""
    command = ["git", "status", "--porcelain", "--", *paths]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return found.stdout.splitlines() if found.returncode == 0 else []


def read_causes(lock: str) -> dict[str, Any]:
    """{stage: the command, parameters and code that it ran with}, from the text of dvc.lock; empty if it is invalid."""
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
    """What to say about the checkout `root`; None if its parameters or code differ from those in git."""
    recorded = subprocess.run(["git", "show", "HEAD:dvc.lock"], cwd=root, capture_output=True, text=True)
    now = (root / "dvc.lock").read_text(encoding="utf-8") if (root / "dvc.lock").exists() else ""
    if list_changed(root, INPUTS) or recorded.returncode or read_causes(recorded.stdout) != read_causes(now):
        return None
    results = list_changed(root, RESULTS)
    if not results:
        return "The results are those in git; `make report` shows them on one page."
    count = "1 file of results differs" if len(results) == 1 else f"{len(results)} files of results differ"
    return (
        f"{count} from those in git, though parameters and code are the same: this processor or its libraries round "
        f"differently.\n`git diff` shows the differences; `git checkout {' '.join(RESULTS)}` restores the files."
    )


if __name__ == "__main__":
    if sentences := describe_changes(ROOT):
        print(sentences)
