"""How hypothesis damages bytes, texts and what structured files hold; failures shrink to the smallest draws."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import onnx
from google.protobuf import json_format
from hypothesis import strategies as st
from ruamel.yaml import YAML

T = TypeVar("T")

ODD = (
    *("", " ", "nan", "NaN", "inf", "-inf", "Infinity", "-1", "-0", "7", "255", "256", "1e309", "1e-400", "9" * 400),
    *("3.0", "0x10", "1_000", "00000000007", "null", "None", "true", "yes", "[]", "{}", "[[1]]", '"', "'", "\\", "\0"),
    *("é", "٣", "²", "\u2028", "\ufeff", "../../../etc/passwd", "/dev/zero", "=1+1", "%s%n", "{0}", "A" * 5000),
    *("angry", "happy", "Training", "PrivateTest", "2015-01-01", "1:30", "!!python/object:os.system", "&a [*a]", "<<"),
    *("../../x.csv", "/etc/x.csv", "C:\\x.csv", "train/happy/Training_x.png", "TRAIN/happy/x.png", "valid/x/x.png"),
    *(
        "__MACOSX/train/happy/x.png",
        "Thumbs.db",
        "_x",
        "model_config",
        "__base__",
        "width",
        "I32",
        "U32",
        "F64",
        "Relu",
    ),
)
NUMBERS = (None, True, 0, -1, 7, 2**31, 2**63, 2**64, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf"), "\ud800")
VALUES = st.recursive(
    st.sampled_from((*NUMBERS, *ODD)) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("", "a", "x")), inner, max_size=3),
    max_leaves=4,
)
"""Whatever JSON may hold in a place where it should not."""
ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    **{kind: lambda old, kind=kind: old.astype(kind) for kind in ("float64", "int64", "bool", "S3", "c8", "float16")},
    "fewer rows": lambda old: old[:-1],
    "more axes": lambda old: old[..., np.newaxis],
    "other values": lambda old: old[::-1] + old.dtype.type(1),
    "nothing": lambda old: h5py.Empty(old.dtype),
    "another file": lambda old: h5py.ExternalLink("/etc/passwd", "/x"),
    "a loop": lambda old: h5py.SoftLink("/train/images"),
    "huge": lambda old: ((2**40, *old.shape[1:]), old.dtype),
}
"""{what takes the place of a data set in HDF5: function of its content}."""
UNITS = {"words": rb"[^\s,:{}\[\]\"]+", "fields": rb"[^,\n]+", "lines": rb"[^\n]*\n"}
"""{what a damage of a text hits: a regular expression}."""
OTHERS = {"nothing": "", "a folder": "", "a broken link": "nowhere", "a link to /dev/null": "/dev/null", "a loop": "."}
"""{what may be in the place of a file: the target of a link}."""


class Drawn:
    """What hypothesis draws for one input; `notes` has it in words."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw, self.notes = data.draw, list[str]()

    def pick(self, options: Iterable[T]) -> T:
        choice = self.draw(st.sampled_from(list(options)))
        self.notes.append(f"{choice!s:.40}")
        return choice

    def number(self, most: int) -> int:
        return self.draw(st.integers(0, most))

    def chance(self, percent: int) -> bool:
        return self.number(99) >= 100 - percent

    def flip(self, part: bytes) -> bytes:
        """Flip a bit in one to eight bytes."""
        damaged = bytearray(part)
        for _ in range(1 + self.number(7) if part else 0):
            damaged[self.number(len(part) - 1)] ^= 1 << self.number(7)
        return bytes(damaged)

    def damage(self, content: bytes, suffix: str = "") -> bytes:
        """Damage the content of a file: what it holds, its text or its bytes; every tenth time twice."""
        text, formats = suffix in (".csv", ".json", ".yaml") and self.chance(60), FORMATS.get(suffix)
        if formats and self.chance(50):
            try:
                return formats[1](self.damage_values(formats[0](content)))
            except (TypeError, ValueError, AttributeError, OverflowError, json_format.Error):
                pass  # not what this format can hold
        way = self.pick([*PARTS, *(TEXTS if text else WHOLE)])
        if way in PARTS:
            start, end = self.cut(content, self.pick(UNITS) if text else "")
            content = content[:start] + PARTS[way](self, content[start:end]) + content[end:]
        else:
            content = (TEXTS if text else WHOLE)[way](content)
        return self.damage(content) if self.chance(10) else content

    def cut(self, content: bytes, unit: str) -> tuple[int, int]:
        """Where a part begins and ends; it may reach the beginning or the end of the content."""
        spans = [found.span() for found in re.finditer(UNITS[unit], content)] if unit else []
        count = len(spans) or len(content)
        if not count:
            return 0, 0
        first = 0 if self.chance(10) else self.number(count - 1)
        last = count - 1 if self.chance(15) else min(count - 1, first + self.number(2 if spans else count // 4))
        return (spans[first][0], spans[last][1]) if spans else (first, last + 1)

    def damage_values(self, content: Any) -> Any:
        """Replace one value, rename or remove one key, or replace everything."""
        parts: list[tuple[Any, Any]] = []

        def walk(part: Any) -> None:
            for key in part if isinstance(part, dict) else range(len(part)):
                parts.append((part, key))
                if isinstance(part[key], dict | list):
                    walk(part[key])

        walk(content)
        way = self.pick(("odd", "odd", "lost", "renamed", "all of it"))
        if not parts or way == "all of it":
            return self.draw(VALUES)
        part, key = parts[self.number(len(parts) - 1)]
        self.notes.append(str(key))
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
            self.notes.append(f"{part[key]!r:.40}")
        return content

    def write(self, path: Path, content: bytes) -> Path:
        """Write a file; one time in fifty something else is at its place."""
        path.unlink(missing_ok=True)
        what = self.pick(OTHERS) if self.chance(2) else ""
        if what == "a folder":
            path.mkdir()
        elif what not in ("", "nothing"):
            path.symlink_to(path.name if what == "a loop" else OTHERS[what])
        elif not what:
            path.write_bytes(content)
        return path


PARTS: dict[str, Callable[[Drawn, bytes], bytes]] = {
    "lost": lambda d, part: b"",
    "doubled": lambda d, part: part + part,
    "zeros": lambda d, part: bytes(len(part)),
    "bits flipped": Drawn.flip,
    "an odd word": lambda d, part: d.pick(ODD).encode(),
    "halves exchanged": lambda d, part: part[len(part) // 2 :] + part[: len(part) // 2],
    "noise": lambda d, part: d.draw(st.binary(max_size=64)) + part[64:],
    "noise inserted": lambda d, part: part + d.draw(st.binary(min_size=1, max_size=9)) * 10 ** d.number(5),
    "not a number": lambda d, part: b"\xff\xff\xff\x7f" + part[4:],
}
"""{what happens to a part: function}."""
WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "twice": lambda content: content + content,
    "emptied": lambda content: b"",
    "UTF-16": lambda content: content.decode("latin-1").encode("utf-16"),
    "BOM": lambda content: b"\xef\xbb\xbf" + content,
}
"""{what happens to the whole content: function}."""
TEXTS = {
    **WHOLE,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "lone CR": lambda content: content.replace(b"\n", b"\r"),
    "semicolons": lambda content: content.replace(b",", b";"),
    "quotes": lambda content: content.replace(b",", b'","'),
    "Latin-1": lambda content: content.replace(b"e", "é".encode("latin-1"), 1),
    "spaces": lambda content: content.replace(b",", b" , "),
}
"""The same for texts."""


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


def unpack_onnx(content: bytes) -> dict[str, Any]:
    return json_format.MessageToDict(onnx.load_from_string(content))


def pack_onnx(content: dict[str, Any]) -> bytes:
    return json_format.ParseDict(content, onnx.ModelProto()).SerializeToString()


FORMATS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    ".json": (json.loads, lambda content: json.dumps(content).encode()),
    ".yaml": (YAML(typ="safe").load, pack_json),
    ".zip": (unpack_zip, pack_zip),
    ".keras": (unpack_zip, pack_zip),
    ".safetensors": (unpack_safetensors, pack_safetensors),
    ".h5": (unpack_hdf5, pack_hdf5),
    ".onnx": (unpack_onnx, pack_onnx),
}
"""{ending of a file: functions that take its content apart and put it together}."""
