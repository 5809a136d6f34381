"""A team that shares DVC's caches over SSH: at once, with pushes and pulls that are killed, and with damaged files.

The server is one of our own on this machine; without `sshd` there is nothing to try. After each fault all do what
docs/trouble.md says, and what a fresh clone pulls has to equal the original's data byte for byte. `count` is how many
pushes and how many pulls are killed (20), each at a moment that is drawn, once Python has loaded DVC.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from conftest import ENVIRONMENT, Clone, Project, make_narrow
from ruamel.yaml import YAML
from test_sharing import SSHD, serve_ssh, set_up

from faults.common import Row, Settings, make_row

COUNT = 20
STAGES = ("sample", "prepare")
"""What has run; the later stages bring larger files, and no others of another kind."""
LARGE, MANY = "data/raw/large.bin", "data/raw/many"
"""A file and a folder that `dvc add` takes in; the first has as many bytes as the other one's files together."""
FILES, BYTES = 40, 200_000
EMPTY = "DVC_SITE_CACHE_DIR=$(mktemp -d)"
"""Before a command, so that DVC finds nothing that it noted earlier."""
PUSH_AGAIN, PULL_AGAIN = f"{EMPTY} dvc push", f"{EMPTY} dvc pull"
"""What docs/trouble.md says after a kill: what DVC noted then may be half of what there is to do."""
PULL_ANEW, PUSH_ANEW = f"{EMPTY} dvc pull --force", f"{EMPTY} dvc push --all-commits"
"""The same once damaged files have been removed."""


class Team(NamedTuple):
    """What all of them have in common."""

    folder: Path
    store: Path
    """The remote, as its server sees it."""
    environment: dict[str, str]
    """Nobody's own keys, hosts and temporary files."""


class Person(Project):
    """One of the team, with a clone."""

    def __init__(self, team: Team, name: str) -> None:
        super().__init__(team.folder / name)
        self.team, self.name = team, name

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command as the leader of a session."""
        return subprocess.Popen(
            command,
            cwd=self.path,
            env=ENVIRONMENT | self.team.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def call(self, *command: str) -> tuple[int, str]:
        """Run a command; its exit code, and what it printed."""
        process = self.start(*command)
        printed, _ = process.communicate(timeout=600)
        return process.returncode, printed

    def must(self, *command: str) -> str:
        """Run a command of which nothing is to be learnt."""
        code, printed = self.call(*command)
        if code:
            raise RuntimeError(f"{' '.join(command)}: {printed}")
        return printed

    def add(self, rng: np.random.Generator) -> None:
        """Draw data, and have DVC and git take them in."""
        (self.path / MANY).mkdir(exist_ok=True)
        (self.path / LARGE).write_bytes(rng.bytes(FILES * BYTES))
        for number in range(FILES):
            (self.path / MANY / f"{number:03d}.bin").write_bytes(rng.bytes(BYTES))
        self.must("dvc", "add", "-q", LARGE, MANY)
        self.must("git", "add", "-A")
        self.must("git", "commit", "-q", "-m", "data")

    def clone(self, name: str) -> "Person":
        """Another one, with a clone of this one's repository."""
        other = Person(self.team, name)
        self.must("git", "clone", "-q", ".", str(other.path))
        set_up(other)
        shutil.copy(self.path / ".dvc" / "config.local", other.path / ".dvc")
        return other

    def leave(self) -> None:
        shutil.rmtree(self.path)

    def read(self) -> dict[str, str]:
        """{path: SHA-256} of all data."""
        return {
            str(path.relative_to(self.path)): hashlib.sha256(path.read_bytes()).hexdigest()
            for room in ("raw", "prepared")
            for path in (self.path / "data" / room).rglob("*")
            if path.is_file() and path.suffix != ".dvc" and path.name != ".gitignore"
        }

    def find_object(self, base: Path, name: str) -> Path:
        """Where a cache or a remote has one of this one's files, or the list of a folder."""
        if name == MANY:
            digest = str(YAML(typ="safe").load(self.path / f"{MANY}.dvc")["outs"][0]["md5"])
        else:
            digest = hashlib.md5((self.path / name).read_bytes()).hexdigest()
        return base / "files" / "md5" / digest[:2] / digest[2:]


