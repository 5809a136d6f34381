"""A team that shares DVC's caches over SSH: all at once, with killed pushes and pulls, and with damaged files.

The server is one of our own on this machine. After each fault everyone does what docs/trouble.md says, and what a fresh
clone pulls has to equal the original's data byte for byte. `count` is how many pushes and how many pulls are killed
(20), each when a drawn number of files has arrived.
"""

import contextlib
import getpass
import hashlib
import itertools
import os
import re
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

from clones import ENVIRONMENT, PULL_AGAIN, PULL_ANEW, PUSH_AGAIN, PUSH_ANEW, Clone, Project, make_narrow, set_up_make
from faults.common import Row, Settings

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
COUNT = 20
LARGE, MANY, SAMPLE = "data/raw/large.bin", "data/raw/many", "data/raw/sample.csv"
"""A file and a folder that `dvc add` takes in, with equally many bytes, and an output of a stage."""
FILES, BYTES = 40, 200_000
STORE, CACHE = "../store", ".dvc/cache"  # of the remote, and of a clone; seen from the clone
FLIPPED, CUT = WAYS = ("a bit flipped", "cut short")


class Person(Project):
    """A member of the team; methods raise AssertionError at what should not be."""

    def add(self, rng: np.random.Generator) -> None:
        """Draw data, and have DVC and git take them in."""
        (self.path / MANY).mkdir(exist_ok=True)
        (self.path / LARGE).write_bytes(rng.bytes(FILES * BYTES))
        for number in range(FILES):
            (self.path / MANY / f"{number:03d}.bin").write_bytes(rng.bytes(BYTES))
        self.run("dvc", "add", "-q", LARGE, MANY)
        self.commit()

    def clone(self, name: str) -> "Person":
        """A clone of this repository for another person."""
        other = Person(self.path.with_name(name))
        self.run("git", "clone", "-q", ".", str(other.path))
        set_up_make(other)
        shutil.copy(self.path / ".dvc" / "config.local", other.path / ".dvc")
        return other

    def __enter__(self) -> "Person":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)

    def count_files(self) -> int:
        """How many the remote and all clones have."""
        return sum(len(files) for *_, files in os.walk(self.path.parent))

    def read(self) -> dict[str, str]:
        """{path: SHA-256} of all data."""
        return self.hash_files(self.path / "data")

    def has(self, due: dict[str, str]) -> None:
        """All data are as due, and nothing in the cache is damaged."""
        differ = sorted({path for path, _ in self.read().items() ^ due.items()})
        assert not differ, f"{len(differ)} files differ, {differ[0]} first"
        self.verify(CACHE)

    def verify(self, folder: str, *damaged: str) -> None:
        """`make verify` names these files of the cache or the remote, and no other."""
        printed = self.run("make", "--no-print-directory", "verify", f"FOLDER={folder}", code=2 if damaged else 0)
        assert re.findall("(.+): FAILED", printed) == [name.removeprefix("files/md5/") for name in damaged], printed

    def find_object(self, name: str) -> str:
        """Where a cache or a remote has one of the files here, or the list of a folder."""
        listed = YAML(typ="safe").load(self.path / f"{MANY}.dvc")["outs"][0]["md5"]
        digest = listed if name == MANY else hashlib.md5((self.path / name).read_bytes()).hexdigest()
        return f"files/md5/{digest[:2]}/{digest[2:]}"

    def pull_afresh(self) -> None:
        """A fresh clone pulls what is here."""
        with self.clone("fresh") as fresh:
            fresh.run("dvc", "pull")
            fresh.has(self.read())
        assert not (self.path.parent / ".ssh/known_hosts").exists(), "a host was noted"

    def mend_store(self, victim: str) -> None:
        """Mend the remote as docs/trouble.md says."""
        for path in (self.path / STORE / victim, *(self.path / STORE).rglob("*.dir")):
            path.unlink(missing_ok=True)
        self.run("sh", "-c", PUSH_ANEW)
        self.verify(STORE)

    def push_apart(self, rng: np.random.Generator) -> None:
        """Two push what differs while a third one pulls."""
        before = self.read()
        with self.clone("two") as two, self.clone("three") as three:
            two.run("dvc", "pull")
            for person in (self, two):
                person.add(rng)
            run_at_once((self, "push"), (two, "push"), (three, "pull"))
            for person in (self, two):
                person.pull_afresh()
            three.has(before)

    def push_the_same(self, rng: np.random.Generator) -> None:
        self.add(rng)
        with self.copy(self.path.with_name("two")) as two:
            run_at_once((self, "push"), (two, "push"))
        self.pull_afresh()

    def pull_at_once(self, rng: np.random.Generator) -> None:
        with self.clone("two") as two, self.clone("three") as three:
            run_at_once((two, "pull"), (three, "pull"))
            two.has(self.read())
            three.has(self.read())

    def kill(self, rng: np.random.Generator, command: str, again: str) -> None:
        """kill -9 of a push or a pull when some files have arrived, or are checked out; `again` completes it."""
        self.add(rng)
        if command == "pull":
            self.run("dvc", "push")
        with self.clone("two") if command == "pull" else contextlib.nullcontext(self) as person:
            due = self.count_files() + rng.integers({"push": FILES, "pull": 2 * FILES}[command])
            process = person.start("dvc", command)
            while process.poll() is None and self.count_files() < due:
                time.sleep(0.01)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.verify(STORE)
            person.run("sh", "-c", again)
            person.has(self.read())
            self.pull_afresh()

    def damage_remote(self, rng: np.random.Generator, name: str, how: str) -> None:
        """Damage a file of the remote, which can be mended: a pull says so, or `make verify` of a folder's list."""
        victim, listed = self.find_object(name), name == MANY
        with self.clone("other") as other:
            damage(self.path / STORE / victim, how, rng)
            code, printed = other.call("dvc", "pull")
            if not listed:
                assert code and (MANY if MANY in name else name) in printed, "pulled without a word of it"
                assert other.read().items() <= self.read().items(), "damaged data pulled"
            self.verify(STORE, victim)
            self.mend_store(victim)
            other.run("sh", "-c", PULL_ANEW if listed else "dvc pull")
            other.has(self.read())

    def damage_cache(self, rng: np.random.Generator, name: str, how: str, out: str) -> None:
        """Damage a file of the cache, and check it out if it is no folder's list: `make verify` says so."""
        with self.clone("other") as other:
            other.run("dvc", "pull")
            victim = self.find_object(name)
            damage(other.path / CACHE / victim, how, rng)
            if out and name != MANY:
                (other.path / name).unlink()
                other.run("dvc", "checkout")
            other.verify(CACHE, victim)
            (other.path / CACHE / victim).unlink()
            other.run("sh", "-c", PULL_ANEW)
            other.has(self.read())

    def push_damaged(self, rng: np.random.Generator, name: str) -> None:
        """Push a damaged file of the cache: nobody gets it without a word, and the remote can be mended."""
        victim = self.find_object(name)
        (self.path / STORE / victim).unlink()
        with self.copy(self.path.with_name("pusher")) as pusher, self.clone("other") as other:
            damage(pusher.path / CACHE / victim, FLIPPED, rng)
            pusher.call("dvc", "push")
            if not other.call("dvc", "pull")[0]:
                other.has(self.read())
            self.mend_store(victim)
            other.run("dvc", "pull")
            other.has(self.read())


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
    one = Person(make_narrow(Clone(folder / "one")).path)
    yaml, file = YAML(), one.path / "dvc.yaml"  # later stages would add larger files, but no other kind of file
    stages = yaml.load(file)["stages"]
    yaml.dump({"stages": {stage: stages[stage] for stage in ("sample", "prepare")}}, file)
    (one.path / "dvc.lock").unlink()
    one.run("dvc", "repro")
    set_up_make(one)
    one.run("make", "remote", f"URL={url}")
    (one.path / ".dvc" / "config.local").write_text("\n".join(["['remote \"team\"']", *settings, ""]))
    return one


