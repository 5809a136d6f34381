"""The whole pipeline killed at random moments, stopped otherwise, or out of space: it still ends in the same bytes.

A narrow pipeline with all that a training has to resume runs once undisturbed. `count` copies of a clone in which
nothing ran are then killed with -9, a third of them once more while they resume; `count` also limits how often each
other fault is tried. The next `dvc repro` starts at once, beside whatever the kill left running. It has to end in every
out and the dvc.lock of the undisturbed run, byte for byte, with no unfinished file, no process and no traceback left.
Seed and number decide what is killed and after how many seconds; where that strikes depends on the machine's speed.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from clones import BOTH, DVC, SIGNALS, STAGE, UNSHARE, Clone, Project, find_processes, find_reason, make_narrow
from faults.common import ONE_THREAD, Row, Settings
from fer_pipeline.core.errors import InputError

COUNT = 30
TWICE, FULL, READ_ONLY = "killed once more while resuming", "a full disk", "a read-only folder of outs"
WRITERS = {
    "data/prepared": "prepare",
    "data/predictions": "predict@compact",
    "models": "train_compact",
    "models/export": "export@compact",
    "metrics": "score_exports",
    "plots": "report",
}
"""{folder of outs: a stage that writes there}."""
FILL = """
here=$PWD; used=$(du -sk {fresh} | cut -f1); all=$(du -sk . | cut -f1)
mount -t tmpfs -o size=$((used + {part} * (all - used) / 1000000))k none $here && cp -a {fresh}/. $here || exit
cd $here; dvc repro; code=$?; cp -a . ../kept; cd ..; umount -l $here; rm -r $here; mv kept $here; exit $code
"""
"""The disk has room for a part of what a run writes; what was on it is copied off in the end."""
FORBID = "mount --bind {outs} {outs} && mount -o remount,ro,bind {outs} && dvc repro -f -s {stage}"
LOCK = (
    "true & wait; printf ' %s\\n' $! | tee .dvc/tmp/lock > .dvc/tmp/rwlock.lock; "
    """printf '{{"write": {{"%s": {{"pid": %s, "cmd": "dvc repro"}}}}, "read": {{}}}}' """
    '"$PWD/data/prepared/faces.h5" $! > .dvc/tmp/rwlock; dvc repro -f -s prepare'
)
CUT = "truncate -s $(($(stat -c %s {file}) * {part} / 1000000)) {file}"


class Pipeline(NamedTuple):
    """A clone in which nothing ran, the same after an undisturbed run, and how many seconds that took."""

    fresh: Project
    finished: Project
    seconds: float


Hit = tuple[Project, str]
"""A run, and where and when a fault hit it."""
Fault = Callable[[np.random.Generator, Pipeline, Path], Hit]
"""Does something to a run in a folder, which does not exist yet; an AssertionError says that it had not its effect."""


def run_undisturbed(folder: Path, **environment: str) -> Pipeline:
    """Run the narrow pipeline once below `folder`."""
    fresh = make_narrow(Clone(folder / "fresh"), ema=0.9, labels="emotion+votes", freeze_epochs=1, mixup=0.2)
    finished, began = fresh.copy(folder / "finished"), time.monotonic()
    code, printed = finished.call("dvc", "repro", **environment)
    if code:
        raise InputError(f"the undisturbed run ended with {code}: {find_reason(printed)}")
    return Pipeline(fresh, finished, time.monotonic() - began)


def stop_at_random(what: str, times: int, draw: np.random.Generator, pipeline: Pipeline, folder: Path) -> Hit:
    """Stop a run at a random moment, the second time while it resumes; drawn again if the run had ended before."""
    run, where, left = pipeline.fresh.copy(folder), [], pipeline.seconds
    for _ in range(times):
        moment = draw.uniform(0, left)
        left -= moment
        if not (stage := run.stop(what, moment, **ONE_THREAD)):
            shutil.rmtree(folder)
            run.log.unlink()
            return stop_at_random(what, times, draw, pipeline, folder)
        where.append(f"{stage}, after {moment:.2f} s")
    return run, ", ".join(where)


def strike(script: str, due: str, draw: np.random.Generator, pipeline: Pipeline, folder: Path, **names: str) -> Hit:
    """Run lines of shell in a finished run; dvc has to fail with the sentence that is due, if any."""
    run, fresh = pipeline.finished.copy(folder), shlex.quote(str(pipeline.fresh.path))
    script = script.format(part=draw.integers(1_000_000), fresh=fresh, **names)
    printed = run.run(*UNSHARE, script, code=255 if due else 0, **ONE_THREAD)
    assert due in printed.lower(), f"no {due!r}: {find_reason(printed)}"
    return run, script


def list_faults(seed: int, count: int | None) -> dict[str, list[Fault]]:
    """{what is done: how, as often as it is tried}."""
    faults: dict[str, list[Fault]] = defaultdict(list)
    for number, kind in enumerate(np.random.default_rng(seed).choice((STAGE, DVC, BOTH), count or COUNT).tolist()):
        twice = number % 3 == 2
        faults[TWICE if twice else kind].append(partial(stop_at_random, kind, 2 if twice else 1))
    forbid = partial(strike, FORBID, "read-only file system")
    others: dict[str, list[Fault]] = {
        **{what: [partial(stop_at_random, what, 1)] * 3 for what in SIGNALS if what != BOTH},
        FULL: [partial(strike, FILL, "no space left on device")] * 3,
        READ_ONLY: [partial(forbid, outs=outs, stage=stage) for outs, stage in WRITERS.items()],
        "locks of a dvc that no longer runs": [partial(strike, LOCK, "")],
        ".dvc/tmp/rwlock cut short": [partial(strike, CUT, "", file=".dvc/tmp/rwlock")],
        "dvc.lock cut short": [partial(strike, CUT, "", file="dvc.lock")] * 3,
    }
    return faults | {what: known[:count] for what, known in others.items()}


def try_fault(pipeline: Pipeline, settings: Settings, what: str, number: int, fault: Fault) -> tuple[str, list[str]]:
    """Finish a run after a fault; what is wrong then, if anything, and what the row says of it."""
    draw, notes, where = np.random.default_rng([settings.seed, number, *what.encode()]), [], ""
    with tempfile.TemporaryDirectory(dir=settings.folder) as place:
        try:
            run, where = fault(draw, pipeline, Path(place, "run"))
            wrong, notes = run.finish(pipeline.finished, **ONE_THREAD)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            wrong = [f"{type(error).__name__}: {error!s:.500}"]
        finally:
            for process in find_processes(Path(place, "run")):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    process.wait()
    return f"seed {settings.seed}, number {number}, {where}: {'; '.join(wrong)}" if wrong else "", notes


def run(settings: Settings) -> Iterator[Row]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so do its children
    pipeline, faults = run_undisturbed(settings.folder, **ONE_THREAD), list_faults(settings.seed, settings.count)
    if subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        for what in (FULL, READ_ONLY):
            faults.pop(what)
            yield f"{what}: not tried, because nobody may mount one here", []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = partial(pool.submit, try_fault, pipeline, settings)
        rows = {what: [start(what, *one) for one in enumerate(known)] for what, known in faults.items()}
        for what, futures in rows.items():
            told, noted = zip(*(future.result() for future in futures), strict=True)
            notes = [f"{times} {note}" for note, times in Counter(note for notes in noted for note in notes).items()]
            yield f"{what} ({', '.join(notes)})" if notes else what, [*told]
