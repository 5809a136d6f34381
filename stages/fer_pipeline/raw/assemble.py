"""From what a source tells of each row to its label, part, face and votes."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import SPLITS
from fer_pipeline.faces.fer2013 import CLASSES, NAME, SIZE, VOTED, VOTES_NAME
from fer_pipeline.faces.votes import find_majority
from fer_pipeline.raw.classes import NUMBERS, Choice, Form, choose_classes, name_numbers, order_votes
from fer_pipeline.raw.ferplus import read_votes
from fer_pipeline.raw.folders import Listed
from fer_pipeline.raw.images import Member, decode_all, scale
from fer_pipeline.raw.parsing import excerpt
from fer_pipeline.raw.rows import NOWHERE, Options, Rows
from fer_pipeline.raw.splits import UNKNOWN, Labels, complete_parts

MOST_VALUES = 1000  # of a group


def label_rows(
    names: Sequence[str], source: str, options: Options, form: Form
) -> tuple[Choice, Labels, dict[str, Any]]:
    """Classes of rows with these `names` ('': none), labels int64 (N,), -1 for rows to leave out, and fields of `Rows`.

    The fields are `classes`, `left_out` and `numbers`.
    """
    wanted = options.classes
    known = name_numbers({*names} - {""}, wanted, source, form, options.all_test)
    choice = choose_classes({*known.values()}, wanted, source, options.by_votes, not options.all_test)
    places = {name: choice.find(known[name]) for name in known} | {"": -1}
    if changed := {name: other for name, other in known.items() if name != other}:
        print(f"{source}: {', '.join(f'{name} is {changed[name]}' for name in sorted(changed, key=int))}")
    labels = np.array([places[name] for name in names], np.int64)
    left_out = Counter(name for name in names if name and places[name] < 0)
    numbers = tuple(sorted(changed, key=int)) if wanted is None else ()
    return choice, labels, {"classes": choice.classes, "left_out": dict(sorted(left_out.items())), "numbers": numbers}


def name_by_votes(
    votes: npt.NDArray[np.uint8] | None, voted: Sequence[str], parts: npt.NDArray[np.uint8], source: str
) -> tuple[list[str], dict[str, int]]:
    """The names that the majority of annotators chose ('' without one), and {split, or 'all': rows without one}."""
    if votes is None:
        raise InputError(
            f"{source}: prepare.labels is votes, and there are none; name FER+'s file in prepare.votes, give columns "
            "votes_<class>, or set prepare.labels to emotion"
        )
    majority = find_majority(votes)
    if (majority < 0).all():
        raise InputError(f"{source}: no row has a majority of votes; check them, or set prepare.labels to emotion")
    lost = np.bincount(parts[majority < 0], minlength=NOWHERE)
    counts = {name: int(lost[part]) for part, name in [*enumerate(SPLITS), (UNKNOWN, "all")] if lost[part]}
    return [voted[one] if one >= 0 else "" for one in majority.tolist()], counts


def name_source(source: Path) -> str:
    """The name of the data set in a file or a folder, with ? for bytes that are not UTF-8."""
    return source.resolve().name.encode("utf-8", "replace").decode()


def assemble_table(rows: Rows, source: str, options: Options) -> Rows:
    """The rows of the challenge's CSV, as `read_table` gives them, with the labels, votes and size of `options`.

    Rows that are left out have the usage `NOWHERE`.
    """
    for setting, value in {"colour": options.colour, "crop": options.crop}.items():
        if value:
            raise InputError(
                f"{source}: a table of grey pixels of faces; set prepare.{setting} to false in params.yaml"
            )
    texts = rows.classes
    names = [texts[label] for label in rows.labels.tolist()]
    more: dict[str, Any] = {}
    numbers = [
        CLASSES.index(NUMBERS.get(text, text)) if text in {*NUMBERS, *CLASSES} else len(CLASSES) for text in texts
    ]
    as_ferplus = rows._replace(labels=np.array(numbers, np.uint8)[rows.labels])
    votes = read_votes(options.votes, source, as_ferplus) if options.votes else None
    if options.by_votes:
        names, more["no_majority"] = name_by_votes(votes, VOTED, rows.usages, source)
    choice, labels, found = label_rows(names, source, options, "pixels")
    more |= found
    if options.classes is None and not options.by_votes:  # `read_table` took them for FER-2013's
        more["numbers"] = tuple(map(str, np.unique(labels).tolist()))
    if votes is not None:
        said = {} if options.by_votes else dict(zip(as_ferplus.labels.tolist(), labels.tolist(), strict=True))
        voted = [choice.classes[said[i]] if said.get(i, -1) >= 0 else name for i, name in enumerate(VOTED)]
        more["votes"], more["voted"] = order_votes(votes, voted, choice)  # numbers may have got other names
    usages = np.where(labels < 0, NOWHERE, 2 if options.all_test else rows.usages).astype(np.uint8)
    name = (VOTES_NAME if options.by_votes else NAME) if options.plain else name_source(Path(source))
    rows = rows._replace(labels=labels.clip(0).astype(np.uint8), usages=usages, name=name, **more)
    if options.size not in (None, SIZE):
        images = np.empty((len(rows.images), options.size, options.size), np.uint8)
        for image, place in zip(rows.images, images, strict=True):
            place[:] = scale(Image.fromarray(image), options.size)
        rows = rows._replace(images=images, scaled=len(images))
    return rows


def assemble_pictures(
    listed: Listed,
    members: Mapping[str, Member],
    source: Path,
    options: Options,
    digest: Any = None,
    fer2013: bool = False,
) -> Rows:
    """The faces of pictures with their labels, parts, votes and groups, sorted by part, class and path.

    `fer2013`: they come from `list_fer2013`, whose order and parts stay. `digest` as in `decode_all`. Photos without a
    face are named on stderr.
    """
    where = str(source)
    nothing = np.empty(0, np.uint8)
    if options.votes:  # refuses votes that belong to rows of a table
        read_votes(options.votes, where, Rows(nothing, nothing, nothing, "images", ""))
    names = [picture.label for picture in listed.pictures]
    more: dict[str, Any] = {}
    if options.by_votes:
        names, more["no_majority"] = name_by_votes(listed.votes, listed.voted, listed.parts, where)
    choice, labels, found = label_rows(names, where, options, listed.form)
    parts = listed.parts
    if not fer2013:
        more["name"] = name_source(source)
    if not (fer2013 or options.all_test):
        parts, more["split"], more["note"] = complete_parts(
            parts, labels, listed.subjects, choice.classes, options.seed, where
        )
        if more["split"] == "made":
            print(f"{where}: {more['note']}")
    kept = np.flatnonzero(labels >= 0).tolist()
    if not fer2013:
        kept.sort(key=lambda i: (parts[i], labels[i], listed.pictures[i].name))
    decoded = decode_all([listed.pictures[i] for i in kept], members, source, options, digest)
    rows = np.array(kept, np.int64)[decoded.kept]
    if kept and not len(rows):
        raise InputError(f"{where}: no face found in any picture; if they show a face alone, set prepare.crop to false")
    if faceless := [listed.pictures[i].name for i in sorted({*kept} - {*rows.tolist()})]:
        listing = ", ".join(map(excerpt, faceless[:10])) + ", ..." * (len(faceless) > 10)
        print(f"warning: {where}: no face found in {len(faceless):,} pictures, left out: {listing}", file=sys.stderr)
    if listed.votes is not None:
        more["votes"], more["voted"] = order_votes(listed.votes[rows], listed.voted, choice)
    for group, values in listed.groups.items():
        known, codes = np.unique(np.array(values)[rows], return_inverse=True)
        if len(known) > MOST_VALUES:
            raise InputError(f"{where}: group_{group} has {len(known):,} values, expected {MOST_VALUES:,} at most")
        more.setdefault("groups", {})[group] = codes.astype(np.uint16), tuple(map(str, known))
    return Rows(
        decoded.images, labels[rows].astype(np.uint8), parts[rows], "images", decoded.md5,
        conversions=decoded.conversions, scaled=decoded.scaled, without_face=len(faceless), **(found | more),
    )  # fmt: skip
