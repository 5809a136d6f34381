"""Calls in separate processes, because TensorFlow and PyTorch in one process may crash."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")


def call_apart(function: Callable[[str], Result], names: Sequence[str]) -> dict[str, Result]:
    """{name: function(name)}, one after the other, each in a new process; function and results have to be picklable."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        # not pool.map: at SIGTERM it cancels the waiting calls, and a pool whose process died then prints a traceback
        return {name: pool.submit(function, name).result() for name in names}