def run_at_once(*people: tuple[Person, str]) -> None:
    """Each person's `dvc` command succeeds; all start together."""
    processes = [person.start("dvc", command) for person, command in people]
    printed = [process.communicate(timeout=600)[0] for process in processes]
    assert not any(process.returncode for process in processes), printed


def damage(path: Path, how: str, rng: np.random.Generator) -> None:
    """Flip a bit or cut a file short, as a disk does: its time and rights stay as they are."""
    content, beside = bytearray(path.read_bytes()), path.with_name("damaged")
    place = int(rng.integers(len(content)))
    content[place] ^= 1
    beside.write_bytes(content if how == FLIPPED else content[:place])
    shutil.copystat(path, beside)
    beside.replace(path)


def list_tries(count: int) -> dict[str, list[Callable[[Person, np.random.Generator], None]]]:
    """{what is tried: how, as often as it is tried}."""
    some, victims = max(1, count // 5), [LARGE, f"{MANY}/007.bin", SAMPLE][:count]
    tries = {
        "two push while a third one pulls": [Person.push_apart] * some,
        "two push the same": [Person.push_the_same] * some,
        "two pull": [Person.pull_at_once] * some,
        "a push killed, and repeated": [partial(Person.kill, command="push", again=PUSH_AGAIN)] * count,
        "a pull killed, and repeated": [partial(Person.kill, command="pull", again=PULL_AGAIN)] * count,
    }
    for how in WAYS:
        tries[f"a file of the remote, {how}"] = [partial(Person.damage_remote, name=one, how=how) for one in victims]
    listed = f"a folder's list in the remote, {FLIPPED}: found by `make verify` alone"
    tries[listed] = [partial(Person.damage_remote, name=MANY, how=FLIPPED)] * some
    for how, out in itertools.product(WAYS, ("", ", and checked out")):
        damaged = [partial(Person.damage_cache, name=one, how=how, out=out) for one in (*victims, MANY)]
        tries[f"a file of the cache, {how}{out}"] = damaged
    return tries | {"a damaged file pushed": [partial(Person.push_damaged, name=one) for one in victims]}


def run(settings: Settings) -> Iterator[Row]:
    if not SSHD:
        yield "no sshd here; install Debian's package openssh-server", []
        return
    with serve_ssh(settings.folder) as remote:
        one = make_team(settings.folder, *remote)
        one.add(np.random.default_rng(settings.seed))
        one.run("dvc", "push")
        for what, tries in list_tries(settings.count or COUNT).items():
            told = []
            for number, try_once in enumerate(tries):
                try:
                    try_once(one, np.random.default_rng([settings.seed, number, *what.encode()]))
                    told.append("")
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    told.append(f"number {number}, seed {settings.seed}: {str(error)[-300:]}")
            yield what, told
