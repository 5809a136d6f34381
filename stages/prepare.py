"""Turn FER-2013 or another set of faces, as people have it on disk, into one HDF5 file with train, val and test.

Reads   SOURCE: the challenge's CSV, class folders of pictures, or a table of paths and labels, also in a .zip or
        .tar.gz; VOTES: FER+'s votes for the CSV.
Writes  data/prepared/faces.h5, metrics/data.json (counts, blanks, duplicates), plots/data/ (class shares, faces).
Alone   python stages/prepare.py --source SOURCE --votes VOTES --split official --out faces.h5 --report data.json

The split `paper` is the study's own (section 1, Dataset); see docs/data.md for why `official` is the default.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping
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
from fer_pipeline.faces.fer2013 import SIZE
from fer_pipeline.faces.tones import count_tones
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Params, Prepare
from fer_pipeline.raw.classes import show
from fer_pipeline.raw.record import Across, Conflicts, Data, Dropped, Duplicates, Pixels, Source
from fer_pipeline.raw.rows import NOWHERE, USAGES, Options, Rows
from fer_pipeline.raw.source import hash_file, read_source, require_unchanged
from fer_pipeline.running.paths import check_distinct
from fer_pipeline.running.stage import run
from fer_pipeline.sample.paths import SAMPLE_VOTES, is_sample

Positions = npt.NDArray[np.int64]  # (n,): rows of the source
Way = Literal["official", "paper"]  # how the rows are split: `prepare.split`

TRAINING = USAGES.index("Training")
NOTES: dict[Way, str] = {
    "official": "Training is train, PublicTest is val, PrivateTest is test.",
    "paper": "Val is the first fifth of each test class, and so inside test: inferred from the study's counts.",
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
    of_classes = [positions[labels[positions] == label] for label in np.unique(labels[positions])]
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
    statistics = ImageStat.Stat(count_tones(images))
    return Pixels(train_mean=round(statistics.mean[0], 4), train_std=round(statistics.stddev[0], 4))


def find_votes(path: str | None, source: str) -> str | None:
    """The file of votes for `source`: not the embedded sample's for other data."""
    if path and is_sample(path, SAMPLE_VOTES) and not is_sample(source):
        print(
            f"without votes: prepare.votes names the votes for the embedded sample, not for {source}", file=sys.stderr
        )
        return None
    return path


def make_crop(size: int, colour: bool) -> Callable[[bytes], npt.NDArray[np.uint8] | None]:
    """A function from a photo's bytes to its largest face, uint8 (size, size[, 3]); None where none is found."""
    from fer_pipeline.inference.detection import Detector, crop_face
    from fer_pipeline.inference.photos import decode_photo

    detector = Detector()

    def crop(payload: bytes) -> npt.NDArray[np.uint8] | None:
        try:
            photo = decode_photo(np.frombuffer(payload, np.uint8), "the picture")
        except InputError as error:
            raise ValueError(str(error)) from None
        faces = detector.find(photo)
        return crop_face(photo, faces[0], size, colour) if faces else None

    return crop


def read_rows(source: str, votes: str | None, split: Way, params: Params) -> Rows:
    """All rows of `source`, read as `prepare` in params.yaml says; errors as in `read_source`."""
    settings = params.prepare
    crop = make_crop(settings.size or SIZE, settings.colour) if settings.crop else None
    options = Options(
        classes=settings.classes, size=settings.size, colour=settings.colour, crop=crop,
        by_votes=settings.labels == "votes", votes=find_votes(votes, source),
    )  # fmt: skip
    rows = read_source(source, params.seed, options)
    if split == "paper" and (options.by_votes or rows.note or not options.plain):
        raise InputError(f"{source}: prepare.split paper is the study's split of FER-2013 as it is; set it to official")
    return rows


