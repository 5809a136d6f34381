"""Clones of this project, the faults that strike in them and what they leave behind, for tests and benchmarks."""

import contextlib
import copy
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import psutil
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
ENVIRONMENT["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
SMALL = {"train_rows: 2400": "train_rows: 140", "val_rows: 400": "val_rows: 35", "test_rows: 400": "test_rows: 35"}
"""Changes to params.yaml that make a sample of 210 rows."""
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "sh", "-c")
"""Before a line of shell that may mount file systems, which only that line sees."""

HOOK = 'import os\nif os.environ.get("DVC_STAGE") == os.environ.get("STRIKE_IN", ""):\n    exec(os.environ["STRIKE"])\n'
"""A `sitecustomize` with which Python runs the code in STRIKE at the start of one stage."""
AFTER_FILE = """
import os, pathlib, signal, time
place, placed = pathlib.Path.replace, []
def replace(path, target):
    place(path, target)
    placed.append(target)
    if len(placed) == {count}:
        {strike}
pathlib.Path.replace = replace
"""
"""Code that strikes when a stage has moved its n-th output into place (every output is written beside its place)."""
KILL_STAGE = "os.kill(os.getpid(), signal.SIGKILL)"
KILL_DVC = "os.kill(os.getsid(0), signal.SIGKILL)"  # `Project.start` makes it the leader of the session

