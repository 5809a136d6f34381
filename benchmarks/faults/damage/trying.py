"""One input: drawn, read in this process or by its script, and judged by how that ended."""

import contextlib
import io
import os
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faults.damage.case import ROOT, Case, Kind, Place, Wrong, load_files
from faults.damage.kinds import KINDS
from fer_pipeline.running.quiet import stderr_into
from fer_pipeline.running.stage import catch

SECONDS = 10.0
"""Within which a reader has to end; a script, which loads its libraries first, has `SCRIPT_SECONDS`."""
SCRIPT_SECONDS = 120.0
LOADING_SECONDS = 60.0
"""For the first input of a worker, which loads the libraries."""
MEMORY = 2 << 30
"""Bytes of a process, at most."""
EVERY = 50
"""Of so many inputs of a kind one goes through the script, until its `scripts` are done."""
BEFORE = b"what was here before\n"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


class Ended(NamedTuple):
    """How the reading of an input ended."""

    how: str
    problem: str | None
    """What did not hold, up to its first colon the same for the same cause; None where all did."""


def draw_case(name: str, number: int, seed: int, place: Place) -> Case:
    """The input of that kind and number, written to `place.inputs`, with outputs of before beside it."""
    for folder in (place.inputs, place.outputs):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    if (params := place.project / "params.yaml").is_symlink():
        params.unlink()
        shutil.copyfile(place.sound / "params/params.yaml", params)
    for output in KINDS[name].outputs:
        (place.outputs / output).write_bytes(BEFORE)
    rng = np.random.default_rng([seed, sum(name.encode()), number])
    return KINDS[name].damage(rng, place)


def try_one(name: str, number: int, seed: int, place: Place, loads: bool = False) -> Ended:
    """Draw one input, let it be read, and judge how that ended; with `loads` the libraries are loaded meanwhile."""
    kind = KINDS[name]
    case = draw_case(name, number, seed, place)
    script = is_for_script(kind, number)
    limit = SCRIPT_SECONDS if script else LOADING_SECONDS if loads else SECONDS
    largest, began = read_largest_child(), time.monotonic()
    if script:
        code, said, problem = run_script(kind.command(case, place), place)
    else:
        reset_peak()
        code, said, problem = run_here(lambda: kind.read(case, place), place)
    seconds = time.monotonic() - began
    memory = read_memory("self", "VmHWM")
    if script:
        memory = child if (child := read_largest_child()) > largest else 0  # it took no more than an earlier one
    problem = problem or judge(code, said.replace(str(place.inputs.parent), ""))
    if not problem and memory > MEMORY:
        problem = "takes more than 2 GB"
    if not problem and seconds > limit:
        problem = f"takes more than {limit:.0f} s"
    if not problem and code:
        problem = find_lost(kind, place)
    return Ended(f"{case.how}{', by the script' if script else ''}", problem)


def is_for_script(kind: Kind, number: int) -> bool:
    """Whether the input of that number goes through the script."""
    return number % EVERY == EVERY - 1 and number // EVERY < kind.scripts


def run_script(command: list[str], place: Place) -> tuple[int, str, str | None]:
    """Exit code and stderr of a script of the copy of the project; and what is wrong where it does not end."""
    script, *arguments = command
    try:
        process = subprocess.run(
            [sys.executable, place.project / script, *arguments],
            env={**os.environ, **THREADS},
            cwd=place.project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=SCRIPT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, "", f"takes more than {SCRIPT_SECONDS:.0f} s"
    return process.returncode, process.stderr, None


def run_here(read: Callable[[], None], place: Place) -> tuple[int, str, str | None]:
    """Exit code and stderr of a call that ends as a stage does; and what no user could read."""
    log, code, last, problem = place.outputs.parent / "stderr", 0, "", None
    with open(log, "wb") as file, stderr_into(file), contextlib.redirect_stdout(io.StringIO()):
        try:
            catch(read)
        except SystemExit as error:
            code, last = (1, error.code) if isinstance(error.code, str) else (int(error.code or 0), "")
        except Wrong as error:
            problem = str(error)
        except BaseException as error:
            problem = describe(error, place)
        sys.stderr.flush()
    return code, log.read_text(errors="replace") + last, problem


def describe(error: BaseException, place: Place) -> str:
    """An exception and the last line of the project on its way, which name a cause."""
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).parent
    ours = [one for one in frames if (path := Path(one.filename)).is_relative_to(ROOT) and path.parent != here]
    frame = (ours or frames)[-1]
    name = Path(frame.filename).name
    said = " ".join(str(error).replace(f"{place.inputs.parent}/", "").split())
    return f"{type(error).__name__} in {frame.name} of {name}: {said[:80]}"


def judge(code: int, said: str) -> str | None:
    """What is wrong with an exit code and what was said on stderr."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback" in said:
        return f"a traceback, {said.strip().splitlines()[-1][:100]}"
    if code == 0 and not errors:
        return None
    if code != 1:
        return f"exit code {code}: {said.strip()[-100:]}"
    return None if len(errors) == 1 else f"{len(errors)} sentences: {said.strip()[-100:]}"


def find_lost(kind: Kind, place: Place) -> str | None:
    """After a failure: what became of the outputs of before."""
    kept = load_files(place.outputs) == dict.fromkeys(kind.outputs, BEFORE)
    return None if kept else "outputs of before were touched by a run that failed"


def read_largest_child() -> int:
    """Bytes of memory of the largest process that this one has started and waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


def reset_peak() -> None:
    """Let the kernel count the peak of this process' memory anew."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def read_memory(process: int | str, key: str) -> int:
    """Bytes of memory of a process: its peak (`VmHWM`) or of now (`VmRSS`); 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(key)), 0)
