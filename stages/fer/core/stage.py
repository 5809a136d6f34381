"""The frame of every stage: errors of one sentence, and output files that are written whole or not at all."""

import contextlib
import csv
import datetime
import errno
import glob
import json
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import psutil

AnyPath = TypeVar("AnyPath", bound=str | Path)

ROOT = Path(__file__).parents[3]
"""The folder that holds params.yaml and dvc.yaml."""

LOG = ROOT / "logs" / "stages.csv"
"""How long each run of a stage took: see `log_run`. Git-ignored."""


class InputError(Exception):
    """An error that the user can fix. The message says what was found, where, and what to do."""


def run(main: Callable[[], Any]) -> None:
    """Run a stage's `main()` and end the process.

    The exit code is 0 on success, 1 with one sentence on stderr for an error that the user can fix, and 130 after
    Ctrl-C. A bug keeps its traceback. SIGTERM becomes an exception, so that unfinished outputs are removed on the way
    out. A stage that DVC has started gets a SIGTERM when DVC ends.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=terminate_after, args=[find_dvc], daemon=True).start()
    with log_run():
        catch(main)


@contextlib.contextmanager
def log_run() -> Iterator[None]:
    """Append a line to logs/stages.csv: start of this process (UTC), seconds it took, exit code, command."""
    began, code = time.time(), 0
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        raise
    finally:
        start = datetime.datetime.fromtimestamp(began, datetime.UTC).isoformat(timespec="seconds")
        row = [start, f"{time.time() - began:.1f}", str(code), shlex.join(["python", *sys.argv])]
        with contextlib.suppress(OSError):  # not worth losing a result for
            LOG.parent.mkdir(exist_ok=True)
            with open(LOG, "a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerow(row)


def catch(main: Callable[[], Any]) -> None:
    """Call `main()`; an error that the user can fix ends the process with one sentence on stderr."""
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno is None:
            raise
        sys.exit(f"error: {explain(error)}")


def find_dvc() -> "psutil.Process | None":
    """The DVC process that runs this stage: the parent, or the grandparent if the parent is a shell; None if it ended.

    DVC starts every stage by `$SHELL -c`, or `/bin/sh -c`. bash replaces itself with the stage, others wait for it. All
    of them belong to the group of DVC; a process that adopts orphans does not.
    """
    import psutil  # here, as only stages under DVC need it

    process: psutil.Process | None = psutil.Process(os.getppid())
    if process and is_of_group(process) and "-c" in process.cmdline():
        process = process.parent()
    return process if process and is_of_group(process) else None


def is_of_group(process: "psutil.Process") -> bool:
    """Whether a process belongs to the process group of this one."""
    try:
        return os.getpgid(process.pid) == os.getpgrp()
    except (ProcessLookupError, PermissionError):  # macOS refuses to tell about another session
        return False


def terminate_after(find_process: "Callable[[], psutil.Process | None]") -> None:
    """Terminate this process once the one that `find_process()` returns has ended.

    That is DVC, after a kill -9: its next run would otherwise start the same stage beside this one.
    """
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = find_process()
        while process and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def explain(error: OSError) -> str:
    """One sentence for an `OSError`: which file, what happened, and what to do where that is known."""
    advice = {
        errno.ENOSPC: "free some space and run again",
        errno.EDQUOT: "free some of your quota and run again",
        errno.EACCES: "check the permissions of the file and of its folder",
        errno.EPERM: "check the permissions of the file and of its folder",
        errno.EROFS: "choose a place that can be written to",
    }.get(error.errno or 0)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{(error.strerror or str(error)).lower()}" + (f"; {advice}" if advice else "")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it replaces `path` in one step.

    On any exception the unfinished file is removed and `path` stays as it was. Missing parent folders are created.
    Unfinished files of `path` that a killed process left behind are removed as well.

    Raises:
        InputError: `path` is empty, or names a folder or a device.
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


def check_distinct(paths: Mapping[str, str | Path]) -> None:
    """Refuse {option: path} of which two are one file, by links as well.

    Raises:
        InputError: two are.
    """
    options: dict[str, str] = {}
    for option, path in paths.items():
        real = os.path.realpath(path)  # unlike Path.resolve, it takes links to themselves
        if real in options:
            raise InputError(f"{options[real]} and {option} name the same file ({path}); give each its own")
        options[real] = option


def check_writable(path: str | Path) -> None:
    """Raise now, not after hours of work, what `replacing(path)` would raise; `path` itself stays as it is."""

    class Reverted(Exception):
        """Makes `replacing` discard the new file."""

    with contextlib.suppress(Reverted), replacing(path) as unfinished:
        unfinished.touch()
        raise Reverted


def remove_stale(path: Path) -> None:
    """Remove the unfinished files of `path` whose process (its number is in their names) no longer runs."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.unfinished{glob.escape(path.suffix)}"):
        process = left.name.removesuffix(f".unfinished{path.suffix}").rpartition(".")[2]
        if process.isdecimal() and not is_running(int(process)):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Whether a process with this number runs on this machine; one that has ended, but is still listed, does not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user, or there is no /proc
        return True
    return state.split()[:1] != ["Z"]


def write_files(contents: Mapping[AnyPath, bytes | memoryview]) -> None:
    """Write {path: bytes}: first all of them to temporary files, then each is renamed to its path.

    Whatever goes wrong before the last file is complete leaves all of them as they were.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replacing(path)).write_bytes(content)


def to_json(content: Any) -> bytes:
    """`content` as indented JSON with a final newline; NaN and infinity raise ValueError."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
