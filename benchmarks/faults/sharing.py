"""A team that shares DVC's caches over SSH: all at once, with killed pushes and pulls, and with damaged files.

The server is one of our own on this machine; without `sshd` there is nothing to try. After each fault everyone does
what docs/trouble.md says, and what a fresh clone pulls has to equal the original's data byte for byte. `count` is how
many pushes and how many pulls are killed (20), each at a drawn moment after Python has loaded DVC.
"""

import contextlib
import getpass
import hashlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from clones import ENVIRONMENT, Clone, Project, make_narrow, set_up_make
from faults.common import Row, Settings, make_row

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
COUNT = 20
STAGES = ("sample", "prepare")
"""Stages that have run; the later stages would add larger files, but no other kind of file."""
LARGE, MANY, SAMPLE = "data/raw/large.bin", "data/raw/many", "data/raw/sample.csv"
"""A file and a folder that `dvc add` takes in, with equally many bytes, and an output of a stage."""
FILES, BYTES = 40, 200_000
EMPTY = "DVC_SITE_CACHE_DIR=$(mktemp -d)"
"""Before a command, so that DVC finds no earlier notes, which may be incomplete after a kill."""
PULL_ANEW, PUSH_ANEW = f"{EMPTY} dvc pull --force", f"{EMPTY} dvc push --all-commits"
"""What docs/trouble.md says to do after damaged files have been removed."""
FLIPPED, CUT = "a bit flipped", "cut short"


class Person(Project):
    """A member of the team, with a clone beside the remote, which is `store`."""

    @property
    def store(self) -> Path:
        return self.path.parent / "store"

    @property
    def cache(self) -> Path:
        return self.path / ".dvc" / "cache"

    def attempt(self, command: str) -> str:
        """What a line of shell prints if it fails, or an empty string."""
        code, printed = self.call("sh", "-c", command)
        return f"{command}: {' / '.join(printed.splitlines())[-300:]}" if code else ""

    def add(self, rng: np.random.Generator) -> None:
        """Draw data, and have DVC and git take them in."""
        (self.path / MANY).mkdir(exist_ok=True)
        (self.path / LARGE).write_bytes(rng.bytes(FILES * BYTES))
        for number in range(FILES):
            (self.path / MANY / f"{number:03d}.bin").write_bytes(rng.bytes(BYTES))
        self.run("dvc", "add", "-q", LARGE, MANY)
        self.commit()

    @contextlib.contextmanager
    def clone(self, name: str) -> Iterator["Person"]:
        """A clone of this repository for another person."""
        other = Person(self.path.with_name(name))
        self.run("git", "clone", "-q", ".", str(other.path))
        set_up_make(other)
        shutil.copy(self.path / ".dvc" / "config.local", other.path / ".dvc")
        yield other
        shutil.rmtree(other.path)

    def read(self) -> dict[str, str]:
        """{path: SHA-256} of all data."""
        files = [file for room in ("raw", "prepared") for file in (self.path / "data" / room).rglob("*")]
        return self.hash_files(*(file for file in files if file.suffix != ".dvc" and file.name != ".gitignore"))

    def compare(self, due: dict[str, str]) -> str:
        """Which data differ from what is due, or an empty string."""
        differ = sorted({path for path, _ in self.read().items() ^ due.items()})
        return f"{len(differ)} files differ, {differ[0]} first" if differ else ""

    def find_object(self, base: Path, name: str) -> Path:
        """Where a cache or a remote keeps one of this person's files, or the list of a folder."""
        listed = YAML(typ="safe").load(self.path / f"{MANY}.dvc")["outs"][0]["md5"]
        digest = listed if name == MANY else hashlib.md5((self.path / name).read_bytes()).hexdigest()
        return base / "files" / "md5" / digest[:2] / digest[2:]

    def pull_afresh(self) -> str:
        """Clone, pull and compare; what is wrong, or an empty string."""
        with self.clone("fresh") as fresh:
            fault = fresh.attempt("dvc pull") or fresh.compare(self.read())
        return fault or ("a host was noted" if (self.path.parent / ".ssh/known_hosts").exists() else "")

    def verify(self, victim: Path, argument: str = "") -> str:
        """What is wrong with what `make verify` says of a damaged file, or an empty string."""
        code, printed = self.call("sh", "-c", f"make --no-print-directory verify {argument}")
        named = f"{victim.parent.name}/{victim.name}: FAILED" in printed
        return "" if code and named and printed.count("FAILED") == 1 else f"make verify: {code}, {printed[-300:]}"

    def mend_store(self, victim: Path) -> str:
        """Mend the remote as docs/trouble.md says; what is wrong then, or an empty string."""
        for path in (victim, *self.store.rglob("*.dir")):
            path.unlink(missing_ok=True)
        return self.attempt(PUSH_ANEW) or find_damaged(self.store)


