"""The CPU that this process runs on."""

import os
import platform
from pathlib import Path
from typing import Literal

LIMITS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")  # of PyTorch and NumPy, of TensorFlow


def name_cpu() -> str:
    """The CPU's name as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def limit_threads(threads: int | Literal["auto"]) -> None:
    """Have the libraries that are imported from here on compute with so many threads; auto leaves it to them."""
    if threads != "auto":
        os.environ |= dict.fromkeys(LIMITS, f"{threads}")


def count_cores() -> int:
    """OMP_NUM_THREADS if set, else the cores this process may use (on systems that do not say, as macOS: all cores)."""
    if (limit := os.environ.get(LIMITS[0], "")).isdecimal() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
