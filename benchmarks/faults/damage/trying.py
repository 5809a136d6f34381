"""Tries the inputs of one kind in the current folder, a copy of a finished run, and prints the row of the table."""

import importlib
import json
import os
import runpy
import shlex
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import hypothesis
import psutil
from hypothesis import strategies as st

from clones import Project
from faults.damage.inputs import FACES, KINDS, TABLE, Case, load_files
from faults.damage.ways import Drawn

SECONDS, MEMORY = 10.0, 2 << 30
"""More than the sound file takes; and bytes of a process, at most."""


def run_script(command: list[str], limit: float) -> tuple[int, str, float]:
    """Run a script in a fork of this process, which has loaded its libraries, and kill it if it takes too much.

    Returns its exit code, what is wrong with the way in which it ended, and how many seconds it took.
    """
    if not (pid := os.fork()):
        for number, name in enumerate(("stdout", "stderr"), 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os._exit(run_main(command))
    began, seconds, ended, paused = time.monotonic(), 0.0, 0, False
    while not ended:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        before, seconds = seconds, time.monotonic() - began
        paused = paused or seconds - before > 2
        if not ended and (seconds > limit or psutil.Process(pid).memory_info().rss > 1.5 * MEMORY):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    code, said = os.waitstatus_to_exitcode(status), Path("stderr").read_text(errors="replace").strip()
    errors, problem = sum(line.startswith("error: ") for line in said.splitlines()), ""
    if "Traceback" in said:
        problem = f"a traceback: {said.splitlines()[-1][:100]}"
    elif usage.ru_maxrss << 10 > MEMORY:
        problem = "takes more than 2 GB"
    elif seconds > limit:
        problem = f"takes more than {limit:.0f} s"
    elif (code, errors) not in ((0, 0), (1, 1)):
        problem = f"exit code {code} and {errors} sentences: {said[-100:]}"
    if problem and paused:  # this machine stood still meanwhile
        return run_script(command, limit)
    return code, problem, seconds


def run_main(command: list[str]) -> int:
    """The exit code of a script that runs in this process."""
    sys.argv, sys.path[0], code = command, str(Path(command[0]).parent), 0
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        print(error.code or "", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def main() -> None:
    """Try a kind: its name, how many inputs, the seed and the sound run are the arguments."""
    name, count, seed, sound = sys.argv[1:]
    kind, held, causes = KINDS[name], [], dict[str, type[Exception]]()
    importlib.import_module(kind.library)
    stage = Project(Path(sound)).read_lock()["stages"].get(kind.script, {"cmd": f"python {kind.script}", "outs": []})
    outs = [Path(out["path"]) for out in stage["outs"] if out["path"] != kind.place]
    outs += [Path(FACES), Path("metrics/data.json")] if "prepare.py" in kind.script else []

    def restore() -> Case:
        """Have the finished run as it was before an input was damaged."""
        for path in {Path(kind.place), Path("inputs"), Path("profiles"), *outs}:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            copy = shutil.copytree if Path(sound, path).is_dir() else shutil.copyfile
            copy(Path(sound, path), path)
        return Case(Path(kind.place), Path(sound))

    def read(path: Path, limit: float) -> tuple[int, str, float]:
        return run_script([part.format(path) for part in shlex.split(stage["cmd"])[1:]], limit)

    def read_outs() -> list[dict[str, bytes] | bytes]:
        return [load_files(out) if out.is_dir() else out.read_bytes() if out.exists() else b"" for out in outs]

    place = restore().path
    code, problem, seconds = read(next(place.rglob("*.*"), Path(TABLE)) if place.is_dir() else place, 600)
    assert code == 0, problem or Path("stderr").read_text()

    @hypothesis.seed(int(seed))
    @hypothesis.settings(
        suppress_health_check=list(hypothesis.HealthCheck),
        max_examples=int(count),
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
    )
    @hypothesis.given(st.data())
    def try_all(data: st.DataObject) -> None:
        """Draw an input, have the script read it, and raise an exception of its cause if that went wrong."""
        drawn, case, before = Drawn(data), restore(), read_outs()
        case = kind.damage(drawn, case)
        code, problem, _ = read(case.path, seconds + SECONDS)
        if Path("inputs/unpickled").exists():
            problem = "code in the file was executed"
        elif not problem and code:
            problem = "" if read_outs() == before else "earlier outputs were touched by a run that failed"
        elif not problem:
            problem = kind.check(case)
        if problem:
            cause = causes.setdefault(problem.partition(": ")[0], type("Broken", (Exception,), {}))
            raise cause(f"{problem} ({', '.join(drawn.notes)}; seed {seed})")
        held.extend([] if causes else [""])  # no more once hypothesis shrinks a failure

    found: tuple[Exception, ...] = ()
    try:
        try_all()
    except ExceptionGroup as group:
        found = group.exceptions
    except Exception as error:
        found = (error,)
    print(json.dumps([*held, *map(repr, found)]))
