"""FER+'s votes: read as they are or refused in one sentence, kept beside their faces, and counted by FER+'s rules."""

import gzip
import hashlib
import json

import h5py
import numpy as np
import pytest
from conftest import ROOT, Table, refuse, write_folder, write_zip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import damage
import prepare
from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import VOTE_CLASSES
from fer_pipeline.faces.votes import find_majority, to_shares
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Prepare
from fer_pipeline.raw import source
from fer_pipeline.raw.ferplus import parse_votes, read_votes
from fer_pipeline.raw.rows import FERPLUS_COLUMNS, USAGES, Rows
from fer_pipeline.raw.table import CHALLENGE_FILES

HEADER = ["Usage", "Image name", *FERPLUS_COLUMNS]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw_votes(labels, seed=0):
    """Votes uint8 (N, 10) of annotators who find most labels right."""
    rng = np.random.default_rng(seed)
    counts = [(label, rng.choice([9, 10])) for label in labels]
    said = [[label if rng.random() < 0.75 else rng.integers(10) for _ in range(count)] for label, count in counts]
    return np.array([np.bincount(row, minlength=10) for row in said], np.uint8)


def write(votes, usages, columns=HEADER, end="\n", bom=""):
    """A file of votes as bytes, in FER+'s form or with its columns in another order."""
    places = {column: VOTE_CLASSES.index(vote) for column, vote in FERPLUS_COLUMNS.items()}
    lines = [",".join(columns)]
    for i, (row, usage) in enumerate(zip(votes, usages, strict=True)):
        cells = {"Usage": USAGES[usage], "Image name": f"fer{i:07d}.png"} | {c: str(row[p]) for c, p in places.items()}
        lines.append(",".join(cells[column] for column in columns))
    return (bom + end.join([*lines, ""])).encode()


def make_rows(labels, counts):
    """Rows without images: their labels, and as many rows as `counts` says of each Usage."""
    usages = np.repeat([0, 1, 2], counts).astype(np.uint8)
    return Rows(np.empty(0, np.uint8), labels.astype(np.uint8), usages, "table", md5="")


@pytest.fixture
def faces():
    """A small data set, its usages in blocks as in fer2013.csv; only labels and usages count here."""
    return make_rows(np.random.default_rng(1).integers(0, 7, 120), [80, 20, 20])


@pytest.fixture
def read(tmp_path, faces):
    """Read bytes as the votes of `faces`, or of other rows."""

    def read(content, rows=faces):
        path = tmp_path / "votes.csv"
        path.write_bytes(content)
        return read_votes(path, "faces.csv", rows)

    return read


@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.permutations(HEADER),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.sampled_from(["", "\ufeff"]),
    upper=st.booleans(),
)
def test_whatever_is_written_is_read(seed, columns, end, bom, upper, read, faces):
    votes = draw_votes(faces.labels, seed)
    content = write(votes, faces.usages, columns, end, bom)
    head, _, rows = content.partition(end.encode())
    found = read((head.upper() if upper else head) + end.encode() + rows)
    assert found.dtype == np.uint8 and np.array_equal(found, votes)


@quick
@given(data=st.data())
def test_damage_is_said_in_a_sentence_or_changes_nothing_unseen(data, read, faces):
    """What is still accepted is what an independent reader finds in the damaged file."""
    content = data.draw(damage.damaged(write(draw_votes(faces.labels), faces.usages), ".csv"))
    try:
        found = read(content)
    except InputError as error:
        assert "votes.csv" in str(error) and len(str(error)) < 2500
        return
    assert list(map(tuple, found.tolist())) == damage.read_votes(content)
    assert len(found) == len(faces.labels)


def change_cell(content, row, column, text):
    """A file of votes with another cell; rows count from 1."""
    lines = content.decode().splitlines()
    cells = lines[row].split(",")
    cells[HEADER.index(column)] = text
    lines[row] = ",".join(cells)
    return "\n".join([*lines, ""]).encode()


