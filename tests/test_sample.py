"""The drawn sample: the challenge's form, same seed same bytes, and action units that act where they should."""

import csv
import hashlib
import itertools
from collections import Counter
from io import BytesIO
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

ROWS = {"Training": 70, "PublicTest": 14, "PrivateTest": 7}
AT_REST = dict.fromkeys(sample.UNITS, 0.0)


@pytest.fixture(scope="module")
def table():
    """The bytes of a small sample, and its rows as Python's csv reads them."""
    content, _ = sample.make_csv(ROWS, seed=1, weak_share=0.15)
    return content, list(csv.DictReader(content.decode("ascii").splitlines()))


@pytest.fixture
def head():
    """The average head: every trait halfway, no hair over the face, no glasses, no beard."""
    halfway = {name: (low + high) / 2 for name, (low, high) in sample.TRAITS.items()}
    return SimpleNamespace(**halfway, **dict.fromkeys(sample.ODDS, False))


def change(head, unit, activation=1.0):
    """What a unit changes in the picture: (48, 48) float64, positive where it gets lighter."""
    return sample.render_face(head, AT_REST | {unit: activation}) - sample.render_face(head, AT_REST)


def test_rows_have_the_form_of_the_challenge(table):
    """And every class is in every split, shuffled."""
    content, rows = table
    assert content.startswith(b"emotion,pixels,Usage\n") and content.endswith(b"\n") and b"\r" not in content
    assert [row["Usage"] for row in rows] == [usage for usage, count in ROWS.items() for _ in range(count)]
    for row in rows:
        pixels = [int(pixel) for pixel in row["pixels"].split(" ")]
        assert len(pixels) == 48 * 48 and {*pixels} <= {*range(256)} and len({*pixels}) > 20, "not blank"
    assert len({row["pixels"] for row in rows}) == len(rows), "no two faces are equal"
    for usage, count in ROWS.items():
        labels = [int(row["emotion"]) for row in rows if row["Usage"] == usage]
        assert Counter(labels) == dict(enumerate(sample.count_classes(count).values()))
        assert labels != sorted(labels)


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


@pytest.mark.parametrize("emotion", CLASSES)
def test_votes_follow_the_intensity(emotion):
    """How many of 2,000 annotators see an emotion; what the others say adds up to the rest."""

    def see(intensity):
        rng = np.random.default_rng(0)
        return sum(sample.draw_votes(emotion, intensity, rng)[emotion] for _ in range(200)) / 2000

    expected = (0.85, 0.85) if emotion == "neutral" else (0.365, 0.95)
    assert (see(0.1), see(1.0)) == pytest.approx(expected, abs=0.03)
    assert sum(sample.MISTAKEN[emotion].values()) == pytest.approx(1)


def test_the_seed_alone_decides_the_bytes(table):
    content, _ = table
    (again, votes), (other, other_votes) = (sample.make_csv(ROWS, seed, weak_share=0.15) for seed in (1, 2))
    assert again == content
    assert other != content and other_votes != votes


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


@pytest.mark.parametrize("emotion", CLASSES)
def test_an_emotion_without_intensity_is_the_neutral_face(emotion, head):
    neutral = sample.render_face(head, sample.action_units("neutral", 1.0))
    assert np.array_equal(sample.render_face(head, sample.action_units(emotion, 0.0)), neutral)
    full = sample.render_face(head, sample.action_units(emotion, 1.0))
    assert np.array_equal(full, neutral) == (emotion == "neutral")


def test_emotions_are_made_of_known_units_only():
    assert tuple(sample.EMOTIONS) == CLASSES
    assert set().union(*sample.EMOTIONS.values()) == set(sample.UNITS)


@pytest.mark.parametrize(
    ("unit", "top", "bottom"),
    [(1, 0, 24), (2, 0, 24), (4, 0, 24), (5, 8, 28), (6, 12, 34), (7, 12, 28), (9, 8, 42)]
    + [(unit, 28, 48) for unit in (12, 15, 16, 20, 23, 26)],
)
def test_each_unit_acts_in_its_part_of_the_face(unit, top, bottom, head):
    difference = np.abs(change(head, unit))
    assert difference.max() > 0.15
    assert difference[top:bottom].sum() > 0.9 * difference.sum()
    assert 0 < np.abs(change(head, unit, 0.5)).sum() < difference.sum()


def test_no_two_units_do_the_same(head):
    differences = [change(head, unit).ravel() for unit in sample.UNITS]
    correlation = np.corrcoef(differences) - np.eye(len(sample.UNITS))
    assert np.abs(correlation).max() < 0.8


@pytest.mark.parametrize(
    ("unit", "area", "low", "high"),
    [
        (26, np.s_[37:43, 20:28], -1, -0.15),  # a dropped jaw opens a dark mouth
        (5, np.s_[15:19], 0, 1),  # more white shows under a raised lid
        (7, np.s_[17:22], -1, 0),  # and less between tightened ones
    ],
)
def test_a_unit_makes_its_area_lighter_or_darker(unit, area, low, high, head):
    assert low < change(head, unit)[area].mean() < high


def test_lip_corners_go_up_in_a_smile_and_down_in_a_frown(head):
    """The corner is the darkest spot of the mouth's outer fifth."""
    corner = slice(15, 19)
    smile, frown = (sample.render_face(head, AT_REST | {unit: 1.0})[32:46, corner] for unit in (12, 15))
    assert smile.min(axis=1).argmin() < frown.min(axis=1).argmin()


def test_brows_go_up_at_their_own_ends(head):
    """1 leaves the bright forehead darker above the inner ends of the brows, 2 above the outer ones."""
    inner, outer = change(head, 1)[8:14], change(head, 2)[8:14]
    middle, sides = slice(18, 30), [*range(6, 14), *range(34, 42)]
    assert np.abs(inner[:, middle]).mean() > np.abs(inner[:, sides]).mean()
    assert np.abs(outer[:, sides]).mean() > np.abs(outer[:, middle]).mean()


def test_a_frontal_face_is_symmetric_below_the_eyes(head):
    """The eyes are not: the light glints on the same side of both."""
    face = sample.render_face(head, sample.action_units("surprise", 1.0))
    assert np.abs(face - face[:, ::-1])[24:].max() < 1e-9


def test_the_command_writes_its_files(tmp_path, call_stage, monkeypatch):
    """Twice the same bytes; the sheet has ten faces per emotion."""
    drawn = SimpleNamespace(train_rows=9, val_rows=8, test_rows=7, weak_share=0.5)
    monkeypatch.setattr(sample, "read_params", lambda: SimpleNamespace(seed=5, sample=drawn))
    written = []
    for name in ("one", "two"):
        paths = {"--out": "raw/sample.csv", "--votes": "raw/votes.csv", "--sheet": "sample.png"}
        paths = {option: tmp_path / name / path for option, path in paths.items()}
        assert call_stage(sample, *itertools.chain(*paths.items())).returncode == 0
        written.append([path.read_bytes() for path in paths.values()])
    assert written[0] == written[1]
    assert not list(tmp_path.rglob(".*"))
    usages = [row["Usage"] for row in csv.DictReader(written[0][0].decode("ascii").splitlines())]
    assert Counter(usages) == dict(zip(USAGES, (9, 8, 7), strict=True))
    with Image.open(BytesIO(written[0][2])) as sheet:
        assert sheet.format == "PNG" and sheet.width >= 10 * 96 and sheet.height >= 7 * 96
        assert np.asarray(sheet).std() > 30