def make_team(folder: Path, url: str, user: dict[str, str], rng: np.random.Generator) -> Person:
    """The first of a team, who has run the first stages, has data, and has pushed; `user` as of `serve_ssh`."""
    environment = {"HOME": str(folder), "SSH_AUTH_SOCK": ""}
    for name, room in (("TMPDIR", "temporary"), ("DVC_SITE_CACHE_DIR", "site")):
        (folder / room).mkdir()
        environment[name] = str(folder / room)
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "tester", f"GIT_{role}_EMAIL": "tester@example.org"}
    one = Person(Team(folder, folder / "store", environment), "one")
    one.path.mkdir()
    make_narrow(Clone(one.path))
    one.must("dvc", "repro", STAGES[-1])
    for name in ("dvc.yaml", "dvc.lock"):
        yaml = YAML()
        known = yaml.load(one.path / name)
        known["stages"] = {stage: known["stages"][stage] for stage in STAGES}
        yaml.dump(known, one.path / name)
    set_up(one)
    one.must("make", "remote", f"URL={url}")
    lines = ["['remote \"team\"']", *(f"    {key} = {value}" for key, value in user.items())]
    (one.path / ".dvc" / "config.local").write_text("\n".join(lines) + "\n")
    one.add(rng)
    one.must("dvc", "push")
    return one


def find_damaged(base: Path) -> set[str]:
    """The files of a cache or a remote whose bytes are not those of their names; unfinished files have other names."""
    return {
        f"{path.parent.name}/{path.name}"
        for path in (base / "files" / "md5").glob("??/*")
        if len(path.stem) == 30 and hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem
    }


def pull_afresh(person: Person, name: str) -> str:
    """Clone, pull and compare; what is wrong, or an empty string."""
    fresh = person.clone(name)
    code, printed = fresh.call("dvc", "pull")
    fault = f"dvc pull: {tell(printed)}" if code else compare(fresh, person)
    fresh.leave()
    return fault


def compare(one: Person, other: Person) -> str:
    """Which files of two are not the same, or an empty string."""
    return compare_data(one.read(), other.read())


def compare_data(found: dict[str, str], due: dict[str, str]) -> str:
    """The same of what `Person.read` gave."""
    differ = sorted(name for name in found.keys() | due.keys() if found.get(name) != due.get(name))
    return f"{len(differ)} files differ, {differ[0]} first" if differ else ""


def tell(printed: str) -> str:
    """The end of what was printed, in a line."""
    return " / ".join(printed.split("\n"))[-300:]


def kill(person: Person, command: tuple[str, ...], after: float) -> None:
    """kill -9 a command after so many seconds."""
    process = person.start(*command)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_pushes(one: Person, rng: np.random.Generator, count: int, seed: int) -> Row:
    """kill -9 of a push; the one after it completes it."""
    began, told = time.monotonic(), []
    one.add(rng)
    start = time.monotonic()
    one.must("dvc", "push")
    whole = time.monotonic() - start
    for number in range(count):
        one.add(rng)
        after = float(rng.uniform(whole / 3, whole))
        kill(one, ("dvc", "push"), after)
        left = find_damaged(one.team.store)
        code, printed = one.call("sh", "-c", PUSH_AGAIN)
        fault = f"{PUSH_AGAIN}: {tell(printed)}" if code else pull_afresh(one, "pusher")
        fault = fault or (f"{len(left)} damaged files in the remote" if left else "")
        told.append(fault and f"push {number} killed after {after:.2f} s (seed {seed}): {fault}")
    return make_row("a push killed, and repeated", told, began)


def kill_pulls(one: Person, rng: np.random.Generator, count: int, seed: int) -> Row:
    """kill -9 of a pull; the one after it completes it."""
    began, told = time.monotonic(), []
    start = time.monotonic()
    pull_afresh(one, "puller")
    whole = time.monotonic() - start
    for number in range(count):
        other = one.clone("puller")
        after = float(rng.uniform(whole / 3, whole))
        kill(other, ("dvc", "pull"), after)
        code, printed = other.call("sh", "-c", PULL_AGAIN)
        fault = f"{PULL_AGAIN}: {tell(printed)}" if code else compare(other, one)
        left = find_damaged(other.path / ".dvc" / "cache")
        fault = fault or (f"{len(left)} damaged files in the cache" if left else "")
        told.append(fault and f"pull {number} killed after {after:.2f} s (seed {seed}): {fault}")
        other.leave()
    return make_row("a pull killed, and repeated", told, began)


