"""The drawn sample: the forms of the challenge and of FER+, and the same bytes for the same seed."""

import hashlib
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import sample
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.faces.votes import find_majority
from fer_pipeline.raw.ferplus import read_votes
from fer_pipeline.raw.rows import USAGES
from fer_pipeline.raw.source import read_source
from fer_pipeline.sample.paths import SAMPLE, SAMPLE_VOTES

ROWS = {"Training": 70, "PublicTest": 14, "PrivateTest": 7}


@pytest.fixture(scope="module")
def table():
    """The bytes of a small sample."""
    return sample.make_csv(ROWS, seed=1, weak_share=0.15)[0]


def test_rows_have_the_form_of_the_challenge(table, tmp_path):
    """Read by the pipeline's own reader; no face is blank or there twice, and each split has all classes, shuffled."""
    (tmp_path / "x.csv").write_bytes(table)
    rows = read_source(tmp_path / "x.csv", 0)
    assert table.startswith(b"emotion,pixels,Usage\n") and table.endswith(b"\n") and b"\r" not in table
    assert rows.usages.tolist() == np.repeat([0, 1, 2], [*ROWS.values()]).tolist()
    assert min(len(np.unique(image)) for image in rows.images) > 20
    assert len({image.tobytes() for image in rows.images}) == len(rows.images)
    for usage, count in enumerate(ROWS.values()):
        labels = rows.labels[rows.usages == usage].tolist()
        assert np.bincount(labels).tolist() == [*sample.count_classes(count).values()] and labels != sorted(labels)


def test_votes_have_the_form_of_ferplus(tmp_path, monkeypatch):
    """Read by the pipeline's own reader; most annotators see a clear emotion, and fewer see a weak one."""
    monkeypatch.setattr(sample, "draw_face", lambda *_: np.zeros((48, 48), np.uint8))  # faces take time, and votes none
    paths = tmp_path / "faces.csv", tmp_path / "votes.csv"
    contents = sample.make_csv({"Training": 700, "PublicTest": 70, "PrivateTest": 70}, seed=1, weak_share=0.15)
    write_files(dict(zip(paths, contents, strict=True)))
    rows = read_source(paths[0], 0)
    votes = read_votes(paths[1], "faces.csv", rows)
    assert (votes.sum(axis=1) == 10).all()
    assert 0.75 < (find_majority(votes) == rows.labels).mean() < 0.95
    assert (votes[:, 7:9].sum(axis=0) > 0).all(), "some say contempt, or cannot tell"


def test_another_seed_gives_other_faces_and_votes(table):
    (again, votes), (other, other_votes) = (sample.make_csv(ROWS, seed, weak_share=0.15) for seed in (1, 2))
    assert again == table and other != table and other_votes != votes


def test_the_drawing_is_the_same_on_every_machine():
    """Whoever changes a line of the drawing changes everyone's sample: then renew this digest, and the results."""
    faces = (face for _, face, _ in sample.draw_split("Training", 14, seed=2013, weak_share=0.2))
    assert hashlib.sha256(b"".join(face.tobytes() for face in faces)).hexdigest()[:16] == "94e75e35201dba14"


@pytest.mark.parametrize("rows", [7, 70, 400, 2400, 28709])
def test_class_counts_follow_the_shares(rows):
    counts = sample.count_classes(rows)
    assert tuple(counts) == CLASSES and sum(counts.values()) == rows
    total = sum(sample.CLASS_SHARES.values())
    for name, count in counts.items():
        assert count >= 1 and abs(count - rows * sample.CLASS_SHARES[name] / total) <= 1
    assert rows != total or counts == sample.CLASS_SHARES


def test_weak_share_is_the_share_of_weak_faces():
    rng = np.random.default_rng(0)
    for weak_share in (0.0, 0.3, 1.0):
        intensities = np.array([sample.draw_intensity(weak_share, rng) for _ in range(2000)])
        assert np.mean(intensities < 0.5) == pytest.approx(weak_share, abs=0.04)
        assert np.all((intensities > 0) & (intensities <= 1))


def test_the_command_writes_its_files(tmp_path, call_stage, monkeypatch):
    """The CSVs of `make_csv`; and a sheet that has ten faces per emotion."""
    drawn = SimpleNamespace(train_rows=9, val_rows=8, test_rows=7, weak_share=0.5)
    params = {"seed": 5, "sample": drawn, "dataset": SAMPLE, "prepare": SimpleNamespace(votes=SAMPLE_VOTES)}
    monkeypatch.setattr(sample, "read_params", lambda: SimpleNamespace(**params))
    paths = [tmp_path / name for name in ("raw/sample.csv", "raw/votes.csv", "sample.png")]
    options = itertools.chain(*zip(("--out", "--votes", "--sheet"), paths, strict=True))
    assert call_stage(sample, *options).returncode == 0
    expected = sample.make_csv(dict(zip(USAGES, (9, 8, 7), strict=True)), 5, 0.5)
    assert tuple(path.read_bytes() for path in paths[:2]) == expected
    with Image.open(paths[2]) as sheet:
        assert sheet.format == "PNG" and sheet.width >= 10 * 96 and sheet.height >= 7 * 96
        assert np.asarray(sheet).std() > 30
