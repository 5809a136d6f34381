"""FER+'s votes: read as they are or refused in one sentence, kept beside their faces, and counted by FER+'s rules."""

import csv
import io
import json
import shutil

import h5py
import numpy as np
import pytest
from conftest import ROOT, Table, write_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prepare
from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.faces import pack_faces, read_faces
from fer_pipeline.faces.fer2013 import CLASSES, FERPLUS_COLUMNS, SPLITS, USAGES, VOTE_CLASSES
from fer_pipeline.faces.votes import find_majority, to_shares
from fer_pipeline.raw import source
from fer_pipeline.raw.ferplus import parse_votes, read_votes

HEADER = ["Usage", "Image name", *FERPLUS_COLUMNS]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw_votes(labels, seed=0):
    """Votes uint8 (N, 10) of annotators who find most labels right."""
    rng = np.random.default_rng(seed)
    votes = np.zeros((len(labels), 10), np.uint8)
    for row, label in zip(votes, labels, strict=True):
        said = [label if rng.random() < 0.75 else rng.integers(10) for _ in range(rng.choice([9, 10]))]
        row += np.bincount(said, minlength=10).astype(np.uint8)
    return votes


def write(votes, usages, columns=HEADER, end="\n", bom=""):
    """A file of votes as bytes, in FER+'s form or with its columns in another order."""
    places = {column: VOTE_CLASSES.index(vote) for column, vote in FERPLUS_COLUMNS.items()}
    lines = [",".join(columns)]
    for i, (row, usage) in enumerate(zip(votes, usages, strict=True)):
        cells = {"Usage": USAGES[usage], "Image name": f"fer{i:07d}.png"} | {c: str(row[p]) for c, p in places.items()}
        lines.append(",".join(cells[column] for column in columns))
    return (bom + end.join([*lines, ""])).encode()