WRONG_CELLS = {
    "a vote that is no number": ("fear", "x", "row 7: fear has 'x' votes, expected 0..10"),
    "a negative vote": ("fear", "-1", "row 7: fear has '-1' votes"),
    "half a vote": ("fear", "0.5", "row 7: fear has '0.5' votes"),
    "eleven votes for a class": ("fear", "11", "row 7: fear has '11' votes"),
    "digits of another script": ("fear", "٣", "row 7: fear has"),
    "more than ten in all": ("fear", "9", " votes in all, expected 10, or a few less"),
    "another Usage": ("Usage", "Test", "row 7: Usage is 'Test', expected Training, PublicTest, PrivateTest"),
    "another name": ("Image name", "face7.png", "row 7: Image name is 'face7.png', expected one like fer0000000.png"),
    "the Usage of another row": ("Usage", "PrivateTest", "row 7 is of PrivateTest, where the data set has Training"),
}


@pytest.mark.parametrize("case", WRONG_CELLS)
def test_a_wrong_cell_is_named(case, read, faces):
    column, text, message = WRONG_CELLS[case]
    votes = 10 * np.eye(10, dtype=np.uint8)[faces.labels]
    assert message in refuse(read, change_cell(write(votes, faces.usages), 7, column, text))


def test_files_that_do_not_fit_are_refused(read, faces, tmp_path):
    content = write(draw_votes(faces.labels), faces.usages)
    lines = content.decode().splitlines(keepends=True)
    for changed, message in {
        "".join(lines[:-1]): "119 rows, where the data set has 120",
        "".join([*lines, lines[-1]]): "121 rows, where the data set has 120",
        lines[0]: "0 rows, where the data set has 120",  # but for the name no_votes.csv
        "a,b,c\n" + "".join(lines[1:]): "the first line is 'a,b,c', expected Usage, Image name, and FER+'s ten columns",
        "": "the first line is ''",
        "".join([lines[0], *lines[80:0:-1], *lines[81:]]): "image names are not in order",
        "\x00" + content.decode(): "the first line",
        '"' + content.decode(): "not CSV",
    }.items():
        assert message in refuse(read, changed.encode())
    assert "not text at byte 0" in refuse(read, b"\xff\xfe" + content)
    assert "not found; put FER" in refuse(read_votes, tmp_path / "none.csv", "faces.csv", faces)
    nobody = np.full((120, 10), [0] * 9 + [10])
    assert "no row has a majority for an emotion" in refuse(read, write(nobody, faces.usages))
    for shift in (1, 2, 40):  # the right form, and agrees with the labels by chance alone
        votes = np.roll(draw_votes(faces.labels), shift, axis=0)
        assert "these votes belong to other rows, or to another order of them" in refuse(
            read, write(votes, faces.usages)
        )


def test_empty_names_and_a_few_out_of_order_are_ferplus_own(read, faces):
    """As where nearly all saw no face, and where a face is named by its twin."""
    votes = draw_votes(faces.labels)
    content = change_cell(write(votes, faces.usages), 5, "Image name", "")
    assert np.array_equal(read(change_cell(content, 9, "Image name", "fer0000002.png")), votes)


def test_majorities_worked_out_by_hand():
    """Single votes are dropped, more than half of the rest is a majority; unknown and no face leave a row out."""
    rows = {
        (10, 0, 0, 0, 0, 0, 0, 0, 0, 0): ("angry", [1, 0, 0, 0, 0, 0, 0, 0]),
        (4, 1, 1, 1, 1, 1, 1, 0, 0, 0): ("angry", [1, 0, 0, 0, 0, 0, 0, 0]),  # of the four left all
        (5, 0, 0, 0, 5, 0, 0, 0, 0, 0): (None, [0.5, 0, 0, 0, 0.5, 0, 0, 0]),  # half is not more than half
        (0, 0, 0, 0, 0, 0, 3, 7, 0, 0): ("contempt", [0, 0, 0, 0, 0, 0, 0.3, 0.7]),
        (4, 0, 0, 0, 0, 0, 0, 0, 6, 0): (None, [0] * 8),  # unknown
        (3, 0, 0, 0, 0, 0, 0, 0, 0, 7): (None, [0] * 8),  # no face
        (4, 0, 0, 3, 0, 0, 0, 0, 3, 0): (None, [4 / 7, 0, 0, 3 / 7, 0, 0, 0, 0]),
        (1, 1, 1, 1, 1, 1, 1, 1, 1, 1): (None, [0] * 8),
    }
    votes = np.array(list(rows), np.uint8)
    expected = [-1 if name is None else VOTE_CLASSES.index(name) for name, _ in rows.values()]
    assert find_majority(votes).tolist() == expected
    np.testing.assert_allclose(to_shares(votes), [shares for _, shares in rows.values()], rtol=1e-6)


