"""metrics/timing.json: how long things took on this machine, by stage.

Unlike all other metrics it is neither in git nor in DVC, whose files are to change only if the arithmetic does.
"""

import fcntl
import json
import os
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import to_json, write_files
from fer_pipeline.core.record import Record
from fer_pipeline.running.stage import explain


def read_times(path: str | Path) -> dict[str, Any]:
    """{stage: its times}, read from metrics/timing.json; empty if the file is missing or damaged."""
    try:
        content = json.loads(Path(path).read_bytes())
        to_json(content)  # a number that is not finite cannot be written again
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def record_times(path: str | Path, stage: str, times: Record) -> None:
    """Write the `times` of `stage` into metrics/timing.json; if that fails, only say so, as results matter more."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            write_files({path: to_json(dict(sorted((read_times(path) | {stage: times.model_dump()}).items())))})
        finally:
            os.close(folder)
    except (OSError, InputError) as error:
        reason = explain(error) if isinstance(error, OSError) else error
        print(f"how long {stage} took is not kept: {reason}", file=sys.stderr)


def time_calls(call: Callable[[], object], count: int) -> list[float]:
    """The seconds that each of `count` calls takes, after count / 10 calls (at least one) to warm up."""
    return timeit.repeat(call, number=1, repeat=max(1, count // 10) + count)[-count:]
