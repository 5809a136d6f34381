"""How closely FER-2013 is cropped: the box that OpenCV's detector finds in its images, as a share of them.

    python benchmarks/margin.py [data/prepared/faces.h5]

`MARGIN` in stages/fer/inference/photos.py is measured here, on 1,000 train images, enlarged three times and padded on
each side by a third, with their border repeated. Images with no box or with several are left out. The drawn faces of
the embedded sample are cropped in their own way: the margin comes from FER-2013.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

from fer.core.stage import InputError, catch
from fer.data.faces import read_faces
from fer.data.fer2013 import SIZE
from fer.inference.photos import cv2, open_detector

IMAGES, SCALE = 1000, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="data/prepared/faces.h5")
    images = read_faces(parser.parse_args().data)[0]["train"].images
    detector, side, found = open_detector(), SCALE * SIZE, []
    for row in np.random.default_rng(0).permutation(len(images))[:IMAGES]:
        large = cv2.resize(images[row], (side, side), interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, *[SIZE] * 4, cv2.BORDER_REPLICATE)
        boxes = detector.detectMultiScale(large, scaleFactor=1.05, minNeighbors=4, minSize=(side // 3, side // 3))
        if len(boxes) == 1:
            left, top, width, height = (boxes[0] - [SIZE, SIZE, 0, 0]) / side
            found.append((width, left + width / 2, top + height / 2))
    if not found:
        raise InputError("no face found in any image; give the faces.h5 of FER-2013")
    width, x, y = np.median(found, axis=0)
    print(
        f"one face in {len(found)} of {min(IMAGES, len(images))} images; the median box is {width:.3f} of the image "
        f"wide, its middle at {x:.3f}, {y:.3f}; margin on each side {(1 / width - 1) / 2:.3f} of the box"
    )


if __name__ == "__main__":
    catch(main)
