"""Checks of the paths that a user gives, before any work is done."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import replacing


def check_distinct(paths: Mapping[str, str | Path]) -> None:
    """Raise InputError if two options of {option: path} name the same file; links are followed."""
    options: dict[str, str] = {}
    for option, path in paths.items():
        real = os.path.realpath(path)  # unlike Path.resolve, it accepts a link to itself
        if real in options:
            raise InputError(f"{options[real]} and {option} name the same file ({path}); give each its own")
        options[real] = option


def check_writable(path: str | Path) -> None:
    """Raise now what `replacing(path)` would raise after hours of work; `path` itself stays as it is."""

    class Reverted(Exception):
        """Makes `replacing` discard the new file."""

    with contextlib.suppress(Reverted), replacing(path) as unfinished:
        unfinished.touch()
        raise Reverted
