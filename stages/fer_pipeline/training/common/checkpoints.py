"""Where a training of either framework keeps its state, and the lock on it.

The state is in `.checkpoints/<name>-<hash>/`, outside DVC, because DVC deletes the outputs of a stage before it runs.
The hash covers params, data, code and library versions, so that a changed run never resumes an old one.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT

STAGES = ROOT / "stages"
CHECKPOINTS = ROOT / ".checkpoints"
WITHOUT_EFFECT = [STAGES / "fer_pipeline" / room for room in ("params", "running")]
"""Rooms whose code changes no output, so that a training may resume after an edit there."""
State = TypeVar("State")
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")  # by which launchers number processes, from 0


def is_first() -> bool:
    """Whether this process is the only one of a training, or the first."""
    return not any(int(os.environ.get(rank, 0)) for rank in RANKS)


@contextlib.contextmanager
def lock_training(name: str) -> Iterator[None]:
    """Raise InputError if another process trains `name` in this checkout: both would share and remove one state."""
    if not is_first():
        yield  # the first process holds the lock for all
        return
    CHECKPOINTS.mkdir(exist_ok=True)
    with open(CHECKPOINTS / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, also by kill -9
        except BlockingIOError:
            raise InputError(
                f"{name}: another process trains it; wait for its end, or stop it, and run again"
            ) from None
        yield


def find_checkpoints(name: str, params: Sequence[Any], data: str | Path, libraries: Sequence[str]) -> Path:
    """The folder for a training's state, made if missing: another one for other params, data, code or `libraries`."""
    plain = [param.model_dump() if hasattr(param, "model_dump") else param for param in params]
    digest = hashlib.sha256(json.dumps([plain, *map(version, libraries)], sort_keys=True).encode())
    for path in (Path(data), *list_code()):
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)  # adds to it, block by block
    folder = CHECKPOINTS / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def list_code() -> list[Path]:
    """The files below stages/ that this process has loaded, sorted, except those of the rooms `WITHOUT_EFFECT`."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(file) for file in files if file and file.startswith(f"{STAGES}{os.sep}")}
    return sorted(path for path in paths if not any(path.is_relative_to(room) for room in WITHOUT_EFFECT))


def resume(path: Path, read: Callable[[Path], tuple[State, int]], *others: Path) -> State | None:
    """The state that `read` finds in the zip archive `path`; None without one. Damage is printed, and gives None."""
    if not path.exists():
        return None
    try:
        for file in (path, *others):
            with zipfile.ZipFile(file) as archive:
                if bad := archive.testzip():  # the libraries that read it ignore some of the checksums
                    raise ValueError(f"{file.name}: {bad} differs from what was written")
        state, epochs = read(path)
    except Exception as error:  # libraries raise nearly everything on a damaged file
        print(f"{path}: damaged ({' '.join(str(error).split())[:100]}); training starts anew", file=sys.stderr)
        return None
    print(f"resuming after epoch {epochs}", file=sys.stderr)
    return state
