"""The challenge's CSV: `emotion,pixels,Usage`, in any column order, checked row by row."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES, SIZE
from fer_pipeline.raw.classes import NUMBERS, require_few
from fer_pipeline.raw.parsing import excerpt, find_usage, name_columns, name_fields, parse_all, refuse
from fer_pipeline.raw.rows import Rows

CHALLENGE_FILES = {
    "f8428a1edbd21e88f42c73edd2a14f95": "fer2013.csv",
    "b114b9e04e6949e5fe8b6a98b3892b1d": "icml_face_data.csv",
}
"""{md5: CSV file that the challenge published}; the second has the rows of the first in another order."""
PIXELS = SIZE * SIZE
LONGEST_ROW = 1 << 20  # bytes; a row of FER-2013 has about 8,400. Beyond this the file is not a table of faces.
TONES = {f"{tone:0{width}}" for tone in range(256) for width in range(1, 10)}
"""How a file may write a pixel, with zeros before it or without."""

Fields = list[str] | None  # of a row; None if a quote is never closed, or a quote or a line end is inside a field

csv.field_size_limit(LONGEST_ROW)


def find_columns(header: bytes) -> list[str] | None:
    """The column names of a header in lower case; None unless it has each of the three expected ones exactly once."""
    text = header.removeprefix(b"\xef\xbb\xbf").decode("latin-1").rstrip("\r\n")
    try:
        return name_columns(next(csv.reader([text]), []), ("emotion", "pixels", "usage"))
    except csv.Error:
        return None


def read_table(file: IO[bytes], name: str, size: int | None = None, any_label: bool = False) -> Rows:
    """Read the challenge's CSV from the start of a binary file; `md5` of the result is that of the table, decompressed.

    `name` is for messages, `size` (of the file, in bytes) for the progress bar. With `any_label`, labels may be any
    texts, which are the `classes` of the result, rather than 0..6. Raises `InputError` if a column is missing or rows
    are bad; it lists the first ten bad rows and gives their number.
    """
    line = file.readline(LONGEST_ROW)
    names = find_columns(line)
    if names is None:
        header = excerpt(line.decode("latin-1"))
        raise InputError(f"{name}: the first line is {header}, expected the columns emotion, pixels and Usage")
    digest = hashlib.md5(line, usedforsecurity=False)
    number = 1

    def read_lines() -> Iterator[str]:
        nonlocal line, number  # finally, those of the last line
        for number, line in enumerate(iter(partial(file.readline, LONGEST_ROW), b""), 2):
            if len(line) == LONGEST_ROW:
                raise InputError(f"{name}: line {number}: a row of over 1 MiB; expected one row per face")
            digest.update(line)
            progress.update(len(line))
            yield line.decode("latin-1")

    pixels = bytearray()  # grows in place: joining the rows at the end would take twice the memory

    def parse(fields: Fields) -> tuple[str, int]:
        label, usage, text = parse_fields(fields, names, any_label)
        pixels.extend(parse_pixels(text).tobytes())
        return label, usage

    with tqdm(total=size, desc="rows", unit="B", unit_scale=True, disable=None) as progress:
        parsed, problems = parse_all(split_rows(read_lines()), parse)
    if names[-1] == "pixels" and not line.endswith((b"\n", b'"')) and not problems:
        problems = [f"line {number}: no newline at its end, so the last pixel may be cut off; if complete, add one"]
    refuse(name, "row", problems)
    if not parsed:
        raise InputError(f"{name}: a header and no rows; expected one row per face")
    texts, usages = zip(*parsed, strict=True)
    known = {text: label for label, text in enumerate(sorted({*texts}) if any_label else NUMBERS)}
    require_few(known, name)
    images = np.frombuffer(pixels, np.uint8).reshape(-1, SIZE, SIZE)
    labels, parts = (np.array(column, np.uint8) for column in ([known[text] for text in texts], usages))
    md5 = digest.hexdigest()
    classes = tuple(known) if any_label else CLASSES
    return Rows(images, labels, parts, "table", md5, CHALLENGE_FILES.get(md5), classes=classes)


def split_rows(lines: Iterable[str]) -> Iterator[tuple[str, Fields]]:
    """Yield 'line N' (the header is line 1) and the fields of each row that is not blank."""
    reader = csv.reader(lines, strict=True)
    while True:
        place = f"line {reader.line_num + 2}"
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield place, None
            continue
        if any(field.strip() for field in fields):
            yield place, fields


def parse_fields(fields: Fields, names: list[str], any_label: bool) -> tuple[str, int, str]:
    """Label, usage 0..2 and the text of the pixels of one row; ValueError for anything else."""
    if fields is None:
        raise ValueError("a quote that is never closed, or a quote or a line end inside a field")
    texts = name_fields(names, fields)
    label = texts["emotion"].strip()
    if label not in NUMBERS and (not any_label or not label):
        expected = "a name" if any_label else "0..6; for others set prepare.classes in params.yaml (auto takes names)"
        raise ValueError(f"emotion is {excerpt(texts['emotion'])}, expected {expected}")
    label = label.encode("latin-1").decode("utf-8", "replace")
    return label, find_usage(texts["usage"]), texts["pixels"]


def parse_pixels(text: str) -> npt.NDArray[np.uint8]:
    """The 2,304 pixels in `text`, whole numbers 0..255 separated by white space; ValueError for anything else."""
    if text.isascii() and text.replace(" ", "").isdigit():  # as rows are written: NumPy reads them fast
        pixels = np.fromstring(text, np.int64, sep=" ")
        if len(pixels) == PIXELS and pixels.max() <= 255:
            return pixels.astype(np.uint8)
    tokens = text.split()
    if len(tokens) != PIXELS:
        raise ValueError(f"{len(tokens):,} pixels, expected {PIXELS:,}")
    for i, token in enumerate(tokens):
        if token not in TONES:
            raise ValueError(f"pixel {i} is {excerpt(token)}, expected 0..255")
    return np.array(tokens).astype(np.uint8)
