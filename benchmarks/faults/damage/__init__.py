"""Damaged, wrong and hostile input: each has to end in an answer or in one sentence, and no answer may be wrong.

The narrow pipeline of `faults/kills.py` runs once. Of every kind of file that the project reads, hypothesis then draws
damaged ones: cut, bits flipped, parts swapped, doubled or emptied, other encodings, other types, and what an attacker
would write. The script that reads it runs in a process of its own, in a copy of the finished run. A case passes if it
takes at most ten seconds more than with the sound file, and 2 GB; ends with exit code 0 or with exit code 1 and one
`error:` line, without a traceback; leaves all earlier outputs untouched if it failed; and has the input's own rows, as
a plain reader finds them, if it did not. Hypothesis shrinks a failure to the smallest damage that causes it. `count`
is the number of all inputs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from clones import ENVIRONMENT, Project
from faults.common import ONE_THREAD, Row, Settings, make_row
from faults.damage.inputs import KINDS
from faults.damage.sound import make_sound
from faults.kills import run_undisturbed

COUNT = 10_000
START = "import sys; sys.path.insert(0, 'benchmarks'); import checkout; from faults.damage.trying import main; main()"
"""Python code that tries a kind, in the folder of a finished run: its own copy of this package and of all scripts."""


def run(settings: Settings) -> Iterator[Row]:
    if settings.finished:
        sound = Project(settings.finished).copy(settings.folder / "finished")
    else:
        sound = run_undisturbed(settings.folder, **ONE_THREAD).finished
    make_sound(sound)
    count = settings.count or COUNT

    def try_kind(name: str) -> Row:
        work = sound.copy(settings.folder / name.replace(" ", "_"))
        arguments = (name, str(max(1, count * KINDS[name].share // COUNT)), str(settings.seed), str(sound.path))
        command, environment = [sys.executable, "-c", START, *arguments], ENVIRONMENT | ONE_THREAD
        printed = subprocess.check_output(command, cwd=work.path, env=environment, text=True)
        return make_row(name, json.loads(printed.splitlines()[-1]))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(try_kind, KINDS)
