"""How hypothesis damages files, and what a plain reader makes of a damaged table, for tests and benchmarks.

Bytes, texts and what structured files hold are damaged; hypothesis shrinks a failure to the smallest draws.
"""

import contextlib
import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import methodcaller
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import onnx
from google.protobuf import json_format
from hypothesis import strategies as st
from ruamel.yaml import YAML

import checkout
from fer_pipeline.faces.fer2013 import VOTE_CLASSES
from fer_pipeline.raw.rows import FERPLUS_COLUMNS, USAGES

T = TypeVar("T")

WORDS = r"""
nan NaN inf -inf Infinity -1 -0 7 255 256 1e309 1e-400 3.0 0x10 1_000 00000000007 null None true yes [] {} [[1]] " ' \
é ٣ ² ../../../etc/passwd /dev/zero =1+1 %s%n {0} angry happy Training PrivateTest 2015-01-01 1:30 << ../../x.csv
!!python/object:os.system /etc/x.csv C:\x.csv train/happy/Training_x.png TRAIN/happy/x.png valid/x/x.png _x
__MACOSX/train/happy/x.png Thumbs.db model_config __base__ width I32 U32 F64 Relu
"""
ODD = ("", " ", "\0", "\u2028", "\ufeff", "&a [*a]", "9" * 400, "A" * 5000, *WORDS.split())
NUMBERS = (None, True, 0, -1, 7, 2**31, 2**63, 2**64, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), "\ud800")
VALUES = st.recursive(
    st.sampled_from((*NUMBERS, *ODD)) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("", "a", "x")), inner, max_size=3),
    max_leaves=4,
)
"""Whatever JSON may hold in a place where it should not."""
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    **{kind: methodcaller("astype", kind) for kind in ("float64", "int64", "bool", "S3", "c8", "float16")},
    "fewer rows": lambda old: old[:-1],
    "more axes": lambda old: old[..., np.newaxis],
    "other values": lambda old: old[::-1] + old.dtype.type(1),
    "nothing": lambda old: h5py.Empty(old.dtype),
    "another file": lambda old: h5py.ExternalLink("/etc/passwd", "/x"),
    "a loop": lambda old: h5py.SoftLink("/train/images"),
    "huge": lambda old: ((2**40, *old.shape[1:]), old.dtype),
}
"""{what takes the place of a data set in HDF5: function of its content}."""
UNITS = (rb"[^\s,:{}\[\]\"]+", rb"[^,\n]+", rb"[^\n]*\n")
"""What a damage of a text hits, as regular expressions: a word, a field, a line."""
RESPELLED = [(b"\n", b"\r\n"), (b"\n", b"\r"), (b",", b";"), (b",", b" , "), (b",", b'","'), (b"e", b"\xe9")]
RESPELLED += [(b"", b"utf-16"), (b"", b"utf-8-sig")]
"""What a program may write in the place of what, b"\\xe9" is Latin-1; or in the place of nothing, another encoding."""


def damage_part(part: bytes) -> st.SearchStrategy[bytes]:
    """What takes the place of a part of a file, or of all of it."""
    half, noise = len(part) // 2, st.binary(min_size=1, max_size=64)
    bits = st.sets(st.integers(0, max(0, 8 * len(part) - 1)), min_size=1, max_size=8)
    masks = bits.map(lambda bits: sum(1 << bit for bit in bits))
    others = b"", part + part, bytes(len(part)), part[half:] + part[:half], b"\xff\xff\xff\x7f" + part[4:]
    return st.one_of(
        st.sampled_from((*others, *map(str.encode, ODD))) | st.sampled_from(others),
        masks.map(lambda mask: (int.from_bytes(part) ^ mask).to_bytes(len(part) or 1)),
        noise.map(lambda noise: noise + part[64:]),
        st.builds(lambda noise, power: part + noise * 10**power, noise, st.integers(0, 4)),
    )


def put(path: Path, what: str) -> None:
    """Make nothing (an empty string), a folder, a pipe, or a link to what has any other name."""
    if what in ("a folder", "a pipe"):
        path.mkdir() if what == "a folder" else os.mkfifo(path)
    elif what:
        path.symlink_to(what)


