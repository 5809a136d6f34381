"""`make serve` as its user meets it: the page in a real browser, the endpoint by plain HTTP, and 50 requests at once."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from urllib.parse import quote

import numpy as np
import pytest
from apps import serve
from browser import call
from conftest import ROOT, encode, write_network
from PIL import Image
from starlette.requests import Request
from test_predict import ROOMS, TWENTY, check_face

from fer_pipeline.exported.onnx import LABELS
from fer_pipeline.faces.fer2013 import CLASSES

SERVE = [sys.executable, "apps/serve.py", "--port"]


def start(cwd):
    """Start a server that prints its address; returns the process and the port."""
    process = subprocess.Popen([*SERVE, "0"], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line, process.stderr.read()
    return process, int(line.split()[0].rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the apps, the rooms that they import, and two small networks that differ."""
    path = tmp_path_factory.mktemp("served")
    for room in ("apps", "site", *(f"stages/fer_pipeline/{name}" for name in ROOMS)):
        shutil.copytree(ROOT / room, path / room, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    (path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "responsible-use.md", path / "docs")
    write_network(path / "models" / "export" / "resnet18.int8.onnx", trained_on="fer2013.csv", val_accuracy="0.7")
    write_network(path / "models" / "export" / "vgg19.onnx", seed=1, trained_on="drawn faces")
    return path


@pytest.fixture(scope="module")
def port(folder):
    process, port = start(folder)
    yield port
    process.terminate()
    process.communicate(timeout=20)
    assert sorted(path.name for path in folder.iterdir()) == [
        "apps",
        "docs",
        "models",
        "site",
        "stages",
    ]  # no picture was kept


def test_a_photo_by_http(port, photo_file):
    status, answer = call(port, "POST", "/api/faces", photo_file.read_bytes())
    assert status == 200 and (answer["model"], answer["width"], answer["height"]) == ("resnet18.int8", 512, 600)
    (face,) = answer["faces"]
    check_face(face)
    other = call(port, "POST", "/api/faces?model=vgg19", photo_file.read_bytes())[1]
    assert answer["warning"] is None and other["warning"].startswith("vgg19 knows drawn faces only")
    assert other["model"] == "vgg19" and other["faces"][0]["probabilities"] != face["probabilities"]
    status, answer = call(port, "POST", "/api/faces", b"--x\r\n", {"Content-Type": f"{TYPE}; boundary=x"})
    assert status == 400 and "send forms to /api/photos" in answer["error"]


FACTS = ("name", "trained_on", "answers_accuracy", "answers_compared_with", "val_accuracy", "classes")
NETWORKS = [
    ("resnet18.int8", "fer2013.csv", 0.7, LABELS, 0.7, [*CLASSES]),
    ("vgg19", "drawn faces", None, LABELS, 0.0, [*CLASSES]),
]


def test_its_page_leads_to_responsible_use(port):
    assert 'href="responsible-use.txt"' in call(port, "GET", "/")[1]
    assert "## Do not use them" in call(port, "GET", "/responsible-use.txt")[1]


def test_its_networks_and_its_health(port):
    models = [dict(zip(FACTS, facts, strict=True)) for facts in NETWORKS]
    assert call(port, "GET", "/api/models") == (200, {"models": models, "default": "resnet18.int8"})
    assert call(port, "GET", "/api/health") == (200, {"status": "ok", "model": "resnet18.int8", "waiting": 0})


def test_its_description(port, photo_file):
    """It describes each path, and answers have the keys that it describes."""
    status, described = call(port, "GET", "/api/openapi.json")
    assert status == 200 and described["openapi"].startswith("3.")
    assert set(described["paths"]) == {"/api/models", "/api/health", "/api/faces", "/api/photos"}
    answer, known = call(port, "POST", "/api/faces", photo_file.read_bytes())[1], call(port, "GET", "/api/models")[1]
    answers = {"Answer": answer, "FaceAnswer": answer["faces"][0], "Models": known, "ModelFacts": known["models"][0]}
    for name, found in answers.items():
        assert set(found) == set(described["components"]["schemas"][name]["properties"])
    refused = described["paths"]["/api/faces"]["post"]["responses"]["400"]
    assert refused["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


BOUNDARY = "----a boundary0123456789"
FORM = f'multipart/form-data; boundary="{BOUNDARY}"'


def make_form(files):
    """The body and the headers of a form with files: [(name, bytes)]."""
    body = b""
    for name, content in files:
        head = f'Content-Disposition: form-data; name="photo"; filename="{name}"\r\nContent-Type: image/jpeg'
        body += f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode(), {"Content-Type": FORM}


def test_several_photos_in_one_request(port, photo_file):
    """Each has its answer or an error, in the order sent; the bytes arrive as they were sent."""
    photo = photo_file.read_bytes()
    files = [("a.jpg", photo), ("bäd.jpg", b"a\r\n\r\ntext\r\n"), ("c.jpg", photo), ("empty.jpg", b"")]
    status, answer = call(port, "POST", "/api/photos", *make_form(files))
    alone = call(port, "POST", "/api/faces", photo)[1]["faces"]
    found = [(one["name"], (one["answer"] or {}).get("faces"), (one["error"] or "")[:39]) for one in answer["photos"]]
    assert status == 200 and found == [
        ("a.jpg", alone, ""),
        ("bäd.jpg", None, "bäd.jpg is not a readable picture or is"),
        ("c.jpg", alone, ""),
        ("empty.jpg", None, "empty.jpg is empty; give a picture"),
    ]


def make_request(body, length, kind):
    """A request that says its body has `length` bytes; what `body` lacks of them does not arrive within a minute."""
    starts = iter(range(0, len(body), 65_536))

    async def receive():
        if (start := next(starts, None)) is None:
            await asyncio.sleep(60)
        end = start + 65_536
        return {"type": "http.request", "body": body[start:end], "more_body": end < length}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}, receive)


