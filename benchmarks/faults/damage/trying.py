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
from faults.damage.inputs import FACES, KINDS, TABLE, Case, Kind, Wrong
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
    began = now = time.monotonic()
    ended, paused = 0, False
    while not ended:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        before, now = now, time.monotonic()
        paused = paused or now - before > 2
        if not ended and (now - began > limit or psutil.Process(pid).memory_info().rss > 1.5 * MEMORY):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    code, said = os.waitstatus_to_exitcode(status), Path("stderr").read_text(errors="replace").strip()
    errors, problem = sum(line.startswith("error: ") for line in said.splitlines()), ""
    if "Traceback" in said:
        problem = f"a traceback: {said.splitlines()[-1][:100]}"
    elif usage.ru_maxrss << 10 > MEMORY:
        problem = "takes more than 2 GB"
    elif now - began > limit:
        problem = f"takes more than {limit:.0f} s"
    elif (code, errors) not in ((0, 0), (1, 1)):
        problem = f"exit code {code} and {errors} sentences: {said[-100:]}"
    if problem and paused:  # this machine stood still meanwhile
        return run_script(command, limit)
    return code, problem, now - began


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


class Trial:
    """The inputs of one kind, and what became of them."""

    def __init__(self, kind: Kind, sound: Path) -> None:
        self.kind, self.sound = kind, sound
        stage = Project(sound).read_lock()["stages"].get(kind.script, {"cmd": f"python {kind.script}", "outs": []})
        self.command = shlex.split(stage["cmd"])[1:]
        prepared = [FACES, "metrics/data.json"] if "prepare.py" in kind.script else []
        self.outs = [out["path"] for out in stage["outs"] if out["path"] != kind.place] + prepared
        self.held, self.causes = 0, dict[str, type[Exception]]()

    def restore(self) -> None:
        """Have the finished run as it was before an input was damaged."""
        for name in {self.kind.place, "inputs", "profiles", *self.outs}:
            shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink(missing_ok=True)
            copy = shutil.copytree if (self.sound / name).is_dir() else shutil.copyfile
            copy(self.sound / name, name)

    def read_outs(self) -> dict[str, bytes]:
        """{path: bytes} of all outputs of an earlier run."""
        files = [file for out in self.outs for file in (Path(out), *Path(out).rglob("*"))]
        return {str(file): file.read_bytes() for file in files if file.is_file()}

    def measure(self) -> float:
        """How many seconds the script may take."""
        self.restore()
        place = next(Path(self.kind.place).rglob("*.*"), TABLE) if Path(self.kind.place).is_dir() else self.kind.place
        code, problem, seconds = run_script([part.format(place) for part in self.command], 600)
        assert code == 0, problem or Path("stderr").read_text()
        return seconds + SECONDS

    def try_one(self, data: st.DataObject, limit: float, seed: int) -> None:
        """Draw an input, have the script read it, and raise an exception of its cause if that went wrong."""
        self.restore()
        drawn, before = Drawn(data), self.read_outs()
        case = self.kind.damage(drawn, Case(Path(self.kind.place), self.sound))
        command = [part.format(case.path) for part in self.command]
        code, problem, _ = run_script(command, limit)
        if Path("inputs/unpickled").exists():
            problem = "code in the file was executed"
        elif not problem and code:
            problem = "" if self.read_outs() == before else "earlier outputs were touched by a run that failed"
        elif not problem:
            try:
                self.kind.check(case)
            except Wrong as wrong:
                problem = str(wrong)
        if problem:
            cause = self.causes.setdefault(problem.partition(": ")[0], type("Broken", (Exception,), {}))
            raise cause(f"{problem} ({', '.join(drawn.notes)}; seed {seed})")
        self.held += not self.causes


def main() -> None:
    name, count, seed, sound = sys.argv[1:]
    trial, began = Trial(KINDS[name], Path(sound)), time.monotonic()
    importlib.import_module(trial.kind.library)
    limit = trial.measure()
    phases = (hypothesis.Phase.generate, hypothesis.Phase.shrink)
    settings = {"max_examples": int(count), "database": None, "deadline": None, "phases": phases}

    @hypothesis.seed(int(seed))
    @hypothesis.settings(suppress_health_check=list(hypothesis.HealthCheck), **settings)
    @hypothesis.given(st.data())
    def try_all(data: st.DataObject) -> None:
        trial.try_one(data, limit, int(seed))

    found: tuple[Exception, ...] = ()
    try:
        try_all()
    except ExceptionGroup as group:
        found = group.exceptions
    except Exception as error:
        found = (error,)
    print(
        json.dumps(
            [name, trial.held + len(found), trial.held, time.monotonic() - began, [f"{error!r}" for error in found]]
        )
    )
