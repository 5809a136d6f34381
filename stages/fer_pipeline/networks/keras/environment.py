"""Where Keras runs: on the CPU in the main environment, or on GPUs in one of its own, `.venv-keras` (`make gpu`).

TensorFlow's wheels for GPUs bring CUDA 12 and PyTorch's CUDA 13, into the same folders (`nvidia/cudnn/lib`): in one
environment the last one installed would win, and either framework could load the other's libraries.
"""

import os
import shutil
import sys
from pathlib import Path

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT

NAME = ".venv-keras"


def is_inside() -> bool:
    """Whether this process runs in Keras' own environment."""
    return Path(sys.prefix).name == NAME


def find_environment() -> Path | None:
    """Keras' own environment: of this checkout, or of the one whose .venv runs (a queued experiment is a copy of it).

    Raises:
        InputError: it is not complete.
    """
    for parent in (ROOT, Path(sys.prefix).parent):
        environment = parent / NAME
        if environment.exists():
            if not (environment / ".ready").exists():
                raise InputError(f"{environment}: not complete; run `make gpu`, or remove it to train on the CPU")
            return environment
    return None


def enter() -> None:
    """Go on with this command in Keras' own environment, where there is one; the process stays the same.

    Where there is none, GPUs are hidden from TensorFlow, which is said if the machine has any.

    Raises:
        InputError: as `find_environment`.
    """
    if is_inside():
        return
    if environment := find_environment():
        python = environment / "bin" / "python"
        sys.stdout.flush()
        os.execv(python, [str(python), *sys.argv])
    hide_gpus()
    if shutil.which("nvidia-smi"):
        print("Keras trains on the CPU; `make gpu` sets up an environment in which it uses the GPU", file=sys.stderr)


def hide_gpus() -> None:
    """Keep TensorFlow from GPUs; to be called before it is loaded."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
