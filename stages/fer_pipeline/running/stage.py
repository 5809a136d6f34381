"""How every script runs and ends: exit codes, one-sentence errors, a log of runs, and what happens if DVC is killed."""

import contextlib
import csv
import datetime
import errno
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT

if TYPE_CHECKING:
    import psutil

LOG = ROOT / "logs" / "stages.csv"  # one line per run of a stage, see `log_run`; git-ignored


def run(main: Callable[[], Any]) -> None:
    """Run a stage's `main()` with `catch` and a line in the log; SIGTERM and the end of DVC end it with code 143."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=terminate_after_dvc, daemon=True).start()
    with log_run():
        catch(main)


@contextlib.contextmanager
def log_run() -> Iterator[None]:
    """Append a line to logs/stages.csv: start of the block (UTC), duration in seconds, exit code, command."""
    began, code = datetime.datetime.now(datetime.UTC), 0
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        raise
    finally:
        took = (datetime.datetime.now(datetime.UTC) - began).total_seconds()
        row = [began.isoformat(timespec="seconds"), f"{took:.1f}", code, shlex.join(["python", *sys.argv])]
        with contextlib.suppress(OSError):  # a failed log must not cost a result
            LOG.parent.mkdir(exist_ok=True)
            with open(LOG, "a", encoding="utf-8", newline="") as file:
                csv.writer(file).writerow(row)


def catch(main: Callable[[], Any]) -> None:
    """Call `main()`. An error that the user can fix ends the process with a sentence and code 1, Ctrl-C with 130."""
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

    DVC starts each stage through a shell: bash replaces itself with the stage, other shells wait for it. Shell and
    stage are in DVC's process group; a process that adopts them if DVC ends is not.
    """
    import psutil  # imported here because only stages under DVC need it

    process: psutil.Process | None = psutil.Process(os.getppid())
    if process and is_of_group(process) and "-c" in process.cmdline():
        process = process.parent()
    return process if process and is_of_group(process) else None


def is_of_group(process: "psutil.Process") -> bool:
    """Whether a process is in the process group of the current one."""
    try:
        return os.getpgid(process.pid) == os.getpgrp()
    except (ProcessLookupError, PermissionError):  # macOS refuses this for a process of another session
        return False


def terminate_after_dvc() -> None:
    """Terminate this process once DVC has ended, or DVC's next run could start the same stage beside this one."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = find_dvc()
        while process and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def explain(error: OSError) -> str:
    """One sentence on an `OSError`: the file, what happened, and what to do about it if that is known."""
    advice = {
        errno.ENOSPC: "; free some space and run again",
        errno.EDQUOT: "; free some of your quota and run again",
        errno.EROFS: "; choose a place that can be written to",
        **dict.fromkeys((errno.EACCES, errno.EPERM), "; check the permissions of the file and of its folder"),
    }
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{(error.strerror or str(error)).lower()}{advice.get(error.errno or 0, '')}"
