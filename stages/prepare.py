"""Turn FER-2013, as people have it on disk, into one HDF5 file with the splits train, val and test.

Reads   SOURCE: the challenge's CSV or the image folders, also in a .zip or .tar.gz; VOTES: FER+'s votes for the CSV.
Writes  data/prepared/faces.h5, metrics/data.json (counts, blanks, duplicates), plots/data/ (class shares, faces).
Alone   python stages/prepare.py --source SOURCE --votes VOTES --split official --out faces.h5 --report data.json

The split `paper` is the study's own (section 1, Dataset); see docs/data.md for why `official` is the default.
"""

import argparse
import hashlib
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import ImageStat

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import SPLITS, Chosen, Facts, Split, write_faces
from fer_pipeline.faces.fer2013 import CLASSES, NAME, SIZE, VOTED
from fer_pipeline.faces.tones import count_tones
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Params, Prepare
from fer_pipeline.raw.ferplus import read_votes
from fer_pipeline.raw.record import Across, Conflicts, Data, Dropped, Duplicates, Pixels, Source
from fer_pipeline.raw.rows import USAGES, Rows
from fer_pipeline.raw.source import hash_file, read_source, require_unchanged
from fer_pipeline.running.paths import check_distinct
from fer_pipeline.running.stage import run
from fer_pipeline.sample.paths import SAMPLE_VOTES, is_sample

Positions = npt.NDArray[np.int64]  # (n,): rows of the source
Way = Literal["official", "paper"]  # how the rows are split: `prepare.split`

TRAINING = USAGES.index("Training")
NOTES: dict[Way, str] = {
    "official": "Training is train, PublicTest is val, PrivateTest is test: nothing is chosen on test rows.",
    "paper": (
        "The study's counts: val is the first 20 % of each test class and lies inside test, so whatever is chosen on "
        "val is chosen on test rows, and test accuracy comes out too high."
    ),
}


def divide(labels: npt.NDArray[np.uint8], usages: npt.NDArray[np.uint8], split: Way) -> dict[str, Positions]:
    """{'train', 'val', 'test': positions}, in the order of the source, of rows with these labels and usages.

    `official`: Training, PublicTest and PrivateTest. `paper`: train is Training without the first fifth of each class,
    test is PublicTest and PrivateTest together, and val is the first fifth of each class of test, as Keras'
    `validation_split=0.2` takes them in each of the two folders (22,968, 7,178 and 1,432 rows of FER-2013).
    """
    if split == "official":
        return {name: np.flatnonzero(usages == usage) for usage, name in enumerate(SPLITS)}
    training, testing = np.flatnonzero(usages == TRAINING), np.flatnonzero(usages != TRAINING)
    return {
        "train": np.setdiff1d(training, first_fifths(labels, training)),
        "val": first_fifths(labels, testing),
        "test": testing,
    }


