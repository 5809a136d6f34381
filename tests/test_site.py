"""The page without a server, as its visitor meets it: built by `make site`, on a plain file server, in Chromium."""

import csv
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from browser import PHOTOS, install, judge, save, serve, start_browser, write_camera
from conftest import ROOT, write_network
from PIL import ExifTags, Image
from test_package import write_video

import build_site
from fer_pipeline.answers.recognition import Recogniser
from fer_pipeline.inference.photo_file import build_photo
from fer_pipeline.inference.photos import read_photo


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that `make site` makes; it is served below an address, as GitHub does."""
    install()
    folder = tmp_path_factory.mktemp("site") / "page"
    build_site.build(build_site.PRETRAINED / "photo.onnx", folder)
    return folder


@pytest.fixture(scope="module")
def port(built):
    server = serve(built.parent)
    yield server.server_port
    server.shutdown()


def test_its_size_and_what_it_names(built):
    files = {path.name: path for path in built.iterdir()}
    assert sum(path.stat().st_size for path in files.values()) < 15e6
    kept = json.loads(files["sw.js"].read_text().splitlines()[1].removeprefix("const FILES = ").rstrip(";"))
    assert {*kept, "sw.js"} == {*files, "./"} - {"index.html"}
    own = [path for name, path in files.items() if name.endswith((".js", ".css", ".html")) and name != "ort.js"]
    assert not [path for path in own if "http" in path.read_text().replace("http-equiv", "")]


@pytest.mark.release
def test_it_answers_as_python_does(browser, port, tmp_path):
    """The same faces, their boxes within a pixel, probabilities within 0.02; a page that asks for nothing elsewhere.

    One of the photos lies on its side, as its EXIF data say.
    """
    with Image.open(PHOTOS[0]) as photo:
        exif = photo.getexif()
        exif[ExifTags.Base.Orientation] = 6
        photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", quality=95, exif=exif)
    recogniser = Recogniser("pretrained/compact.int8")
    browser.open(port, "page/")
    assert "no picture leaves it" in browser.read("#hint") and browser.run(
        "return !document.querySelector('#model').checkVisibility()"
    )
    assert browser.read("#about").startswith("A network that comes with the project, trained on fer2013.csv.")
    for path in (*PHOTOS, tmp_path / "turned.jpg"):
        answer, photo = judge(browser, path), read_photo(path)
        faces = recogniser.recognise(photo)
        expected = [recogniser.describe(face) for face in faces]
        assert (answer["height"], answer["width"], answer["name"]) == (*photo.shape[:2], path.name)
        assert len(answer["faces"]) == len(expected) > 0
        for found, one in zip(answer["faces"], expected, strict=True):
            assert {*found} == {*one} and np.abs(np.subtract(found["box"], one["box"])).max() <= 1
            shares = [[*face["probabilities"].values()] for face in (found, one)]
            assert np.abs(np.subtract(*shares)).max() <= 0.02 and abs(found["annotators"] - one["annotators"]) <= 1
            same = ("emotion", "uncertain", "cut", "roll")
            assert [found[key] for key in same] == [one[key] for key in same]
    assert browser.list_foreign(f"http://127.0.0.1:{port}/") == []


@pytest.mark.release
def test_it_opens_and_answers_without_a_network_connection(built, tmp_path):
    """After a visit; the next visit with one brings what is new."""
    shutil.copytree(built, tmp_path / "page")
    server = serve(tmp_path)
    port = server.server_port
    with start_browser() as browser:
        browser.open(port, "page/")
        names = "caches.keys().then(names => window.names = names); return window.names"
        ready = "navigator.serviceWorker.ready.then(() => window.ready = true); return window.ready"
        browser.wait(ready)
        assert len(browser.wait(names)) == 1
        networks = json.loads((tmp_path / "page" / "networks.json").read_text())
        networks["models"][0]["classes"] = ["glad", "sad"]
        (tmp_path / "page" / "networks.json").write_text(json.dumps(networks))
        script = tmp_path / "page" / "sw.js"
        script.write_text(script.read_text().replace('VERSION = "', 'VERSION = "new'))
        browser.open(port, "page/")
        assert browser.read("#classes").startswith("7 labels")
        browser.wait(f"{names}?.[0]?.includes(' new') && window.names.length === 1", 60)
        server.shutdown()
        server.server_close()
        browser.open(port, "page/")
        assert browser.read("#classes") == "2 labels (glad, sad)"
        assert judge(browser, PHOTOS[0])["faces"]


@pytest.mark.release
def test_it_looks_through_the_camera(port, tmp_path):
    write_camera(tmp_path / "face.y4m")
    with start_browser(f"use-file-for-fake-video-capture={tmp_path / 'face.y4m'}") as browser:
        browser.open(port, "page/")
        browser("POST", f"{browser.find('#camera')}/click")
        browser.wait("return document.querySelector('#status').innerText.startsWith('1 face: ')", 60)
        browser("POST", f"{browser.find('#camera')}/click")
        assert browser.read("#camera") == "Start the camera"
        assert browser.list_foreign(f"http://127.0.0.1:{port}/") == []


@pytest.mark.release
def test_photos_and_a_video_in_one_table(browser, port, tmp_path):
    """What is no picture says so; a video is judged four times a second; CSV has the columns of `predict --csv`.

    A camera that is refused meanwhile stops nothing.
    """
    (tmp_path / "text.jpg").write_text("a text")
    (tmp_path / "broken.webm").write_text("a text")
    files = [PHOTOS[0], tmp_path / "text.jpg", write_video(tmp_path / "film.webm"), tmp_path / "broken.webm"]
    browser.open(port, "page/")
    browser.run("navigator.mediaDevices.getUserMedia = async () => { throw new Error('refused'); }")
    browser.choose(*files)
    browser("POST", f"{browser.find('#camera')}/click")
    browser.wait("return document.querySelector('#status').innerText === '4 files; 2 failed'", 60)
    assert browser.read("#camera") == "Start the camera"
    cells = browser.run("return [...document.querySelectorAll('#photos tbody tr')].map(row => row.cells[2].innerText)")
    assert cells[0] == "1 face: happy" and cells[1].startswith("text.jpg is not one that this browser reads")
    assert cells[2] == "4 frames: happy 100\u00a0%" and cells[3].startswith("broken.webm is not a video that this")
    table = list(csv.DictReader(io.StringIO(save(browser, "#csv"))))
    assert [(row["file"], row["seconds"], row["face"]) for row in table] == [
        (PHOTOS[0].name, "", "1"), *(("film.webm", f"{quarter / 4:g}", "1") for quarter in range(4)),
    ]  # fmt: skip
    command = ["python", "apps/predict.py", PHOTOS[0], "--csv", tmp_path / "faces.csv"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with open(tmp_path / "faces.csv", newline="") as file:
        (expected,) = csv.DictReader(file)
    close = {*expected} - {"file", "emotion", "uncertain", "cut", "frame", "seconds"}
    assert [*table[0]] == [*expected] and {key: table[0][key] for key in ("emotion", "uncertain", "cut")} == {
        key: expected[key] for key in ("emotion", "uncertain", "cut")
    }
    assert all(abs(float(table[0][key]) - float(expected[key])) <= 1.0 for key in close)
    told = json.loads(save(browser, "#json"))
    assert [bool(one["error"]) for one in told] == [False, True, False, True] and len(told[2]["frames"]) == 4
    browser.choose(files[2])
    browser.wait("return document.querySelector('#status').innerText.startsWith('film.webm: 4 frames')", 60)
    alone = json.loads(save(browser, "#json"))
    assert alone["name"] == "film.webm" and alone["error"] is None and len(alone["frames"]) == 4


@pytest.mark.release
def test_any_network_in_a_page(browser, tmp_path):
    """Of other classes, in colour, with one head; the page says what trained it, and lists its classes."""
    network = write_network(tmp_path / "x.onnx", 0, ("bored & tired", "calm"), (58, 58, 3), size="64")
    install()
    photo = tmp_path / "photo.onnx"
    photo.write_bytes(build_photo(network))
    build_site.build(photo, tmp_path / "page")
    server = serve(tmp_path / "page")
    browser.open(server.server_port)
    assert browser.read("#classes") == "2 labels (bored & tired, calm)"
    (face,) = judge(browser, PHOTOS[0])["faces"]
    assert [*face["probabilities"]] == ["bored & tired", "calm"] and face["annotators"] is None
    assert browser.read("#about").startswith("A network, trained on ")
    server.shutdown()


def test_what_takes_no_photos_is_one_sentence(call_stage, tmp_path):
    install()
    (tmp_path / "text.onnx").write_text("a text")
    for other in (write_network(tmp_path / "x.onnx"), tmp_path / "text.onnx", tmp_path / "none.onnx"):
        refused = call_stage(build_site, "--network", other, "--out", tmp_path / "page")
        assert refused.returncode == 1 and refused.stderr.startswith(f"error: {other}: not a file that takes photos")
        assert refused.stderr.count("\n") == 1 and not (tmp_path / "page").exists()
