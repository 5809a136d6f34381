"""The whole pipeline killed at random moments, stopped otherwise, or out of space: it still ends in the same bytes.

A narrow pipeline with all that a training has to resume (a frozen epoch, mixup, averaged weights, the votes' head) runs
once undisturbed. `count` copies of a clone in which nothing ran are then killed with -9, a third of them once more
while they resume. The next `dvc repro` starts at once, beside whatever the kill left running. It has to end in every
out and the dvc.lock of the undisturbed run, byte for byte, with no unfinished file, no process and no traceback left.

Seed and number decide what is killed and after how many seconds; where that strikes depends on the machine's speed.
`count` also limits how often each other fault is tried. As many runs as there are cores go on at once, with one thread
each.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
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
KILLS = (STAGE, DVC, BOTH)
TWICE = "killed once more while resuming"
FULL, READ_ONLY, LOCKS = "a full disk", "a read-only folder of outs", "locks of a dvc that no longer runs"
WRITERS = {
    "data/prepared": "prepare",
    "data/predictions": "predict@compact",
    "models": "train_compact",
    "models/export": "export@compact",
    "metrics": "score_exports",
    "plots": "report",
}
"""{folder of outs: a stage that writes there}."""
FILL = (
    "here=$PWD; mount -t tmpfs -o size={size}k none $here && cp -a {fresh}/. $here && cd $here || exit; "
    "dvc repro; code=$?; cp -a . ../kept; exit $code"
)
FORBID = "mount --bind {outs} {outs} && mount -o remount,ro,bind {outs} && dvc repro -f -s {stage}"
LOCK = (
    "true & wait; printf ' %s\\n' $! | tee .dvc/tmp/lock > .dvc/tmp/rwlock.lock; "
    """printf '{{"write": {{"%s": {{"pid": %s, "cmd": "dvc repro"}}}}, "read": {{}}}}' """
    '"$PWD/data/prepared/faces.h5" $! > .dvc/tmp/rwlock; dvc repro -f -s prepare'
)
CUT = "truncate -s $(($(stat -c %s {file}) * {size} / 1000000)) {file}"


class Pipeline(NamedTuple):
    """What runs are started from, and compared with."""

    fresh: Project
    """A clone in which nothing ran."""
    finished: Project
    """The same clone after an undisturbed run."""
    seconds: float
    """How long that run took."""


class End(NamedTuple):
    """How a run ended after a fault."""

    wrong: list[str]
    """What broke the promise, in words; empty if nothing did."""
    notes: list[str]
    """What the row says beside its numbers."""
    where: str
    """Where and when the fault struck."""


Fault = Callable[[np.random.Generator, Pipeline, Path], End]
"""Does something to a run in a folder, which does not exist yet, and finishes that run."""


def run_undisturbed(folder: Path, **environment: str) -> Pipeline:
    """Run the narrow pipeline once below `folder`."""
    fresh = make_narrow(Clone(folder / "fresh"), ema=0.9, labels="emotion+votes", freeze_epochs=1, mixup=0.2)
    finished, began = fresh.copy(folder / "finished"), time.monotonic()
    code, printed = finished.call("dvc", "repro", **environment)
    if code:
        raise InputError(f"the undisturbed run ended with {code}: {find_reason(printed)}")
    return Pipeline(fresh, finished, time.monotonic() - began)


def stop_at_random(what: str, times: int, draw: np.random.Generator, pipeline: Pipeline, folder: Path) -> End:
    """Stop a run at a random moment, the second time while it resumes; drawn again if the run had ended before."""
    while True:
        run, where, left = pipeline.fresh.copy(folder), [], pipeline.seconds
        for _ in range(times):
            moment = draw.uniform(0, left)
            left -= moment
            if stage := run.stop(what, moment, **ONE_THREAD):
                where.append(f"{stage}, after {moment:.2f} s")
        if len(where) == times:
            return End(*run.finish(pipeline.finished, **ONE_THREAD), ", ".join(where))
        shutil.rmtree(folder)
        run.log.unlink()


def run_script(
    script: str, sentence: str | None, draw: np.random.Generator, pipeline: Pipeline, folder: Path, **names: str
) -> End:
    """Run a line of shell in a finished run, and finish that again; the line has to fail with this sentence, if any."""
    run, size = pipeline.finished.copy(folder), int(draw.integers(1_000_000))
    if script == FILL:  # somewhere between nothing and all that a run writes
        used, needed = (
            int(subprocess.check_output(["du", "-sk", project.path]).split()[0])
            for project in (pipeline.fresh, pipeline.finished)
        )
        size = used + size * (needed - used) // 1_000_000
    line = script.format(size=size, fresh=shlex.quote(str(pipeline.fresh.path)), **names)
    code, printed = run.call(*UNSHARE, line, **ONE_THREAD)
    if (kept := folder.with_name("kept")).exists():  # copied off the full disk
        shutil.rmtree(folder)
        kept.rename(folder)
    wrong, notes = run.finish(pipeline.finished, **ONE_THREAD)
    if bool(code) != bool(sentence) or (sentence or "") not in printed.lower():
        wrong = [f"not {sentence!r} but {code}, {find_reason(printed)}", *wrong]
    return End(wrong, notes, line)


OTHERS: dict[str, list[Fault]] = {
    **{what: [partial(stop_at_random, what, 1)] * 3 for what in SIGNALS if what != BOTH},
    FULL: [partial(run_script, FILL, "no space left on device")] * 3,
    READ_ONLY: [
        partial(run_script, FORBID, "read-only file system", outs=outs, stage=WRITERS[outs]) for outs in WRITERS
    ],
    LOCKS: [partial(run_script, LOCK, None)],
    ".dvc/tmp/rwlock cut short": [partial(run_script, CUT, None, file=".dvc/tmp/rwlock")],
    "dvc.lock cut short": [partial(run_script, CUT, None, file="dvc.lock")] * 3,
}


def draw_kills(settings: Settings) -> dict[str, dict[int, Fault]]:
    """{what is killed: {number: how}}; the number seeds the draws."""
    kinds = np.random.default_rng(settings.seed).choice(KILLS, COUNT if settings.count is None else settings.count)
    kills: dict[str, dict[int, Fault]] = {what: {} for what in (*KILLS, TWICE)}
    for number, kind in enumerate(kinds.tolist()):
        times = 2 if number % 3 == 2 else 1
        kills[kind if times == 1 else TWICE][number] = partial(stop_at_random, kind, times)
    return {what: faults for what, faults in kills.items() if faults}


def try_fault(what: str, number: int, fault: Fault, pipeline: Pipeline, settings: Settings) -> tuple[End, float]:
    """How a run with this fault ended, what was wrong in one sentence, and how many seconds it took."""
    began, draw = time.monotonic(), np.random.default_rng([settings.seed, number, *what.encode()])
    with tempfile.TemporaryDirectory(dir=settings.folder) as place:
        folder = Path(place, "run")
        try:
            end = fault(draw, pipeline, folder)
        except subprocess.TimeoutExpired as error:
            end = End([f"hung: {error.cmd}"], [], "")
        finally:
            left = find_processes(folder)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left)
    told = [f"seed {settings.seed}, number {number}, {end.where}: {'; '.join(end.wrong)}"] if end.wrong else []
    return end._replace(wrong=told), time.monotonic() - began


def run(settings: Settings) -> Iterator[Row]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so do its children
    pipeline = run_undisturbed(settings.folder, **ONE_THREAD)
    others = {what: dict(enumerate(faults[: settings.count])) for what, faults in OTHERS.items()}
    if subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        for what in (FULL, READ_ONLY):
            others.pop(what)
            yield Row(f"{what}: not tried, because nobody may mount one here", 0, 0, 0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = {
            what: [pool.submit(try_fault, what, number, fault, pipeline, settings) for number, fault in faults.items()]
            for what, faults in {**draw_kills(settings), **others}.items()
        }
        for what, futures in rows.items():
            ends, seconds = zip(*(future.result() for future in futures), strict=True) if futures else ((), ())
            found = tuple(told for end in ends for told in end.wrong)
            notes = Counter(note for end in ends for note in end.notes)
            said = f" ({', '.join(f'{times} {note}' for note, times in notes.items())})" if notes else ""
            yield Row(f"{what}{said}", len(ends), len(ends) - len(found), sum(seconds), found)
