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
import zipfile
from functools import partial

import numpy as np
import pytest
from conftest import Table, encode, write_folder, write_zip
from PIL import Image
from test_photos import claim_size

from fer_pipeline.core.errors import InputError
from fer_pipeline.raw.source import read_source, require_unchanged


def assert_same_faces(rows, table):
    """All forms of the same data have the same images of a Usage and a label, in one order."""
    for usage, label in itertools.product(range(3), range(7)):
        found, expected = (one.images[(one.usages == usage) & (one.labels == label)] for one in (rows, table))
        assert np.array_equal(found, expected)


def refusal(path):
    """What the error says of a source that is refused."""
    with pytest.raises(InputError) as error:
        read_source(path, seed=1)
    return str(error.value)


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


def rename(table, change):
    """The table's pictures under other names."""
    return {change(name): payload for name, payload in table.files().items()}


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
        lambda table: rename(table, lambda name: name.replace("train/", "Train/").replace("png", "PNG")),
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


def test_jpeg_is_read_as_pillow_reads_it(tmp_path, table):
    rows = read_source(write_folder(tmp_path / "x", table.files(format="jpg")), seed=1)
    assert len(rows.labels) == len(table)
    assert np.abs(rows.images[rows.labels == 3].astype(int).mean() - table.images[table.labels == 3].mean()) < 2


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
    "label in words": (lambda t: replace_row(t, 5, ("^.", "happy")), "line 5: emotion is 'happy'"),
    "one pixel less": (lambda t: replace_row(t, 6, (r" \d+,", ",")), "line 6: 2,303 pixels, expected 2,304"),
    "one pixel more": (lambda t: replace_row(t, 6, (r" (\d+),", r" \1 0,")), "line 6: 2,305 pixels"),
    "pixel 256": (lambda t: replace_row(t, 7, (r",\d+ ", ",256 ")), "line 7: pixel 0 is '256', expected 0..255"),
    "pixel in words": (lambda t: replace_row(t, 7, (r",\d+ ", ",dark ")), "line 7: pixel 0 is 'dark'"),
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
    "a pipe in a folder": (
        lambda path: (path.mkdir(), os.mkfifo(path / "0")),
        "0: neither a file nor a folder; remove",
    ),
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
