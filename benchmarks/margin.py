"""How closely FER-2013 is cropped, and what turning a tilted face upright is worth.

    python benchmarks/margin.py data/prepared/faces.h5 [--network pretrained/compact.int8] [--faces 1500]

It measures `BOX_HEIGHT`, `MIDDLE_OFFSET` and `UPRIGHT` of fer_pipeline.inference.detection on train faces: how high the
detector's box is, how far its middle lies above the image's, and how far faces are turned. Then it turns val faces by
up to 45 degrees and prints three accuracies: of the faces as they are, cropped from the turned photo and turned
upright, and cropped without turning. All images are enlarged four times and padded by half, with their border
repeated. A face that is not found is cropped at its known place. The embedded sample's drawn faces are cropped
differently, so these numbers come from FER-2013.
"""

import argparse

import numpy as np

import checkout
from fer_pipeline.answers.recognition import choose_model, find_model
from fer_pipeline.core.errors import InputError
from fer_pipeline.exported.onnx import load_exported
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.faces.fer2013 import SIZE
from fer_pipeline.inference.detection import BOX_HEIGHT, MIDDLE_OFFSET, Detector, Found, crop_face
from fer_pipeline.inference.opencv import cv2
from fer_pipeline.running.stage import catch

SCALE = 4
SIDE, PAD = SCALE * SIZE, SCALE * SIZE // 2
MIDDLE = SIDE / 2 + PAD
ANGLES = (0, 10, 20, 30, 45, -10, -20, -30, -45)


def make_photo(image, angle=0):
    """A face of FER-2013 as a larger photo, turned clockwise about its middle."""
    large = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, *[PAD] * 4, cv2.BORDER_REPLICATE)
    matrix = cv2.getRotationMatrix2D((MIDDLE, MIDDLE), -angle, 1)
    return cv2.cvtColor(cv2.warpAffine(large, matrix, large.shape, borderMode=cv2.BORDER_REPLICATE), cv2.COLOR_GRAY2BGR)


def measure_boxes(detector, images):
    """Print the median height and place of the detector's boxes in images (N, 48, 48)."""
    found = [faces[0] for faces in (detector.find(make_photo(image)) for image in images) if len(faces) == 1]
    if not found:
        raise InputError("no face found in any image; give the faces.h5 of FER-2013")
    height = np.median([max(face.size) / SIDE for face in found])
    offset = np.median([(MIDDLE - face.middle[1]) / SIDE for face in found])
    roll = np.percentile([abs(face.roll) for face in found], 75)
    print(f"one face found in {len(found)} of {len(images)} train images")
    print(f"height of its box as a share of the image: {height:.3f} (BOX_HEIGHT is {BOX_HEIGHT})")
    print(f"its middle above the image's, likewise: {offset:.3f} (MIDDLE_OFFSET is {MIDDLE_OFFSET})")
    print(f"three of four faces are turned by at most {roll:.0f} degrees")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="data/prepared/faces.h5")
    parser.add_argument("--network", help="as for apps/predict.py --model")
    parser.add_argument("--faces", type=int, default=1500, help="of val (%(default)s)")
    args = parser.parse_args()
    splits, _ = read_faces(args.data)
    detector, model = Detector(), load_exported(find_model(args.network or choose_model()))
    random = np.random.default_rng(0)
    measure_boxes(detector, splits["train"].images[random.permutation(len(splits["train"].labels))[:1000]])

    chosen = random.permutation(len(splits["val"].labels))[: args.faces]
    images, labels = splits["val"].images[chosen], splits["val"].labels[chosen]

    def score(crops):
        return f"{(model.predict(np.stack(crops)).argmax(axis=1) == labels).mean():.2%}"

    print(f"{len(images)} val faces, {model.name}: {score(images)} as they are")
    print("turned by   found   cropped upright   cropped as they lie")
    for angle in ANGLES:
        upright, lying, hits = [], [], 0
        for image in images:
            photo = make_photo(image, angle)
            faces = detector.find(photo)
            hits += bool(faces)
            missed = Found((MIDDLE, MIDDLE - MIDDLE_OFFSET * SIDE), (SIDE, SIDE * BOX_HEIGHT), 0.0, 0.0)
            face = max(faces, key=lambda face: face.score) if faces else missed
            upright.append(crop_face(photo, face, SIZE, False))
            lying.append(crop_face(photo, face._replace(roll=0.0), SIZE, False))
        print(f"{angle:9d}   {hits / len(images):5.1%}   {score(upright):>15}   {score(lying):>19}", flush=True)


if __name__ == "__main__":
    catch(main)