def list_values(part: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of all that dicts and lists hold."""
    for key in part if isinstance(part, dict) else range(len(part)):
        yield part, key
        if isinstance(part[key], dict | list):
            yield from list_values(part[key])


class Drawn:
    """What hypothesis draws for one input, by the function `draw` of its `data` or of a composite strategy."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def pick(self, options: Iterable[T]) -> T:
        return self.draw(st.sampled_from(list(options)))

    def number(self, most: int) -> int:
        return self.draw(st.integers(0, most))

    def chance(self, percent: int) -> bool:
        return self.number(99) >= 100 - percent

    def damage(self, content: bytes, suffix: str = "") -> bytes:
        """Damage the content of a file: what it holds, its text or its bytes; every tenth time twice."""
        text = suffix in (".csv", ".json", ".yaml") and self.chance(60)
        if suffix in FORMATS and self.chance(50):
            unpack, pack = FORMATS[suffix]  # it may not be able to hold what is drawn
            with contextlib.suppress(TypeError, ValueError, AttributeError, OverflowError, json_format.Error):
                return pack(self.damage_values(unpack(content)))
        if text and self.chance(30):
            old, new = self.pick(RESPELLED)
            content = content.replace(old, new) if old else content.decode("latin-1").encode(new.decode())
        else:
            start, end = self.cut(content, self.pick(UNITS) if text else rb"")
            content = content[:start] + self.draw(damage_part(content[start:end])) + content[end:]
        return self.damage(content) if self.chance(10) else content

    def cut(self, content: bytes, unit: bytes) -> tuple[int, int]:
        """Where a part begins and ends; it may reach the beginning or the end of the content."""
        found = (edge for match in re.finditer(unit, content) for edge in match.span())
        edges = sorted({0, len(content), *found}) if unit else range(len(content) + 1)
        first = 0 if self.chance(20) else self.number(len(edges) - 1)
        most = len(edges) - 1 - first
        last = first + (most if self.chance(25) else self.number(min(most, 5 if unit else len(edges) // 4)))
        return edges[first], edges[last]

    def damage_values(self, content: Any) -> Any:
        """Replace one value, rename or remove one key, or replace everything."""
        way, places = self.pick(("odd", "odd", "lost", "renamed", "all of it")), list(list_values(content))
        if not places or way == "all of it":
            return self.draw(VALUES)
        part, key = places[self.number(len(places) - 1)]
        if way == "lost":
            del part[key]
        elif way == "renamed" and isinstance(part, dict):
            part[self.pick((*ODD, *part))] = part.pop(key)
        elif isinstance(part[key], bytes):
            part[key] = self.damage(part[key], Path(str(key)).suffix)
        elif isinstance(part[key], np.ndarray):
            part[key] = ARRAYS[self.pick(ARRAYS)](part[key])
        else:
            part[key] = self.draw(VALUES)
        return content

    def write(self, path: Path, content: bytes) -> Path:
        """Write a file; one time in fifty something else is at its place."""
        path.unlink(missing_ok=True)
        if self.chance(2):
            put(path, self.pick(("", "a folder", "nowhere", "/dev/null", path.name)))
        else:
            path.write_bytes(content)
        return path


def pack_json(content: Any) -> bytes:
    """JSON, which YAML can hold as well."""
    return json.dumps(content).replace("NaN", ".nan").encode()


def unpack_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpack_safetensors(content: bytes) -> dict[str, Any]:
    end = 8 + int.from_bytes(content[:8], "little")
    return {"header": json.loads(content[8:end]), "body": content[end:]}


def pack_safetensors(content: dict[str, Any]) -> bytes:
    header = json.dumps(content["header"]).encode()
    return len(header).to_bytes(8, "little") + header + content["body"]


def unpack_hdf5(content: bytes) -> dict[str, Any]:
    with h5py.File(io.BytesIO(content)) as file:
        splits = {split: {key: file[split][key][()] for key in file[split]} for split in file}
        return {**splits, "attributes": dict(file.attrs)}


def pack_hdf5(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(content.pop("attributes", {}))
        for split, rows in content.items():
            for key, value in rows.items():
                if isinstance(value, tuple):
                    file.create_dataset(f"{split}/{key}", *value, chunks=(1, *value[0][1:]))
                else:
                    file[f"{split}/{key}"] = value
    return buffer.getvalue()


FORMATS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    ".json": (json.loads, lambda content: json.dumps(content).encode()),
    ".yaml": (YAML(typ="safe").load, pack_json),
    **dict.fromkeys((".zip", ".keras"), (unpack_zip, pack_zip)),
    ".safetensors": (unpack_safetensors, pack_safetensors),
    ".h5": (unpack_hdf5, pack_hdf5),
    ".onnx": (
        lambda content: json_format.MessageToDict(onnx.load_from_string(content)),
        lambda content: json_format.ParseDict(content, onnx.ModelProto()).SerializeToString(),
    ),
}
"""{ending of a file: functions that take its content apart and put it together}."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes, suffix: str = "") -> bytes:
    """A strategy of damaged forms of a file's content; the suffix says what it may be taken for."""
    return Drawn(draw).damage(content, suffix)


def read_plain(content: bytes, **columns: Callable[[str], Any]) -> list[tuple[Any, ...]] | None:
    """The rows of a CSV, read in the simplest way: these columns, converted so. None if it is no such table."""
    with contextlib.suppress(ValueError, IndexError, csv.Error):
        text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
        header, *rows = (row for row in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, row)))
        known = [name.strip().lower() for name in header]
        read = [(known.index(name.lower()), convert) for name, convert in columns.items()]
        return [tuple(convert(row[place]) for place, convert in read) for row in rows]
    return None


def read_table(content: bytes) -> list[tuple[Any, ...]] | None:
    """Label, Usage and pixels of each row."""
    usage, pixels = (lambda text: USAGES.index(text.strip())), (lambda text: bytes(map(int, text.split())))
    return read_plain(content, emotion=int, Usage=usage, pixels=pixels)


def read_votes(content: bytes) -> list[tuple[Any, ...]] | None:
    """The ten votes of each row, in the order of `VOTE_CLASSES`."""
    columns = {vote: column for column, vote in FERPLUS_COLUMNS.items()}
    return read_plain(content, **{columns[vote]: int for vote in VOTE_CLASSES})