def require_classes(places: Mapping[str, Positions], raw: Rows, source: str, split: Way) -> None:
    """Raise `InputError` if a split has no rows, or train none of a class; warn where val or test have none of one."""
    for name, rows in places.items():
        if not len(rows):
            what = "give all of FER-2013, or all three Usages" if raw.note is None else "give more, or name no split"
            raise InputError(f"{source}: split {split} leaves no row for {name}; {what}")
        present = np.unique(raw.labels[rows]).tolist()
        lacking = [one for label, one in enumerate(raw.classes) if label not in present]
        if lacking and name == "train":
            names = [f"name of {number}" for number in raw.numbers] or [raw.classes[label] for label in present]
            why = (
                "; its numbers were taken for FER-2013's; to name your own classes, in the order of the numbers,"
                if raw.numbers
                else "; give some, or"
            )
            wanted = f"set prepare.classes to [{', '.join(names)}] in params.yaml"
            raise InputError(f"{source}: train has no face of {', '.join(lacking)}{why} {wanted}")
        for one in lacking:
            print(f"warning: {source}: {name} has no {one} face", file=sys.stderr)


def describe(raw: Rows, votes: str | None, split: Way, splits: Mapping[str, Split], **counted: Any) -> Data:
    """What metrics/data.json says of the rows; `counted` are its fields that `make_outputs` counts."""
    counts = {name: np.bincount(rows.labels, minlength=len(raw.classes)).tolist() for name, rows in splits.items()}
    lost: dict[str, Any] = {key: dict(getattr(raw, key)) for key in ("left_out", "no_majority")}
    lost |= {"scaled": raw.scaled, "without_face": raw.without_face}
    total = int((raw.usages != NOWHERE).sum()) + raw.without_face
    total += sum(raw.left_out.values()) + sum(raw.no_majority.values())
    return Data(
        source=Source(kind=raw.kind, md5=raw.md5, rows=total, challenge_file=raw.challenge_file),
        name=raw.name,
        size=raw.images.shape[1],
        colour=raw.images.ndim == 4,
        votes_md5=hash_file(Path(votes)) if votes and raw.kind == "table" and raw.votes is not None else None,
        split="paper" if split == "paper" else raw.split,
        note=raw.note or NOTES[split],
        rows={name: {"total": sum(each), **dict(zip(raw.classes, each, strict=True))} for name, each in counts.items()},
        pixels=describe_pixels(splits["train"].images),
        conversions=dict(raw.conversions),
        **counted,
        **{key: value for key, value in lost.items() if value},
    )


def make_outputs(
    source: str, votes: str | None, split: Way, out: str, report: str, plots: str | None, params: Params
) -> tuple[dict[str, Any], dict[str, Split]]:
    """The argument of `write_files` for all outputs, and {split: Split}.

    InputError as in `read_source`, or if a split has no rows, or train none of a class.
    """
    raw = read_rows(source, votes, split, params)
    identities, blank = identify(raw.images), find_blank(raw.images)
    places, dropped = clean(divide(raw.labels, raw.usages, split), identities, blank, params.prepare)
    require_classes(places, raw, source, split)
    in_train = np.isin(identities, identities[places["train"]])
    images: dict[str, Any] = {name: Chosen(raw.images, rows) for name, rows in places.items()}  # faces are there once
    splits = {
        name: Split(
            images[name],
            raw.labels[rows],
            in_train[rows] if name != "train" else None,
            None if raw.votes is None else raw.votes[rows],
            {group: codes[rows] for group, (codes, _) in raw.groups.items()},
        )
        for name, rows in places.items()
    }
    found = describe(
        raw, votes, split, splits,
        blank_images={name: int(blank[rows].sum()) for name, rows in places.items()},
        duplicates=count_duplicates(places, identities, raw.labels), dropped=dropped,
    )  # fmt: skip
    lost = {f"of {show(raw.left_out)}": [*raw.left_out.values()], "without a majority": [*raw.no_majority.values()]}
    if told := [f"{sum(counts):,} {what}" for what, counts in lost.items() if sum(counts)]:
        print(f"{source}: rows that are left out: {', '.join(told)}", file=sys.stderr)
    facts = Facts(raw.name, raw.classes, raw.voted, found.size, found.colour, found.split, raw.md5)
    groups = {group: names for group, (_, names) in raw.groups.items()}
    outputs: dict[str, Any] = {
        out: partial(write_faces, splits=splits, facts=facts, groups=groups),
        report: found.to_bytes(),
    }
    if plots:
        from fer_pipeline.figures.data import plot_data  # matplotlib takes as long to load as 10,000 rows

        outputs |= {f"{plots}/{name}": content for name, content in plot_data(splits, raw.classes).items()}
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
