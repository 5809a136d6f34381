"""Say whether the pipeline, run anew, gave other results than those in git, and how to take that back.

    make repro              # ends with it

Whoever changed neither parameters nor code gets the recorded bytes on the kind of processor that they were recorded
on; another one multiplies in other steps, and rounds differently.
"""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ("dvc.lock", "metrics", "plots")
INPUTS = ("params.yaml", "dvc.yaml", "stages", "requirements.lock")


def list_changed(root: Path, paths: tuple[str, ...]) -> list[str]:
    """The files below `paths` that differ from the last commit, untracked ones too; empty outside a git checkout."""
    command = ["git", "status", "--porcelain", "--", *paths]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return found.stdout.splitlines() if found.returncode == 0 else []


def describe_changes(root: Path) -> str | None:
    """The sentences for the folder `root`; None where others than those in git were asked for."""
    results = list_changed(root, RESULTS)
    if list_changed(root, INPUTS):
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
