"""Calls in processes of their own: TensorFlow and PyTorch in one process may crash."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")


def call_apart(function: Callable[[str], Result], names: Sequence[str]) -> dict[str, Result]:
    """{name: function(name)}, one after the other, each in a new process; an error there is raised here.

    Args:
        function: of a module, or a `functools.partial` of one; it and its results are pickled.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        # not pool.map: at SIGTERM it cancels what waits, which a pool whose process died meets with a traceback
        return {name: pool.submit(function, name).result() for name in names}
