"""What a training starts with: the versions of libraries, and the commit of the code."""

import datetime
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from fer_pipeline.core.files import ROOT

BESIDE = ("dvc.lock", "dvc.yaml", "metrics", "plots", "params.yaml", "profiles")
"""Files that Git tracks and that are not code: what the pipeline writes, and what dvc.lock records anyway."""


def list_versions(libraries: Iterable[str]) -> dict[str, str]:
    """{library: its version}, with that of Python."""
    return {"python": platform.python_version(), **{library: version(library) for library in libraries}}


def describe_start() -> dict[str, Any]:
    """`start`, `commit` and `clean` of `TrainingTimes`, for a training that begins or goes on now."""
    commit, clean = find_commit()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"start": now, "commit": commit, "clean": clean}


def find_commit() -> tuple[str | None, bool | None]:
    """The commit that is checked out here, and whether no file differs from it, but for those `BESIDE` the code.

    Both are None without Git, and where this folder is not the top of a checkout: an archive, or a copy.
    """
    try:
        commit, prefix, *_ = ask_git("rev-parse", "HEAD", "--show-prefix").split("\n")
        changed = ask_git("status", "--porcelain", "--", ".", *(f":!{path}" for path in BESIDE))
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return (None, None) if prefix else (commit, not changed)


def ask_git(*arguments: str) -> str:
    """What a command of Git prints; it writes nothing, as other commands may run at the same time."""
    command = ["git", "--no-optional-locks", *arguments]
    return subprocess.check_output(command, cwd=ROOT, stderr=subprocess.DEVNULL, text=True)