@contextlib.contextmanager
def serve_ssh(folder: Path) -> Iterator[list[str]]:
    """An SSH server on a free port of this machine; yields the lines of .dvc/config.local for folder/store."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's server insists on this empty folder
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"ListenAddress": f"127.0.0.1:{port}", "HostKey": folder / "host_key", "PidFile": "none"}
    settings |= {"AuthorizedKeysFile": folder / "user_key.pub", "AuthenticationMethods": "publickey"}
    settings |= {"StrictModes": "no", "UsePAM": "no", "Subsystem": "sftp internal-sftp"}
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    server = subprocess.Popen([SSHD, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None, (folder / "sshd.log").read_text()
            time.sleep(0.05)
        yield [f"ssh://127.0.0.1:{port}{folder}/store", f"user = {getpass.getuser()}", f"keyfile = {folder}/user_key"]
    finally:
        server.terminate()
        server.wait()


def make_team(folder: Path, url: str, *settings: str) -> Person:
    """The first person, who has run the first stages, and has set up the remote as its users do."""
    (folder / "store").mkdir()
    ENVIRONMENT.update(HOME=str(folder), SSH_AUTH_SOCK="")  # nobody's own keys and hosts
    (folder / ".gitconfig").write_text("[user]\nname = tester\nemail = tester@example.org\n")
    one = Person(folder / "one")
    make_narrow(Clone(one.path))
    yaml, file = YAML(), one.path / "dvc.yaml"
    stages = yaml.load(file)["stages"]
    yaml.dump({"stages": {stage: stages[stage] for stage in STAGES}}, file)
    (one.path / "dvc.lock").unlink()
    one.run("dvc", "repro")
    set_up_make(one)
    one.run("make", "remote", f"URL={url}")
    (one.path / ".dvc" / "config.local").write_text("\n".join(["['remote \"team\"']", *settings, ""]))
    return one


def find_damaged(base: Path) -> str:
    """How many files of a cache or a remote differ from their checksums, if any; unfinished files have other names."""
    files = [path for path in (base / "files" / "md5").glob("??/*") if len(path.stem) == 30]
    wrong = [path for path in files if hashlib.md5(path.read_bytes()).hexdigest() != path.parent.name + path.stem]
    return f"{len(wrong)} damaged files in {base.name}" if wrong else ""


def run_at_once(*people: tuple[Person, str]) -> list[str]:
    """What each `dvc` command prints if it fails, or an empty string; all start together."""
    processes = [person.start("dvc", command) for person, command in people]
    printed = [process.communicate(timeout=600)[0] for process in processes]
    return [text[-300:] if process.returncode else "" for process, text in zip(processes, printed, strict=True)]


def share_at_once(one: Person, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """Two push what differs while a third one pulls; two push the same; two pull."""
    apart, same, pulled = [], [], []
    for _ in range(count):
        before = one.read()
        with one.clone("two") as two, one.clone("three") as three:
            two.run("dvc", "pull")
            one.add(rng)
            two.add(rng)
            apart += [*run_at_once((one, "push"), (two, "push"), (three, "pull")), one.pull_afresh(), two.pull_afresh()]
            apart.append(three.compare(before))
        one.add(rng)
        two = one.copy(one.path.with_name("two"))
        same += [*run_at_once((one, "push"), (two, "push")), one.pull_afresh()]
        shutil.rmtree(two.path)
        with one.clone("two") as two, one.clone("three") as three:
            pulled += [*run_at_once((two, "pull"), (three, "pull")), two.compare(one.read()), three.compare(one.read())]
    yield make_row("two push while a third one pulls", apart)
    yield make_row("two push the same", same)
    yield make_row("two pull", pulled)


def kill_some(one: Person, rng: np.random.Generator, count: int, seed: int) -> Iterator[Row]:
    """kill -9 of pushes and of pulls; the same command, repeated, completes each."""
    for command, again in (("push", f"{EMPTY} dvc push"), ("pull", f"{EMPTY} dvc pull")):
        told, whole = [], None
        for number in range(-1, count):  # the first one is only timed
            one.add(rng)
            if command == "pull":
                one.run("dvc", "push")
            with one.clone("two") if command == "pull" else contextlib.nullcontext(one) as person:
                start, after = time.monotonic(), whole and float(rng.uniform(whole / 3, whole))
                process = person.start("dvc", command)
                try:
                    process.communicate(timeout=after)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                whole = whole or time.monotonic() - start
                fault = find_damaged(one.store) or person.attempt(again)
                fault = fault or find_damaged(person.cache) or person.compare(one.read()) or one.pull_afresh()
            told.append(fault and f"{command} {number} killed after {after} s (seed {seed}): {fault}")
        yield make_row(f"a {command} killed, and repeated", told[1:])


def damage(path: Path, how: str, place: int) -> None:
    """Flip a bit or cut a file short, as a disk does: its time and rights stay as they are."""
    content, before = bytearray(path.read_bytes()), path.stat()
    content[place % len(content)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content if how == FLIPPED else content[: place % len(content)])
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def damage_remote(one: Person, other: Person, name: str, damage: Callable[[Path], None]) -> Iterator[str]:
    """Damage a file of the remote: a pull or `make verify` says so, and it can be mended."""
    due, victim, listed = one.read(), one.find_object(one.store, name), name == MANY
    damage(victim)
    pulled = other.attempt("dvc pull")
    yield "" if listed or (MANY if MANY in name else name) in pulled else "pulled without a word of it"
    wrong = [path for path, digest in other.read().items() if due.get(path) != digest and not listed]
    yield f"{wrong} pulled" if wrong else ""
    yield one.verify(victim, f"FOLDER={one.store}")
    yield one.mend_store(victim)
    yield other.attempt(PULL_ANEW if listed else "dvc pull") or other.compare(due)


def damage_cache(one: Person, other: Person, name: str, damage: Callable[[Path], None], out: bool) -> Iterator[str]:
    """Damage a file of the cache, and check it out if it is no folder's list: `make verify` says so."""
    other.run("dvc", "pull")
    victim = one.find_object(other.cache, name)
    damage(victim)
    if out and name != MANY:
        (other.path / name).unlink()
        other.run("dvc", "checkout")
    yield other.verify(victim)
    victim.unlink()
    yield other.attempt(PULL_ANEW) or other.compare(one.read()) or find_damaged(other.cache)


