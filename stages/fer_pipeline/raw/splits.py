"""The rows' parts: train, val and test as the source has them, or drawn where it does not."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import SPLITS
from fer_pipeline.raw.parsing import refuse

PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "publictest": 1, "test": 2, "privatetest": 2}
"""{how a source may call a split, in small letters: its position in `SPLITS`}."""
UNKNOWN = 254  # in place of a position in `SPLITS`
OWN = "The data's own train, val and test."

Labels = npt.NDArray[np.int64]  # (N,): 0..K-1, -1 for a row that is left out
Parts = npt.NDArray[np.uint8]  # (N,): positions in `SPLITS`, or `UNKNOWN`


def complete_parts(
    parts: Parts, labels: Labels, subjects: Sequence[str], classes: Sequence[str], seed: int, source: str
) -> tuple[Parts, Literal["official", "made"], str]:
    """Fill in the splits that `parts` lack (val, or all three); returns all parts, 'official' or 'made', and a note.

    Val is drawn from train, or val and test from all rows: a tenth each, with `seed`, of each class, or, if `subjects`
    is not empty, of the subjects. Raises `InputError` for other parts, a subject in two of them, too few rows of a
    class, or too few subjects to draw from.
    """
    found = [SPLITS[part] for part in np.unique(parts[parts != UNKNOWN])]
    held: dict[str, set[int]] = {}
    for subject, part in zip(subjects, parts.tolist(), strict=False):
        held.setdefault(subject, set()).add(part)
    shared = {subject: sorted(each) for subject, each in held.items() if len(each) > 1}
    refuse(source, "subject", [f"{who}: in {' and '.join(SPLITS[i] for i in each)}" for who, each in shared.items()])
    if len(found) == len(SPLITS):
        return parts, "official", OWN
    if found not in ([], ["train", "test"]):
        raise InputError(
            f"{source}: rows of {' and '.join(found)} alone; give train, val and test, or train and test (val is then "
            "drawn from train), or name no split"
        )
    rows = np.flatnonzero((labels >= 0) & ((parts == 0) | (parts == UNKNOWN)))
    drawn = (0, 1) if found else (0, 1, 2)
    parts = parts.copy()
    if subjects:
        parts[rows] = draw_subjects(labels[rows], [subjects[row] for row in rows.tolist()], len(drawn), seed, source)
    else:
        parts[rows] = draw_rows(labels[rows], classes, len(drawn), seed, source)
    what = "Val is a tenth of train" if found else "Val and test are a tenth of the rows each"
    how = "as whole subjects" if subjects else "from each class"
    return parts, "made", f"{what}, drawn {how} with seed {seed}."


def draw_rows(labels: Labels, classes: Sequence[str], count: int, seed: int, source: str) -> Parts:
    """Parts 0..count-1 of rows: a tenth of each class, at least one row, is in each part but train."""
    generator = np.random.default_rng(seed)
    parts = np.zeros(len(labels), np.uint8)
    for label, name in enumerate(classes):
        rows = generator.permutation(np.flatnonzero(labels == label))
        if 0 < len(rows) < count:  # a class without any is refused later, like those that train lacks
            raise InputError(
                f"{source}: {name} has {len(rows)} row{'' if len(rows) == 1 else 's'}, but {', '.join(SPLITS[:count])} "
                f"need one each; add some, or leave {name} out by prepare.classes in params.yaml"
            )
        tenth = max(1, round(len(rows) / 10))
        for part in range(1, count):
            parts[rows[(part - 1) * tenth : part * tenth]] = part
    return parts


def draw_subjects(labels: Labels, subjects: Sequence[str], count: int, seed: int, source: str) -> Parts:
    """Parts 0..count-1 of rows by subject: the one with most rows goes first, each where its classes lack most rows."""
    names, codes = np.unique(np.array(subjects), return_inverse=True)
    if len(names) < count:
        raise InputError(f"{source}: {len(names)} subjects to draw {', '.join(SPLITS[:count])} from; give more of them")
    rows = np.zeros((len(names), int(labels.max()) + 2))  # of each class, and last of all
    np.add.at(rows, (codes, labels), 1)
    rows[:, -1] = rows.sum(axis=1)
    wanted = np.outer([1 - (count - 1) / 10, *[0.1] * (count - 1)], np.maximum(rows.sum(axis=0), 1))
    lacking, chosen = wanted.copy(), np.zeros(len(names), np.uint8)
    order = np.random.default_rng(seed).permutation(len(names))
    for subject in order[np.argsort(-rows[order, -1], kind="stable")]:
        chosen[subject] = ((lacking / wanted) @ rows[subject]).argmax()
        lacking[chosen[subject]] -= rows[subject]
    parts: Parts = chosen[codes]
    return parts