@pytest.mark.parametrize(("split", "blank", "left"), [("official", 28, 111), ("paper", 23, 88)])
def test_dropped_rows_take_their_votes_along(split, blank, left, run_prepare, set_prepare, tmp_path):
    """Each face and its votes carry the number of their row; blank faces and a leak are gone from both."""
    set_prepare(drop_blank=True, drop_leaks=True)
    table = Table(per_class=(20, 8, 8))
    votes = draw_votes(table.labels)
    for row in range(len(table)):  # nine votes for the label, and a tenth that tells the row, as far as it can
        votes[row] = np.bincount([table.labels[row]] * 9 + [row % 10], minlength=10)
        table.images[row, 0, :2] = divmod(row, 200)
    train, test = (np.flatnonzero(table.usages == usage) for usage in (0, 2))
    table.images[[*train[::5], test[-1]]] = 7
    table.images[train[-1]] = table.images[test[-2]]
    path = tmp_path / "votes.csv"
    path.write_bytes(write(votes, table.usages))
    _, out, report = run_prepare(table, split, votes=path)
    report = json.loads(report.read_text())
    assert report["votes_md5"] == hashlib.md5(path.read_bytes()).hexdigest()
    assert report["dropped"] == {"blank": {"train": blank, "val": 0, "test": 1}, "leaks": {"train": 1}}
    splits, _ = read_faces(out)
    for rows in splits.values():
        numbers = rows.images[:, 0, 0].astype(int) * 200 + rows.images[:, 0, 1]
        assert np.array_equal(rows.votes, votes[numbers]) and np.array_equal(rows.labels, table.labels[numbers])
        assert not {*train[::5], test[-1], train[-1]} & {*numbers.tolist()}
    assert len(splits["train"].images) == left and not splits["test"].duplicate_of_train.any()


@pytest.mark.parametrize("part", [slice(3000, 4000), slice(2000, 3000), slice(1500, 3000)])
def test_a_file_that_is_shifted_in_part_is_refused(part, read):
    """The test rows, the val rows, or the train rows from one on, each by one row."""
    rows = make_rows(np.random.default_rng(3).integers(0, 7, 4000), [3000, 500, 500])
    votes = draw_votes(rows.labels)
    assert np.array_equal(read(write(votes, rows.usages), rows), votes)
    votes[part] = np.roll(votes[part], 1, axis=0)
    with pytest.raises(InputError, match=r"rows [\d,]+ to [\d,]+: the annotators' majority is the label on \d+%"):
        read(write(votes, rows.usages), rows)


@pytest.mark.parametrize("options", [{}, {"votes": ROOT / "data" / "no_votes.csv"}])
def test_without_votes_the_file_has_none(options, run_prepare, table):
    _, out, report = run_prepare(table, **options)
    with h5py.File(out) as file:
        assert "vote_classes" not in file.attrs and "votes" not in file["train"]
    assert read_faces(out)[0]["val"].votes is None
    assert json.loads(report.read_text())["votes_md5"] is None


def test_the_committed_file_for_no_votes_has_the_header_of_ferplus():
    """And params.yaml refuses null with a sentence that names that file."""
    assert (ROOT / "data" / "no_votes.csv").read_text() == f"{','.join(HEADER)}\n"
    with pytest.raises(ValidationError, match="name a file, not null: data/no_votes.csv"):
        Prepare.model_validate(read_params().prepare.model_dump() | {"votes": None})


