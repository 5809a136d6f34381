"""How fast the page without a server answers in headless Chromium, beside `apps/predict.py`'s way in Python.

    make site && python benchmarks/page.py [--times 7] [--seconds 10]
    make site && python benchmarks/page.py --picture docs/page.webp       # draw the page, on a screen and on a phone

It prints the time from opening the page to the first answer, the median time of later photos in the page and in Python
on one thread, in turn, with their ratio, and how many of a camera's frames of 640x480 with a face the page judges in a
second. It needs Debian's package chromium-driver.
"""

import argparse
import base64
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import checkout
from fer_pipeline.answers.recognition import Recogniser
from fer_pipeline.core.files import ROOT
from fer_pipeline.exported import onnx as exported
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import read_photo
from fer_pipeline.running.stage import catch

sys.path.insert(0, str(ROOT / "tests"))
from browser import PHOTOS, judge, serve, start_browser, write_camera


def draw(port: int) -> Image.Image:
    """The page with an answer: light on a screen, dark on a phone."""
    pictures = []
    for photo, scheme, width, height in ((PHOTOS[0], 1, 1200, 860), (PHOTOS[1], 0, 390, 860)):
        with start_browser(f"blink-settings=preferredColorScheme={scheme}", "hide-scrollbars") as browser:
            screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            browser("POST", "goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=screen)
            browser.open(port)
            judge(browser, photo)
            pictures.append(Image.open(io.BytesIO(base64.b64decode(browser("GET", "screenshot")))))
    whole = Image.new("RGB", (sum(one.width for one in pictures) + 20, pictures[0].height), "white")
    whole.paste(pictures[0], (0, 0))
    whole.paste(pictures[1], (pictures[0].width + 20, 0))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="how often each photo is judged (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="for which the camera is watched (%(default)s)")
    parser.add_argument("--picture", type=Path, help="draw the page into this file, and measure nothing")
    args = parser.parse_args()
    exported.count_cores = lambda: 1
    cv2.setNumThreads(1)
    recogniser, server = Recogniser("pretrained/compact.int8"), serve(ROOT / "build" / "site")
    if args.picture:
        draw(server.server_port).save(args.picture, quality=90)
        return
    with tempfile.TemporaryDirectory() as folder:
        camera = Path(folder) / "face.y4m"
        write_camera(camera)
        with start_browser(f"use-file-for-fake-video-capture={camera}") as browser:
            browser.open(server.server_port)
            judge(browser, PHOTOS[0])
            print(f"first answer {browser.run('return performance.now()') / 1000:.1f} s after opening the page")
            for path in PHOTOS:
                pairs = []
                for _ in range(args.times):
                    page = judge(browser, path)["milliseconds"]
                    began = time.perf_counter()
                    recogniser.recognise(read_photo(path))
                    pairs.append((page, 1000 * (time.perf_counter() - began)))
                page, python = np.median(pairs, axis=0)
                ratio = np.median([one / other for one, other in pairs])
                print(f"{path.name}: {page:.0f} ms, in Python {python:.0f} ms, ratio {ratio:.1f}", flush=True)
            browser.run(
                "window.frames = 0; const status = document.querySelector('#status');"
                "new MutationObserver(() => window.frames++).observe(status, { childList: true });"
                "document.querySelector('#camera').click()"
            )
            browser.wait("return window.frames > 5")
            before, began = browser.run("return [window.frames, performance.now()]")
            time.sleep(args.seconds)
            after, ended = browser.run("return [window.frames, performance.now()]")
            said = browser.read("#status")
            print(f"camera: {1000 * (after - before) / (ended - began):.1f} frames per second ({json.dumps(said)})")
    server.shutdown()


if __name__ == "__main__":
    catch(main)
