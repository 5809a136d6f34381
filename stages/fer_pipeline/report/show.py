"""Numbers and lists as the report shows them: the filters of its templates.

Accuracies, shares and confidences come in [0, 1] and are shown in percent. A number that is None shows as a dash.
"""

from collections.abc import Iterable, Mapping
from typing import Any

NONE = "–"


def percent(share: float | None, decimals: int = 2) -> str:
    """0.97512 as '97.51%'."""
    return NONE if share is None else f"{share:.{decimals}%}"


def tenths(share: float | None) -> str:
    """0.97512 as '97.5%'."""
    return percent(share, 1)


def points(difference: float | None) -> str:
    """A difference of two accuracies, in [-1, 1], as points: 0.0125 as '+1.25'."""
    return NONE if difference is None else f"{round(100 * difference, 2) + 0.0:+.2f}"  # no -0.00


def signed(number: float) -> str:
    """A difference that is in points already: 1.25 as '+1.25'."""
    return f"{number:+.2f}"


def interval(bounds: list[float]) -> str:
    """[0.9, 0.95] as '90.00 to 95.00%'."""
    return f"{100 * bounds[0]:.2f} to {percent(bounds[1])}"


def decimal(number: float | None, decimals: int = 4) -> str:
    """0.66666 as '0.6667'."""
    return NONE if number is None else f"{number:.{decimals}f}"


def thousandths(number: float | None) -> str:
    """0.66666 as '0.667'."""
    return decimal(number, 3)


def hundredths(number: float | None) -> str:
    """3.2104 as '3.21'."""
    return decimal(number, 2)


def count(number: float | None) -> str:
    """7178 as '7,178', 1039.7 as '1,040'."""
    return NONE if number is None else f"{number:,.0f}"


def two_digits(number: float | None) -> str:
    """A p-value or a small difference: 0.0312 as '0.031', 2.14e-8 as '2.1e-08'."""
    return NONE if number is None else f"{number:.2g}"


def megabytes(size: int) -> str:
    """5432100 bytes as '5.43'."""
    return decimal(size / 1e6, 2)


def weights(shares: list[float]) -> str:
    """[0.5, 0.5] as '0.50 : 0.50'."""
    return " : ".join(map(hundredths, shares))


def setting(value: object) -> str:
    """A value of params.yaml or of Table 3, as text."""
    return str(value).replace("_", " ")


def listing(words: Iterable[str]) -> str:
    """['a', 'b', 'c'] as 'a, b and c'."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def plural(number: int, noun: str) -> str:
    """'1 image', '2 images', 'no images'."""
    return f"{count(number) if number else 'no'} {noun}{'' if number == 1 else 's'}"


def times(number: int) -> str:
    """'once', 'twice', '3 times'."""
    return {1: "once", 2: "twice"}.get(number, f"{count(number)} times")


def pick(rows: Mapping[str, Any], key: str) -> dict[str, Any]:
    """{name: one of a row's values} of {name: row}."""
    return {name: getattr(row, key) for name, row in rows.items()}


def named(names: Iterable[str], titles: Mapping[str, str]) -> list[str]:
    """Networks as the page names them."""
    return [titles[name] for name in names]


def phrases(values: Mapping[str, Any], form: str, titles: Mapping[str, str] | None = None) -> list[str]:
    """One phrase per name and value, as `form` puts them: '{0} in {1}' gives ['VGG19 in 3', ...]."""
    return [form.format((titles or {}).get(name, name), value) for name, value in values.items()]


FILTERS = (percent, points, interval, decimal, count, two_digits, listing, plural, times, pick, named, phrases)
