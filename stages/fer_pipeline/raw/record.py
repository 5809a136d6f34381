"""metrics/data.json, which stages/prepare.py writes: its keys, types and units.

Pixels are in [0, 255]. `{split: ...}` has the keys train, val and test, unless the key says otherwise.
"""

from typing import Literal

from pydantic import Field

from fer_pipeline.core.files import to_json
from fer_pipeline.core.record import Count, Record
from fer_pipeline.faces.fer2013 import NAME, SIZE


class Source(Record):
    kind: Literal["table", "images"]
    md5: str  # hex digest of the file; for a folder, of its names and bytes
    rows: Count
    challenge_file: str | None = None  # the name of the challenge's CSV that it holds, byte for byte


class Pixels(Record):
    train_mean: float
    train_std: float


class Across(Record):
    """How many rows of one split have an image that is in another split too."""

    val_rows_in_train: Count
    test_rows_in_train: Count
    test_rows_in_val: Count


class Conflicts(Record):
    """Images that carry more than one label, and the number of their rows."""

    images: Count
    rows: Count


class Duplicates(Record):
    """How many rows hold an image that occurs more than once; `within` counts rows that repeat one of their split."""

    within: dict[str, Count]
    across: Across
    conflicting_labels: Conflicts


class Dropped(Record):
    """{split: rows} that `prepare.drop_blank` left out, and {'train': rows} that `prepare.drop_leaks` did."""

    blank: dict[str, Count]
    leaks: dict[str, Count]


class Data(Record):
    source: Source
    name: str = NAME  # this, size and colour as in faces.h5; older kept runs lack them, so the defaults are FER-2013's
    size: Count = SIZE  # height and width of a face, in pixels
    colour: bool = False
    votes_md5: str | None = None  # hex digest of the file of votes; None without such a file
    split: Literal["official", "paper", "made"]
    note: str  # what to know of this way to split
    rows: dict[str, dict[str, Count]]  # {split: {'total': N, emotion: n, ...}}
    pixels: Pixels  # mean and standard deviation of all pixels of train
    blank_images: dict[str, Count]  # {split: images whose pixels are all equal}
    duplicates: Duplicates
    dropped: Dropped
    conversions: dict[str, Count]  # pictures converted to grey, or to colour, by Pillow's mode
    scaled: Count = 0  # pictures, or rows of a table of pixels, that had another size; this and what follows if not 0
    left_out: dict[str, Count] = Field({})  # {name: rows} of classes that `prepare.classes` does not name
    no_majority: dict[str, Count] = Field(
        {}
    )  # {split, or 'all' where it was drawn later: rows without a majority of votes}
    without_face: Count = 0  # photos in which no face was found

    def to_bytes(self) -> bytes:
        """The record as a JSON file, without the keys that were not set."""
        return to_json(self.model_dump(mode="json", exclude_unset=True))
