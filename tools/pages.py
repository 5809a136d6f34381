"""The places of tables in the pages."""

import re

import checkout
from fer_pipeline.core.errors import InputError


def set_table(text: str, opening: str, closing: str, table: str, page: str) -> str:
    """The `text` of a page with `table` between two comments, each on a line of its own.

    InputError if one of them is missing, or another comment stands between them.
    """
    place = re.search(rf"^{opening}\n(?:(?!<!-- ).*\n)*?(?={closing}$)", text, re.MULTILINE)
    if not place:
        raise InputError(f"{page}: no line {opening}, or after it no line {closing} before the next comment; add them")
    return f"{text[: place.start()]}{opening}\n{table}\n{text[place.end() :]}"
