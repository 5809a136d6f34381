"""What all kinds share: what an input and a kind are, how a sound file is damaged, how a script is called."""

import functools
import json
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from faults.damage.ways import BYTES, TEXTS, Generator, Ways, change, set_odd

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "apps"))


class Wrong(Exception):
    """An answer that is not the input's."""


class Case(NamedTuple):
    """A damaged input."""

    how: str
    """What was done to it, in a few words."""
    path: Path
    expected: Any = None
    """What an answer has to be; its meaning is the kind's."""


class Place(NamedTuple):
    """Where a worker reads and writes."""

    sound: Path
    """The sound files of all kinds, in a folder each; only to read."""
    inputs: Path
    """Empty before each input."""
    outputs: Path
    """Holds the kind's outputs of before."""
    project: Path
    """A copy of the project, for its scripts."""


class Kind(NamedTuple):
    """A kind of input."""

    share: int
    """Of ten thousand inputs."""
    damage: Callable[[Generator, Place], Case]
    read: Callable[[Case, Place], None]
    """As the project reads it; raises `Wrong` at a wrong answer."""
    command: Callable[[Case, Place], list[str]]
    """The script that reads it, and its arguments."""
    outputs: tuple[str, ...] = ()
    """What `read` and the script write below `Place.outputs`."""
    scripts: int = 6
    """How many go through the script."""


def load_files(folder: Path) -> dict[str, bytes]:
    """{path below `folder`: bytes}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_other_type(rng: Generator, path: Path) -> str:
    """Something at `path` that is no file; what."""
    what = str(rng.choice(["a folder", "a broken link", "a link to itself", "nothing", "a link to /dev/null"]))
    if what == "a folder":
        path.mkdir()
    elif what == "a broken link":
        path.symlink_to("nowhere")
    elif what == "a link to itself":
        path.symlink_to(path.name)
    elif what == "a link to /dev/null":
        path.symlink_to("/dev/null")
    return what


def damage_file(rng: Generator, place: Place, name: str, ways: Ways) -> Case:
    """A damaged copy of the sound file of that name, or something else at its place."""
    path = place.inputs / Path(name).name
    if rng.random() < 0.02:
        return Case(write_other_type(rng, path), path)
    how, content = change(rng, (place.sound / name).read_bytes(), ways)
    path.write_bytes(content)
    return Case(how, path)


def damage_json(rng: Generator, place: Place, path: Path) -> str:
    """Damage a JSON file in place; how."""
    content = path.read_bytes()
    if rng.random() < 0.5 and content.startswith(b"{"):
        how, content = "an odd value", json.dumps(set_odd(rng, json.loads(content))).encode()
    else:
        how, content = change(rng, content, BYTES if rng.random() < 0.5 else TEXTS)
    path.unlink()
    if rng.random() < 0.02:
        return write_other_type(rng, path)
    path.write_bytes(content)
    return how


@functools.cache
def load(script: str) -> ModuleType:
    """A script of the project as a module; its name alone may be that of a benchmark as well."""
    spec = spec_from_file_location(f"tried_{Path(script).stem}", ROOT / script)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(script: str, arguments: list[str]) -> None:
    """Call the `main` of a script, here, with arguments."""
    sys.argv = [script, *arguments]
    load(script).main()
