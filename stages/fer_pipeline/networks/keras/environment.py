"""Where Keras runs: on the CPU in the main environment, or on GPUs in its own, `.venv-keras` (made by `make gpu`).

TensorFlow's wheels for GPUs install CUDA 12 and PyTorch's CUDA 13 into the same folders (`nvidia/cudnn/lib`): in one
environment the later one would overwrite the earlier, and each framework could load the other's libraries.
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
    """The folder of Keras' own environment, or None.

    It is in this checkout, or in the checkout whose .venv runs this process: DVC runs queued experiments in a copy of
    the checkout.

    Raises:
        InputError: the environment is not complete.
    """
    for parent in (ROOT, Path(sys.prefix).parent):
        environment = parent / NAME
        if environment.exists():
            if not (environment / ".ready").exists():
                raise InputError(f"{environment}: not complete; run `make gpu`, or remove it to train on the CPU")
            return environment
    return None


def enter() -> None:
    """Restart this command, in the same process, in Keras' own environment, if there is one.

    If there is none, hide GPUs from TensorFlow, and say so on stderr if the machine has any.

    Raises:
        InputError: as for `find_environment`.
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
    """Hide GPUs from TensorFlow; call this before TensorFlow is imported."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