def test_pictures_of_a_form_never_touch_the_disk(monkeypatch):
    """Not even the largest picture is written to a temporary file."""
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", None)
    pictures = [("a.jpg", b"x" * serve.LARGEST_UPLOAD), ("b.jpg", b"y")]
    body, headers = make_form(pictures)

    assert asyncio.run(serve.read_form(make_request(body, len(body), headers["Content-Type"]))) == pictures


FACES, PHOTOS = "/api/faces?model=", "/api/photos"
TYPE = "multipart/form-data"
PHOTO, LARGE = [("a", b"x")], [("a", bytes(90_000_000))]
NO_PART, CUT = (b"--x\r\n\r\nabc\r\n--x--", f"{TYPE}; boundary=x"), (make_form(PHOTO)[0][:-9], FORM)
MANY, MANY_LARGE = (make_form(PHOTO * 101 + last)[0] for last in ([], LARGE))
HUGE = make_form([*LARGE, ("b", bytes(10_000_000))])[0]
NO_FORMS = [(b"abc", ""), (b"abc", TYPE), (b"--x", f"{TYPE}; boundary=y"), NO_PART, CUT]
REFUSED = {  # {sentence: (status, path, pairs of a body and its type)}
    "the picture is empty; give a picture": (400, FACES, [(b"", "")]),
    "the picture is not a readable picture or is damaged": (400, FACES, [(b"a text", "")]),
    "the picture has more than 20 MB; scale it down": (413, FACES, [(bytes(20_000_001), ""), (bytes(90_000_000), "")]),
    "no form with pictures": (400, PHOTOS, NO_FORMS),
    "the form ends in the middle; send it again": (400, PHOTOS, [(make_form(PHOTO * 2)[0][:-9], FORM)]),
    "the form has a name that cannot be read": (400, PHOTOS, [(make_form(PHOTO)[0], f"{FORM}; charset=undefined")]),
    "the form has more than 100 pictures; send fewer": (413, PHOTOS, [(MANY, FORM), (MANY_LARGE, FORM)]),
    "the form has more than 100 MB; send fewer pictures": (413, PHOTOS, [(HUGE, FORM)]),
}
for name in ("vgg99", "../../../etc/passwd", "/tmp/other.onnx", "export/../vgg19"):
    unknown = f"no network named {name!r}; there are resnet18.int8, vgg19"
    REFUSED[unknown] = (400, FACES + quote(name, safe=""), [(b"x", "")])


@pytest.mark.parametrize("sentence", REFUSED)
def test_bad_requests_are_one_sentence(port, sentence):
    status, path, bodies = REFUSED[sentence]
    for body, kind in bodies:
        found, answer = call(port, "POST", path, body, {"Content-Type": kind} if kind else {})
        assert found == status and answer["error"].startswith(sentence) and "\n" not in answer["error"]