def first_fifths(labels: npt.NDArray[np.uint8], positions: Positions) -> Positions:
    """Of the rows at `positions`, the first fifth (rounded down) of each class, in ascending order."""
    of_classes = [positions[labels[positions] == label] for label in range(len(CLASSES))]
    return np.sort(np.concatenate([rows[: len(rows) // 5] for rows in of_classes]))


def identify(images: npt.NDArray[np.uint8]) -> Positions:
    """int64 (N,): for each image, the position of the first image equal to it, which has the same digest."""
    first: dict[bytes, int] = {}
    digests = (hashlib.blake2b(image, digest_size=16).digest() for image in images)
    return np.array([first.setdefault(digest, i) for i, digest in enumerate(digests)], np.int64)


def find_blank(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """bool (N,): whether all pixels of an image are equal."""
    return np.array([(image == image[0, 0]).all() for image in images])  # all images at once would be copied


def clean(
    places: dict[str, Positions], identities: Positions, blank: npt.NDArray[np.bool_], settings: Prepare
) -> tuple[dict[str, Positions], Dropped]:
    """The positions that `settings` keep, and the counts of others; `blank`, bool (N,), tells images of one tone."""
    kept = {name: rows[~(blank[rows] & settings.drop_blank)] for name, rows in places.items()}
    train, others = kept["train"], np.concatenate([kept["val"], kept["test"]])
    leaks = np.isin(identities[train], identities[others]) & settings.drop_leaks
    dropped = {name: len(rows) - len(kept[name]) for name, rows in places.items()}
    return {**kept, "train": train[~leaks]}, Dropped(blank=dropped, leaks={"train": int(leaks.sum())})


def count_duplicates(
    places: Mapping[str, Positions], identities: Positions, labels: npt.NDArray[np.uint8]
) -> Duplicates:
    """How many rows hold an image that occurs more than once; arguments as in `divide` and `clean`."""
    rows = np.unique(np.concatenate(list(places.values())))
    pairs = np.unique(np.stack([identities[rows], labels[rows]], axis=1), axis=0)
    images, label_counts = np.unique(pairs[:, 0], return_counts=True)
    conflicting = images[label_counts > 1]
    across = {
        f"{second}_rows_in_{first}": int(np.isin(identities[places[second]], identities[places[first]]).sum())
        for first, second in (("train", "val"), ("train", "test"), ("val", "test"))
    }
    return Duplicates(
        within={name: len(rows) - len(np.unique(identities[rows])) for name, rows in places.items()},
        across=Across(**across),
        conflicting_labels=Conflicts(images=len(conflicting), rows=int(np.isin(identities[rows], conflicting).sum())),
    )


def describe_pixels(images: npt.NDArray[np.uint8]) -> Pixels:
    """Mean and standard deviation of all pixels, in [0, 255]: exact, as they follow from how often each tone occurs."""
    statistics = ImageStat.Stat(count_tones(images).tolist())
    return Pixels(train_mean=round(statistics.mean[0], 4), train_std=round(statistics.stddev[0], 4))


def find_votes(path: str | None, source: str, rows: Rows) -> npt.NDArray[np.uint8] | None:
    """Votes uint8 (N, 10) for the rows of `source` from the file at `path`, None without; errors as in `read_votes`."""
    if path and is_sample(path, SAMPLE_VOTES) and not is_sample(source):
        reason = f"prepare.votes names the votes for the embedded sample, not for {source}"
        print(f"without votes: {reason}", file=sys.stderr)
        return None
    return None if path is None else read_votes(path, source, rows)


def make_outputs(
    source: str, votes: str | None, split: Way, out: str, report: str, plots: str | None, params: Params
) -> tuple[dict[str, Any], dict[str, Split]]:
    """The argument of `write_files` for all outputs, and {split: Split}.

    InputError as in `read_source`, or if a split has no rows.
    """
    raw = read_source(source, params.seed)
    voted = find_votes(votes, source, raw)
    identities, blank = identify(raw.images), find_blank(raw.images)
    places, dropped = clean(divide(raw.labels, raw.usages, split), identities, blank, params.prepare)
    for name, rows in places.items():
        if not len(rows):
            raise InputError(f"{source}: split {split} leaves no row for {name}; give all of FER-2013")
        for label in np.setdiff1d(range(len(CLASSES)), raw.labels[rows]):
            print(f"warning: {source}: {name} has no {CLASSES[label]} face", file=sys.stderr)
    in_train = np.isin(identities, identities[places["train"]])
    images: dict[str, Any] = {name: Chosen(raw.images, rows) for name, rows in places.items()}  # faces are there once
    splits = {
        name: Split(images[name], raw.labels[rows], in_train[rows], None if voted is None else voted[rows])
        for name, rows in places.items()
    }
    splits["train"] = splits["train"]._replace(duplicate_of_train=None)
    counts = {name: np.bincount(rows.labels, minlength=len(CLASSES)).tolist() for name, rows in splits.items()}
    found = Data(
        source=Source(kind=raw.kind, md5=raw.md5, rows=len(raw.labels), challenge_file=raw.challenge_file),
        votes_md5=hash_file(Path(votes)) if votes and voted is not None else None,
        split=split,
        note=NOTES[split],
        rows={name: {"total": sum(each), **dict(zip(CLASSES, each, strict=True))} for name, each in counts.items()},
        pixels=describe_pixels(splits["train"].images),
        blank_images={name: int(blank[rows].sum()) for name, rows in places.items()},
        duplicates=count_duplicates(places, identities, raw.labels),
        dropped=dropped,
        conversions=dict(raw.conversions),
    )
    facts = Facts(NAME, CLASSES, () if voted is None else VOTED, SIZE, False, split, raw.md5)
    outputs: dict[str, Any] = {out: partial(write_faces, splits=splits, facts=facts), report: found.to_bytes()}
    if plots:
        from fer_pipeline.figures.data import plot_data  # matplotlib takes as long to load as 10,000 rows

        outputs |= {f"{plots}/{name}": content for name, content in plot_data(splits, CLASSES).items()}
    return outputs, splits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="CSV, archive or image folder")
    parser.add_argument("--votes", help="FER+'s CSV of votes for fer2013.csv; default: no votes")
    parser.add_argument("--split", required=True, help="official or paper")
    parser.add_argument("--out", required=True, help="HDF5 file to write")
    parser.add_argument("--report", required=True, help="JSON file to write")
    parser.add_argument("--plots", help="folder for the pictures; none are drawn without it")
    args = parser.parse_args()
    params = read_params()
    if args.split not in NOTES:
        raise InputError(f"--split is {args.split!r}, expected official or paper")
    inputs = {"--source": args.source} | ({"--votes": args.votes} if args.votes is not None else {})
    check_distinct({**inputs, "--out": args.out, "--report": args.report})

    with ExitStack() as stack:  # DVC hashes the inputs for dvc.lock only afterwards
        for path in inputs.values():
            stack.enter_context(require_unchanged(Path(path)))
        outputs, splits = make_outputs(**vars(args), params=params)
    write_files(outputs)
    print(" | ".join(f"{name} {len(rows.labels):,}" for name, rows in splits.items()) + f" -> {args.out}")


if __name__ == "__main__":
    run(main)
