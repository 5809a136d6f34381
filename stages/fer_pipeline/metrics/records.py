"""metrics/data.json: what `prepare` found."""

from typing import Literal

from fer_pipeline.core.record import Count, Record


class Source(Record):
    kind: Literal["table", "images"]
    md5: str
    """Of the file; for a folder, of its names and bytes."""
    rows: Count
    challenge_file: str | None = None
    """The name of the challenge's CSV that it holds, unchanged; None: of none."""


class Pixels(Record):
    """Of all pixels of train, in [0, 255]."""

    train_mean: float
    train_std: float


class Across(Record):
    """Rows of the first split whose very image stands in the second."""

    val_rows_in_train: Count
    test_rows_in_train: Count
    test_rows_in_val: Count


class Conflicts(Record):
    """Images that carry more than one label, and the rows that they take."""

    images: Count
    rows: Count


class Duplicates(Record):
    within: dict[str, Count]
    """{split: rows that repeat an earlier row of it}."""
    across: Across
    conflicting_labels: Conflicts


class Dropped(Record):
    """Rows left out by `prepare.drop_blank` and `prepare.drop_leaks`, by split."""

    blank: dict[str, Count]
    leaks: dict[str, Count]


class Data(Record):
    """metrics/data.json: what `prepare` found."""

    source: Source
    votes_md5: str | None = None
    """Of the file of votes; None where there are none."""
    split: Literal["official", "paper"]
    note: str
    rows: dict[str, dict[str, Count]]
    """{split: {'total': N, emotion: n, ...}}."""
    pixels: Pixels
    blank_images: dict[str, Count]
    duplicates: Duplicates
    dropped: Dropped
    conversions: dict[str, Count]
    """Pictures converted to grey, by Pillow's mode."""
