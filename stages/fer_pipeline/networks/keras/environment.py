"""Which backend Keras computes with: TensorFlow on the CPU, which trains faster there, PyTorch on a GPU.

TensorFlow's wheels for GPUs install CUDA 12 and PyTorch's CUDA 13 into the same folders, so only PyTorch uses a GPU.
"""

import contextlib
import ctypes
import os
import subprocess
import sys

from fer_pipeline.core.errors import InputError

BACKENDS = ("tensorflow", "torch")
backend = "tensorflow"  # what predicts and exports; `enter` may choose another, before Keras is imported


def enter() -> None:
    """Choose the backend that trains: `KERAS_BACKEND` if that is set, else PyTorch if it has a GPU, else TensorFlow."""
    global backend
    wanted = os.environ.get("KERAS_BACKEND", "")
    if wanted not in ("", *BACKENDS):
        raise InputError(f"KERAS_BACKEND is {wanted}; set it to {' or '.join(BACKENDS)}, or to nothing")
    backend = wanted or ("torch" if has_gpu() else "tensorflow")


def has_gpu() -> bool:
    """Whether PyTorch can use a GPU; asked in another process, because in one with TensorFlow it may crash."""
    with contextlib.suppress(OSError):  # without NVIDIA's driver nobody waits for the import of PyTorch
        ctypes.CDLL("libcuda.so.1")
        question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
        return subprocess.run([sys.executable, "-c", question]).returncode == 0
    return False
