"""A team that shares DVC's caches over SSH: all at once, with killed pushes and pulls, and with damaged files.

The server is one of our own on this machine; without `sshd` there is nothing to try. After each fault everyone does
what docs/trouble.md says, and what a fresh clone pulls has to equal the original's data byte for byte. `count` is how
many pushes and how many pulls are killed (20), each when a drawn number of files has arrived.
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

from clones import ENVIRONMENT, PULL_AGAIN, PULL_ANEW, PUSH_AGAIN, PUSH_ANEW, Clone, Project, make_narrow, set_up_make
from faults.common import Row, Settings

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
COUNT = 20
STAGES = ("sample", "prepare")
"""Stages that have run; the later stages would add larger files, but no other kind of file."""
LARGE, MANY, SAMPLE = "data/raw/large.bin", "data/raw/many", "data/raw/sample.csv"
"""A file and a folder that `dvc add` takes in, with equally many bytes, and an output of a stage."""
FILES, BYTES = 40, 200_000
FLIPPED, CUT = WAYS = ("a bit flipped", "cut short")


class Person(Project):
    """A member of the team, with a clone beside the remote; methods raise AssertionError at what should not be."""

    @property
    def store(self) -> Path:
        """The remote."""
        return self.path.parent / "store"

    @property
    def cache(self) -> Path:
        return self.path / ".dvc" / "cache"

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
        try:
            yield other
        finally:
            shutil.rmtree(other.path)

    def read(self) -> dict[str, str]:
        """{path: SHA-256} of all data."""
        return self.hash_files(self.path / "data")

    def has(self, due: dict[str, str]) -> None:
        """All data are as due, and nothing in the cache is damaged."""
        differ = sorted({path for path, _ in self.read().items() ^ due.items()})
        assert not differ, f"{len(differ)} files differ, {differ[0]} first"
        check_objects(self.cache)

    def find_object(self, base: Path, name: str) -> Path:
        """Where a cache or a remote keeps one of this person's files, or the list of a folder."""
        listed = YAML(typ="safe").load(self.path / f"{MANY}.dvc")["outs"][0]["md5"]
        digest = listed if name == MANY else hashlib.md5((self.path / name).read_bytes()).hexdigest()
        return base / "files" / "md5" / digest[:2] / digest[2:]

    def pull_afresh(self) -> None:
        """A fresh clone pulls what is here."""
        with self.clone("fresh") as fresh:
            fresh.run("dvc", "pull")
            fresh.has(self.read())
        assert not (self.path.parent / ".ssh/known_hosts").exists(), "a host was noted"

    def verify(self, victim: Path, argument: str = "") -> None:
        """`make verify` names a damaged file, and no other."""
        code, printed = self.call("sh", "-c", f"make --no-print-directory verify {argument}")
        named = f"{victim.parent.name}/{victim.name}: FAILED" in printed and printed.count("FAILED") == 1
        assert code and named, f"make verify: {code}, {printed}"

    def mend_store(self, victim: Path) -> None:
        """Mend the remote as docs/trouble.md says."""
        for path in (victim, *self.store.rglob("*.dir")):
            path.unlink(missing_ok=True)
        self.run("sh", "-c", PUSH_ANEW)
        check_objects(self.store)


def check_objects(base: Path) -> None:
    """All files of a cache or a remote have their checksums; unfinished files have other names."""
    for path in (base / "files" / "md5").glob("??/*"):
        name = path.parent.name + path.stem
        assert len(name) != 32 or hashlib.md5(path.read_bytes()).hexdigest() == name, f"{path} is damaged"


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
    yaml, file = YAML(), one.path / "dvc.yaml"
    stages = yaml.load(file)["stages"]
    yaml.dump({"stages": {stage: stages[stage] for stage in STAGES}}, file)
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


def push_apart(one: Person, rng: np.random.Generator) -> None:
    """Two push what differs while a third one pulls."""
    before = one.read()
    with one.clone("two") as two, one.clone("three") as three:
        two.run("dvc", "pull")
        for person in (one, two):
            person.add(rng)
        run_at_once((one, "push"), (two, "push"), (three, "pull"))
        for person in (one, two):
            person.pull_afresh()
        three.has(before)


def push_the_same(one: Person, rng: np.random.Generator) -> None:
    one.add(rng)
    two = one.copy(one.path.with_name("two"))
    run_at_once((one, "push"), (two, "push"))
    shutil.rmtree(two.path)
    one.pull_afresh()


def pull_at_once(one: Person, rng: np.random.Generator) -> None:
    with one.clone("two") as two, one.clone("three") as three:
        run_at_once((two, "pull"), (three, "pull"))
        two.has(one.read())
        three.has(one.read())


