"""All inputs, tried by worker processes, which may hang, die or eat memory."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from faults.common import Row
from faults.damage.case import ROOT, Case, Place
from faults.damage.kinds import KINDS
from faults.damage.sound import make_sound, make_sound_keras
from faults.damage.trying import (
    LOADING_SECONDS,
    MEMORY,
    SCRIPT_SECONDS,
    SECONDS,
    THREADS,
    Ended,
    draw_case,
    is_for_script,
    read_memory,
    try_one,
)
from fer_pipeline.running.apart import call_apart

WORKERS = 2
COPIED = ("stages", "apps", "tools", "metrics", "plots")


def place_worker(folder: Path, at: int = 0) -> Place:
    """Where a worker reads and writes, below the folder of all."""
    base = folder / f"worker{at}"
    return Place(folder / "sound", base / "in", base / "out", base / "project")


def work(name: str, seed: int, place: Place, pipe: Connection) -> None:
    """Try the numbers that come through the pipe, until there are no more."""
    os.environ.update(THREADS)
    os.chdir(place.inputs.parent)
    loads = True
    while (number := pipe.recv()) is not None:
        try:
            pipe.send(try_one(name, number, seed, place, loads))
            loads = loads and is_for_script(KINDS[name], number)
        except Exception as error:  # a mistake of this package
            pipe.send(error)


class Worker:
    """A process that tries inputs of one kind, and is made anew when one has killed it."""

    def __init__(self, name: str, seed: int, place: Place) -> None:
        self.name, self.seed, self.place = name, seed, place
        self.process: BaseProcess | None = None
        self.loaded = False

    def start(self) -> None:
        context = get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=work, args=(self.name, self.seed, self.place, end), daemon=True)
        self.process.start()
        self.loaded = False
        end.close()

    def stop(self, kill: bool = True) -> None:
        if self.process:
            if kill:
                self.process.kill()
            else:
                self.pipe.send(None)
            self.process.join()
            self.process = None

    def ask(self, number: int) -> Ended:
        """Let it try a number; once more where this machine, and so this process as well, paused meanwhile."""
        ended, paused = self.ask_once(number)
        return self.ask_once(number)[0] if ended.problem and paused else ended

    def ask_once(self, number: int) -> tuple[Ended, bool]:
        """How a number ended, and whether this process was paused."""
        if not self.process:
            self.start()
        script = is_for_script(KINDS[self.name], number)
        allowed = 1.2 * SCRIPT_SECONDS if script else 1.2 * SECONDS if self.loaded else LOADING_SECONDS
        process = self.process
        assert process
        self.pipe.send(number)
        began = before = time.monotonic()
        paused = False
        try:
            while not self.pipe.poll(0.1):
                now = time.monotonic()
                paused, before = paused or now - before > 2, now
                if read_memory(process.pid or 0, "VmRSS") > 1.5 * MEMORY:
                    self.stop()
                    return Ended("killed", "takes more than 2 GB"), False
                if now - began > allowed:
                    self.stop()
                    return Ended("killed", f"takes more than {allowed:.0f} s"), paused
            ended: Ended | Exception = self.pipe.recv()
            self.loaded = self.loaded or not script
            if isinstance(ended, Exception):
                raise RuntimeError(f"{self.name}, number {number} of seed {self.seed}") from ended
            return ended, paused
        except (EOFError, ConnectionError):
            process.join()
            self.process = None
            return Ended("ended by itself", f"the process died with exit code {process.exitcode}"), False


def try_kind(name: str, count: int, seed: int, folder: Path) -> Row:
    """Try so many inputs of a kind, whose sound files are in folder/sound, on all workers."""
    began = time.monotonic()
    numbers, lock = iter(range(count)), threading.Lock()
    found: dict[str, list[tuple[int, str, str]]] = {}

    def run_worker(at: int) -> None:
        worker = Worker(name, seed, place_worker(folder, at))
        try:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                ended = worker.ask(number)
                if ended.problem:
                    with lock:
                        cause = ended.problem.partition(": ")[0]
                        found.setdefault(cause, []).append((number, ended.how, ended.problem))
        finally:
            worker.stop(kill=False)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run_worker, range(WORKERS)))
    sentences = tuple(
        f"{problem}; {len(cases)} times, first number {number} ({how}) of seed {seed}"
        for cases in sorted(found.values(), key=len, reverse=True)
        for number, how, problem in [min(cases)]
    )
    return Row(name, count, count - sum(map(len, found.values())), time.monotonic() - began, sentences)


def set_up(folder: Path, keras: bool = True) -> None:
    """Write the sound files, and a copy of the project for each worker."""
    call_apart(make_sound, [str(folder / "sound")])
    if keras:
        call_apart(make_sound_keras, [str(folder / "sound")])
    for at in range(WORKERS):
        project = place_worker(folder, at).project
        for name in COPIED:
            shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(ROOT / "params.yaml", project / "params.yaml")


def repeat(name: str, number: int, seed: int, folder: Path) -> Case:
    """Do one again, here, in a folder after `set_up`; what it raises is raised."""
    place = place_worker(folder)
    case = draw_case(name, number, seed, place)
    print(case)
    KINDS[name].read(case, place)
    return case