@pytest.mark.parametrize("read", [serve.read_picture, serve.read_form])
def test_an_upload_that_does_not_arrive_in_time(read, monkeypatch):
    monkeypatch.setattr(serve, "UPLOAD_TIMEOUT", 0.1)
    monkeypatch.setattr(serve.recognition, "check_name", lambda name: None)
    request = make_request(b"--x\r\n", 99_999, f"{TYPE}; boundary=x")
    answer = asyncio.run(serve.answer_request(request, "x", read, None))
    assert answer.status_code == 408 and b"did not arrive within 0.1 s; send it again" in answer.body


@pytest.mark.parametrize("path", ["/apps/serve.py", "/../apps/serve.py", "/%2e%2e/serve.py", "/docs", "/openapi.json"])
def test_nothing_else_is_served(port, path):
    """And nothing at all to a page elsewhere whose name resolves to 127.0.0.1."""
    status, answer = call(port, "GET", path)
    assert status == 404 and answer["error"] == "not found; see /api"
    status, answer = call(port, "X" * 1000, path)
    assert status in (404, 405) and len(answer["error"]) < 100
    assert call(port, "GET", "/", headers={"Host": "evil.example"})[0] == 400


def test_a_page_of_another_site_may_not_ask(port, photo_file):
    photo = photo_file.read_bytes()
    status, answer = call(port, "POST", "/api/faces", photo, {"Origin": "http://evil.example"})
    assert status == 403 and answer["error"].startswith("pages of http://evil.example may not ask here")
    assert call(port, "POST", "/api/faces", photo, {"Origin": f"http://127.0.0.1:{port}"})[0] == 200


def test_a_network_that_is_replaced(folder, port, photo_file):
    def ask():
        return call(port, "POST", "/api/faces?model=resnet18", photo_file.read_bytes())[1]["faces"]

    path = write_network(folder / "models" / "export" / "resnet18.onnx", seed=5)
    before = ask()
    write_network(path, seed=6)
    assert ask() != before
    path.unlink()


def test_it_ends_while_an_upload_hangs(folder):
    process, port = start(folder)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        request = f"POST /api/faces HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n\r\nabc"
        connection.sendall(request.encode())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert "Traceback" not in stderr


def test_fifty_requests_at_once(port, photo_file):
    with Image.open(photo_file) as whole:
        photo = encode(np.asarray(whole.resize((128, 150))), "jpg", "RGB")

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: call(port, "POST", "/api/faces", photo), range(50)))
    assert {status for status, _ in answers} == {200}
    assert len({json.dumps(answer.get("faces")) for _, answer in answers}) == 1


@pytest.mark.release
def test_the_page_shows_a_photo(browser, port, photo_file, tmp_path):
    """It shows boxes, seven bars and which network answered, or what is wrong, and asks nothing from elsewhere."""
    browser.open(port)
    browser.choose(photo_file)
    status = browser.wait("return document.querySelector('#faces li') && document.querySelector('#status').innerText")
    assert status.startswith("1 face: ") and "(resnet18.int8, " in status
    about = "Your own network (the default), trained on fer2013.csv. Its answers match the data set's labels on 70\u00a0% of"
    assert browser.read("#about") == f"{about} the validation faces."
    rows = browser.run("return [...document.querySelectorAll('#faces .row')].map(row => row.innerText.split('\\n'))")
    shares = [int(row[-1].split()[0]) for row in rows]
    assert [row[0] for row in rows] == [*CLASSES] and sum(shares) == pytest.approx(100, abs=4)
    bars = "return [...document.querySelectorAll('#faces i')].map(bar => bar.getBoundingClientRect().width)"
    widths = browser.run(bars)
    assert widths.index(max(widths)) == shares.index(max(shares))
    frame = "const d = document.querySelector('#view').getContext('2d').getImageData({}, 1, 1).data; return [d[0], d[1], d[2]]"
    (face,) = call(port, "POST", "/api/faces", photo_file.read_bytes())[1]["faces"]
    left, top, _, height = face["box"]
    assert browser.run(frame.format(f"{left}, {top + height // 2}")) in ([46, 125, 50], [97, 97, 97])
    assert browser.read("#warning") == ""
    browser.run("const t = document.querySelector('#threshold'); t.value = 100; t.oninput()")
    assert browser.read("#status").startswith("1 face: uncertain, perhaps ")
    card = browser.read("#faces h2")
    assert card.startswith("uncertain, perhaps ") and "100" not in card
    browser.run("const s = document.querySelector('#model'); s.value = 'vgg19'; s.onchange()")
    browser.wait("return document.querySelector('#status').innerText.includes('(vgg19, ')")
    assert "knows drawn faces only" in browser.read("#warning")
    assert browser.list_foreign(f"http://127.0.0.1:{port}/") == []
    (tmp_path / "text.jpg").write_text("a text")
    browser.choose(tmp_path / "text.jpg")
    told = browser.wait("return document.querySelector('#status.error')?.innerText")
    assert told.startswith("text.jpg is not a readable picture or is damaged; use ")


