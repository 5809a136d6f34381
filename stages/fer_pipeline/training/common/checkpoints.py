"""Where a training of either framework keeps its state, and the lock on it.

The state is in `.checkpoints/<name>-<hash>/`, outside DVC, which deletes the outputs of a stage before it runs. The
hash covers params, data, code and library versions, so that a changed run never resumes an old one.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT

STAGES = ROOT / "stages"
CHECKPOINTS = ROOT / ".checkpoints"
WITHOUT_EFFECT = STAGES / "fer_pipeline" / "params"
"""It only refuses values, so a training may resume after a change there."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Environment variables by which launchers number the processes of one training, from 0."""


@contextlib.contextmanager
def lock_training(name: str) -> Iterator[None]:
    """Keep a second training of `name` out of this checkout, where it would share and remove the state of the first.

    Of several processes under torchrun or SLURM the first one holds the lock for all.

    Raises:
        InputError: another process is training it.
    """
    if any(int(os.environ.get(rank, 0)) for rank in RANKS):
        yield
        return
    CHECKPOINTS.mkdir(exist_ok=True)
    with open(CHECKPOINTS / f"{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, also by kill -9
        except BlockingIOError:
            raise InputError(f"{name}: another process trains it; wait for its end or stop it and run again") from None
        yield


def find_checkpoints(name: str, params: Sequence[Any], data: str | Path, libraries: Sequence[str]) -> Path:
    """The folder for the state of the training `name`, made where it is missing.

    Args:
        params: numbers, strings and sections of params.yaml that decide the result.
        data: the prepared file; its bytes count, not its name.
        libraries: installed packages whose versions decide the result.
    """
    digest = hashlib.sha256()
    with open(data, "rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    plain = [param.model_dump() if hasattr(param, "model_dump") else param for param in params]
    digest.update(json.dumps([plain, [version(library) for library in libraries]], sort_keys=True).encode())
    for path in list_code():
        digest.update(path.read_bytes())
    folder = CHECKPOINTS / f"{name}-{digest.hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def list_code() -> list[Path]:
    """The files below stages/ that decide what this process computes, sorted: all loaded ones but the schema."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(file) for file in files if file and Path(file).is_relative_to(STAGES)}
    return sorted(paths - {WITHOUT_EFFECT})
