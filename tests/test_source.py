"""FER-2013 in every form, and broken forms, each refused with one clear message."""

import bz2
import gzip
import io
import itertools
import lzma
import os
import re
import shutil
import tarfile
import textwrap
import zipfile
from functools import partial

import numpy as np
import pytest
from conftest import ROOT, Table, encode, refuse, write_folder, write_zip
from PIL import Image
from test_photos import claim_size

from fer_pipeline.core.errors import InputError
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.raw.assemble import label_rows
from fer_pipeline.raw.images import decode
from fer_pipeline.raw.rows import Options
from fer_pipeline.raw.source import read_source, require_unchanged


def assert_same_faces(rows, table):
    """All forms of the same data have the same images of a Usage and a label, in one order."""
    for usage, label in itertools.product(range(3), range(7)):
        found, expected = (one.images[(one.usages == usage) & (one.labels == label)] for one in (rows, table))
        assert np.array_equal(found, expected)


def refusal(path, **options):
    """What the error says of a source that is refused."""
    return refuse(read_source, path, 1, Options(**options))


def write_tar(path, files, **options):
    """Write {path: bytes} into a tar, None for a link; with `compresslevel` it is gzipped."""
    with tarfile.open(path, "w:gz" if options else "w", **options) as archive:
        for name, payload in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload or b"")
            info.type = tarfile.SYMTYPE if payload is None else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(payload or b""))
    return path


def icml(table):
    """The table as icml_face_data.csv has it: columns in another order, blanks before their names."""
    rows = [line.split(",") for line in table.lines()]
    lines = [f"{label},{usage},{pixels}" for label, pixels, usage in rows]
    return "\n".join(["emotion, Usage, pixels", *lines, ""]).encode()


def rename(table, change, **options):
    """The table's pictures under other names."""
    return {change(name): payload for name, payload in table.files(**options).items()}


USUAL_NAMES = ["Anger", "disgusted", "Fearful", "happiness", "sadness", "surprised", "NEUTRAL"]
KAGGLE = {"train.csv": b"emotion,pixels\n0,1 2\n", "test.csv": b"pixels\n1 2\n", "README": b"FER-2013\n"}


def write_file(path, content):
    path.write_bytes(content)
    return path


write_targz = partial(write_tar, compresslevel=1)
FORMS = {
    "challenge's CSV": (write_file, Table.csv),
    "icml_face_data.csv": (write_file, icml),
    "BOM and CRLF": (write_file, lambda table: b"\xef\xbb\xbf" + table.csv().replace(b"\n", b"\r\n")),
    "CSV in a gz": (write_file, lambda table: gzip.compress(table.csv())),
    "CSV in a bz2": (write_file, lambda table: bz2.compress(table.csv())),
    "CSV in an xz": (write_file, lambda table: lzma.compress(table.csv(), preset=0)),
    "CSV in a zip": (write_zip, lambda table: {"fer2013/fer2013.csv": table.csv()}),
    "CSV in a tar.gz": (write_targz, lambda table: {"fer2013/fer2013.csv": table.csv(), "fer2013/README": b"x"}),
    "challenge's whole zip": (write_zip, lambda table: {**KAGGLE, "icml_face_data.csv": icml(table)}),
    "folder with the CSV": (write_folder, lambda table: {**KAGGLE, "fer2013.csv": table.csv()}),
    "image folders": (write_folder, Table.files),
    "image folders below another": (write_folder, lambda table: rename(table, "archive/{}".format)),
    "image folders in a tar.gz": (write_targz, Table.files),
    "image folders in a zip": (write_zip, lambda table: {"notes.txt": b"", "__MACOSX/._1.png": b"x", **table.files()}),
    "other usual names of classes": (write_folder, lambda table: table.files(names=USUAL_NAMES)),
    "a zip with backslashes, from Windows": (write_zip, lambda table: rename(table, lambda n: n.replace("/", "\\"))),
    "a zip with a leading ./": (write_zip, lambda table: rename(table, "./{}".format)),
    "a tar with a leading ./": (write_tar, lambda table: rename(table, "./{}".format)),
    "a zip with capitals": (
        write_zip,
        lambda table: rename(table, lambda n: n.replace("train", "Train"), format="PNG"),
    ),
}


def write_form(form, path, table):
    write, make = FORMS[form]
    return write(path, make(table))


