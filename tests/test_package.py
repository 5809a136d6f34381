"""The package that `pip install` takes, away from the clone: the library, and the commands."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from apps import serve
from conftest import refuse
from PIL import ExifTags, Image

from clones import ENVIRONMENT, ROOT
from fer_pipeline import Faces

PHOTO = ROOT / "docs" / "photos" / "eileen-collins.jpg"


def write_video(path):
    """A second of the photo, ten frames, in a format that OpenCV writes and browsers play (WebM), or not (MP4)."""
    picture = cv2.imread(str(PHOTO))
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*{".mp4": "mp4v", ".webm": "VP80"}[path.suffix]), 10, picture.shape[1::-1]
    )
    for _ in range(10):
        writer.write(picture)
    writer.release()
    return path


def test_every_form_of_a_picture_has_the_same_answer(tmp_path):
    """The array in grey has another conversion to grey than the network's; pixels are rounded."""
    faces = Faces()
    (face,) = faces.find(PHOTO)
    assert (face.emotion, face.box, face.annotators, face.cut) == ("happy", (180, 63, 89, 112), 10, False)
    assert face.confidence == face.probabilities["happy"] and sum(face.probabilities.values()) == pytest.approx(
        1, abs=1e-3
    )
    with Image.open(PHOTO) as photo:
        assert faces.find(str(PHOTO)) == [face]
        for same in (photo, np.asarray(photo), photo.convert("L"), np.asarray(photo.convert("L"))):
            (other,) = faces.find(same)
            assert other.emotion == "happy" and np.abs(np.subtract(other.box, face.box)).max() <= 2
    (tmp_path / "below").mkdir()
    shutil.copy(PHOTO, tmp_path / "below" / "a.jpg")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "below" / "._a.jpg").write_text("no picture")
    with Image.open(PHOTO) as photo:
        exif = photo.getexif()
        exif[ExifTags.Base.Orientation] = 6
        photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        assert faces.find(turned) == faces.find(tmp_path / "turned.png") == [face]
    (tmp_path / "turned.png").unlink()
    assert [*faces.search(tmp_path)] == [(tmp_path / "below" / "a.jpg", [face])]
    write_video(tmp_path / "film.mp4")
    frames = [*faces.watch(tmp_path / "film.mp4")]
    assert [round(seconds, 6) for seconds, _ in frames] == [tenth / 10 for tenth in range(10)]
    assert all([(one.emotion, one.number) for one in found] == [("happy", 1)] for _, found in frames)
    deep = Image.fromarray(np.asarray(Image.open(PHOTO).convert("L")).astype(np.uint16) * 257)
    assert deep.mode == "I;16" and [one.emotion for one in faces.find(deep)] == ["happy"]
    pretrained = ROOT / "pretrained" / "compact.int8.onnx"
    assert [one.uncertain for one in Faces(pretrained, threshold=0.9).find(PHOTO.with_stem("grace-hopper"))] == [True]


def test_what_is_no_picture_is_one_sentence(tmp_path):
    faces = Faces()
    expected = "give a path, an image of Pillow, or uint8 (height, width) or (height, width, 3)"
    assert refuse(faces.find, np.zeros((5, 5, 3))) == f"the picture is an array of float64 (5, 5, 3); {expected}"
    assert expected in refuse(faces.find, 3) and expected in refuse(faces.find, np.zeros((5, 5, 4), np.uint8))
    assert expected in refuse(faces.find, np.zeros((0, 5, 3), np.uint8)) and expected in refuse(faces.find, np.zeros(5))
    (tmp_path / "cut.jpg").write_bytes(PHOTO.read_bytes()[:5000])
    assert "the picture is damaged" in refuse(faces.find, Image.open(tmp_path / "cut.jpg"))
    assert refuse(Faces, None, 2) == "threshold is 2, expected 0 to 1"
    assert "detector_score is 0, expected more than 0" in refuse(Faces, None, 0.5, 0)
    assert "not found" in refuse(faces.find, tmp_path / "none.jpg")
    assert "no such folder" in refuse(lambda: [*faces.search(tmp_path / "none")])
    assert "is not there or not a readable video" in refuse(lambda: [*faces.watch(PHOTO.with_suffix(".mp4"))])
    assert "no network named 'x'" in refuse(Faces, "x")


USE = """
import json, sys
from fer_pipeline import Faces
import fer_pipeline
(face,) = Faces().find("photo.jpg")
print(json.dumps([fer_pipeline.__file__, face.emotion, face.box]))
print([name for name in ("torch", "tensorflow", "pandas", "h5py", "dvc", "pydantic") if name in sys.modules])
"""


@pytest.mark.release
def test_the_wheel_needs_no_clone(tmp_path):
    """Built from what git has, installed into an environment that has its dependencies alone, used elsewhere."""
    source, elsewhere, environment = tmp_path / "source", tmp_path / "elsewhere", tmp_path / "environment"
    subprocess.run(["git", "clone", "-q", ROOT, source], check=True)
    subprocess.run(["make", "-s", "wheel", f"PYTHON={sys.executable}"], cwd=source, check=True)
    (wheel,) = (source / "build" / "wheel").glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl") and wheel.stat().st_size < 5_000_000
    page = {f"fer_pipeline/{path.relative_to(ROOT)}" for path, _ in serve.FILES.values() if "site" in path.parts}
    assert len(page) == 5 and page <= {*zipfile.ZipFile(wheel).namelist()}
    shutil.rmtree(source / "stages")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    bin_ = environment / "bin"
    subprocess.run([bin_ / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
    elsewhere.mkdir()
    shutil.copy(PHOTO, elsewhere / "photo.jpg")

    def call(*command, code=0):
        run = subprocess.run(command, cwd=elsewhere, env=ENVIRONMENT, capture_output=True, text=True)
        assert run.returncode == code, run.stdout + run.stderr
        return run.stdout + run.stderr

    place, heavy = call(bin_ / "python", "-c", USE).splitlines()
    file, emotion, box = json.loads(place)
    assert Path(file).is_relative_to(environment) and (emotion, box) == ("happy", [180, 63, 89, 112]) and heavy == "[]"
    assert call(bin_ / "fer-predict", "photo.jpg") == "photo.jpg  89x112 at 180,63  happy  100%  10 of 10 annotators\n"
    assert "pretrained/compact.int8  fer2013.csv" in call(bin_ / "fer-predict", "--list")
    assert "uvicorn is not installed; run `python -m pip install 'fer-pipeline[serve]'`" in call(
        bin_ / "fer-serve", code=1
    )
    subprocess.run([bin_ / "python", "-m", "pip", "install", "--quiet", f"{wheel}[serve]"], check=True)
    command = [bin_ / "fer-serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=elsewhere, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
        for name in ("/", "/page.js", "/responsible-use.txt", "/api/models"):
            with urllib.request.urlopen(address + name, timeout=30) as answer:
                assert answer.status == 200 and answer.read()
    finally:
        server.terminate()
        server.communicate()
