"""How many frames of 640x480 per second `apps/predict.py` judges, and where the time goes.

    python benchmarks/realtime.py [NAME ...]        networks, as `apps/predict.py --list` names them; by default all

Each frame has one moving face, 170 pixels wide: the photo that comes with matplotlib. It prints the median
milliseconds of each part over 300 frames: reading (MPEG-4), recognising, smoothing, drawing.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data

import checkout
from fer_pipeline.answers.drawing import draw_faces
from fer_pipeline.answers.recognition import Recogniser, list_models
from fer_pipeline.answers.tracking import Tracker
from fer_pipeline.inference.detection import FRAME_SIDE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.running.stage import catch

FRAMES, RATE, WIDTH, HEIGHT = 300, 30, 640, 480


def write_video(path: Path) -> None:
    """A clip of `FRAMES` frames: the photo on grey, moving to and fro."""
    photo = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    photo = cv2.resize(photo, (410, 480), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for frame in range(FRAMES):
        left = round(115 * (1 + np.sin(frame / 20)))
        canvas = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        canvas[:, left : left + 410] = photo
        writer.write(canvas)
    writer.release()


def time_parts(path: Path, name: str) -> tuple[dict[str, float], int]:
    """{part: median milliseconds per frame} for the network `name`, and the number of frames with a face."""
    recogniser, tracker = Recogniser(name), Tracker()
    seconds, found = defaultdict(list), 0
    video = cv2.VideoCapture(str(path))

    def timed(part, function, *args):
        began = time.perf_counter()
        result = function(*args)
        seconds[part].append(time.perf_counter() - began)
        return result

    while (photo := timed("reading", video.read)[1]) is not None:
        faces = timed("recognising", recogniser.recognise, photo, FRAME_SIDE)
        faces = timed("smoothing", tracker.follow, faces, 1 / RATE)
        timed("drawing", draw_faces, photo, [recogniser.describe(face) for face in faces])
        found += bool(faces)
    return {part: 1000 * float(np.median(times)) for part, times in seconds.items()}, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names or list_models()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path)
        for name in names:
            parts, found = time_parts(path, name)
            total = sum(parts.values())
            listed = ", ".join(f"{part} {milliseconds:.1f}" for part, milliseconds in parts.items())
            print(f"{name}: {1000 / total:.0f} frames per second ({listed} ms); a face in {found} of {FRAMES}")


if __name__ == "__main__":
    catch(main)
