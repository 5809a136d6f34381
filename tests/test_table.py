"""The parser of the challenge's CSV: valid tables round-trip, damaged ones are never accepted."""

import csv
import io

import numpy as np
import pytest
from conftest import Table, refuse
from hypothesis import example, given, settings
from hypothesis import strategies as st

import damage
from fer_pipeline.core.errors import InputError
from fer_pipeline.raw.table import parse_pixels, read_table

TABLE = Table(per_class=(2, 1, 1))
for part in ("rows", "images", "labels", "usages"):
    setattr(TABLE, part, getattr(TABLE, part)[:8])
"""Eight rows, of all three Usages."""
HEADER = "emotion,pixels,Usage"


def read(content):
    """The rows in a table's bytes."""
    return read_table(io.BytesIO(content), "faces.csv")


def read_lines(lines):
    """The rows in a table's lines without the header."""
    return read("\n".join([HEADER, *lines, ""]).encode())


def assert_is_table(rows):
    assert np.array_equal(rows.images, TABLE.images)
    assert np.array_equal([rows.labels, rows.usages], [TABLE.labels, TABLE.usages])


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_valid_form_of_a_table_round_trips(data):
    more = data.draw(st.sampled_from([[], ["note"], ["a", "b"]]))
    columns = data.draw(st.permutations([*HEADER.split(","), *more]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    blank = data.draw(st.sampled_from(["", " "]))
    buffer = io.StringIO()
    end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\r\n"]))  # blank lines are passed over
    writer = csv.writer(buffer, quoting=quoting, lineterminator=end)
    writer.writerow([blank + column for column in columns])
    for line in TABLE.lines():
        known = dict(zip(HEADER.split(","), line.split(","), strict=True))
        writer.writerow([known.get(column) or data.draw(cells) for column in columns])
    bom = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    assert_is_table(read(bom + buffer.getvalue().encode()))


@given(damage.damaged(TABLE.csv(), ".csv"))
@settings(max_examples=150, deadline=None)
def test_damage_never_gives_a_traceback_or_a_changed_number_of_rows(content):
    """An error of one sentence, or the rows that Python's csv sees."""
    try:
        found = read(content)
    except InputError as error:
        assert "Traceback" not in str(error)
        return
    rows = zip(found.labels.tolist(), found.usages.tolist(), map(bytes, found.images.reshape(-1, 48 * 48)), strict=True)
    assert list(rows) == damage.read_table(content)


@given(st.integers(1, len(TABLE.csv()) - 1), st.booleans())
@settings(max_examples=200, deadline=None)
@example(len(TABLE.csv()) - 1, True)
def test_a_cut_file_is_refused_or_ends_on_a_whole_row(length, pixels_last):
    """A download that broke off: no row may come out with a cut number."""
    content = TABLE.csv()
    if pixels_last:
        lines = [",".join(line.split(",")[i] for i in (0, 2, 1)) for line in content.decode().splitlines()]
        content = "\n".join([*lines, ""]).encode()
    try:
        rows = read(content[:length])
    except InputError:
        return
    assert (rows.images == TABLE.images[: len(rows.images)]).all()
    assert rows.labels.tolist() == TABLE.labels[: len(rows.labels)].tolist()


unusual = st.sampled_from(["007", "0000", "0255", "-1", "1.0", "x", "١", "9" * 30])
tokens = st.integers(0, 300).map(str) | unusual


@given(st.lists(tokens, max_size=3), st.sampled_from([" ", "  ", "\t"]))
@settings(max_examples=300, deadline=None)
def test_pixels_are_whole_numbers_up_to_255(head, blank):
    """Whatever a row starts with, the pixels are those that Python reads, or it is refused."""
    text = blank.join([*head, *["17"] * (2304 - len(head))]).encode().decode("latin-1")
    if all(token.isascii() and token.isdigit() and len(token) < 10 and int(token) < 256 for token in head):
        assert parse_pixels(text).tolist() == [int(token) for token in text.split()]
    else:
        with pytest.raises(ValueError, match=r"pixel [0-2] is .*, expected 0\.\.255"):
            parse_pixels(text)


def test_rows_are_counted_by_line():
    """Of many rows some near the end are bad: the line numbers are the file's."""
    lines = TABLE.lines() * 35
    lines[250] = lines[250].rpartition(",")[0] + ",Trainin"
    lines[270] = "7" + lines[270][1:]
    said = refuse(read_lines, lines)
    for text in ("2 bad rows", "line 252: Usage is 'Trainin'", "line 272: emotion is '7', expected 0..6"):
        assert text in said


def test_quoted_line_ends_keep_the_line_numbers_right():
    first, second, *_ = TABLE.lines()
    content = f'{HEADER},note\n{first},"two\nlines"\n{second}x,plain\n'
    assert "line 4: Usage is" in refuse(read, content.encode())
