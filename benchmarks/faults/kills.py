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
from faults.common import ONE_THREAD, Row, Settings, make_row
from fer_pipeline.core.errors import InputError

COUNT = 30
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
CUT = "truncate -s $(($(stat -c %s {file}) * {part} / 1000000)) {file}"


class Pipeline(NamedTuple):
    """A clone in which nothing ran, the same after an undisturbed run, and how many seconds that took."""

    fresh: Project
    finished: Project
    seconds: float


End = tuple[list[str], list[str], str]
"""How a run ended: what is wrong, in words; what the row says beside its numbers; where and when the fault struck."""
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
            return *run.finish(pipeline.finished, **ONE_THREAD), ", ".join(where)
        shutil.rmtree(folder)
        run.log.unlink()


def run_script(
    script: str, sentence: str, draw: np.random.Generator, pipeline: Pipeline, folder: Path, **names: str
) -> End:
    """Run a line of shell in a finished run, and finish that again; the line has to fail with this sentence, if any."""
    run, part = pipeline.finished.copy(folder), int(draw.integers(1_000_000))
    used, all_ = (
        int(subprocess.check_output(["du", "-sk", one.path]).split()[0]) for one in (pipeline.fresh, pipeline.finished)
    )
    size = used + part * (all_ - used) // 1_000_000  # between nothing and all that a run writes
    line = script.format(part=part, size=size, fresh=shlex.quote(str(pipeline.fresh.path)), **names)
    code, printed = run.call(*UNSHARE, line, **ONE_THREAD)
    if (kept := folder.with_name("kept")).exists():  # copied off the full disk
        shutil.rmtree(folder)
        kept.rename(folder)
    wrong, notes = run.finish(pipeline.finished, **ONE_THREAD)
    if bool(code) != bool(sentence) or sentence not in printed.lower():
        wrong = [f"not {sentence!r} but {code}, {find_reason(printed)}", *wrong]
    return wrong, notes, line


def list_faults(settings: Settings) -> dict[str, list[Fault]]:
    """{what is done: how, as often as it is tried}."""
    faults: dict[str, list[Fault]] = defaultdict(list)
    kinds = np.random.default_rng(settings.seed).choice((STAGE, DVC, BOTH), settings.count or COUNT)
    for number, kind in enumerate(kinds.tolist()):
        times = 2 if number % 3 == 2 else 1
        faults[kind if times == 1 else TWICE].append(partial(stop_at_random, kind, times))
    others: dict[str, list[Fault]] = {
        **{what: [partial(stop_at_random, what, 1)] * 3 for what in SIGNALS if what != BOTH},
        FULL: [partial(run_script, FILL, "no space left on device")] * 3,
        READ_ONLY: [
            partial(run_script, FORBID, "read-only file system", outs=outs, stage=stage)
            for outs, stage in WRITERS.items()
        ],
        LOCKS: [partial(run_script, LOCK, "")],
        ".dvc/tmp/rwlock cut short": [partial(run_script, CUT, "", file=".dvc/tmp/rwlock")],
        "dvc.lock cut short": [partial(run_script, CUT, "", file="dvc.lock")] * 3,
    }
    return faults | {what: known[: settings.count] for what, known in others.items()}


def try_fault(pipeline: Pipeline, settings: Settings, what: str, number: int, fault: Fault) -> tuple[str, list[str]]:
    """What was wrong after a run with this fault, in one sentence if anything was; and what the row says of it."""
    draw, notes, where = np.random.default_rng([settings.seed, number, *what.encode()]), [], ""
    with tempfile.TemporaryDirectory(dir=settings.folder) as place:
        folder = Path(place, "run")
        try:
            wrong, notes, where = fault(draw, pipeline, folder)
        except subprocess.TimeoutExpired as error:
            wrong = [f"hung: {error.cmd}"]
        finally:
            for process in find_processes(folder):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    process.wait()
    return f"seed {settings.seed}, number {number}, {where}: {'; '.join(wrong)}" if wrong else "", notes


def run(settings: Settings) -> Iterator[Row]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so do its children
    pipeline, faults = run_undisturbed(settings.folder, **ONE_THREAD), list_faults(settings)
    if subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        for what in (FULL, READ_ONLY):
            faults.pop(what)
            yield make_row(f"{what}: not tried, because nobody may mount one here", [])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        start = partial(pool.submit, try_fault, pipeline, settings)
        rows = {what: [start(what, *one) for one in enumerate(known)] for what, known in faults.items()}
        for what, futures in rows.items():
            told, noted = zip(*(future.result() for future in futures), strict=True)
            notes = Counter(note for notes in noted for note in notes)
            said = f" ({', '.join(f'{times} {note}' for note, times in notes.items())})" if notes else ""
            yield make_row(f"{what}{said}", told)