def run_at_once(*people: tuple[Person, str]) -> list[str]:
    """What each prints whose command fails, or an empty string, of commands that are started together."""
    processes = [person.start("dvc", command) for person, command in people]
    printed = [process.communicate(timeout=600)[0] for process in processes]
    return [tell(text) if process.returncode else "" for process, text in zip(processes, printed, strict=True)]


def share_at_once(one: Person, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Two push what differs while a third one pulls; two push the same; two pull."""
    began, told = time.monotonic(), []
    for _ in range(count):
        two, three, before = one.clone("two"), one.clone("three"), one.read()
        two.must("dvc", "pull")
        for person in (one, two):
            person.add(rng)
        faults = run_at_once((one, "push"), (two, "push"), (three, "pull"))
        told += [*faults, *(pull_afresh(person, "fresh") for person in (one, two)), compare_data(three.read(), before)]
        two.leave()
        three.leave()
    yield make_row("two push while a third one pulls", told, began)
    began, told = time.monotonic(), []
    for _ in range(count):
        one.add(rng)
        two = Person(one.team, "two")
        shutil.copytree(one.path, two.path, symlinks=True)
        told += [*run_at_once((one, "push"), (two, "push")), pull_afresh(one, "fresh")]
        two.leave()
    yield make_row("two push the same", told, began)
    began, told = time.monotonic(), []
    for _ in range(count):
        two, three = one.clone("two"), one.clone("three")
        told += [*run_at_once((two, "pull"), (three, "pull")), compare(two, one), compare(three, one)]
        two.leave()
        three.leave()
    yield make_row("two pull", told, began)


def flip(path: Path, place: int) -> None:
    """Flip a bit as a disk does: nothing else of the file changes."""
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    write_unseen(path, bytes(content))


def cut(path: Path, place: int) -> None:
    """Cut a file short."""
    write_unseen(path, path.read_bytes()[: place % path.stat().st_size])


def write_unseen(path: Path, content: bytes) -> None:
    """Write into a file of which time and rights stay as they are."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path, int], None]] = {"a bit flipped": flip, "cut short": cut}
VICTIMS = {LARGE: LARGE, f"{MANY}/007.bin": MANY, "data/raw/sample.csv": "data/raw/sample.csv"}
"""{what is damaged: the name under which DVC speaks of it}."""


def verify(person: Person, victim: Path, *argument: str) -> str:
    """What is wrong with what `make verify` says, or an empty string."""
    code, printed = person.call("make", "--no-print-directory", "verify", *argument)
    named = f"{victim.parent.name}/{victim.name}: FAILED" in printed
    return "" if code and named and printed.count("FAILED") == 1 else f"make verify: {code}, {tell(printed)}"


def mend_store(one: Person, victim: Path) -> str:
    """Have the remote whole again as docs/trouble.md says; what is wrong, or an empty string."""
    victim.unlink(missing_ok=True)
    for path in one.team.store.rglob("*.dir"):
        path.unlink()
    code, printed = one.call("sh", "-c", PUSH_ANEW)
    left = find_damaged(one.team.store)
    return f"{PUSH_ANEW}: {tell(printed)}" if code or left else ""


def damage_store(one: Person, victims: Sequence[str], rng: np.random.Generator, seed: int) -> Iterator[Row]:
    """Damage one file of the remote: a pull notices and names it, `make verify` finds it, and it can be mended."""
    for how, damage in DAMAGES.items():
        began, told = time.monotonic(), []
        for name in victims:
            victim, place = one.find_object(one.team.store, name), int(rng.integers(1_000_000))
            damage(victim, place)
            other = one.clone("other")
            code, printed = other.call("dvc", "pull")
            silent = (
                "" if code and VICTIMS[name] in printed else f"pulled without a word of it: {code}, {tell(printed)}"
            )
            wrong = {path: digest for path, digest in other.read().items() if one.read().get(path) != digest}
            faults = [silent, f"{[*wrong]} pulled" if wrong else "", verify(one, victim, f"FOLDER={one.team.store}")]
            faults.append(mend_store(one, victim))
            code, printed = other.call("dvc", "pull")
            faults.append(f"dvc pull: {tell(printed)}" if code else compare(other, one))
            told.append(describe(name, how, place, seed, faults))
            other.leave()
        yield make_row(f"a file of the remote, {how}", told, began)


def damage_list(one: Person, rng: np.random.Generator, count: int, seed: int) -> Row:
    """Damage the list of a folder's files in the remote, which DVC takes as it comes: `make verify` finds it.

    A pull ends with an error if the list makes no sense then; if it does, files come under wrong names.
    """
    began, told = time.monotonic(), []
    for _ in range(count):
        victim, place = one.find_object(one.team.store, MANY), int(rng.integers(1_000_000))
        flip(victim, place)
        other = one.clone("other")
        other.call("dvc", "pull")
        faults = [verify(one, victim, f"FOLDER={one.team.store}"), mend_store(one, victim)]
        code, printed = other.call("sh", "-c", PULL_ANEW)
        faults.append(f"{PULL_ANEW}: {tell(printed)}" if code else compare(other, one))
        told.append(describe(MANY, "a bit flipped", place, seed, faults))
        other.leave()
    return make_row("a folder's list in the remote, a bit flipped: found by `make verify` alone", told, began)


def describe(name: str, how: str, place: int, seed: int, faults: list[str]) -> str:
    """A sentence of all that is wrong, or an empty string."""
    known = "; ".join(fault for fault in faults if fault)
    return known and f"{name}, {how} at {place} (seed {seed}): {known}"


def damage_cache(one: Person, victims: Sequence[str], rng: np.random.Generator, seed: int) -> Iterator[Row]:
    """Damage one file of a cache, and perhaps bring it into the working tree: `make verify` finds it; it is mended."""
    for how, damage in DAMAGES.items():
        for used in (False, True):
            began, told = time.monotonic(), []
            for name in victims:
                other = one.clone("other")
                other.must("dvc", "pull")
                victim, place = one.find_object(other.path / ".dvc" / "cache", name), int(rng.integers(1_000_000))
                damage(victim, place)
                if used and name != MANY:
                    (other.path / name).unlink()
                    other.must("dvc", "checkout")
                faults = [verify(other, victim)]
                victim.unlink()
                code, printed = other.call("sh", "-c", PULL_ANEW)
                faults.append(f"{PULL_ANEW}: {tell(printed)}" if code else compare(other, one))
                left = find_damaged(other.path / ".dvc" / "cache")
                faults.append(f"{len(left)} damaged files in the cache" if left else "")
                told.append(describe(name, how, place, seed, faults))
                other.leave()
            yield make_row(f"a file of the cache, {how}{', and checked out' if used else ''}", told, began)


def push_damage(one: Person, victims: Sequence[str], rng: np.random.Generator, seed: int) -> Row:
    """Push from a damaged cache: who pulls notices it, and the remote can be mended."""
    began, told = time.monotonic(), []
    for name in victims:
        one.add(rng)
        other = Person(one.team, "other")
        shutil.copytree(one.path, other.path, symlinks=True)
        victim, place = one.find_object(other.path / ".dvc" / "cache", name), int(rng.integers(1_000_000))
        stored = one.find_object(one.team.store, name)
        stored.unlink(missing_ok=True)
        flip(victim, place)
        other.call("dvc", "push")
        fresh = one.clone("fresh")
        code, printed = fresh.call("dvc", "pull")
        wrong = {path: digest for path, digest in fresh.read().items() if one.read().get(path) != digest}
        faults = [
            f"pulled: {tell(printed)}" if code == 0 and compare(fresh, one) else "",
            f"{[*wrong]} pulled" if wrong else "",
        ]
        faults.append(mend_store(one, stored))
        code, printed = fresh.call("dvc", "pull")
        faults.append(f"dvc pull: {tell(printed)}" if code else compare(fresh, one))
        told.append(describe(name, "a bit flipped", place, seed, faults))
        other.leave()
        fresh.leave()
    return make_row("a damaged file pushed", told, began)


def run(settings: Settings) -> Iterator[Row]:
    if not SSHD:
        yield Row("no sshd here; install Debian's package openssh-server", 0, 0, 0.0)
        return
    count = settings.count or COUNT
    victims = [*VICTIMS][:count]
    rng = np.random.default_rng(settings.seed)
    with serve_ssh(settings.folder) as (url, user):
        one = make_team(settings.folder, url, user, rng)
        yield from share_at_once(one, rng, max(1, count // 5))
        yield kill_pushes(one, rng, count, settings.seed)
        yield kill_pulls(one, rng, count, settings.seed)
        yield from damage_store(one, victims, rng, settings.seed)
        yield damage_list(one, rng, max(1, count // 5), settings.seed)
        yield from damage_cache(one, [*victims, MANY], rng, settings.seed)
        yield push_damage(one, victims, rng, settings.seed)