def test_rows_in_another_order_are_refused(tmp_path, table, read):
    votes = write(draw_votes(table.labels), table.usages)
    folder = write_folder(tmp_path / "pictures", table.files())
    rows = source.read_source(folder, 0)
    said = refuse(read, votes, rows)
    assert "pictures in another order than fer2013.csv" in said and "data/no_votes.csv" in said
    assert read_votes(ROOT / "data" / "no_votes.csv", str(folder), rows) is None
    icml = rows._replace(kind="table", challenge_file="icml_face_data.csv")
    assert "icml_face_data.csv in another order" in refuse(read, votes, icml)


def test_the_samples_votes_are_left_aside_for_other_data(tmp_path, capsys):
    assert prepare.find_votes("data/raw/sample_votes.csv", str(tmp_path / "fer2013.csv")) is None
    assert "without votes: prepare.votes names the votes for the embedded sample" in capsys.readouterr().err


def test_the_challenges_file_is_known_wherever_it_is_packed(tmp_path, table, monkeypatch):
    """By the bytes of the table: plain, compressed, in an archive."""
    content = table.csv()
    monkeypatch.setitem(CHALLENGE_FILES, hashlib.md5(content).hexdigest(), "fer2013.csv")
    files = {"plain.csv": content, "packed.csv.gz": gzip.compress(content), "longer.csv": content + b"\n"}
    write_zip(write_folder(tmp_path, files) / "packed.zip", {"a/fer2013.csv": content})
    found = {path.name: source.read_source(path, 0).challenge_file for path in tmp_path.iterdir()}
    assert found == dict.fromkeys(["plain.csv", "packed.csv.gz", "packed.zip"], "fer2013.csv") | {"longer.csv": None}


def test_the_majority_is_the_label(run_prepare, set_prepare, tmp_path):
    """In FER+'s eight classes, in all splits; rows without a majority are left out and counted."""
    table = Table(per_class=(20, 8, 8))
    chosen = np.where(np.arange(len(table)) % 5 == 0, 7, table.labels)  # every fifth is contempt
    votes = 10 * np.eye(10, dtype=np.uint8)[chosen]
    votes[1::5] = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]
    (tmp_path / "votes.csv").write_bytes(write(votes, table.usages))
    set_prepare(labels="votes")
    _, out, report = run_prepare(table, votes=tmp_path / "votes.csv")
    splits, facts = read_faces(out)
    assert (facts.name, facts.classes, facts.vote_classes) == ("FER+", VOTE_CLASSES[:8], VOTE_CLASSES)
    for usage, (name, rows) in enumerate(splits.items()):
        kept = (table.usages == usage) & (np.arange(len(table)) % 5 != 1)
        assert (rows.labels == chosen[kept]).all() and (rows.images == table.images[kept]).all(), name
    left = {name: int((table.usages[1::5] == usage).sum()) for usage, name in enumerate(splits)}
    assert json.loads(report.read_text())["no_majority"] == left
    assert "prepare.split paper" in run_prepare(table, "paper", 1, votes=tmp_path / "votes.csv")[0]
    set_prepare(classes={"up": [3], "down": [0, 4]})  # the votes follow the labels' new names
    _, out, _ = run_prepare(table, votes=tmp_path / "votes.csv")
    splits, facts = read_faces(out)
    assert facts.voted == ("up", "down", "disgust", "fear", "surprise", "neutral", "contempt")
    rows = splits["test"]
    assert set(rows.votes[np.arange(len(rows.labels)), rows.labels].tolist()) <= {0, 5, 10}
    assert (rows.votes.argmax(axis=1) == rows.labels).mean() > 0.5


def test_ferplus_itself(real_zip):
    """The figures that are known of it, with FER-2013's labels."""
    path = real_zip.parent / "ferplus" / "fer2013new.csv"
    if not path.exists():
        pytest.skip("FER+ is not beside FER-2013")
    votes, usages, _ = parse_votes(path.read_bytes(), path)
    assert votes.shape == (35887, 10) and np.bincount(usages).tolist() == [28709, 3589, 3589]
    assert np.bincount(usages[find_majority(votes) >= 0]).tolist() == [25060, 3199, 3153]
