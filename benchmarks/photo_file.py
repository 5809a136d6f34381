"""How long pretrained/photo.onnx takes for a photo, beside `apps/predict.py`'s way in Python, and how much they differ.

    python benchmarks/photo_file.py [--threads 1] [--times 15] [PHOTO ...]      # without photos, those of docs/photos/
    python benchmarks/photo_file.py --equal                                     # some minutes

Both judge each photo by pretrained/compact.int8.onnx, in one process. It prints the median processor time of both (all
threads together, so that other programs disturb it less) and the median ratio. With `--equal` it says instead how
far their answers differ over the photos of photos.csv, each as it is, turned, and halved.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import checkout
from fer_pipeline.answers.recognition import PRETRAINED, Recogniser
from fer_pipeline.core.files import ROOT
from fer_pipeline.exported import onnx as exported
from fer_pipeline.inference.detection import PHOTO_SIDE
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.inference.photos import read_photo
from fer_pipeline.running.stage import catch
from photos import fetch

SIZES = ((640, 480), (1024, 768), (1920, 1440), (4000, 3000))
"""The first photo is also judged in these sizes: width, height."""
ANGLE = 30  # degrees, clockwise


def turn(photo: np.ndarray) -> np.ndarray:
    """A photo turned by `ANGLE`."""
    size = photo.shape[1], photo.shape[0]
    turned = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), -ANGLE, 1)
    return cv2.warpAffine(photo, turned, size, borderValue=(128,) * 3)


WAYS = {
    "as they are": lambda photo: photo,
    f"turned by {ANGLE} degrees": turn,
    "halved": lambda photo: cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of onnxruntime and OpenCV (%(default)s)")
    parser.add_argument("--times", type=int, default=15, help="how often each photo is judged (%(default)s)")
    parser.add_argument("--equal", action="store_true", help="compare the answers over many photos")
    parser.add_argument("photos", nargs="*", type=Path)
    args = parser.parse_args()
    exported.count_cores = lambda: args.threads
    cv2.setNumThreads(args.threads)
    recogniser, session = Recogniser("pretrained/compact.int8"), exported.open_session(str(PRETRAINED / "photo.onnx"))

    def judge(photo: np.ndarray):
        faces = recogniser.recognise(photo)
        return (
            [face.place.box for face in faces],
            [face.place.roll for face in faces],
            [face.probabilities for face in faces],
        )

    def ask(photo: np.ndarray):
        inputs = {"photo": np.ascontiguousarray(photo[:, :, ::-1]), "longest_side": np.array(PHOTO_SIDE)}
        return session.run(["boxes", "roll", "probabilities"], inputs)

    def compare(photo: np.ndarray) -> np.ndarray | None:
        """For each face, float64 (N, 3): pixels, degrees and probability by which the answers differ at most."""
        python, file = judge(photo), ask(photo)
        count = len(file[0])
        if count != len(python[0]):
            return None
        if not count:
            return np.empty((0, 3))
        gaps = (np.abs(one - np.reshape(other, one.shape)) for one, other in zip(file, python, strict=True))
        return np.stack([gap.reshape(count, -1).max(axis=1) for gap in gaps], axis=1)

    if args.equal:
        pictures = [photo.picture for photo, _ in fetch()]
        found = {way: [*map(compare, map(vary, pictures))] for way, vary in WAYS.items()}
        found["all"] = [one for gaps in found.values() for one in gaps]
        for way, some in found.items():
            gaps = np.concatenate([one for one in some if one is not None])
            most, shares = gaps.max(axis=0), [(gaps[:, 2] <= limit).mean() for limit in (1e-6, 0.02)]
            others = sum(one is None for one in some)
            print(f"{way}: {len(some)} pictures, {others} of them with other faces; {len(gaps)} faces")
            print(f"  at most {most[0]:.0f} pixels, {most[1]:.2f} degrees, {most[2]:.3f} in a probability")
            print(f"  probabilities: {shares[0]:.1%} of the faces have the same, {shares[1]:.1%} within 0.02")
        return
    photos = {path.name: read_photo(path) for path in args.photos or sorted((ROOT / "docs" / "photos").glob("*.jpg"))}
    photos |= {f"{size[0]}x{size[1]}": cv2.resize(next(iter(photos.values())), size) for size in SIZES}
    print("| photo | Python | photo.onnx | ratio |\n|---|---|---|---|")
    for name, photo in photos.items():
        seconds = []
        for _ in range(args.times + 1):
            began = time.process_time()
            judge(photo)
            between = time.process_time()
            ask(photo)
            seconds.append((between - began, time.process_time() - between))
        python, file = np.median(1000 * np.array(seconds[1:]), axis=0)
        ratio = np.median([after / before for before, after in seconds[1:]])
        print(f"| {name} | {python:.0f} ms | {file:.0f} ms | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    catch(main)