def push_damaged(one: Person, other: Person, name: str, damage: Callable[[Path], None]) -> Iterator[str]:
    """Push a damaged file of the cache: nobody gets it without a word, and the remote can be mended."""
    pusher, stored = one.copy(one.path.with_name("pusher")), one.find_object(one.store, name)
    stored.unlink()
    damage(one.find_object(pusher.cache, name))
    pusher.attempt("dvc push")
    shutil.rmtree(pusher.path)
    yield "" if other.attempt("dvc pull") else other.compare(one.read())
    yield one.mend_store(stored)
    yield other.attempt("dvc pull") or other.compare(one.read())


def damage_files(one: Person, victims: list[str], rng: np.random.Generator, count: int, seed: int) -> Iterator[Row]:
    """Damage files of the remote and of caches, which can be mended."""
    listed = f"a folder's list in the remote, {FLIPPED}: found by `make verify` alone"
    rows = [(f"a file of the remote, {how}", damage_remote, how, victims) for how in (FLIPPED, CUT)]
    rows.append((listed, damage_remote, FLIPPED, [MANY] * count))
    for how, out in itertools.product((FLIPPED, CUT), (False, True)):
        what = f"a file of the cache, {how}{', and checked out' if out else ''}"
        rows.append((what, partial(damage_cache, out=out), how, [*victims, MANY]))
    for what, try_fault, how, names in (*rows, ("a damaged file pushed", push_damaged, FLIPPED, victims)):
        told = []
        for name in names:
            place = int(rng.integers(1_000_000))
            with one.clone("other") as other:
                faults = "; ".join(filter(None, try_fault(one, other, name, partial(damage, how=how, place=place))))
            told.append(faults and f"{name}, {how} at {place} (seed {seed}): {faults}")
        yield make_row(what, told)


def run(settings: Settings) -> Iterator[Row]:
    if not SSHD:
        yield make_row("no sshd here; install Debian's package openssh-server", [])
        return
    count, rng = settings.count or COUNT, np.random.default_rng(settings.seed)
    with serve_ssh(settings.folder) as remote:
        one = make_team(settings.folder, *remote)
        one.add(rng)
        one.run("dvc", "push")
        yield from share_at_once(one, rng, max(1, count // 5))
        yield from kill_some(one, rng, count, settings.seed)
        victims = [LARGE, f"{MANY}/007.bin", SAMPLE][:count]
        yield from damage_files(one, victims, rng, max(1, count // 5), settings.seed)
