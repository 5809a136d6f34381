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


def enter() -> None:
    """Restart this command in Keras' own environment; without one hide GPUs, and say so on stderr if there are any."""
    if is_inside():
        return
    for parent in (ROOT, Path(sys.prefix).parent):  # DVC runs queued experiments in a copy of the checkout of .venv
        environment = parent / NAME
        if environment.exists():
            if not (environment / ".ready").exists():
                raise InputError(f"{environment}: not complete; run `make gpu`, or remove it to train on the CPU")
            python = environment / "bin" / "python"
            sys.stdout.flush()
            os.execv(python, [str(python), *sys.argv])
    hide_gpus()
    if shutil.which("nvidia-smi"):
        print("Keras trains on the CPU; `make gpu` sets up an environment in which it uses the GPU", file=sys.stderr)


def hide_gpus() -> None:
    """Hide GPUs from TensorFlow; call this before TensorFlow is imported."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
