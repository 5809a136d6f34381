"""The challenge's CSV: `emotion,pixels,Usage`, in any column order, checked row by row.

`parse_fields` and `parse_pixels` define a valid row. Pixels are parsed by NumPy on all cores, many rows at a time;
rows with anything unusual go through `parse_pixels`, so that both ways agree and every message is exact.
"""

import csv
import hashlib
import io
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES, SIZE
from fer_pipeline.raw.rows import USAGES, BadRow, Rows, excerpt, list_problems

CHALLENGE_FILES = {
    "f8428a1edbd21e88f42c73edd2a14f95": "fer2013.csv",
    "b114b9e04e6949e5fe8b6a98b3892b1d": "icml_face_data.csv",
}
"""{md5: CSV file that the challenge published}; the second has the rows of the first in another order."""
PIXELS = SIZE * SIZE
BLOCK_BYTES = 1 << 22
"""How many bytes one thread parses at a time: about 500 rows."""
ROWS_AT_ONCE = 64
"""How many rows NumPy parses at a time: its temporary arrays stay small enough to be reused, not allocated again."""
LONGEST_ROW = 1 << 20
"""Bytes; a row of FER-2013 has about 8,400. Beyond this the file is not a table of faces."""
LABELS = {str(label).encode(): label for label in range(len(CLASSES))}
USAGE_CODES = {usage.encode(): code for code, usage in enumerate(USAGES)}

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Images uint8 (N, 48, 48), labels uint8 (N,), 0..6, and usages uint8 (N,), positions in `USAGES`."""

csv.field_size_limit(LONGEST_ROW)


class Columns(NamedTuple):
    """The positions of the three columns, from 0, and the number of all columns."""

    emotion: int
    pixels: int
    usage: int
    total: int


def find_columns(header: bytes) -> Columns | None:
    """The `Columns` of a header line, or None unless it names each of the three exactly once."""
    text = header.removeprefix(b"\xef\xbb\xbf").decode("latin-1").rstrip("\r\n")
    try:
        names = [name.strip().lower() for name in next(csv.reader([text]), [])]
    except csv.Error:
        return None
    if any(names.count(name) != 1 for name in ("emotion", "pixels", "usage")):
        return None
    return Columns(names.index("emotion"), names.index("pixels"), names.index("usage"), total=len(names))


def read_header(file: IO[bytes]) -> bytes:
    """The first line of a binary file, at most `LONGEST_ROW` bytes."""
    return file.readline(LONGEST_ROW)


def read_table(file: IO[bytes], name: str, size: int | None = None) -> Rows:
    """Read the challenge's CSV from the start of a binary file; `md5` of the result is the table's own.

    Args:
        name: of the file, for messages.
        size: of the file in bytes, for the progress bar.

    Raises:
        InputError: a column is missing, or rows are bad: the first ten are listed, with the total.
    """
    header = read_header(file)
    columns = find_columns(header)
    if columns is None:
        raise InputError(f"{name}: the first line is {excerpt(header)}, expected the columns emotion, pixels and Usage")
    digest = hashlib.md5(header, usedforsecurity=False)
    parts: list[Arrays] = []
    problems: list[str] = []
    pending: deque[Future[tuple[Arrays, list[str]]]] = deque()

    def collect() -> None:
        part, bad = pending.popleft().result()
        parts.append(part)
        problems.extend(bad)

    with (
        tqdm(total=size, desc="rows", unit="B", unit_scale=True, disable=None) as progress,
        ThreadPoolExecutor() as pool,
    ):
        line, block = 2, b"\n"
        for line, block in split_blocks(file, name):
            digest.update(block)
            pending.append(pool.submit(parse_block, block, line, columns))
            if len(pending) > 2 * (os.cpu_count() or 1):
                collect()
            progress.update(len(block))
        while pending:
            collect()
    if columns.pixels == columns.total - 1 and not block.endswith((b"\n", b'"')) and not problems:
        last = line + block.count(b"\n")
        problems.append(
            f"line {last}: no newline at its end, so the last pixel may be cut off; if it is complete, add one"
        )
    if problems:
        raise InputError(list_problems(name, "row", problems))
    if not sum(len(labels) for _, labels, _ in parts):
        raise InputError(f"{name}: a header and no rows; expected one row per face")
    images, labels, usages = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    md5 = digest.hexdigest()
    return Rows(images, labels, usages, "table", md5, CHALLENGE_FILES.get(md5))


def split_blocks(file: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Yield (number of its first line, bytes) for blocks of whole rows; a newline inside quotes does not end a row."""
    line, rest = 2, b""
    while chunk := file.read(BLOCK_BYTES):
        chunk = rest + chunk
        cut = chunk.rfind(b"\n") + 1
        while chunk.count(b'"', 0, cut) % 2:
            cut = chunk.rfind(b"\n", 0, chunk.rfind(b'"', 0, cut)) + 1
        block, rest = chunk[:cut], chunk[cut:]
        if block:
            yield line, block
            line += block.count(b"\n")
        if len(rest) > LONGEST_ROW:
            raise InputError(
                f"{name}: line {line}: a row of over 1 MiB, or a quote that is never closed; expected one row per face"
            )
    if rest:
        yield line, rest


