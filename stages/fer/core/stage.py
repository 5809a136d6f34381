"""What every stage does at its edges: errors of one sentence, and outputs that are whole or absent."""

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
from pathlib import Path

ROOT = Path(__file__).parents[3]
"""The folder that holds params.yaml and dvc.yaml."""

LOG = ROOT / "logs" / "stages.csv"
"""How long each stage took, by run: see `logged`. Git-ignored."""


class InputError(Exception):
    """Something that the user can mend. The message says what was found, where, and what to do."""


def run(main):
    """Run a stage's `main()` and end the process.

    Exit code 0 on success, 1 with one sentence on stderr for whatever the user can mend, 130 after Ctrl-C.
    A defect of our own keeps its traceback. SIGTERM is turned into an exception, so that unfinished outputs
    are removed on the way out. A stage that DVC has started ends, in the same way, when DVC is gone.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "DVC_STAGE" in os.environ:
        threading.Thread(target=end_with, args=[find_dvc], daemon=True).start()
    with logged():
        catch(main)


@contextlib.contextmanager
def logged():
    """Add a line to logs/stages.csv: when this process began (UTC), the seconds it took, its exit code, its command."""
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


def catch(main):
    """Call `main()`; whatever the user can mend ends the process with one sentence."""
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


def find_dvc():
    """DVC's process, which runs this stage: the parent, or the one above it where a shell stands between them.

    DVC starts every stage by `$SHELL -c`, or `/bin/sh -c`. bash makes way for the stage, others wait for its end.
    """
    import psutil  # here, as stages/predict.py does without

    parent = psutil.Process(os.getppid())
    return parent.parent() if "-c" in parent.cmdline() else parent


def end_with(find_process):
    """End this process once the one that `find_process()` gives is gone.

    It is DVC, after a kill -9: when it is called anew, it would start the same stage beside this one.
    """
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = find_process()
        while process and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def explain(error):
    """One sentence for an `OSError`: which file, what happened, and what to do where that is known."""
    advice = {
        errno.ENOSPC: "free some space and run again",
        errno.EDQUOT: "free some of your quota and run again",
        errno.EACCES: "check the rights of the file and of its folder",
        errno.EPERM: "check the rights of the file and of its folder",
        errno.EROFS: "choose a place that can be written to",
    }.get(error.errno)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror.lower()}" + (f"; {advice}" if advice else "")


@contextlib.contextmanager
def replacing(path):
    """Yield a path beside `path` to write to; on success it takes the place of `path` in one step.

    On any exception the unfinished file is removed and `path` stays as it was. Missing parent folders are made.
    Unfinished files of `path` that a process left behind when it was killed are removed as well.

    Raises:
        InputError: `path` names a folder, a device or nothing at all.
    """
    path = Path(path)
    if not path.name or (path.exists() and not path.is_file()):
        raise InputError(f"'{path}' is no place for a file; name a new or an existing file to write to")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(path)
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


def check_writable(path):
    """Raise now, and not after hours of work, what `replacing(path)` would raise; `path` stays as it is."""

    class Reverted(Exception):
        """Leaves `replacing` without a new file in its place."""

    with contextlib.suppress(Reverted), replacing(path) as unfinished:
        unfinished.touch()
        raise Reverted


def remove_left_behind(path):
    """Remove the unfinished files of `path` whose process, which they name, no longer runs."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.unfinished{glob.escape(path.suffix)}"):
        process = left.name.removesuffix(f".unfinished{path.suffix}").rpartition(".")[2]
        if process.isdecimal() and not is_running(int(process)):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def is_running(process):
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        pass
    return True


def write_files(contents):
    """Write {path: bytes}: all of them beside their places first, then each into its place.

    So whatever goes wrong before the last file is complete leaves every one of them as it was.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replacing(path)).write_bytes(content)


def to_json(content):
    """`content` as indented JSON with a closing newline (bytes); NaN and infinity are refused (ValueError)."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
