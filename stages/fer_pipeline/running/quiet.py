"""Silence libraries that write to the terminal from native code."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

REDIRECTED = threading.RLock()
"""Held while stderr is redirected: a second thread would take the file for the terminal, and restore that."""


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Print what native code writes to stderr only if the block fails: TensorFlow logs before its settings count."""
    with tempfile.TemporaryFile() as held:
        try:
            with stderr_into(held):
                yield
        except BaseException:
            held.seek(0)
            os.write(2, held.read())
            raise


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Discard what native code writes to stderr."""
    with open(os.devnull, "wb") as nowhere, stderr_into(nowhere):
        yield


@contextlib.contextmanager
def stderr_into(file: IO[bytes]) -> Iterator[None]:
    """Redirect stderr of this process, including that of native code, into an open file."""
    with REDIRECTED:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
