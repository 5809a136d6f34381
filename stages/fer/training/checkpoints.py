"""Where a training keeps its state, whatever its framework, and who may use it.

It lies in `.checkpoints/<name>-<hash>/`, outside DVC, which deletes the outputs of a stage before it runs. The hash
covers params, data, code and library versions, so that a changed run never resumes an old one.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from fer.core.stage import ROOT, InputError

STAGES = ROOT / "stages"
CHECKPOINTS = ROOT / ".checkpoints"
WITHOUT_EFFECT = STAGES / "fer" / "core" / "schema.py"
"""It refuses values and changes none, so a training goes on after a change there."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Environment variables by which launchers number the processes of one training, from 0."""


@contextlib.contextmanager
def lock_training(name):
    """Keep a second training of `name` out of this folder, where it would share and remove the state of the first.

    Of several processes under torchrun or SLURM the first one does so for all.

    Raises:
        InputError: another process trains it now.
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


def find_checkpoints(name, params, data, libraries):
    """The folder for the state of the training `name`, made where it is missing.

    Args:
        params: a list of what the training was given (numbers, strings, sections of params.yaml).
        data: the prepared file; its bytes count, not its name.
        libraries: names of installed packages whose version decides the result.
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


def list_code():
    """The files below stages/ that decide what this process computes, sorted: all it has loaded, but the schema."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(file) for file in files if file and Path(file).is_relative_to(STAGES)}
    return sorted(paths - {WITHOUT_EFFECT})