@pytest.fixture
def faces():
    """A small data set: labels and usages, the usages in blocks as in fer2013.csv."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 7, 120).astype(np.uint8)
    return labels, np.repeat([0, 1, 2], [80, 20, 20]).astype(np.uint8)


@pytest.fixture
def read(tmp_path, faces):
    """Read bytes as the votes of `faces`."""

    def read(content):
        path = tmp_path / "votes.csv"
        path.write_bytes(content)
        return read_votes(path, *faces)

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
    labels, usages = faces
    votes = draw_votes(labels, seed)
    content = write(votes, usages, columns, end, bom)
    head, _, rows = content.partition(end.encode())
    found = read((head.upper() if upper else head) + end.encode() + rows)
    assert found.dtype == np.uint8 and np.array_equal(found, votes)


@quick
@given(data=st.data())
def test_damage_is_said_in_a_sentence_or_changes_nothing_unseen(data, read, faces):
    """Bytes changed, cut, doubled: what is still accepted is what an independent reader finds in the damaged file."""
    labels, usages = faces
    content = bytearray(write(draw_votes(labels), usages))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["byte", "cut", "double", "drop"]))
        if kind == "byte":
            content[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[place:]
        else:
            end = min(len(content), place + data.draw(st.integers(1, 200)))
            content[place:end] = content[place:end] * 2 if kind == "double" else b""
        if not content:
            break
    try:
        found = read(bytes(content))
    except InputError as error:
        assert "votes.csv" in str(error) and len(str(error)) < 2500
        return
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    kept = [{key.strip().lower(): value for key, value in row.items()} for row in rows if any(row.values())]
    columns = {vote: column.lower() for column, vote in FERPLUS_COLUMNS.items()}
    assert found.tolist() == [[int(row[columns[vote]]) for vote in VOTE_CLASSES] for row in kept]
    assert len(found) == len(labels)


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
    "more than ten in all": ("fear", "9", "row 7: .* votes in all, expected 10, or a few less"),
    "another Usage": ("Usage", "Test", "row 7: Usage is 'Test', expected Training, PublicTest, PrivateTest"),
    "another name": ("Image name", "face7.png", "row 7: Image name is 'face7.png', expected fer0000000.png"),
    "the Usage of another row": ("Usage", "PrivateTest", "row 7 is of PrivateTest, where the data set has Training"),
}


@pytest.mark.parametrize("case", WRONG_CELLS)
def test_a_wrong_cell_is_named(case, read, faces):
    labels, usages = faces
    column, text, message = WRONG_CELLS[case]
    votes = np.zeros((120, 10), np.uint8)
    votes[np.arange(120), labels] = 10
    with pytest.raises(InputError, match=message):
        read(change_cell(write(votes, usages), 7, column, text))


def test_files_that_do_not_fit_are_refused(read, faces, tmp_path):
    labels, usages = faces
    votes = draw_votes(labels)
    content = write(votes, usages)
    lines = content.decode().splitlines(keepends=True)
    for changed, message in {
        "".join(lines[:-1]): "119 rows, where the data set has 120",
        "".join([*lines, lines[-1]]): "121 rows, where the data set has 120",
        "a,b,c\n" + "".join(lines[1:]): "the first line is 'a,b,c', expected Usage, Image name, and FER.'s ten columns",
        "": "the first line is ''",
        "".join([lines[0], *lines[80:0:-1], *lines[81:]]): "image names are not in order",
        "\x00" + content.decode(): "the first line",
        '"' + content.decode(): "no CSV",
    }.items():
        with pytest.raises(InputError, match=message):
            read(changed.encode())
    with pytest.raises(InputError, match="no text at byte 0"):
        read(b"\xff\xfe" + content)
    with pytest.raises(InputError, match="not found; put FER"):
        read_votes(tmp_path / "none.csv", labels, usages)
    none = np.zeros((120, 10), np.uint8)
    none[:, 9] = 10
    with pytest.raises(InputError, match="no row has a majority for an emotion"):
        read(write(none, usages))


@pytest.mark.parametrize("shift", [1, 2, 40])
def test_votes_of_other_rows_are_refused(shift, read, faces):
    """A shifted file has the right form, and agrees with the labels by chance alone."""
    labels, usages = faces
    with pytest.raises(InputError, match="these votes belong to other rows, or to another order of them"):
        read(write(np.roll(draw_votes(labels), shift, axis=0), usages))


def test_empty_names_and_a_few_out_of_order_are_ferplus_own(read, faces):
    """As where nearly all saw no face, and where a face is named by its twin."""
    labels, usages = faces
    votes = draw_votes(labels)
    content = change_cell(change_cell(write(votes, usages), 5, "Image name", ""), 9, "Image name", "fer0000002.png")
    assert np.array_equal(read(content), votes)


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


@pytest.fixture
def run_prepare(run_stage, tmp_path):
    """Run the stage on a table with votes; returns the process, and the paths of HDF5 and JSON."""

    def run(content, votes, split="official"):
        paths = [tmp_path / name for name in ("faces.csv", "votes.csv", "faces.h5", "data.json")]
        paths[0].write_bytes(content)
        paths[1].write_bytes(votes)
        flags = ("--source", "--votes", "--out", "--report")
        arguments = [part for pair in zip(flags, paths, strict=True) for part in pair]
        return run_stage("prepare", *arguments, "--split", split), *paths[2:]

    return run


def test_votes_stay_with_their_faces(run_prepare):
    table = Table(per_class=(10, 4, 4))
    votes = draw_votes(table.labels)
    process, out, report = run_prepare(table.csv(), write(votes, table.usages))
    assert process.returncode == 0, process.stderr
    with h5py.File(out) as file:
        assert file.attrs["vote_classes"].tolist() == [*CLASSES, "contempt", "unknown", "no face"]
        for split, usage in zip(SPLITS, range(3), strict=True):
            assert file[f"{split}/votes"].dtype == np.uint8
            assert np.array_equal(file[f"{split}/votes"], votes[table.usages == usage])
    assert len(json.loads(report.read_text())["votes_md5"]) == 32


@pytest.mark.parametrize("split", ["official", "paper"])
def test_dropped_rows_take_their_votes_along(split, run_stage, tmp_path):
    """Each face and its votes carry the number of their row; blank faces and leaks are gone from both."""
    table = Table(per_class=(20, 8, 8))
    votes = draw_votes(table.labels)
    for row in range(len(table)):  # nine votes for the label, and a tenth that tells the row, as far as it can
        votes[row] = np.bincount([table.labels[row]] * 9 + [row % 10], minlength=10)
        table.images[row, 0, :2] = divmod(row, 200)
    blank = np.flatnonzero(table.usages == 0)[::5]
    table.images[blank] = 7
    train, test = np.flatnonzero(table.usages == 0)[1], np.flatnonzero(table.usages == 2)[1]
    table.images[train] = table.images[test]
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("drop_blank: false", "drop_blank: true").replace("drop_leaks: false", "drop_leaks: true")
    )
    (tmp_path / "faces.csv").write_bytes(table.csv())
    (tmp_path / "votes.csv").write_bytes(write(votes, table.usages))
    paths = ("--source", tmp_path / "faces.csv", "--votes", tmp_path / "votes.csv", "--out", tmp_path / "faces.h5")
    process = run_stage(tmp_path / "stages" / "prepare", *paths, "--report", tmp_path / "data.json", "--split", split)
    assert process.returncode == 0, process.stderr
    dropped = json.loads((tmp_path / "data.json").read_text())["dropped"]
    assert dropped["blank"]["train"] and (dropped["leaks"]["train"] or split == "paper")
    splits, _ = read_faces(tmp_path / "faces.h5")
    seen = 0
    for rows in splits.values():
        numbers = rows.images[:, 0, 0].astype(int) * 200 + rows.images[:, 0, 1]
        assert np.array_equal(rows.votes, votes[numbers]) and np.array_equal(rows.labels, table.labels[numbers])
        seen += len(numbers)
    assert seen >= 0.8 * (len(table) - len(blank))


def test_votes_and_output_are_never_the_same_file(run_stage, tmp_path):
    table = Table()
    (tmp_path / "faces.csv").write_bytes(table.csv())
    content = write(draw_votes(table.labels), table.usages)
    (tmp_path / "votes.csv").write_bytes(content)
    paths = ("--source", tmp_path / "faces.csv", "--votes", tmp_path / "votes.csv", "--out", tmp_path / "votes.csv")
    process = run_stage("prepare", *paths, "--report", tmp_path / "data.json", "--split", "official")
    assert process.returncode == 1
    assert "--votes and --out name the same file (" in process.stderr and "Traceback" not in process.stderr
    assert (tmp_path / "votes.csv").read_bytes() == content


@pytest.mark.parametrize("part", [slice(3000, 4000), slice(2000, 3000), slice(1500, 3000)])
def test_a_file_that_is_shifted_in_part_is_refused(part, tmp_path):
    """The test rows, the val rows, or the train rows from one on, each by one row."""
    labels = np.random.default_rng(3).integers(0, 7, 4000).astype(np.uint8)
    usages = np.repeat([0, 1, 2], [3000, 500, 500]).astype(np.uint8)
    votes = draw_votes(labels)
    (tmp_path / "votes.csv").write_bytes(write(votes, usages))
    assert np.array_equal(read_votes(tmp_path / "votes.csv", labels, usages), votes)
    votes[part] = np.roll(votes[part], 1, axis=0)
    (tmp_path / "votes.csv").write_bytes(write(votes, usages))
    with pytest.raises(InputError, match=r"rows [\d,]+ to [\d,]+: the annotators' majority is the label on \d+%"):
        read_votes(tmp_path / "votes.csv", labels, usages)


def test_without_votes_the_file_has_none(run_stage, tmp_path, table):
    (tmp_path / "x.csv").write_bytes(table.csv())
    paths = ["--source", tmp_path / "x.csv", "--out", tmp_path / "f.h5", "--report", tmp_path / "r.json"]
    assert run_stage("prepare", *paths, "--split", "official", "--votes", "None").returncode == 0
    with h5py.File(tmp_path / "f.h5") as file:
        assert "vote_classes" not in file.attrs and "votes" not in file["train"]
    assert read_faces(tmp_path / "f.h5")[0]["val"].votes is None
    assert json.loads((tmp_path / "r.json").read_text())["votes_md5"] is None


def test_rows_in_another_order_are_refused(tmp_path, table, monkeypatch):
    folder = write_folder(tmp_path / "pictures", table.files())
    rows = source.read_source(folder, 0)
    with pytest.raises(InputError, match="pictures in another order than fer2013.csv"):
        prepare.find_votes("votes.csv", str(folder), rows)
    with pytest.raises(InputError, match="icml_face_data.csv in another order"):
        prepare.find_votes("votes.csv", "x.csv", rows._replace(kind="table", challenge_file="icml_face_data.csv"))


def test_the_samples_votes_are_left_aside_for_other_data(tmp_path, capsys):
    assert prepare.find_votes("data/raw/sample_votes.csv", str(tmp_path / "fer2013.csv"), None) is None
    assert "without votes: prepare.votes names the embedded sample's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.__setitem__("vote_classes", ["happy"]), "votes are for happy, expected angry"),
        (lambda file: file["val"].__delitem__("votes"), "not HDF5, damaged, or of another layout"),
        (lambda file: file["val/votes"].write_direct(np.full((7, 10), 11, np.uint8)), "val has 11 votes for one class"),
    ],
)
def test_damaged_votes_in_the_prepared_file(change, message, tmp_path):
    table = Table(per_class=(1, 1, 1))
    votes = draw_votes(table.labels)
    places = prepare.divide(table.labels.astype(np.uint8), table.usages, "official")
    splits = {
        name: prepare.Split(
            table.images[rows], table.labels[rows].astype(np.uint8), np.zeros(len(rows), bool), votes[rows]
        )
        for name, rows in places.items()
    }
    path = tmp_path / "faces.h5"
    path.write_bytes(pack_faces({**splits, "train": splits["train"]._replace(duplicate_of_train=None)}, "official", ""))
    assert np.array_equal(read_faces(path)[0]["val"].votes, votes[places["val"]])
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=message):
        read_faces(path)


def test_the_challenges_file_is_known_wherever_it_is_packed(tmp_path, table, monkeypatch):
    """By the bytes of the table: plain, compressed, in an archive."""
    import gzip
    import hashlib

    from conftest import write_zip

    content = table.csv()
    known = {hashlib.md5(content).hexdigest(): "fer2013.csv"}
    monkeypatch.setattr(source, "CHALLENGE_FILES", known)
    (tmp_path / "plain.csv").write_bytes(content)
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(content))
    write_zip(tmp_path / "packed.zip", {"a/fer2013.csv": content})
    for name in ("plain.csv", "packed.csv.gz", "packed.zip"):
        assert source.read_source(tmp_path / name, 0).challenge_file == "fer2013.csv", name
    (tmp_path / "plain.csv").write_bytes(content + b"\n")
    assert source.read_source(tmp_path / "plain.csv", 0).challenge_file is None


def test_ferplus_itself(real_zip):
    """The figures that are known of it, with FER-2013's labels."""
    path = real_zip.parent / "ferplus" / "fer2013new.csv"
    if not path.exists():
        pytest.skip("FER+ is not beside FER-2013")
    votes, usages, _ = parse_votes(path.read_bytes(), path)
    assert votes.shape == (35887, 10) and np.bincount(usages).tolist() == [28709, 3589, 3589]
    assert (find_majority(votes)[usages == 2] >= 0).sum() == 3153
