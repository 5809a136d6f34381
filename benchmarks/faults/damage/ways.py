"""How bytes, texts and the values of JSON are damaged. Each way draws from the generator that it is given."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Generator = np.random.Generator
Ways = Mapping[str, Callable[[Generator, bytes], bytes]]
"""{what is done, in a few words: the function that does it}."""

ODD = (
    *("", " ", "nan", "NaN", "inf", "-inf", "Infinity", "-1", "-0", "7", "255", "256", "1e309", "1e-400", "9" * 400),
    *("3.0", "0x10", "1_000", "00000000007", "null", "None", "true", "yes", "[]", "{}", "[[1]]", '"', "'", "\\", "\0"),
    *("é", "٣", "²", "\u2028", "\ufeff", "../../../etc/passwd", "/dev/zero", "=1+1", "%s%n", "{0}", "A" * 5000),
    *("angry", "happy", "Training", "PrivateTest", "2015-01-01", "1:30", "!!python/object:os.system", "&a [*a]", "<<"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, 10**400, 0.5, -0.5, 1e308, float("nan"), float("inf")),
    *("", "nan", "1", "x", "A" * 5000, "\0", "é\u2028", "\ud800", [], [None], [[]], {}, {"": 0}, {"a": {"b": []}}),
)


def flip(rng: Generator, content: bytes) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 9)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def cut_out(rng: Generator, content: bytes) -> tuple[int, int]:
    """Where a part of at most a quarter begins and ends."""
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + 1 + int(rng.integers(1 + len(content) // 4)))


def swap(rng: Generator, content: bytes) -> bytes:
    """Two parts of the same length exchanged."""
    size = 1 + int(rng.integers(min(1000, 1 + len(content) // 2)))
    first, second = sorted(rng.integers(0, max(1, len(content) - size), 2).tolist())
    second = max(second, first + size)
    parts = content[second : second + size], content[first + size : second], content[first : first + size]
    return content[:first] + b"".join(parts) + content[second + size :]


def double(rng: Generator, content: bytes) -> bytes:
    start, end = cut_out(rng, content)
    return content[:end] + content[start:end] + content[end:]


def drop(rng: Generator, content: bytes) -> bytes:
    start, end = cut_out(rng, content)
    return content[:start] + content[end:]


def blank(rng: Generator, content: bytes) -> bytes:
    start, end = cut_out(rng, content)
    return content[:start] + bytes(end - start) + content[end:]


def overwrite(rng: Generator, content: bytes) -> bytes:
    start = int(rng.integers(len(content)))
    noise = rng.bytes(int(rng.integers(1, 64)))
    return content[:start] + noise + content[start + len(noise) :]


def append(rng: Generator, content: bytes) -> bytes:
    size = int(rng.choice([1, 100, 10_000, 3_000_000]))
    return content + (rng.bytes(size) if rng.random() < 0.5 else bytes(size))


BYTES: Ways = {
    "bits flipped": flip,
    "more bits flipped": flip,
    "cut": lambda rng, content: content[: rng.integers(1, len(content))],
    "beginning lost": lambda rng, content: content[rng.integers(1, len(content)) :],
    "parts swapped": swap,
    "a part doubled": double,
    "a part lost": drop,
    "a part of zeros": blank,
    "overwritten": overwrite,
    "something appended": append,
    "twice": lambda rng, content: content + content,
    "emptied": lambda rng, content: b"",
    "noise": lambda rng, content: rng.bytes(len(content) // 2 + 1),
    "UTF-16": lambda rng, content: content.decode("latin-1").encode("utf-16"),
    "BOM": lambda rng, content: b"\xef\xbb\xbf" + content,
}


def odd_token(rng: Generator, content: bytes) -> bytes:
    """One number or word replaced."""
    tokens = list(re.finditer(rb"[^\s,:{}\[\]\"]+", content[(start := int(rng.integers(len(content)))) :][:20_000]))
    if not tokens:
        return content + b","
    token = tokens[int(rng.integers(min(len(tokens), 20)))]
    odd = ODD[rng.integers(len(ODD))].encode()
    return content[: start + token.start()] + odd + content[start + token.end() :]


def odd_field(rng: Generator, content: bytes) -> bytes:
    """One field of a line with commas replaced."""
    lines = content.split(b"\n")
    number = int(rng.integers(len(lines)))
    fields = lines[number].split(b",")
    fields[rng.integers(len(fields))] = ODD[rng.integers(len(ODD))].encode()
    lines[number] = b",".join(fields)
    return b"\n".join(lines)


def shift_lines(rng: Generator, content: bytes) -> bytes:
    """Lines lost, doubled or exchanged."""
    lines = content.split(b"\n")
    first, second = rng.integers(0, len(lines), 2)
    what = rng.integers(3)
    if what == 0:
        del lines[first]
    elif what == 1:
        lines.insert(second, lines[first])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


TEXTS: Ways = {
    "an odd word": odd_token,
    "an odd number": odd_token,
    "an odd field": odd_field,
    "another odd field": odd_field,
    "lines lost, doubled or exchanged": shift_lines,
    "CRLF": lambda rng, content: content.replace(b"\n", b"\r\n"),
    "lone CR": lambda rng, content: content.replace(b"\n", b"\r"),
    "semicolons": lambda rng, content: content.replace(b",", b";"),
    "quotes": lambda rng, content: content.replace(b",", b'","'),
    "one quote": lambda rng, content: content[: (place := rng.integers(len(content)))] + b'"' + content[place:],
    "Latin-1": lambda rng, content: content.replace(b"e", "é".encode("latin-1"), 1),
    "spaces": lambda rng, content: content.replace(b",", b" , "),
}


def change(rng: Generator, content: bytes, ways: Ways = BYTES) -> tuple[str, bytes]:
    """One way of damaging, and what it makes of the content; one in ten is damaged twice."""
    how = str(rng.choice([*ways]))
    damaged = ways[how](rng, content)
    if damaged and rng.random() < 0.1:
        more, damaged = change(rng, damaged, ways)
        how = f"{how}, {more}"
    return how, damaged


def set_odd(rng: Generator, content: Any) -> Any:
    """Of what JSON holds, one value, key or the whole replaced, or a key taken away."""
    parts: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)):
            parts.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(content)
    odd = VALUES[rng.integers(len(VALUES))]
    if not parts or rng.random() < 0.05:
        return odd
    part, key = parts[rng.integers(len(parts))]
    what = rng.integers(4)
    if what == 0 and isinstance(part, dict):
        part[str(rng.choice([*part, "_x", "", "model_config", "x", "1", "é"]))] = part.pop(key)
    elif what == 1:
        del part[key]
    else:
        part[key] = odd
    return content
