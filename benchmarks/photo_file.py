"""How long pretrained/photo.onnx takes for a photo, beside `apps/predict.py`'s way in Python, and how much they differ.

    python benchmarks/photo_file.py [--threads 1] [--times 15] [PHOTO ...]      # without photos, those of docs/photos/

Both judge each photo by pretrained/compact.int8.onnx, in turn, in one process. It prints the median processor time of
both (all threads together, so that other programs disturb it less), the median ratio, and the largest differences.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import checkout
from fer_pipeline.core.files import ROOT
from fer_pipeline.exported import onnx as exported
from fer_pipeline.inference.detection import PHOTO_SIDE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import read_photo
from fer_pipeline.inference.recognition import PRETRAINED, Recogniser
from fer_pipeline.running.stage import catch

SIZES = ((640, 480), (1024, 768), (1920, 1440), (4000, 3000))
"""The first photo is also judged in these sizes: width, height."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of onnxruntime and OpenCV (%(default)s)")
    parser.add_argument("--times", type=int, default=15, help="how often each photo is judged (%(default)s)")
    parser.add_argument("photos", nargs="*", type=Path)
    args = parser.parse_args()
    exported.count_cores = lambda: args.threads
    cv2.setNumThreads(args.threads)
    recogniser, session = Recogniser("pretrained/compact.int8"), exported.open_session(str(PRETRAINED / "photo.onnx"))
    photos = {path.name: read_photo(path) for path in args.photos or sorted((ROOT / "docs" / "photos").glob("*.jpg"))}
    photos |= {f"{size[0]}x{size[1]}": cv2.resize(next(iter(photos.values())), size) for size in SIZES}
    print(
        "| photo | faces | Python, ms | photo.onnx, ms | ratio | pixels | degrees | probability |\n|---"
        + "|---" * 7
        + "|"
    )
    for name, photo in photos.items():
        inputs = {"photo": np.ascontiguousarray(photo[:, :, ::-1]), "longest_side": np.array(PHOTO_SIDE)}
        seconds = []
        for _ in range(args.times + 1):
            began = time.process_time()
            (faces,) = recogniser.judge([recogniser.find(photo)])
            between = time.process_time()
            boxes, roll, _, _, probabilities, _ = session.run(None, inputs)
            seconds.append((between - began, time.process_time() - between))
        python, file = np.median(1000 * np.array(seconds[1:]), axis=0)
        ratio = np.median([after / before for before, after in seconds[1:]])
        cells = ["differ"] * 3
        if len(faces) == len(boxes):
            pairs = (
                (boxes, [face.place.box for face in faces]),
                (roll, [face.place.roll for face in faces]),
                (probabilities, [face.probabilities for face in faces]),
            )
            cells = [f"{np.abs(one - np.reshape(other, one.shape)).max(initial=0):.4g}" for one, other in pairs]
        print(f"| {name} | {len(faces)} | {python:.0f} | {file:.0f} | {ratio:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    catch(main)