@pytest.mark.release
def test_the_page_looks_through_the_camera(browser, port):
    """Chromium's test picture moves and has no face: every frame is answered until the camera is stopped.

    A click that comes before the browser has started the camera stops it as well: all its tracks end.
    """
    browser.open(port)
    browser.run(
        "const asked = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices); window.tracks = [];"
        "navigator.mediaDevices.getUserMedia = async what => {"
        " const given = await asked(what); window.tracks.push(...given.getTracks()); return given; };"
        "document.querySelector('#camera').click(); document.querySelector('#camera').click();"
    )
    browser.wait("return window.tracks.length > 0")
    ended = "return window.tracks.every(track => track.readyState === 'ended')"
    browser.wait(ended)
    assert browser.read("#camera") == "Start the camera"
    browser("POST", f"{browser.find('#camera')}/click")
    browser.wait("return document.querySelector('#status').innerText.startsWith('No face found (')")
    assert browser.read("#camera") == "Stop the camera"
    assert browser.run("const v = document.querySelector('#view'); return [v.width, v.height]") == [640, 480]
    browser("POST", f"{browser.find('#camera')}/click")
    browser.wait(ended)
    assert browser.read("#camera") == "Start the camera"


def make_crowd(path, photo_file, columns=6, rows=3, gap=0):
    """A photo of many small faces, close together."""
    photo = Image.open(photo_file).crop((140, 60, 390, 360)).resize((100, 120))
    crowd = Image.new("RGB", ((100 + gap) * columns, 120 * rows))
    for place in range(columns * rows):
        crowd.paste(photo, ((100 + gap) * (place % columns), 120 * (place // columns)))
    crowd.save(path)
    return path


@pytest.fixture(params=[("calm", "<b>bored</b> & 'tired'"), CLASSES, TWENTY], ids=len)
def own(request, folder):
    """The classes of the network `own`."""
    path = write_network(folder / "models" / "export" / "own.onnx", 3, request.param, (40, 40, 3))
    yield request.param
    path.unlink()


@pytest.mark.release
@pytest.mark.parametrize("width", [390, 1280])
def test_labels_never_cover_each_other(browser, port, photo_file, tmp_path, own, width):
    """A label covers no other label and no other face, no text another; nothing is wider than the screen."""
    browser("POST", "window/rect", width=width, height=900)
    browser.open(port)
    browser.run("const s = document.querySelector('#model'); s.value = 'own'; s.onchange()")
    assert browser.read("#classes") == f"{len(own)} labels ({', '.join(own)})"
    crowd = make_crowd(tmp_path / "crowd.png", photo_file)
    browser.choose(crowd)
    assert browser.wait("return document.querySelectorAll('#faces li').length") == 18
    drawn = "return ['labels', 'boxes'].map(key => JSON.parse(document.querySelector('#view').dataset[key]))"
    labels, boxes = browser.run(drawn)
    assert len(labels) >= 9

    def overlap(one, other):
        return all(one[a] < other[a] + other[b] and other[a] < one[a] + one[b] for a, b in (("x", "w"), ("y", "h")))

    assert not any(overlap(one, other) for one, other in combinations(labels, 2))
    assert all(sum(overlap(label, box) for box in boxes) <= 1 for label in labels)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    names = "return [...document.querySelectorAll('#faces li:first-child .row div')].map(name => name.innerText)"
    assert browser.run(names) == [*own]
    clipped = "return [...document.querySelectorAll('#faces *')].filter(one => one.scrollWidth > one.clientWidth + 1 "
    assert browser.run(f"{clipped} && one.clientWidth).map(one => one.outerHTML)") == []


@pytest.mark.release
def test_several_photos_on_the_page(browser, port, photo_file, tmp_path):
    """Each has a row, which says what is wrong with a bad one; a click shows a photo; all can be saved."""
    (tmp_path / "text.jpg").write_text("a text")
    crowd = make_crowd(tmp_path / "crowd.png", photo_file, 2, 1, gap=100)
    browser.open(port)
    browser.choose(photo_file, tmp_path / "text.jpg", crowd)
    browser.wait("return document.querySelector('#status').innerText === '3 photos, 3 faces; 1 failed'")
    cells = browser.run("return [...document.querySelectorAll('#photos tbody tr')].map(row => row.cells[2].innerText)")
    starts = ("1 face: ", "text.jpg is not a readable picture", "2 faces, both ")
    assert all(map(str.startswith, cells, starts))
    browser.run("document.querySelectorAll('#photos tbody button')[1].click()")
    browser.wait("return document.querySelectorAll('#photos tr')[2].ariaCurrent === 'true'")
    assert browser.read("#status").startswith("text.jpg is not a readable picture")
    assert not browser.run("return document.querySelector('#json').disabled")
    browser.run("document.querySelectorAll('#photos tbody button')[0].click()")
    browser.wait("return document.querySelectorAll('#faces li').length === 1")
    assert browser.run("return document.querySelectorAll('#faces li').length") == 1
    browser.run("document.querySelectorAll('#photos tbody button')[2].click()")
    browser.wait("return document.querySelectorAll('#faces li').length === 2")
    borders = (  # of both boxes, two pixels outside, where only that of a face that is pointed at reaches
        "const view = document.querySelector('#view'); return JSON.parse(view.dataset.boxes).map(box =>"
        " [...view.getContext('2d').getImageData(box.x - 2, box.y + box.h / 2, 1, 1).data].join());"
    )
    before = browser.run(borders)
    browser.run("document.querySelector('#faces li').dispatchEvent(new MouseEvent('mouseenter'))")
    assert [a == b for a, b in zip(before, browser.run(borders), strict=True)] == [False, True]
    browser.run(
        "window.saved = []; URL.createObjectURL = blob => { window.saved.push(blob); return 'data:,'; };"
        "HTMLAnchorElement.prototype.click = () => {}; document.querySelector('#json').click();"
        "document.querySelector('#picture').click()"
    )
    browser.wait("return window.saved.length === 2")
    told = browser.wait("window.saved[0].text().then(text => window.told = text); return window.told")
    assert [len(one["answer"]["faces"]) if one["answer"] else None for one in json.loads(told)] == [1, None, 2]
    assert browser.run("return window.saved[1].type") == "image/png"


@pytest.mark.release
def test_the_description_opens_without_a_network(browser, port):
    browser.open(port, "api")
    text = browser.wait("return document.querySelectorAll('section').length > 8 && document.body.innerText")
    assert "POST /api/photos" in text and "how many of ten people would likely say so" in text
    assert browser.list_foreign(f"http://127.0.0.1:{port}/") == []


def test_a_port_that_is_taken_is_one_sentence(folder, port):
    process = subprocess.run([*SERVE, str(port)], cwd=folder, capture_output=True, text=True, timeout=60)
    sentence = f"error: port {port} of 127.0.0.1 is not available; choose another with --port\n"
    assert (process.returncode, process.stderr) == (1, sentence)


def test_nothing_of_the_training_is_loaded(folder):
    """It loads FastAPI and what that needs; `folder` has the rooms of the apps alone."""
    code = "import runpy, sys; sys.path[:0] = ['apps']; runpy.run_path('apps/serve.py'); print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    loaded = set(process.stdout.split())
    assert {"cv2", "fastapi", "numpy", "onnxruntime"} <= loaded, process.stderr
    training = "torch tensorflow keras h5py psutil onnx pandas scipy matplotlib ruamel ruamel.yaml jinja2 sklearn"
    assert not loaded & {*training.split(), "PIL", "torchvision", "dvc"}
