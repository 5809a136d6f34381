"""From the names or numbers by which data tell classes to labels, as `prepare.classes` wants it."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES, VOTED
from fer_pipeline.faces.votes import NO_CLASS
from fer_pipeline.raw.parsing import excerpt
from fer_pipeline.raw.rows import Wanted

SYNONYMS = ("anger", "disgusted", "fearful", "happiness", "sadness", "surprised", "neutrality")
LABELS = {name: label for names in (CLASSES, SYNONYMS) for label, name in enumerate(names)} | {"afraid": 2, "joy": 3}
"""{name of one of FER-2013's classes: its number}."""
NUMBERS = {str(label): name for label, name in enumerate(CLASSES)}  # the challenge's
MOST_CLASSES, MOST_NAMES = 100, 255  # names that are not among the classes are left out
LONGEST = 40  # characters of a name
MARKS = " _-.+&()'"
RESERVED = (
    *("split", "index", "actual", "predicted", "confidence"),  # columns of predictions
    *("emotion", "images", "label", "same", "share", "total"),  # of tables in plots/ and metrics/
    *("file", "frame", "seconds", "face", "left", "top", "width", "height", "roll", "cut", "uncertain", "annotators"),
    *NO_CLASS,  # of votes
)
Form = Literal["pixels", "paths", "folders"]
"""The challenge's CSV, whose numbers 0..6 are FER-2013's; a table of paths, where they may be; and class folders."""
PARAM = "prepare.classes in params.yaml"


class Choice(NamedTuple):
    """The classes of a data set, and which names in it mean them."""

    classes: tuple[str, ...]
    keys: Mapping[str, int]  # {name, folded: position in `classes`}

    def find(self, name: str) -> int:
        """The position in `classes` of a name in the data, -1 if it is left out."""
        return self.keys.get(fold(name), -1)


def fold(name: str) -> str:
    """What two spellings of one name have in common; 03 is 3, and -1 is not 1."""
    words = re.sub(r"[\s_]|(?<!^)-|-(?!\d)", " ", unicodedata.normalize("NFC", name).casefold()).split()
    return re.sub(r"^0+(?=\d+$)", "", " ".join(words))


def is_number(name: str) -> bool:
    """Whether a name is a whole number, of no more digits than a name may have letters."""
    return name.isascii() and name.isdigit() and len(name) <= LONGEST


def show(names: Iterable[str]) -> str:
    """Names for a message: ten at most."""
    names = [*names]
    return ", ".join(map(excerpt, names[:10])) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def flatten(wanted: Wanted) -> dict[str, list[str]]:
    """{class: the names that mean it} of a list or a mapping."""
    if isinstance(wanted, Mapping):
        return {name: [*map(str, meant)] for name, meant in wanted.items()}
    return {name: [name] for name in wanted or ()}


def name_numbers(found: Iterable[str], wanted: Wanted, source: str, form: Form, all_test: bool) -> dict[str, str]:
    """{name in the data: name to go by}: another one only for numbers, where `wanted` or FER-2013 gives their names.

    Raises `InputError` where a list has more or fewer names than there are numbers.
    """
    names = {name: name for name in found}
    if not names or wanted == "auto" or not all(map(is_number, names)) or len({*map(int, names)}) < len(names):
        return names
    asked = {name for meant in flatten(wanted).values() for name in meant}
    of_fer2013 = (
        form != "folders"
        if wanted is None
        else (form == "pixels" and asked <= {*CLASSES} and names.keys() >= NUMBERS.keys())
    )
    if of_fer2013 or (form == "pixels" and all_test and not asked & names.keys()):
        return names | {number: name for number, name in NUMBERS.items() if number in names}
    if wanted is None or all_test or asked <= names.keys() or isinstance(wanted, Mapping):
        return names
    numbers, wanted = sorted(names, key=int), [*wanted]
    if len(numbers) != len(wanted):
        raise InputError(
            f"{source}: the labels are the numbers {show(numbers)}, and {PARAM} has {len(wanted)} names; give as many "
            "names as numbers, in the order of the numbers, or {name: [number], ...}"
        )
    return dict(zip(numbers, wanted, strict=True))


def choose_classes(names: Iterable[str], wanted: Wanted, source: str, by_votes: bool, whole: bool) -> Choice:
    """The classes of data that have these `names`, see `prepare.classes`.

    `by_votes`: the names are those that annotators chose. `whole`: each wanted class must have a row. Raises
    `InputError` for a name that is unknown, has two spellings or cannot be a class, and for too many or too few.
    """
    found = sorted(names, key=lambda name: (int(name) if is_number(name) else -1, name))
    require_few(found, source, MOST_CLASSES if wanted in (None, "auto") else MOST_NAMES)
    if wanted is None:
        classes: tuple[str, ...] = VOTED if by_votes else CLASSES
        choice = Choice(classes, LABELS | {name: label for label, name in enumerate(classes)})
        if unknown := [name for name in found if choice.find(name) < 0]:
            raise InputError(
                f"{source}: {show(unknown)} {'is' if len(unknown) == 1 else 'are'} none of {', '.join(classes)}; to "
                f"train on other classes, set {PARAM} to auto, or to a list of their names"
            )
        return choice
    spellings = group((fold(name), name) for name in found)
    meanings = {name: [name] for name in found} if wanted == "auto" else flatten(wanted)
    if not isinstance(wanted, Mapping) and (twice := [each for each in spellings.values() if len(each) > 1]):
        mapping = ", ".join(f"{each[0]}: [{', '.join(each)}]" for each in spellings.values())
        raise InputError(f"{source}: {show(twice[0])} look like one class; set {PARAM} to {{{mapping:.2000}}}")
    if not 2 <= len(meanings) <= MOST_CLASSES:
        what = show(meanings) or "none"
        number = "1 class" if len(meanings) == 1 else f"{len(meanings)} classes"
        raise InputError(f"{source}: {number} ({what}), expected 2 to {MOST_CLASSES}; see {PARAM}")
    for name in meanings:
        require_name(name, source)
    if twice := [each for each in group((fold(name), name) for name in meanings).values() if len(each) > 1]:
        raise InputError(f"{PARAM}: {show(twice[0])} are one name; remove one")
    meant = group((fold(one), name) for name, each in meanings.items() for one in each)
    if twice := [each for each in meant.values() if len({*each}) > 1]:
        raise InputError(f"{PARAM}: one name means {show(dict.fromkeys(twice[0]))}; give it to one of them")
    classes = tuple(meanings)
    own = {fold(name): label for label, name in enumerate(classes)}  # a class may also go by its own name
    choice = Choice(classes, own | {key: classes.index(each[0]) for key, each in meant.items()})
    empty = {*classes} - {classes[choice.find(name)] for name in found if choice.find(name) >= 0}
    if whole and empty:
        raise InputError(f"{source}: no row of {show(sorted(empty))}, which {PARAM} names; the data have {show(found)}")
    return choice


def group(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """{key: its values}."""
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def require_few(names: Collection[str], source: str, most: int = MOST_NAMES) -> None:
    """Raise `InputError` for more names of classes than any data have."""
    if len(names) > most:
        some = show([*names][:3])
        raise InputError(
            f"{source}: {len(names):,} classes, such as {some}, expected {most} at most; is it the wrong column?"
        )


def require_name(name: str, source: str) -> None:
    """Raise `InputError` if a class cannot have this name."""
    letters = all(letter in MARKS or unicodedata.category(letter)[0] in "LMN" for letter in name)
    problem = "names a column of our tables" if name.casefold() in RESERVED else ""
    if not 1 <= len(name) <= LONGEST or not letters or name != name.strip():
        problem = f"cannot name a class, which has 1 to {LONGEST} letters, digits, spaces or {MARKS.strip()}"
    if problem:
        raise InputError(f"{source}: {excerpt(name)} {problem}; rename it by {PARAM}, {{new name: [old name]}}")


def order_votes(
    votes: npt.NDArray[np.uint8], voted: Sequence[str], choice: Choice
) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    """Votes uint8 (N, V + 2) for `voted`, chosen classes first, columns of one class summed; and the new V names."""
    others = [name for name in voted if choice.find(name) < 0]
    names = (*choice.classes, *others)
    places = [choice.find(name) if choice.find(name) >= 0 else names.index(name) for name in voted]
    ordered = np.zeros((len(votes), len(names) + len(NO_CLASS)), np.uint8)
    for column, place in enumerate([*places, -2, -1]):
        ordered[:, place] += votes[:, column]
    return ordered, names