def kill(command: str, again: str, one: Person, rng: np.random.Generator) -> None:
    """kill -9 of a push or a pull when some files have arrived, which a pull also checks out; `again` completes it."""
    one.add(rng)
    if command == "pull":
        one.run("dvc", "push")
    with one.clone("two") if command == "pull" else contextlib.nullcontext(one) as person:
        due = count_files(one.path.parent) + rng.integers({"push": FILES, "pull": 2 * FILES}[command])
        process = person.start("dvc", command)
        while process.poll() is None and count_files(one.path.parent) < due:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        check_objects(one.store)
        person.run("sh", "-c", again)
        person.has(one.read())
        one.pull_afresh()


def count_files(folder: Path) -> int:
    return sum(len(files) for *_, files in os.walk(folder))


def damage(path: Path, how: str, rng: np.random.Generator) -> None:
    """Flip a bit or cut a file short, as a disk does: its time and rights stay as they are."""
    content, beside = bytearray(path.read_bytes()), path.with_name("damaged")
    place = int(rng.integers(len(content)))
    content[place] ^= 1
    beside.write_bytes(content if how == FLIPPED else content[:place])
    shutil.copystat(path, beside)
    beside.replace(path)


def damage_remote(name: str, how: str, one: Person, rng: np.random.Generator) -> None:
    """Damage a file of the remote: a pull says so, or `make verify` if it is a folder's list, and it can be mended."""
    victim, listed = one.find_object(one.store, name), name == MANY
    with one.clone("other") as other:
        damage(victim, how, rng)
        code, printed = other.call("dvc", "pull")
        assert listed or (code and (MANY if MANY in name else name) in printed), f"{name} pulled without a word of it"
        assert listed or other.read().items() <= one.read().items(), f"{name} pulled"
        one.verify(victim, f"FOLDER={one.store}")
        one.mend_store(victim)
        other.run("sh", "-c", PULL_ANEW if listed else "dvc pull")
        other.has(one.read())


def damage_cache(name: str, how: str, out: str, one: Person, rng: np.random.Generator) -> None:
    """Damage a file of the cache, and check it out if it is no folder's list: `make verify` says so."""
    with one.clone("other") as other:
        other.run("dvc", "pull")
        victim = one.find_object(other.cache, name)
        damage(victim, how, rng)
        if out and name != MANY:
            (other.path / name).unlink()
            other.run("dvc", "checkout")
        other.verify(victim)
        victim.unlink()
        other.run("sh", "-c", PULL_ANEW)
        other.has(one.read())


def push_damaged(name: str, one: Person, rng: np.random.Generator) -> None:
    """Push a damaged file of the cache: nobody gets it without a word, and the remote can be mended."""
    pusher, stored = one.copy(one.path.with_name("pusher")), one.find_object(one.store, name)
    stored.unlink()
    damage(one.find_object(pusher.cache, name), FLIPPED, rng)
    pusher.call("dvc", "push")
    shutil.rmtree(pusher.path)
    with one.clone("other") as other:
        if not other.call("dvc", "pull")[0]:
            other.has(one.read())
        one.mend_store(stored)
        other.run("dvc", "pull")
        other.has(one.read())


def list_rows(count: int) -> dict[str, list[Callable[[Person, np.random.Generator], None]]]:
    """{what is tried: how, as often as it is tried}."""
    some, victims = max(1, count // 5), [LARGE, f"{MANY}/007.bin", SAMPLE][:count]
    listed = f"a folder's list in the remote, {FLIPPED}: found by `make verify` alone"
    return {
        "two push while a third one pulls": [push_apart] * some,
        "two push the same": [push_the_same] * some,
        "two pull": [pull_at_once] * some,
        "a push killed, and repeated": [partial(kill, "push", PUSH_AGAIN)] * count,
        "a pull killed, and repeated": [partial(kill, "pull", PULL_AGAIN)] * count,
        **{f"a file of the remote, {how}": [partial(damage_remote, one, how) for one in victims] for how in WAYS},
        listed: [partial(damage_remote, MANY, FLIPPED)] * some,
        **{
            f"a file of the cache, {how}{after}": [partial(damage_cache, one, how, after) for one in (*victims, MANY)]
            for how, after in itertools.product(WAYS, ("", ", and checked out"))
        },
        "a damaged file pushed": [partial(push_damaged, one) for one in victims],
    }


def run(settings: Settings) -> Iterator[Row]:
    if not SSHD:
        yield "no sshd here; install Debian's package openssh-server", []
        return
    with serve_ssh(settings.folder) as remote:
        one = make_team(settings.folder, *remote)
        one.add(np.random.default_rng(settings.seed))
        one.run("dvc", "push")
        for what, tries in list_rows(settings.count or COUNT).items():
            told = []
            for number, try_once in enumerate(tries):
                try:
                    try_once(one, np.random.default_rng([settings.seed, number, *what.encode()]))
                    told.append("")
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    told.append(f"number {number}, seed {settings.seed}: {str(error)[-300:]}")
            yield what, told
