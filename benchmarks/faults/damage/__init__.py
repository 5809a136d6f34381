"""Damaged, wrong and hostile input: each has to end in an answer or in one sentence, and no answer may be wrong.

Of every kind of file that the project reads, hypothesis draws damaged ones: cut, bits flipped, parts swapped, doubled
or emptied, other encodings, other types, and what an attacker would write. The script that reads it runs in a process
of its own, in a copy of a finished run. A case passes if it takes at most ten seconds more than with the sound file,
and 2 GB; ends with exit code 0 or with exit code 1 and one `error:` line, without a traceback; leaves all earlier
outputs untouched if it failed; and has the input's own rows, as a plain reader finds them, if it did not. Hypothesis
shrinks a failure to the smallest damage that causes it. `count` is the number of all inputs.
"""

import importlib
import json
import multiprocessing
import os
import resource
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import psutil
from hypothesis import strategies as st

from clones import ENVIRONMENT, Project
from damage import Drawn
from faults.common import ONE_THREAD, Row, Settings
from faults.damage.inputs import FACES, KINDS, TABLE, load_files, make_sound
from faults.kills import run_undisturbed

COUNT = 10_000
TICK, SECONDS, MEMORY = 0.05, 10.0, 2 << 30
"""Seconds between two looks at a process; seconds more than the sound file takes, and bytes, at most."""
START = """
import json, sys; sys.path.insert(0, 'benchmarks')
import checkout, faults.damage
print(json.dumps(faults.damage.try_inputs(*sys.argv[1:])))
"""
"""Python code that tries a kind, in the folder of a finished run: its own copy of this package and of all scripts."""


def run(settings: Settings) -> Iterator[Row]:
    finished = settings.finished and Project(settings.finished).copy(settings.folder / "finished")
    sound = finished or run_undisturbed(settings.folder, **ONE_THREAD).finished
    make_sound(sound)
    count = settings.count or COUNT

    def try_kind(name: str) -> Row:
        work = sound.copy(settings.folder / name.replace(" ", "_"))
        arguments = (name, str(max(1, count * KINDS[name].share // COUNT)), str(settings.seed), str(sound.path))
        command, environment = [sys.executable, "-c", START, *arguments], ENVIRONMENT | ONE_THREAD
        printed = subprocess.check_output(command, cwd=work.path, env=environment, text=True)
        return name, json.loads(printed.splitlines()[-1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(try_kind, KINDS)


def run_main(command: list[str]) -> None:
    """Run a script in this process."""
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv, sys.path[0] = command, str(Path(command[0]).parent)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        if max(resource.getrusage(one).ru_maxrss for one in who) << 10 > MEMORY:
            raise MemoryError("takes more than 2 GB")


def run_script(command: list[str], limit: float) -> tuple[int, str, float]:
    """Run a script in a fork of this process, which has loaded its libraries, and kill it if it takes too much.

    Returns its exit code, what is wrong with the way in which it ended, and how many seconds it took.
    """
    process = multiprocessing.get_context("fork").Process(target=run_main, args=(command,))
    process.start()
    ticks, allowed = 0, limit / TICK  # no clock, because this machine may stand still
    while process.join(TICK) or process.is_alive():
        ticks += 1
        if ticks > allowed or psutil.Process(process.pid).memory_info().rss > 1.5 * MEMORY:
            process.kill()
    code, said, problem = process.exitcode or 0, Path("stderr").read_text(errors="replace").strip(), ""
    errors = sum(line.startswith("error: ") for line in said.splitlines())
    if "Traceback" in said:
        problem = f"a traceback: {said.splitlines()[-1][:100]}"
    elif ticks > allowed:
        problem = f"takes more than {limit:.0f} s"
    elif (code, errors) not in ((0, 0), (1, 1)):
        problem = f"exit code {code} and {errors} sentences: {said[-100:]}"
    return code, problem, ticks * TICK


def try_inputs(name: str, count: str, seed: str, sound: str) -> list[str]:
    """Try so many inputs of a kind in the current folder, a copy of the finished run `sound`."""
    kind, held, causes = KINDS[name], [], dict[str, type[Exception]]()
    importlib.import_module(kind.library)
    stage = Project(Path(sound)).read_lock()["stages"].get(kind.script, {"cmd": f"python {kind.script}", "outs": []})
    outs = [Path(out["path"]) for out in stage["outs"] if out["path"] != kind.place]
    outs += [Path(FACES), Path("metrics/data.json")] if "prepare.py" in kind.script else []
    place = Path(kind.place)

    def restore() -> None:
        """Have the finished run as it was before an input was damaged."""
        for path in {place, Path("inputs"), Path("profiles"), *outs}:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            copy = shutil.copytree if Path(sound, path).is_dir() else shutil.copyfile
            copy(Path(sound, path), path)

    def read(path: Path, limit: float) -> tuple[int, str, float]:
        return run_script([part.format(path) for part in shlex.split(stage["cmd"])[1:]], limit)

    restore()
    code, problem, seconds = read(next(place.rglob("*.*"), Path(TABLE)) if place.is_dir() else place, 600)
    assert code == 0, problem or Path("stderr").read_text()
    restore()
    before = [load_files(out) for out in outs]
    phases, no_check = (hypothesis.Phase.generate, hypothesis.Phase.shrink), list(hypothesis.HealthCheck)

    @hypothesis.seed(int(seed))
    @hypothesis.settings(
        max_examples=int(count), database=None, deadline=None, phases=phases, suppress_health_check=no_check
    )
    @hypothesis.given(st.data())
    def try_all(data: st.DataObject) -> None:
        """Draw an input, have the script read it, and raise an exception of its cause if that went wrong."""
        restore()
        path, check = kind.damage(Drawn(data.draw), place)
        code, problem, _ = read(path, seconds + SECONDS)
        if Path("inputs/unpickled").exists():
            problem = "code in the file was executed"
        elif not problem and code:
            touched = before != [load_files(out) for out in outs]
            problem = "earlier outputs were touched by a run that failed" if touched else ""
        elif not problem:
            problem = check()
        if problem:
            raise causes.setdefault(problem.partition(": ")[0], type("Broken", (Exception,), {}))(problem)
        if not causes:  # else hypothesis shrinks a failure
            held.append("")

    try:
        try_all()
    except* Exception as group:
        held += [f"{error!r} (seed {seed}; {' '.join(error.__notes__):.400})" for error in group.exceptions]
    return held