def parse_block(block: bytes, line: int, columns: Columns) -> tuple[Arrays, list[str]]:
    """Parse whole rows, the first of them in `line`; the second result is a list of problems, one per bad row."""
    rows: list[tuple[int, int, int, bytes]] = []  # line number, label, usage, text of the pixels
    problems: list[tuple[int, BadRow]] = []
    for number, fields in split_fields(block, line):
        try:
            rows.append((number, *parse_fields(fields, columns)))
        except BadRow as error:
            problems.append((number, error))
    pixels = np.zeros((len(rows), PIXELS), np.uint8)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        fast = parse_pixels_fast([text for *_, text in part])
        if fast is not None:
            pixels[start : start + len(part)] = fast
            continue
        for place, (number, _, _, text) in enumerate(part, start):
            try:
                pixels[place] = parse_pixels(text)
            except BadRow as error:
                problems.append((number, error))
    labels, usages = (np.array([row[place] for row in rows], np.uint8) for place in (1, 2))
    problems.sort(key=lambda problem: problem[0])
    return (pixels.reshape(-1, SIZE, SIZE), labels, usages), [f"line {number}: {error}" for number, error in problems]


def split_fields(block: bytes, line: int) -> Iterator[tuple[int, list[bytes] | None]]:
    """Yield (line number, fields) per row of a block; blank lines are skipped.

    The fields are None in a row with an unclosed quote.
    """
    if b'"' not in block:
        for number, row in enumerate(block.split(b"\n"), line):
            if row.strip():
                yield number, row.rstrip(b"\r").split(b",")
        return
    reader = csv.reader(io.StringIO(block.decode("latin-1"), newline=""), strict=True)
    while True:
        number = line + reader.line_num
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield number, None
            continue
        if any(field.strip() for field in fields):
            yield number, [field.encode("latin-1") for field in fields]


def parse_fields(fields: list[bytes] | None, columns: Columns) -> tuple[int, int, bytes]:
    """Label 0..6, usage 0..2 and the text of the pixels of one row from `split_fields`.

    Raises:
        BadRow: an unclosed quote, another number of fields, a label outside 0..6, an unknown Usage.
    """
    if fields is None:
        raise BadRow("a quote that is never closed, or is inside a field")
    if len(fields) != columns.total:
        raise BadRow(f"{len(fields)} fields, expected {columns.total}")
    label = LABELS.get(fields[columns.emotion].strip())
    if label is None:
        raise BadRow(f"emotion is {excerpt(fields[columns.emotion])}, expected 0..6")
    usage = USAGE_CODES.get(fields[columns.usage].strip())
    if usage is None:
        raise BadRow(f"Usage is {excerpt(fields[columns.usage])}, expected {', '.join(USAGES)}")
    return label, usage, fields[columns.pixels]


def parse_pixels(text: bytes) -> list[int]:
    """The 2,304 pixels in `text`, whole numbers 0..255 separated by blanks.

    Raises:
        BadRow: another count, or a pixel that is not a number or outside 0..255.
    """
    tokens = text.split()
    if len(tokens) != PIXELS:
        raise BadRow(f"{len(tokens):,} pixels, expected {PIXELS:,}")
    for i, token in enumerate(tokens):
        if not token.isdigit() or len(token) > 9 or int(token) > 255:
            raise BadRow(f"pixel {i} is {excerpt(token)}, expected 0..255")
    return [int(token) for token in tokens]


def parse_pixels_fast(texts: list[bytes]) -> npt.NDArray[np.uint8] | None:
    """`parse_pixels` for several rows at once: uint8 (len(texts), 2304), or None where a row needs a closer look."""
    text = np.frombuffer(b"   " + b" ".join(texts) + b" ", np.uint8)
    digits = text - np.uint8(ord("0"))  # wraps around: whatever is not a digit is now above 9
    is_digit = digits < 10
    if not (is_digit | (text == ord(" "))).all():
        return None
    last = np.flatnonzero(is_digit[:-1] > is_digit[1:])  # the position of each number's last digit
    row_ends = np.cumsum([len(row) + 1 for row in texts]) + 3
    if (np.diff(np.searchsorted(last, row_ends), prepend=0) != PIXELS).any():
        return None
    tens, hundreds = digits[last - 1], digits[last - 2]
    has_tens = tens < 10
    has_hundreds = has_tens & (hundreds < 10)
    if (has_hundreds & (digits[last - 3] < 10)).any():
        return None
    values: npt.NDArray[np.uint16] = (
        digits[last] + tens * has_tens * np.uint16(10) + hundreds * has_hundreds * np.uint16(100)
    )
    if values.max() > 255:
        return None
    return values.astype(np.uint8).reshape(len(texts), PIXELS)
