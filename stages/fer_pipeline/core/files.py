"""Output files that are written completely or not at all."""

import contextlib
import glob
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from fer_pipeline.core.errors import InputError

AnyPath = TypeVar("AnyPath", bound=str | Path)

ROOT = Path(__file__).parents[3]  # the folder that holds params.yaml and dvc.yaml


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there replaces `path` in one step when the block ends.

    If the block raises an exception, the unfinished file is removed and `path` stays as it was. Missing parent folders
    are created. Unfinished files of `path` that a killed process left behind are removed. Raises InputError if `path`
    is empty, or names a folder or a device.
    """
    path = Path(path)
    if not path.name or (path.exists() and not path.is_file()):
        raise InputError(f"'{path}' is not a regular file; name a new or an existing file to write to")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(path)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.unfinished{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno is not None and (error.filename is None or Path(error.filename) == unfinished):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def remove_stale(path: Path) -> None:
    """Remove unfinished files of `path` whose process no longer runs; their names contain its number."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.unfinished{glob.escape(path.suffix)}"):
        process = left.name.removesuffix(f".unfinished{path.suffix}").rpartition(".")[2]
        if process.isdecimal() and not is_running(int(process)):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether a process with this number runs on this machine; a process that ended but is still listed does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user, or there is no /proc
        return True
    return state.split()[:1] != ["Z"]


def write_files(contents: Mapping[AnyPath, bytes | memoryview | Callable[[Path], object]]) -> None:
    """Write {path: bytes}: all files are written beside their paths, then renamed; if writing fails, no path changes.

    In place of bytes that would fill the memory, give a function; it is called with the path to write the file to.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            unfinished = stack.enter_context(replacing(path))
            if callable(content):
                content(unfinished)
            else:
                unfinished.write_bytes(content)


def to_json(content: Any) -> bytes:
    """`content` as indented JSON with a final newline; NaN and infinity raise ValueError."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