STAGE, DVC, BOTH = "the stage killed", "dvc killed", "dvc and the stage killed"
SIGNALS = {BOTH: signal.SIGKILL, "SIGTERM to dvc and the stage": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
"""{what is done: the signal that dvc and its stage get}."""
REMEDIES = {
    "Unable to read RWLock-file": "rm .dvc/tmp/rwlock",
    "dvc.lock' (is invalid|validation failed)": "git checkout dvc.lock",
}
"""{pattern of what DVC says when a kill has cut one of its own files short: the remedy in docs/trouble.md}."""
PUSH_AGAIN, PULL_AGAIN, PULL_ANEW, PUSH_ANEW = (
    f"DVC_SITE_CACHE_DIR=$(mktemp -d) dvc {command}"  # so that DVC finds no notes from before a kill
    for command in ("push", "pull", "pull --force", "push --all-commits")
)
"""What docs/trouble.md says to do after a push or pull was killed, and after damaged files have been removed."""
CHANNELS: dict[str, Any] = {"text": True, "errors": "replace", "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}


class Project:
    """A folder with this project in it, and what a user does there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        """What the runs that `stop` has stopped print, beside the folder."""
        return self.path.with_name(f"{self.path.name}.log")

    def start(
        self, *command: str, stage: str = "", strike: str = "", stdout: int = subprocess.PIPE, **environment: Any
    ) -> "subprocess.Popen[str]":
        """Start a command as the leader of a session; `stage` runs the code in `strike` first."""
        if strike:
            hook = self.path.parent / "hook"
            hook.mkdir(exist_ok=True)
            (hook / "sitecustomize.py").write_text(HOOK)
            environment |= {"PYTHONPATH": str(hook), "STRIKE_IN": stage, "STRIKE": strike}
        environment = ENVIRONMENT | environment
        return subprocess.Popen(
            command, cwd=self.path, env=environment, stdout=stdout, start_new_session=True, **CHANNELS
        )

    def call(self, *command: str, timeout: float = 3600, **environment: Any) -> tuple[int, str]:
        """Run a command; its exit code and what it printed on both channels."""
        process = self.start(*command, **environment)
        printed, _ = process.communicate(timeout=timeout)
        return process.returncode, printed

    def run(self, *command: str, code: int = 0, **environment: Any) -> str:
        """Run a command that has to end with this exit code; what it printed."""
        found, printed = self.call(*command, **environment)
        assert found == code, printed
        return printed

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", "state")

    def edit(self, name: str, changes: Mapping[str, str]) -> None:
        """Replace text in a file: {old: new}; each old text has to occur."""
        text = (self.path / name).read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new, 1)
        (self.path / name).write_text(text)

    def copy(self, path: Path) -> Self:
        """This project with all its data, copied to another place."""
        other = copy.copy(self)
        other.path = shutil.copytree(self.path, path, symlinks=True)
        return other

    def read_json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text())

    def read_lock(self) -> Any:
        return YAML(typ="safe").load(self.path / "dvc.lock")

    def read_outs(self) -> dict[str, str]:
        """{path: SHA-256} of dvc.lock and of every file among the outs that it names."""
        outs = [self.path / out["path"] for stage in self.read_lock()["stages"].values() for out in stage["outs"]]
        return self.hash_files(*outs, self.path / "dvc.lock")

    def hash_files(self, *places: Path) -> dict[str, str]:
        """{path: SHA-256} of files and of all that folders hold."""
        files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
        return {str(file.relative_to(self.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    def find_unfinished(self) -> list[str]:
        return [str(path.relative_to(self.path)) for path in self.path.rglob(".*.unfinished*")]

    def stop(self, what: str, seconds: float, **environment: Any) -> str:
        """Run `dvc repro` and do `what` (`STAGE`, `DVC`, a key of `SIGNALS`) to it; an orphaned stage may still run.

        Returns the stage that ran then, or `no stage`; an empty string if the run had ended before.
        """
        with open(self.log, "ab") as log:
            dvc = self.start("dvc", "repro", stdout=log.fileno(), **environment)
        with contextlib.suppress(subprocess.TimeoutExpired):
            dvc.wait(seconds)
            return ""
        while not (stage := find_stage(dvc.pid)) and what == STAGE:  # between two stages
            if dvc.poll() is not None:
                return ""
            time.sleep(0.02)
        name = name_stage(stage)
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if what in SIGNALS:
                os.killpg(dvc.pid, SIGNALS[what])
            elif victim := dvc if what == DVC else stage:
                victim.kill()
        dvc.wait(3600)
        return name

    def finish(self, undisturbed: "Project", **environment: Any) -> tuple[list[str], list[str]]:
        """Run `dvc repro` after a fault, with the remedy of docs/trouble.md if DVC asks for one, and compare.

        Returns what is wrong, in words; and notes: the remedies, and whether dvc.lock has another order.
        """
        notes: list[str] = []
        code, printed = self.call("dvc", "repro", **environment)
        for sentence, remedy in 2 * list(REMEDIES.items()):
            if code and re.search(sentence, printed):
                notes.append(f"with {remedy}")
                self.call(*remedy.split())
                code, printed = self.call("dvc", "repro", **environment)
        if not code and self.is_reordered(undisturbed):
            notes.append("dvc.lock in another order")
        return [*self.find_wrong(undisturbed, code, printed)], notes

    def is_reordered(self, other: "Project") -> bool:
        """Whether two dvc.lock say the same in another order: DVC appends what a lock that was cut short has lost."""
        one, two = ((project.path / "dvc.lock").read_bytes() for project in (self, other))
        return one != two and self.read_lock() == other.read_lock()

    def find_wrong(self, undisturbed: "Project", code: int = 0, printed: str = "") -> Iterator[str]:
        """What differs from an undisturbed run or is left behind, in words, after a run that ended with `code`."""
        if code:
            yield f"the next dvc repro ended with {code}: {find_reason(printed)}"
        else:
            differ = sorted({name for name, _ in self.read_outs().items() ^ undisturbed.read_outs().items()})
            differ = [name for name in differ if name != "dvc.lock" or not self.is_reordered(undisturbed)]
            yield from [f"{len(differ)} files differ: {', '.join(differ[:3])}"] if differ else []
        if unfinished := self.find_unfinished():
            yield f"left behind: {', '.join(unfinished[:3])}"
        if left := find_processes(self.path):
            yield f"still running: {', '.join(map(name_stage, left))}"
        printed += self.log.read_text(errors="replace") if self.log.exists() else ""
        yield from (f"a traceback: {error}" for error in find_tracebacks(printed))


class Clone(Project):
    """A fresh clone of this repository, with what is in the working tree committed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        path.mkdir(exist_ok=True)
        listed = "git ls-files -zco --exclude-standard"
        copied = f"{listed} | xargs -0 cp --no-dereference --preserve --parents -t {shlex.quote(str(path))}"
        subprocess.run(copied, shell=True, cwd=ROOT, stderr=subprocess.DEVNULL)  # which names files that were removed
        for command in ("init -q", "config user.name tester", "config user.email tester@example.org"):
            self.run("git", *command.split())
        self.commit()


def make_narrow(clone: Clone, **changes: Any) -> Clone:
    """Give a clone 210 rows, narrow networks, two epochs, and these values where a network or augmentation has them."""
    clone.edit("params.yaml", SMALL | {"bootstrap: 2000": "bootstrap: 100"})
    yaml, path = YAML(), clone.path / "profiles" / "smoke.yaml"
    profile, paper = yaml.load(path), yaml.load(path.with_name("paper.yaml"))
    for name, network in profile.items():
        network |= {"width": 0.05, "epochs": 2, **{key: changes[key] for key in changes if key in paper[name]}}
        if augment := {key: changes[key] for key in changes if key in paper[name]["augment"]}:
            network["augment"] = {**network.get("augment", {}), **augment}
    yaml.dump(profile, path)
    clone.commit()
    return clone


def find_stage(dvc: int) -> psutil.Process | None:
    """The stage that a `dvc repro` runs now: its child, or that of the shell between them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(dvc).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(part.startswith("stages/") for part in process.cmdline()[1:2]):
                    return process
    return None


def name_stage(process: psutil.Process | None) -> str:
    """The stage that a process belongs to, or the process' own name."""
    with contextlib.suppress(psutil.Error):
        if process:
            return process.environ().get("DVC_STAGE", process.name())
    return "no stage"


def find_processes(folder: Path) -> list[psutil.Process]:
    """The processes that still run in a folder."""
    running = psutil.process_iter(["cwd", "status"])
    return [one for one in running if one.info["cwd"] == str(folder) and one.info["status"] != psutil.STATUS_ZOMBIE]


def find_reason(printed: str) -> str:
    """The first line that says what went wrong."""
    lines = (line.strip() for line in printed.splitlines())
    return next((line for line in lines if re.search("error|interrupt", line, re.IGNORECASE)), "nothing was said")


def find_tracebacks(printed: str) -> list[str]:
    """The last line of each traceback, except those that Python prints at Ctrl-C while it loads a stage's libraries.

    DVC passes Ctrl-C on, so that a stage may get it twice, the second time while it prints: it then ends with -2.
    """
    found = re.findall(r"^Traceback .*\n(?:\s.*\n|\n)*(.*)", printed, re.MULTILINE)
    return [error for error in found if not re.search("^KeyboardInterrupt| exited with -2$", error.strip())]


def set_up_make(project: Project) -> None:
    """Give a clone a .venv that `make` finds ready, with this environment's dvc and a python that installs nothing."""
    folder = project.path / ".venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "dvc").symlink_to(Path(sys.executable).with_name("dvc"))
    (folder / "python").symlink_to("/bin/false")
    (project.path / ".venv" / ".ready").touch()
