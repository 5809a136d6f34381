"""The whole pipeline killed at random moments, stopped otherwise, or out of space: it still ends in the same bytes.

A narrow pipeline with all that a training has to resume (a frozen epoch, mixup, averaged weights, the votes' head) runs
once undisturbed. `count` copies of a clone in which nothing ran are then killed with -9, a third of them once more
while they resume. The next `dvc repro` starts at once, beside what the kill left running. It has to end in every out
and the dvc.lock of the undisturbed run, byte for byte, with no unfinished file, no process and no traceback left.

Seed and number decide what is killed, and after how many seconds; what is hit then depends on the machine's speed.
`count` also limits how many of the other faults are tried. As many runs as there are cores go on at once, one thread
each: twice as many in an hour, on two cores, as one after the other.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from conftest import ENVIRONMENT, Clone, make_narrow
from ruamel.yaml import YAML

from faults.common import ONE_THREAD, Row, Settings
from fer_pipeline.core.errors import InputError

COUNT = 30
LOCK = "dvc.lock"
LONG = 3600
"""Seconds after which a command counts as hung."""

ON = {"ema": 0.9, "labels": "emotion+votes", "freeze_epochs": 1}
MIXUP = 0.2

STAGE, DVC, BOTH = "the stage killed", "dvc killed", "dvc and the stage killed"
KILLS = (STAGE, DVC, BOTH)
SIGNALS = {"SIGTERM to dvc and the stage": signal.SIGTERM, "Ctrl-C": signal.SIGINT}

REMEDIES = {
    "Unable to read RWLock-file": "rm .dvc/tmp/rwlock",
    "dvc.lock' is invalid": "git checkout dvc.lock",
    "dvc.lock' validation failed": "git checkout dvc.lock",
}
"""{what DVC says after a kill that cut one of its own files short: what docs/trouble.md says to do then}."""

WRITERS = {
    "data/prepared": "prepare",
    "data/predictions": "evaluate@compact",
    "models": "train_compact",
    "models/export": "export@compact",
    "metrics": "measure",
    "plots": "report",
}
"""{folder of outs: a stage that writes there}."""
FULL, READ_ONLY = "a full disk", "a read-only folder of outs"
MOUNTED = (FULL, READ_ONLY)
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "sh", "-c")


class Pipeline(NamedTuple):
    """What runs are started from, and compared with."""

    fresh: Path
    """A clone in which nothing ran."""
    finished: Path
    """The same after an undisturbed run."""
    seconds: float
    """How long that took."""


class End(NamedTuple):
    """How a run ended after a fault."""

    wrong: tuple[str, ...]
    """What was not as promised, in words; empty if all was."""
    notes: tuple[str, ...] = ()
    """What a row says beside its numbers."""
    stops: tuple[str, ...] = ()
    """Where and when it was stopped."""
    seconds: float = 0


Fault = Callable[[np.random.Generator, Pipeline, Path], End]
"""Does something to a run in that folder, which is not there yet, and finishes it."""


def make_clone(folder: Path) -> Path:
    """A narrow clone with all that a training has to resume."""
    folder.mkdir()
    clone = make_narrow(Clone(folder))
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for network in params["profiles"]["smoke"].values():
        network |= {key: value for key, value in ON.items() if key in network}
        if "mixup" in network["augment"]:
            network["augment"] = {**network["augment"], "mixup": MIXUP}
    yaml.dump(params, folder / "params.yaml")
    clone.commit()
    return folder


def copy_clone(source: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, symlinks=True)


def find_log(folder: Path) -> Path:
    """What ran in a folder prints into a file beside it."""
    return folder.with_name(f"{folder.name}.log")


def read_log(folder: Path) -> str:
    return find_log(folder).read_text(encoding="utf-8", errors="replace")


def start(folder: Path, *command: str, umask: int = -1, **environment: str) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a session, with its temporary files and DVC's beside the folder."""
    places = {"TMPDIR": folder.with_name("temporary"), "DVC_SITE_CACHE_DIR": folder.with_name("site")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    with open(find_log(folder), "ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**ENVIRONMENT, **{name: str(place) for name, place in places.items()}, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=umask,
        )


def run_command(folder: Path, *command: str, **environment: str) -> tuple[int, str]:
    """Exit code of a command, and what it printed."""
    find_log(folder).touch()
    before = len(read_log(folder))
    code = start(folder, *command, **environment).wait(LONG)
    return code, read_log(folder)[before:]


def run_undisturbed(folder: Path, **environment: str) -> Pipeline:
    fresh, finished = make_clone(folder / "fresh"), folder / "finished"
    copy_clone(fresh, finished)
    began = time.monotonic()
    code, printed = run_command(finished, "dvc", "repro", **environment)
    if code:
        raise InputError(f"the undisturbed run ended with {code}: {find_reason(printed)}")
    return Pipeline(fresh, finished, time.monotonic() - began)


def read_outs(folder: Path) -> dict[str, str]:
    """{path: SHA-256} of dvc.lock, and of every file among the outs that it names."""
    outs = [folder / out["path"] for stage in read_lock(folder / LOCK)["stages"].values() for out in stage["outs"]]
    files = [file for out in (*outs, folder / LOCK) for file in (out, *out.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def read_lock(lock: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(lock)
    return content


def find_differences(outs: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """The paths whose bytes differ, or that only one of the two has."""
    return sorted(path for path in outs.keys() | others.keys() if outs.get(path) != others.get(path))


def find_stage(dvc: int) -> psutil.Process | None:
    """The stage that a `dvc repro` runs now: its child, or that of the shell between them."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(dvc).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if [part for part in process.cmdline()[1:2] if part.startswith("stages/")]:
                    return process
    return None


def name_stage(process: psutil.Process | None) -> str:
    """The stage that a process belongs to, or its own name."""
    with suppress(psutil.Error):
        if process:
            return process.environ().get("DVC_STAGE", process.name())
    return "no stage"


def find_processes(folder: Path) -> list[psutil.Process]:
    """What still runs in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(process)
    return found


def kill_stage(dvc: "subprocess.Popen[bytes]") -> str | None:
    """Kill the stage that runs, or the next one as it begins; its name, None if none came."""
    while dvc.poll() is None:
        with suppress(psutil.NoSuchProcess):
            if stage := find_stage(dvc.pid):
                name = name_stage(stage)
                stage.kill()
                return name
        time.sleep(0.02)
    return None


def stop(what: str, seconds: float, folder: Path) -> str | None:
    """Run `dvc repro` and stop it after so many seconds; where that was, None if it had ended before."""
    dvc = start(folder, "dvc", "repro", **ONE_THREAD)
    with suppress(subprocess.TimeoutExpired):
        dvc.wait(seconds)
        return None
    if what == STAGE:
        name = kill_stage(dvc)
    else:
        name = name_stage(find_stage(dvc.pid))
        send = os.kill if what == DVC else os.killpg
        send(dvc.pid, SIGNALS.get(what, signal.SIGKILL))
    dvc.wait(LONG)
    return name and f"{name}, after {seconds:.2f} s"


def stop_at_random(what: str, times: int = 1) -> Fault:
    """Stop a run at a random moment, the second time while it resumes; drawn again if it had ended before."""

    def fault(draw: np.random.Generator, pipeline: Pipeline, folder: Path) -> End:
        stops: list[str | None] = [None]
        while None in stops:
            copy_clone(pipeline.fresh, folder)
            find_log(folder).unlink(missing_ok=True)
            stops, left = [], pipeline.seconds
            while len(stops) < times and None not in stops:
                moment = draw.uniform(0, left)
                stops.append(stop(what, moment, folder))
                left -= moment
        return finish(folder, pipeline)._replace(stops=tuple(stops))

    return fault


def finish(folder: Path, pipeline: Pipeline) -> End:
    """Run `dvc repro` after a fault, as a user does, with what docs/trouble.md says where DVC asks for it."""
    code, printed = run_command(folder, "dvc", "repro", **ONE_THREAD)
    notes = []
    while code and len(notes) < len(REMEDIES) and (remedy := find_remedy(printed)):
        notes.append(f"with {remedy}")
        run_command(folder, *remedy.split())
        code, printed = run_command(folder, "dvc", "repro", **ONE_THREAD)
    if not code and is_reordered(pipeline.finished / LOCK, folder / LOCK):
        notes.append("dvc.lock in another order")
    return End(tuple(find_wrong(code, printed, folder, pipeline)), tuple(notes))


def is_reordered(lock: Path, other: Path) -> bool:
    """Whether two dvc.lock say the same in other words: DVC adds what one that a kill cut short has lost at its end."""
    return lock.read_bytes() != other.read_bytes() and read_lock(lock) == read_lock(other)


def find_remedy(printed: str) -> str | None:
    return next((remedy for sentence, remedy in REMEDIES.items() if sentence in printed), None)


def find_wrong(code: int, printed: str, folder: Path, pipeline: Pipeline) -> Iterator[str]:
    """What a finished run shows of a fault, in words."""
    if code:
        yield f"the next dvc repro ended with {code}: {find_reason(printed)}"
    else:
        differences = set(find_differences(read_outs(pipeline.finished), read_outs(folder)))
        if is_reordered(pipeline.finished / LOCK, folder / LOCK):
            differences.remove(LOCK)
        if differences:
            yield f"{len(differences)} files differ: {', '.join(sorted(differences)[:3])}"
    if unfinished := [str(path.relative_to(folder)) for path in folder.rglob(".*.unfinished*")]:
        yield f"left behind: {', '.join(unfinished[:3])}"
    if left := find_processes(folder):
        yield f"still running: {', '.join(name_stage(process) for process in left)}"
    for error in find_tracebacks(read_log(folder)):
        yield f"a traceback: {error}"


def find_tracebacks(printed: str) -> list[str]:
    """The last line of each traceback, but of those that Python prints at Ctrl-C while it loads a stage's libraries."""
    found = re.findall(r"^Traceback .*\n(?:\s.*\n|\n)*(.*)", printed, re.MULTILINE)
    return [error for error in found if error.strip() != "KeyboardInterrupt"]


def find_reason(printed: str) -> str:
    """The first line that says what went wrong."""
    lines = (line.strip() for line in printed.splitlines())
    return next((line for line in lines if re.search("error|interrupt", line, re.IGNORECASE)), "nothing was said")


def fill_disk(draw: np.random.Generator, pipeline: Pipeline, folder: Path) -> End:
    """On a disk that is full at a random moment of the run; it goes on from there on another one."""
    used, needed = (
        int(subprocess.check_output(["du", "-sk", place]).split()[0]) for place in (pipeline.fresh, pipeline.finished)
    )
    size, kept = int(draw.uniform(used, needed)), folder.with_name("kept")
    folder.mkdir()
    mount = f"mount -t tmpfs -o size={size}k none {{0}} && cp -a {{1}}/. {{0}} && cd {{0}}"
    script = f"{mount} || exit; dvc repro; code=$?; cp -a . {{2}}; exit $code"
    places = [shlex.quote(str(place)) for place in (folder, pipeline.fresh, kept)]
    code, printed = run_command(folder, *UNSHARE, script.format(*places), **ONE_THREAD)
    folder.rmdir()
    kept.rename(folder)
    end = finish(folder, pipeline)._replace(stops=(f"{size} KiB",))
    return check_sentence(code, printed, "no space left on device", end)


def forbid_writing(outs: str, stage: str) -> Fault:
    def fault(_: np.random.Generator, pipeline: Pipeline, folder: Path) -> End:
        copy_clone(pipeline.finished, folder)
        mount = f"mount --bind {outs} {outs} && mount -o remount,ro,bind {outs}"
        code, printed = run_command(folder, *UNSHARE, f"{mount} && dvc repro -f -s {stage}", **ONE_THREAD)
        return check_sentence(code, printed, "read-only file system", finish(folder, pipeline))

    return fault


def check_sentence(code: int, printed: str, sentence: str, end: End) -> End:
    """`end`, with what was wrong before: of a command that had to fail, and to say why."""
    if code and sentence in printed.lower():
        return end
    return end._replace(wrong=(f"not {sentence!r} but {code}, {find_reason(printed)}", *end.wrong))


def leave_locks(_: np.random.Generator, pipeline: Pipeline, folder: Path) -> End:
    """The locks of a DVC that is no more."""
    copy_clone(pipeline.finished, folder)
    dead = subprocess.Popen(["true"])
    dead.wait()
    locked = {str(folder / "data/prepared/faces.h5"): {"pid": dead.pid, "cmd": "dvc repro"}}
    (folder / ".dvc/tmp/rwlock").write_text(json.dumps({"write": locked, "read": {}}))
    for name in ("lock", "rwlock.lock"):
        (folder / ".dvc/tmp" / name).write_text(f" {dead.pid}\n")
    code, printed = run_command(folder, "dvc", "repro", "-f", "-s", "prepare", **ONE_THREAD)
    end = finish(folder, pipeline)
    return end._replace(wrong=(f"it ended with {code}: {find_reason(printed)}", *end.wrong)) if code else end


def cut_short(file: str) -> Fault:
    """A file of DVC's after a kill at the moment in which DVC wrote it."""

    def fault(draw: np.random.Generator, pipeline: Pipeline, folder: Path) -> End:
        copy_clone(pipeline.finished, folder)
        content = (folder / file).read_bytes()
        size = int(draw.integers(len(content)))
        (folder / file).write_bytes(content[:size])
        return finish(folder, pipeline)._replace(stops=(f"after {size} of {len(content)} bytes",))

    return fault


OTHERS: dict[str, list[Fault]] = {
    **{what: [stop_at_random(what)] * 3 for what in SIGNALS},
    FULL: [fill_disk] * 3,
    READ_ONLY: [forbid_writing(*item) for item in WRITERS.items()],
    "locks of a dvc that is no more": [leave_locks],
    ".dvc/tmp/rwlock cut short": [cut_short(".dvc/tmp/rwlock")],
    "dvc.lock cut short": [cut_short(LOCK)] * 3,
}


def try_fault(what: str, number: int, fault: Fault, pipeline: Pipeline, settings: Settings) -> End:
    """How a run with this fault ended; what was wrong is told in one sentence."""
    began, draw = time.monotonic(), np.random.default_rng([settings.seed, number, *what.encode()])
    with tempfile.TemporaryDirectory(dir=settings.folder) as place:
        folder = Path(place, "run")
        try:
            end = fault(draw, pipeline, folder)
        except subprocess.TimeoutExpired as error:
            end = End((f"hung: {error.cmd}",))
        finally:
            left = find_processes(folder)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left)
    told = ", ".join([f"seed {settings.seed}, number {number}", *end.stops]) + f": {'; '.join(end.wrong)}"
    return end._replace(wrong=(told,) if end.wrong else (), seconds=time.monotonic() - began)


def sum_up(what: str, ends: Sequence[End]) -> Row:
    """The row of a table."""
    found = tuple(told for end in ends for told in end.wrong)
    notes = Counter(note for end in ends for note in end.notes)
    said = f" ({', '.join(f'{times} {note}' for note, times in notes.items())})" if notes else ""
    return Row(f"{what}{said}", len(ends), len(ends) - len(found), sum(end.seconds for end in ends), found)


def draw_kills(settings: Settings) -> dict[str, dict[int, Fault]]:
    """{what is killed: {number: how}}; the number seeds the draws."""
    count = COUNT if settings.count is None else settings.count
    kinds = np.random.default_rng(settings.seed).choice(KILLS, count).tolist()
    twice = {number: stop_at_random(kinds[number], 2) for number in range(2, count, 3)}
    once: dict[str, dict[int, Fault]] = {what: {} for what in KILLS}
    for number, kind in enumerate(kinds):
        if number not in twice:
            once[kind][number] = stop_at_random(kind)
    return {what: faults for what, faults in {**once, "killed once more while resuming": twice}.items() if faults}


def run(settings: Settings) -> Iterator[Row]:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so do its children
    pipeline = run_undisturbed(settings.folder, **ONE_THREAD)
    others = {what: dict(enumerate(faults[: settings.count])) for what, faults in OTHERS.items()}
    if subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
        for what in MOUNTED:
            others.pop(what, None)
            yield Row(f"{what}: not tried, as nobody may mount one here", 0, 0, 0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows: dict[str, list[Future[End]]] = {
            what: [pool.submit(try_fault, what, number, fault, pipeline, settings) for number, fault in faults.items()]
            for what, faults in {**draw_kills(settings), **others}.items()
        }
        try:
            for what, ends in rows.items():
                yield sum_up(what, [end.result() for end in ends])
        finally:
            pool.shutdown(cancel_futures=True)
