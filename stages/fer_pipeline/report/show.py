"""Values as the report shows them: the filters of its templates, which also name the forms of its tables' cells.

Accuracies, shares and confidences come in [0, 1] and are shown in percent. `percent` and `decimal` show None as a dash.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

NONE = "–"
SETTINGS = {
    "True": "yes",
    "False": "no",
    "one_cycle": "one cycle",
}  # values of a profile that the report shows otherwise


def percent(share: float | None, decimals: int = 2) -> str:
    """0.97512 as '97.51%'."""
    return NONE if share is None else f"{share:.{decimals}%}"


def decimal(number: float | None, decimals: int = 4) -> str:
    """0.66666 as '0.6667'."""
    return NONE if number is None else f"{number:.{decimals}f}"


def listing(words: Iterable[str]) -> str:
    """['a', 'b', 'c'] as 'a, b and c'."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def plural(number: int, noun: str) -> str:
    """'1 image', '2 images', 'no images'."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'' if number == 1 else 's'}"


def series(values: Mapping[str, Any], key: str = "") -> "pd.Series[float]":
    """The known numbers of {name: number or None}, or of {name: row} under `key`."""
    numbers = {name: getattr(value, key) if key else value for name, value in values.items()}
    return pd.Series(numbers, dtype=float).dropna()


def fill(rows: Any, form: str, keys: str = "", titles: Mapping[str, str] | None = None) -> list[str]:
    """A form, filled with these values of each row, or with each name and value of {name: value}.

    '{} [{}]' and 'reference number' give ['Li et al. [1]', ...], '{0} in {1}' gives ['VGG19 in 3', ...].
    """
    values = [[getattr(row, key) for key in keys.split()] for row in rows] if keys else rows.items()
    return [form.format(*((titles or {}).get(value, value) for value in row)) for row in values]


FILTERS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (percent, decimal, listing, plural, series, fill)},
    "interval": lambda bounds: f"{100 * bounds[0]:.2f} to {percent(bounds[1])}",  # [0.9, 0.95] as '90.00 to 95.00%'
    "times": lambda number: {1: "once", 2: "twice"}.get(number, f"{number:,} times"),
    "named": lambda names, titles: [titles[name] for name in names],  # networks as the page names them
    "count": "{:,.0f}".format,  # 7178 as '7,178', 1039.7 as '1,040'
    "two_digits": "{:.2g}".format,  # a p-value or a small difference: 0.0312 as '0.031', 2.14e-8 as '2.1e-08'
    "points": lambda difference: f"{100 * difference:+z.2f}",  # of accuracies, in [-1, 1]: 0.0125 as '+1.25'
    "megabytes": lambda size: f"{size / 1e6:.2f}",  # 5432100 bytes as '5.43'
    "weights": lambda shares: " : ".join(f"{share:.2f}" for share in shares),  # [0.5, 0.5] as '0.50 : 0.50'
    "setting": lambda value: SETTINGS.get(str(value), f"{value:g}" if isinstance(value, float) else str(value)),
}


def show(value: Any, form: str) -> str:
    """A value in a form: the name of a filter, or a format such as '{:.1%}'."""
    return str(FILTERS.get(form, form.format)(value))