PACKED = ["CSV in a zip", "CSV in a tar.gz", "image folders in a zip"]
COMPRESSED = ["CSV in a gz", "CSV in a bz2", "CSV in an xz"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_faces(form, tmp_path, table):
    """The file is named `source` without an ending: content tells what it is."""
    rows = read_source(write_form(form, tmp_path / "source", table), seed=1)
    assert_same_faces(rows, table)
    assert re.fullmatch("[0-9a-f]{32}", rows.md5)


def test_folder_and_zip_keep_one_order(tmp_path, table):
    """By class, then by sorted name; the order of the archive does not matter."""
    files = table.files()
    folder = read_source(write_folder(tmp_path / "folder", files), seed=1)
    packed = read_source(write_zip(tmp_path / "faces.zip", dict(reversed(files.items()))), seed=1)
    assert (folder.images == packed.images).all()
    assert folder.labels.tolist() == packed.labels.tolist() == sorted(folder.labels.tolist())


def test_without_prefix_the_test_folder_is_halved_by_class(tmp_path):
    table = Table(per_class=(3, 4, 5))
    folder = write_folder(tmp_path / "x", table.files(prefix=False))
    rows, again, other = (read_source(folder, seed) for seed in (1, 1, 2))
    for label in range(7):
        assert np.bincount(rows.usages[rows.labels == label], minlength=3).tolist() == [3, 4, 5]
    assert rows.usages.tolist() == again.usages.tolist()
    assert rows.usages.tolist() != other.usages.tolist()
    assert (rows.images == other.images).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1"])
def test_colour_is_converted_and_counted(mode, tmp_path, table):
    files = table.files()
    name = next(name for name in files if name.startswith("train/happy"))
    files[name] = encode(np.full((48, 48), 255, np.uint8), mode=mode)
    rows = read_source(write_folder(tmp_path / "x", files), seed=1)
    assert rows.conversions == {mode: 1}
    assert (rows.images.reshape(len(rows.images), -1) == 255).all(axis=1).sum() == 1


def test_md5_follows_names_and_bytes_of_a_folder(tmp_path, table):
    files = table.files()
    first = read_source(write_folder(tmp_path / "a", files), seed=1).md5
    assert read_source(write_folder(tmp_path / "b", files), seed=1).md5 == first
    files["train/sad/Training_99999.png"] = encode(table.images[0])
    assert read_source(write_folder(tmp_path / "c", files), seed=1).md5 != first


def replace_row(table, row, *changes):
    """The table's CSV with `changes` (pairs of old and new text) made in the line `row` (2 is the first face)."""
    lines = table.csv().decode().split("\n")
    for old, new in changes:
        lines[row - 1] = re.sub(old, new, lines[row - 1], count=1)
    return "\n".join(lines).encode()


HEADER = b"emotion,pixels,Usage\n"
BAD_TABLES = {
    "empty file": (lambda t: b"", "the file is empty"),
    "header alone": (lambda t: HEADER, "no rows"),
    "no header": (lambda t: t.csv().split(b"\n", 1)[1], "expected the columns emotion, pixels and Usage"),
    "missing column": (lambda t: t.csv().replace(b",Usage", b",usages"), "expected the columns"),
    "column twice": (lambda t: t.csv().replace(b"Usage", b"Usage,pixels", 1), "expected the columns"),
    "semicolons": (lambda t: t.csv().replace(b",", b";"), "expected the columns"),
    "UTF-16": (lambda t: t.csv().decode().encode("utf-16"), "expected the columns"),
    "label 7": (lambda t: replace_row(t, 5, ("^.", "7")), "line 5: emotion is '7', expected 0..6"),
    "one pixel less": (lambda t: replace_row(t, 6, (r" \d+,", ",")), "line 6: 2,303 pixels, expected 2,304"),
    "pixel 256": (lambda t: replace_row(t, 7, (r",\d+ ", ",256 ")), "line 7: pixel 0 is '256', expected 0..255"),
    "unknown Usage": (lambda t: replace_row(t, 8, ("[A-Z].*", "Test")), "line 8: Usage is 'Test', expected Training"),
    "too many fields": (lambda t: replace_row(t, 8, ("$", ",x")), "line 8: 4 fields, expected 3"),
    "truncated last row": (lambda t: t.csv()[:-60], f"line {len(Table()) + 1}: "),
    "quote never closed": (lambda t: replace_row(t, 4, (",", ',"')), "line 4: "),
    "binary garbage": (lambda t: np.random.default_rng(1).bytes(50_000), "expected the columns"),
    "garbage after the header": (lambda t: HEADER + np.random.default_rng(1).bytes(50_000), "bad row"),
    "one endless line": (lambda t: HEADER + b"1 " * 2_000_000, "over 1 MiB"),
    "a zip's first half": (lambda t: b"PK\x03\x04" + b"\0" * 500, "truncated or damaged archive"),
    "a gzip of nothing": (lambda t: b"\x1f\x8b\x08" + b"\0" * 500, "truncated or damaged archive"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_gives_one_clear_message(case, tmp_path, table):
    make, expected = BAD_TABLES[case]
    message = refusal(write_file(tmp_path / "source", make(table)))
    assert expected in message and "source" in message


FACE = np.zeros((48, 48), np.uint8)
DEEP = io.BytesIO()
Image.fromarray(np.zeros((48, 48), np.uint16)).save(DEEP, "PNG")


BAD_PICTURES = {
    "corrupt picture": (encode(FACE)[:60], "damaged picture"),
    "no picture": (b"hello", "not a JPEG or PNG"),
    "empty picture": (b"", "0 bytes"),
    "huge file": (b"\0" * (1 << 21), "2,097,152 bytes"),
    "not square": (encode(FACE[:40]), "48x40 pixels, expected 48x48"),
    "wrong size": (encode(np.zeros((224, 224), np.uint8)), "224x224 pixels"),
    "16-bit": (DEEP.getvalue(), "pixels of mode I;16"),
    "a bomb": (claim_size(12_000), "many millions of pixels, expected 48x48"),
    "a large bomb": (claim_size(30_000), "many millions of pixels, expected 48x48"),
    "half a JPEG": (encode(Table().images[0], "jpg")[:-200] + bytes(200), "a truncated JPEG, expected a complete one"),
}
BAD_NAMES = {
    "train/sad/notes.txt": "train/sad/notes.txt: not a JPEG or PNG",
    "train/contempt/Training_7.png": "folder 'contempt' is not a class; expected angry",
    "validation/sad/7.png": "validation/sad/7.png: expected train/<class>/",
    "train/7.png": "train/7.png: expected train/<class>/",
    "copy/train/sad/Training_7.png": "several train and test folders, in copy, its top",
    "test/sad/Training_7.png": "Training by its name, test by its folder",
    "test/sad/7.png": "test/sad/7.png has no prefix PublicTest_ or PrivateTest_",
}
TABLES = {"a.csv": Table().csv(), "b.csv": Table().csv()}
PICTURE = "train/sad/Training_7.png"
BAD_FILES = {
    **{case: ({PICTURE: content}, f"{PICTURE}: {expected}") for case, (content, expected) in BAD_PICTURES.items()},
    **{name: ({name: b"hello" if ".txt" in name else encode(FACE)}, said) for name, said in BAD_NAMES.items()},
    "two tables": (TABLES, "more than one data set (a.csv, b.csv, test/"),
    "table and pictures": ({"fer2013.csv": Table().csv()}, "more than one data set (fer2013.csv, test/"),
}


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")  # as images.py has it, outside of pytest
@pytest.mark.parametrize("write", [write_folder, write_zip])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_among_images_is_named(case, write, tmp_path, table):
    extra, expected = BAD_FILES[case]
    assert expected in refusal(write(tmp_path / "source", {**table.files(), **extra}))


def test_ten_bad_pictures_are_listed_and_all_are_counted(tmp_path, table):
    files = {**table.files(), **{f"train/sad/Training_9{i:02d}.png": b"hello" for i in range(30)}}
    message = refusal(write_folder(tmp_path / "x", files))
    assert "30 bad pictures" in message and "... and 20 more" in message
    assert message.count("not a JPEG or PNG") == 10


NO_FACES = "no table with the columns emotion, pixels and Usage, and no pictures"
NOT_SOURCES = {
    "missing": (lambda path: None, "x': not found; put FER-2013 there, or set `dataset` in params.yaml"),
    "a link to itself": (lambda path: path.symlink_to(path), "x': not found; put FER-2013 there"),
    "an empty folder": (lambda path: path.mkdir(), NO_FACES),
    "a folder without faces": (lambda path: write_folder(path, {"readme.txt": b"no faces here"}), NO_FACES),
    "a pipe": (os.mkfifo, "neither a file nor a folder"),
    "a pipe in a folder": (lambda path: (path.mkdir(), os.mkfifo(path / "0")), "0: neither a file nor a folder"),
}


@pytest.mark.parametrize("case", NOT_SOURCES)
def test_what_is_no_source_is_named(case, tmp_path):
    make, expected = NOT_SOURCES[case]
    make(tmp_path / "x")
    assert expected in refusal(tmp_path / "x")
    assert "'': not found" in refusal("")


@pytest.mark.parametrize(
    "name", ["../fer2013.csv", "/fer2013.csv", "a/../../fer2013.csv", "C:/fer2013.csv", "..\\fer2013.csv"]
)
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_members_that_point_outside_are_refused(name, write, tmp_path):
    assert "points outside the archive" in refusal(write(tmp_path / "x", {name: b""}))


def test_links_in_archives_are_refused(tmp_path):
    write_tar(tmp_path / "x.tar", {"fer2013.csv": None})
    info = zipfile.ZipInfo("fer2013.csv")
    info.external_attr = 0o120777 << 16
    write_zip(tmp_path / "x.zip", {info: "/etc/passwd"})
    for name in ("x.tar", "x.zip"):
        assert "'fer2013.csv' is a link" in refusal(tmp_path / name)


@pytest.mark.parametrize("kind", [*PACKED, *COMPRESSED])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(kind, share, tmp_path, table):
    path = write_form(kind, tmp_path / "x", table)
    os.truncate(path, int(path.stat().st_size * share))
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize("kind", PACKED)
def test_flipped_bytes_in_an_archive_are_never_accepted(kind, tmp_path, table):
    """Checksums detect what the formats protect; whatever is still read must be the original."""
    path = write_form(kind, tmp_path / "x", table)
    content = path.read_bytes()
    for position in np.random.default_rng(3).integers(0, len(content), 60):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        try:
            rows = read_source(path, seed=1)
        except InputError:
            continue
        assert_same_faces(rows, table)


def test_a_member_that_appears_twice_is_refused(tmp_path, table):
    name, payload = next(iter(table.files().items()))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr(name, payload)
        archive.writestr(name, payload)
    assert "appears twice; pack the archive again" in refusal(tmp_path / "x")


def test_links_in_a_folder_are_followed_and_loops_are_named(tmp_path, table):
    folder = write_folder(tmp_path / "x", table.files())
    shutil.move(folder / "train" / "happy", tmp_path / "elsewhere")
    (folder / "train" / "happy").symlink_to(tmp_path / "elsewhere")
    assert_same_faces(read_source(folder, seed=1), table)
    (folder / "train" / "loop").symlink_to(folder)
    assert "loop: a link to a folder that was read already" in refusal(folder)
    (folder / "train" / "loop").unlink()
    (folder / "train" / "sad" / "Training_9.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        read_source(folder, seed=1)


def encrypt(content):
    content[content.rindex(b"PK\1\2") + 8] |= 1


def lose_members(content):
    """Damage in a zip's central directory that Python's zipfile ignores."""
    second_last = content.rindex(b"PK\1\2", 0, content.rindex(b"PK\1\2"))
    content[second_last + 32 : second_last + 34] = (len(content) - second_last).to_bytes(2, "little")


def damage_header(content):
    """In its checksum: `tarfile` takes it for the end of the archive, and would leave out what follows."""
    content[content.index(b"train/sad") + 150] ^= 8


def cut_end(content):
    del content[content.rindex(b"IEND") + 8 :]


@pytest.mark.parametrize(
    ("write", "damage", "sentence"),
    [
        (write_zip, encrypt, "is encrypted; unpack it"),
        (write_zip, lose_members, "of 63 members are listed"),
        (write_tar, damage_header, "truncated or damaged"),
        (write_tar, cut_end, "truncated or damaged"),
    ],
)
def test_an_archive_that_python_would_misread_is_refused(write, damage, sentence, tmp_path, table):
    content = bytearray(write(tmp_path / "x", table.files()).read_bytes())
    damage(content)
    assert sentence in refusal(write_file(tmp_path / "x", content))


def test_a_folder_that_changes_while_it_is_read(tmp_path, table):
    """A picture is rewritten, removed, added."""
    folder = write_folder(tmp_path / "x", table.files())
    with require_unchanged(folder):
        read_source(folder, seed=1)
    picture = next(folder.rglob("*.png"))
    for change in (lambda: picture.write_bytes(b"0"), picture.unlink, picture.touch):
        with pytest.raises(InputError, match="x: changed while it was read"), require_unchanged(folder):
            change()


def draw(seed=0, height=64, width=64):
    """A picture in colour."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def draw_folders(above=("",)):
    """{path: bytes} of class folders, with these folders above them."""
    paths = [f"{split}{name}/{i:02}.png" for split in above for name in ("bored", "calm", "glad") for i in range(12)]
    return {path: encode(draw(seed), mode="RGB") for seed, path in enumerate(paths)}


def draw_table(header, rows, each=1):
    """{path: bytes} of `each` pictures per row of a table and the table; `{}` in a row is a picture's number."""
    lines = [row.format(i * each + j) for i, row in enumerate(rows) for j in range(each)]
    pictures = {f"faces/{i}.png": encode(draw(i), mode="RGB") for i in range(len(lines))}
    return {"faces.csv": "\n".join([header, *lines, ""]).encode(), **pictures}


OWN = ("train/", "val/", "test/")
LISTED = draw_table(
    "path,Label,Split", [f"faces/{{}}.png,{c},{s[:-1]}" for s in OWN for c in ("bored", "calm", "glad")], 12
)
SETS = {
    "class folders": (write_folder, draw_folders(), [30, 3, 3], "made"),
    "class folders below another, in a zip": (write_zip, draw_folders(["a/b/"]), [30, 3, 3], "made"),
    "with all splits": (write_folder, draw_folders(OWN), [36, 36, 36], "official"),
    "with splits in other words": (write_folder, draw_folders(["x/Train/", "x/valid/", "x/TEST/"]), [36, 36, 36], "official"),
    "without val": (write_folder, draw_folders(["train/", "test/"]), [33, 3, 36], "made"),
    "a table": (write_folder, LISTED, [36, 36, 36], "official"),
    "a table in a tar.gz": (write_targz, LISTED, [36, 36, 36], "official"),
    "a table below another folder, with backslashes": (
        write_zip, {f"set/{n}": c.replace(b"faces/", b".\\faces\\") if "csv" in n else c for n, c in LISTED.items()}, [36, 36, 36], "official",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SETS)
def test_any_set_in_any_form(case, tmp_path):
    write, files, counts, split = SETS[case]
    source = write(tmp_path / "set", files)
    rows = read_source(source, 1, Options(classes="auto", size=64, colour=True))
    assert (rows.classes, rows.name, rows.split, rows.scaled) == (("bored", "calm", "glad"), "set", split, 0)
    assert np.bincount(rows.usages).tolist() == counts and np.bincount(rows.labels).tolist() == [sum(counts) // 3] * 3
    pictures = sorted(content for name, content in files.items() if ".csv" not in name)
    assert sorted(encode(image, mode="RGB") for image in rows.images) == pictures
    again, other = (read_source(source, seed, Options(classes="auto", size=64, colour=True)) for seed in (1, 2))
    assert (again.images == rows.images).all() and again.md5 == other.md5
    assert (other.images == rows.images).all() == (split == "official")


SEVEN = ["Anger", "disgust", "afraid", "joy", "sad", "surprise", "neutral"]
NUMBERS = [*"0123456"]
CHOICES = {
    "FER-2013's by their usual names": (SEVEN, None, "paths", CLASSES, [0, 1, 2, 3, 4, 5, 6]),
    "FER-2013's by their numbers": (NUMBERS, None, "pixels", CLASSES, [0, 1, 2, 3, 4, 5, 6]),
    "all, sorted": (["sad", "b-c", "sad", "A"], "auto", "folders", ("A", "b-c", "sad"), [2, 1, 2, 0]),
    "all numbers, sorted as such": (["10", "9", "10"], "auto", "paths", ("9", "10"), [1, 0, 1]),
    "some, in another spelling": (["Very_Sad", "happy", "x"], ["happy", "very sad"], "folders", ("happy", "very sad"), [1, 0, -1]),
    "several as one": (["joy", "Joy", "happy", "x", "y"], {"happy": ["joy"], "rest": ["x"]}, "paths", ("happy", "rest"), [0, 0, 0, 1, -1]),
    "names for numbers": (["1", "2", "10"], ["a", "b", "c"], "folders", ("a", "b", "c"), [0, 1, 2]),
    "numbers in a mapping": (["1", "2", "10"], {"a": [1, 2], "b": [10]}, "paths", ("a", "b"), [0, 0, 1]),
    "FER-2013's picked from its numbers": (NUMBERS, ["sad", "happy"], "pixels", ("sad", "happy"), [-1, -1, -1, 1, 0, -1, -1]),
    "a number in two ways of writing": (["01", "2", "-1"], {"a": [1], "b": [-1]}, "paths", ("a", "b"), [0, -1, 1]),
    "in a table, the numbers may mean other things": (NUMBERS, [*reversed(CLASSES)], "paths", CLASSES[::-1], [0, 1, 2, 3, 4, 5, 6]),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_classes_by_name_and_by_number(case):
    names, wanted, form, classes, expected = CHOICES[case]
    choice, labels, found = label_rows(names, "set", Options(classes=wanted), form)
    assert choice.classes == found["classes"] == classes and labels.tolist() == expected
    assert found["left_out"] == {name: 1 for name, label in zip(names, expected, strict=True) if label < 0}


BAD_CHOICES = {
    "an unknown name": ([*SEVEN, "bored"], None, "'bored' is none of angry, disgust, .*set prepare.classes in params.yaml to auto"),
    "numbers for folders": (NUMBERS, None, "'0', '1', .* are none of angry"),
    "one class": (["a", "a"], "auto", "1 class \\('a'\\), expected 2 to 100"),
    "the wrong column": ([f"{i}.png" for i in range(10_000)], "auto", "10,000 classes, such as '0.png', .* is it the wrong column"),
    "the wrong column, and a list": ([f"{i}.png" for i in range(10_000)], ["a", "b"], "10,000 classes"),
    "two spellings": (["Happy", "happy", "sad"], "auto", "'Happy', 'happy' look like one class; set prepare.classes in params.yaml to {Happy: \\[Happy, happy\\], sad: \\[sad\\]}"),
    "two spellings, and a list": (["so_sad", "so sad", "x"], ["x", "so sad"], "look like one class"),
    "two ways to write a number": (["3", "03", "4"], ["x", "y", "z"], "'03', '3' look like one class; set prepare.classes in params.yaml to {03: \\[03, 3\\], 4: \\[4\\]}"),
    "a number of 5,000 digits": (["1" * 5000, "2"], "auto", "cannot name a class"),
    "a class without rows": (["a", "b"], ["a", "c"], "no row of 'c', which prepare.classes in params.yaml names; the data have 'a', 'b'"),
    "one class in two spellings": (["a", "b"], {"Old-A": ["a"], "old a": ["b"]}, "'Old-A', 'old a' are one name; remove one"),
    "a name in two classes": (["a", "b"], {"c": ["a"], "d": ["a"]}, "one name means 'c', 'd'"),
    "too few names for numbers": (["0", "1", "2"], ["a", "b"], "the labels are the numbers '0', '1', '2', and prepare.classes in params.yaml has 2 names"),
    **{f"the name {name!r}": ([name, "b"], "auto", "cannot name a class, which has 1 to 40 letters") for name in ("a,b", "$x$", "<b>", "x" * 41, "a\nb")},
    **{f"the name {name!r}": ([name, "b"], "auto", "names a column of our tables; rename it by") for name in ("Total", "no face", "left")},
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_CHOICES)
def test_classes_that_do_not_fit_are_refused(case):
    names, wanted, message = BAD_CHOICES[case]
    assert re.search(message, refuse(label_rows, names, "set", Options(classes=wanted), "folders"))


def test_parts_are_drawn_of_each_class_or_by_subject(tmp_path):
    """A tenth each, and at least one; no subject in two parts, and each class in all."""
    files = draw_table("path,label", ["faces/{}.png,a"] * 3 + ["faces/{}.png,b"] * 40)
    found = read_source(write_folder(tmp_path / "x", files), 1, Options(classes="auto", size=36))
    counts = [np.bincount(found.usages[found.labels == label]).tolist() for label in (0, 1)]
    assert counts == [[1, 1, 1], [32, 4, 4]]
    rows = [f"faces/{{}}.png,{'ab'[i % 2]},p{i // 6}" for i in range(120)]
    files = draw_table("path,label,subject", rows)
    found = read_source(write_folder(tmp_path / "y", files), 1, Options(classes="auto", size=64, colour=True))
    assert np.bincount(found.usages).tolist() == [96, 12, 12] and "whole subjects" in found.note
    subjects = {files[f"faces/{i}.png"]: i // 6 for i in range(120)}
    parts = [{subjects[encode(image, mode="RGB")] for image in found.images[found.usages == part]} for part in range(3)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert np.bincount(found.labels[found.usages == 2]).tolist() == [6, 6]


def test_what_is_no_picture_is_left_out_of_class_folders(tmp_path, capsys):
    """Hidden folders are no classes; other files are named. A link may lead to a name that is not UTF-8."""
    others = {".ipynb_checkpoints/1.png": encode(FACE), "sad/1.heic": b"x", "names.csv": b"file,label\n"}
    (tmp_path / "x").symlink_to(write_folder(tmp_path / os.fsdecode(b"f\xe9"), {**draw_folders(), **others}))
    rows = read_source(tmp_path / "x", 1, Options(classes="auto", size=48))
    assert rows.classes == ("bored", "calm", "glad") and rows.name == "f?"
    said = capsys.readouterr().err
    assert "2 files are no pictures, left out: 'names.csv', 'sad/1.heic'" in said
    assert "names.csv is not read, as it lacks the columns path and label" in said


def test_folders_with_prefixes_keep_the_challenges_parts(tmp_path, table):
    found = read_source(write_folder(tmp_path / "x", table.files()), 1, Options(classes=["sad", "happy"], size=48))
    left_out = {one: 9 for one in CLASSES if one not in ("sad", "happy")}
    assert np.bincount(found.usages).tolist() == [10, 4, 4] and found.left_out == left_out
    chosen = [(table.labels == label) & (table.usages == 2) for label in (4, 3)]
    assert (found.images[-4:] == np.concatenate([table.images[rows] for rows in chosen])).all()


def test_pictures_are_squared_and_scaled_by_area():
    """The middle square; means of 2x2 pixels where it is twice as large; a box beyond the edge repeats the border."""
    image = draw(1, 72, 100)
    face, mode, scaled = decode(encode(image, mode="RGB"), Options(size=36, colour=True))
    means = image[:, 14:86].reshape(36, 2, 36, 2, 3).mean(axis=(1, 3))
    assert (mode, scaled) == ("RGB", True)
    assert abs(face - means).max() <= 1  # rows and columns are rounded one after the other
    face, *_ = decode(encode(image[:, :, 0]), Options(), box=(-10, 20, 30, 48))
    assert (face == image[20:68, np.arange(-19, 29).clip(0), 0]).all()
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(image).save(turned, "PNG", exif=exif)
    face, *_ = decode(turned.getvalue(), Options(size=72, colour=True))
    assert (face == np.rot90(image, -1)[14:86]).all()


BAD_ROWS = {
    "no path": ("a.png,x\n,x", "line 3: path is empty"),
    "no label": ("a.png, ", "line 2: label is empty"),
    "a missing picture": ("b.png,x", "line 2: path 'b.png': no such file"),
    "another folder": ("../a.png,x", "line 2: path '../a.png' leaves the table's folder"),
    "from the root": ("/etc/passwd,x", "leaves the table's folder"),
    "another drive": ("C:\\a.png,x", "leaves the table's folder"),
    "a field more": ("a.png,x,y", "line 2: 3 fields, expected 2"),
    "an open quote": ('a.png,"x', "line 2: a quote that is never closed"),
    "no rows": ("", "a header and no rows"),
    "many": ("b.png,x\n" * 30, "30 bad rows; .*\n.*line 2: .*(\n.*){9}\n.*and 20 more"),
    "another split": ("path,label,split\na.png,x,dev", "line 2: split is 'dev', expected train, val or test"),
    "train and val": ("path,label,split\na.png,x,train\na.png,y,val", "rows of train and val alone; give train, val and test"),
    "a subject in two splits": ("path,label,split,subject\n" + "".join(f"a.png,{c},{s},Ann\n" for c in "xy" for s in ("train", "val", "test")), "1 bad subject; .*\n  Ann: in train and val and test"),
    "no subject": ("path,label,subject\na.png,x,", "line 2: subject is empty"),
    "few subjects": ("path,label,subject\na.png,x,A\na.png,y,B", "2 subjects to draw train, val, test from"),
    "few rows": ("a.png,x\na.png,y", "x has 1 row, but train, val, test need one each; add some"),
    "half a box": ("path,label,x,y\na.png,x,1,2", "a box needs all of the columns x, y, w and h"),
    "no box": ("path,label,x,y,w,h\na.png,x,1,2,0,40", "line 2: x, y, w, h are '1, 2, 0, 40', expected four numbers"),
    "no numbers": ("path,label,x,y,w,h\na.png,x,1,2,nan,4", "expected four numbers of pixels"),
    "a box elsewhere": ("path,label,x,y,w,h\n" + "a.png,x,900,2,40,40\na.png,y,900,2,40,40\n" * 3, "a.png: a box of 40x40 at 900, 2 in a picture of 48x48"),
    "a box of a pixel": ("path,label,x,y,w,h\n" + "a.png,x,1,2,1,1\na.png,y,1,2,1,1\n" * 3, "a.png: 1x1 pixels in the box"),
    "half a vote": ("path,label,votes_x\na.png,x,0.5", "line 2: votes_x has '0.5' votes, expected 0..255"),
    "too many votes": ("path,label,votes_x,votes_y\na.png,x,200,56", "256 votes in all, expected 255 at most"),
    "a group of a strange name": ("path,label,group_a/b\na.png,x,1", "the column 'group_a/b'; name it by letters"),
    "no majority": ("path,label,votes_x,votes_y\n" + "a.png,x,5,5\n" * 3, "no row has a majority of votes"),
    "a group with a NUL": ("path,label,group_a\na.png,x,1\na.png,x,1\0", "line 3: a NUL character"),
    "votes for no class": ("path,label,votes_\na.png,x,1", "'' cannot name a class"),
    "votes for one class twice": ("path,label,votes_x,votes_X\na.png,x,1,1", "a column occurs twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_table_of_paths_is_refused(case, tmp_path):
    rows, message = BAD_ROWS[case]
    rows = rows if rows.startswith("path") else f"path,label\n{rows}"
    source = write_folder(tmp_path / "x", {"faces.csv": rows.encode(), "a.png": encode(FACE)})
    found = refusal(source, classes="auto", by_votes=case == "no majority")
    assert re.search(message, found), found


BAD_SETS = {
    "a picture of one pixel": ({"bored/a.png": encode(FACE[:1, :1])}, "bored/a.png: 1x1 pixels, expected sides of 16 pixels or more"),
    "a strip": ({"bored/a.png": encode(np.zeros((10, 30_000), np.uint8))}, "bored/a.png: 30000x10 pixels, expected sides"),
    "a broken picture": ({"bored/a.png": encode(FACE)[:60]}, "bored/a.png: damaged picture"),
    "a picture without a folder": ({"1.png": encode(FACE)}, "1.png: expected a folder named as its class above it"),
    "one beside the splits": ({"b/9.png": encode(FACE), **draw_folders(OWN)}, "b/9.png: expected train/, val/ or test/ and a folder"),
    "class folders in two places": ({"b/c/9.png": encode(FACE)}, "class folders in 2 places (b, its top); give one"),
    "no val and no test": (draw_folders(["train/"]), "rows of train alone"),
    "two tables": ({**LISTED, "more.csv": b"path,label\n"}, "more than one data set (faces.csv, more.csv)"),
    "a table of pixels beside one of paths": ({**LISTED, "fer2013.csv": HEADER}, "more than one data set"),
    "a table in another encoding": ({"faces.csv": "path,label\né".encode("latin-1")}, "faces.csv: not UTF-8 at byte 11"),
    "a table with semicolons": ({"faces.csv": b"path;label\na.png;x", "x/a.png": b""}, "faces.csv: a table that is not separated by commas"),
    "a table in UTF-16": ({"faces.csv": "path\tlabel\na.png\tx".encode("utf-16"), "x/a.png": b""}, "faces.csv: a table that is not separated by commas, or not UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SETS)
def test_a_bad_set_is_refused(case, tmp_path):
    files, message = BAD_SETS[case]
    others = {} if len(files) > 1 or "faces.csv" in files else draw_folders()
    assert message in refusal(write_folder(tmp_path / "x", {**others, **files}), classes="auto", size=48)


def run_recipe(name, folder, files, monkeypatch):
    """Run the code of docs/data.md that makes a table of a set's own lists, and read that set of these files."""
    code = re.findall(r"(?:^    .*\n)+", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)
    write_folder(folder / "data" / "raw" / name, files)
    monkeypatch.chdir(folder)
    exec(textwrap.dedent(next(block for block in code if f"data/raw/{name}" in block)), {})
    return read_source(folder / "data" / "raw" / name, 1, Options(classes="auto", size=48))


def test_the_recipe_for_raf_db(tmp_path, monkeypatch):
    pictures = [f"{part}_{number:05}" for part in ("train", "test") for number in range(20)]
    lines = [f"{picture}.jpg {1 + i % 7}\n" for i, picture in enumerate(pictures)]
    files = {f"Image/aligned/{one}_aligned.jpg": encode(draw(i), "jpg", "RGB") for i, one in enumerate(pictures)}
    files["EmoLabel/list_patition_label.txt"] = "".join(lines).encode()
    rows = run_recipe("rafdb", tmp_path, files, monkeypatch)
    assert rows.classes == tuple(sorted(CLASSES)) and np.bincount(rows.usages).tolist() == [13, 7, 20]
    names = [f"Image/aligned/test_{number:05}_aligned.jpg" for number in (1, 8, 15)]  # of label 1
    faces = rows.images[(rows.usages == 2) & (rows.labels == rows.classes.index("surprise"))]
    assert {face.tobytes() for face in faces} == {decode(files[name], Options(size=48))[0].tobytes() for name in names}


def test_the_recipe_for_affectnet(tmp_path, monkeypatch):
    """Its lists have eleven numbers, of which three are no expression; that of validation may lack a header."""
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
    lines = [f"{i % 3}/{i}.png,5,6,40,50,1;2,{i % 11},0.1,-2\n" for i in range(44)]
    files = {f"Manually_Annotated_Images/{i % 3}/{i}.png": encode(draw(i), mode="RGB") for i in range(44)}
    files |= {"training.csv": (header + "".join(lines[:33])).encode(), "validation.csv": "".join(lines[33:]).encode()}
    rows = run_recipe("affectnet", tmp_path, files, monkeypatch)
    assert len(rows.classes) == 8 and np.bincount(rows.usages).tolist() == [16, 8, 8]
    box = decode(files["Manually_Annotated_Images/1/34.png"], Options(size=48), box=(5, 6, 40, 50))[0]  # 34 is happy
    assert (rows.images[(rows.usages == 2) & (rows.labels == rows.classes.index("happy"))] == box).all()


def test_settings_that_do_not_fit_a_form_are_refused(tmp_path, table):
    folder, pixels = write_folder(tmp_path / "x", LISTED), write_file(tmp_path / "x.csv", table.csv())
    for source, options, sentence in (
        (folder / "faces.csv", {}, f"names pictures; give the folder that holds it and them, {folder}"),
        (folder, {"classes": "auto"}, "faces/0.png: 64x64 pixels, expected 48x48; set prepare.size in params.yaml"),
        (folder, {"by_votes": True}, "no columns votes_<class>"),
        (pixels, {"by_votes": True}, "prepare.labels is votes, and there are none"),
        (pixels, {"colour": True}, "set prepare.colour to false"),
    ):
        assert sentence in refusal(source, **options)
