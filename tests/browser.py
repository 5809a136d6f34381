"""Headless Chromium for the tests of pages."""

import contextlib
import http.client
import json
import shutil
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from filelock import FileLock

import build_site
from clones import ROOT
from fer_pipeline.core.errors import InputError
from fer_pipeline.inference.opencv import cv2

FLAGS = ("headless", "no-sandbox", "disable-gpu", "window-size=1280,1000")
FLAGS += ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")
FLAGS += ("host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",)
LOGS = {"browser": "ALL", "performance": "ALL"}
PHOTOS = sorted((ROOT / "docs" / "photos").glob("*.jpg"))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element in WebDriver's answers."""


def call(port, method, path, body=None, headers=None):
    """(status, JSON or text) of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    kind = answer.getheader("Content-Type", "")
    return answer.status, json.loads(content) if kind.startswith("application/json") else content.decode()


def install():
    """onnxruntime-web in site/node_modules, once for all test workers."""
    if not shutil.which("npm"):
        pytest.skip("no npm here; install Node.js")
    with FileLock(build_site.SITE / ".node_modules.lock"):
        try:
            build_site.install()
        except InputError as error:
            if not subprocess.run(["npm", "ping", "--silent"], capture_output=True).returncode:
                raise
            pytest.skip(f"{error}; it reaches no registry")


class Browser:
    """Headless Chromium, which is steered over HTTP by the WebDriver standard."""

    def __init__(self, port, session):
        self.port, self.session = port, session

    def __call__(self, method, path, **body):
        status, answer = call(self.port, method, f"/session/{self.session}/{path}", json.dumps(body))
        assert status == 200, answer
        return answer["value"]

    def run(self, script):
        return self("POST", "execute/sync", script=script, args=[])

    def read(self, selector):
        """The text of an element."""
        return self.run(f"return document.querySelector('{selector}').innerText")

    def find(self, selector):
        element = self("POST", "element", using="css selector", value=selector)
        return f"element/{element[ELEMENT]}"

    def open(self, port, path=""):
        """Open a page of a server on `port`; if it is the first of its folder, wait for its networks."""
        self("POST", "url", url=f"http://127.0.0.1:{port}/{path}")
        if not path or path.endswith("/"):
            self.wait("return document.querySelectorAll('#model option').length")

    def choose(self, *files):
        self("POST", f"{self.find('#file')}/value", text="\n".join(map(str, files)))

    def read_file(self, path):
        """The HTML of a file, once its scripts have drawn each of its plots."""
        self("POST", "url", url=path.as_uri())
        self.wait("return [...document.querySelectorAll('.vega-embed')].every(plot => plot.querySelector('svg'))")
        return self.run("return document.documentElement.outerHTML")

    def list_foreign(self, own="file:"):
        """What was asked for outside of `own`, the start of the page's address, and what its scripts complained about."""
        events, said = (self("POST", "se/log", type=kind) for kind in ("performance", "browser"))
        logged = [json.loads(event["message"])["message"] for event in events]
        sent = [one["params"]["request"]["url"] for one in logged if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith((own, "data:", "blob:"))] + said

    def wait(self, script, seconds=20):
        """The first true value that a script returns."""
        until = time.monotonic() + seconds
        while not (found := self.run(script)):
            assert time.monotonic() < until, self.run("return document.body.innerText")
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def start_browser(*flags):
    """A `Browser` with these flags of Chromium as well."""
    driver = shutil.which("chromedriver")
    if not driver:
        pytest.skip("no chromedriver here; install Debian's package chromium-driver")
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        port = next(int(line.split()[-1].rstrip(".")) for line in process.stdout if "successfully on port" in line)
        options = {"args": [f"--{flag}" for flag in (*FLAGS, *flags)]}
        always = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": LOGS}
        status, answer = call(port, "POST", "/session", json.dumps({"capabilities": {"alwaysMatch": always}}))
        assert status == 200, answer
        session = answer["value"]["sessionId"]
        try:
            yield Browser(port, session)
        finally:
            call(port, "DELETE", f"/session/{session}")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def browser():
    with start_browser() as started:
        yield started


class Quiet(SimpleHTTPRequestHandler):
    """A plain file server, as of a static host."""

    def log_message(self, *_):
        pass


def serve(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def save(browser, button):
    """What a button saves, as text."""
    browser.run(
        "const { createObjectURL } = URL, { click } = HTMLAnchorElement.prototype; window.told = null;"
        "URL.createObjectURL = blob => { blob.text().then(text => window.told = text); return 'data:,'; };"
        f"HTMLAnchorElement.prototype.click = () => {{}}; document.querySelector('{button}').click();"
        "URL.createObjectURL = createObjectURL; HTMLAnchorElement.prototype.click = click;"
    )
    return browser.wait("return window.told")


def judge(browser, file):
    """The answer of the page to a photo, as it saves it."""
    browser.choose(file)
    browser.wait("return document.querySelector('#status').innerText.includes(' ms)')", 60)
    return json.loads(save(browser, "#json"))


def write_camera(path):
    """A video of a face, 640x480, as Chromium takes it for a camera's."""
    picture = np.full((480, 640, 3), 90, np.uint8)
    picture[:, 120:520] = cv2.resize(cv2.imread(str(PHOTOS[1])), (400, 480))
    frame = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes()
    path.write_bytes(b"YUV4MPEG2 W640 H480 F15:1 Ip A1:1 C420jpeg\n" + 15 * (b"FRAME\n" + frame))
