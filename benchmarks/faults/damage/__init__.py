"""Damaged, wrong and hostile input: each has to end in an answer or in one sentence, and no answer may be wrong.

Of every kind of file that the project reads, sound ones are made, and thousands of damaged ones of them: cut, bits
flipped, parts swapped, doubled or emptied, other encodings, other types, and what somebody with bad intentions would
write. Each is read as the stages and apps read it, in a worker process, and a few of each kind through the script
itself. It has held where it ended within ten seconds and 2 GB, with exit code 0 or with exit code 1 and one `error:`
line, without a traceback, with the outputs of before untouched where it failed, and with rows that are those of the
input where it did not: a plain reader of this package says which. What is damaged how follows from the seed, the kind
and the number alone, but for the time of day that archives hold; `repeat` does one again, here, with its traceback.
`count` is the number of all inputs.

- `kinds`: all kinds of input
- `case`: what all kinds share
- `ways`: how bytes, texts and the values of JSON are damaged
- `rows`: tables, folders of pictures and votes, and the plain readers
- `archives`: zips and tars
- `written`: params.yaml, and what the stages write for one another
- `networks`: in PyTorch, in Keras and exported
- `checkpoints`: what a training goes on from, and what it starts from
- `pictures`: photos and videos
- `sound`: the sound files
- `trying`: an input tried and judged
- `workers`: the processes that do so; `set_up` and `repeat`
"""

from collections.abc import Iterator

from faults.common import Row, Settings
from faults.damage.kinds import KINDS
from faults.damage.workers import set_up, try_kind

COUNT = 10_000


def run(settings: Settings) -> Iterator[Row]:
    set_up(settings.folder)
    count = settings.count or COUNT
    for name, kind in KINDS.items():
        yield try_kind(name, max(1, count * kind.share // COUNT), settings.seed, settings.folder)
