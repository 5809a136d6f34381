"""Photos and videos, as predict reads them, and what it may answer."""

import contextlib
import io
import json
import struct
import zlib

from faults.damage.case import Case, Place, Wrong, call, damage_file, load_files
from faults.damage.ways import BYTES, Generator


def damage_photo(rng: Generator, place: Place) -> Case:
    if rng.random() < 0.04:
        path, side = place.inputs / "bomb.png", int(rng.choice([9_000, 30_000, 100_000]))
        path.write_bytes(make_png_bomb(side))
        return Case(f"a picture of {side:,}x{side:,} pixels", path)
    names = [*load_files(place.sound / "photos")]
    return damage_file(rng, place, f"photos/{rng.choice(names)}", BYTES)


def make_png_bomb(side: int) -> bytes:
    """A black PNG of that many pixels in each direction; of a very large one only the beginning."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(min(side, 9_000))) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def damage_video(rng: Generator, place: Place) -> Case:
    names = [*load_files(place.sound / "videos")]
    return damage_file(rng, place, f"videos/{rng.choice(names)}", BYTES)


def refuse_number(text: str) -> None:
    raise Wrong(f"an answer holds {text}, which is no JSON")


def call_predict(arguments: list[str]) -> None:
    """Call predict, and check what it prints."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            call("apps/predict.py", arguments)
    finally:
        for line in printed.getvalue().splitlines():
            for face in json.loads(line, parse_constant=refuse_number)["faces"]:
                if not abs(sum(face["probabilities"].values()) - 1) < 0.01:
                    raise Wrong("probabilities do not add up to 1")


def photo_arguments(case: Case, place: Place) -> list[str]:
    return [str(case.path), "--json", "--model", str(place.sound / "models/small.onnx")]


def read_pictured(case: Case, place: Place) -> None:
    call_predict(photo_arguments(case, place))


def command_photo(case: Case, place: Place) -> list[str]:
    return ["apps/predict.py", *photo_arguments(case, place)]
