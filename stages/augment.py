"""Draw training faces as the networks see them: to look at, before hours of training on them.

Reads   data/prepared/faces.h5 (its train rows).
Writes  plots/data/augmented.png: of each network the same faces, varied as its `augment` in params.yaml says.
Alone   python stages/augment.py --data data/prepared/faces.h5 --picture plots/data/augmented.png
"""

import argparse
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures.data import draw_varied
from fer_pipeline.figures.style import set_style, to_png
from fer_pipeline.networks.network import find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.running.apart import call_apart
from fer_pipeline.running.stage import run


def choose_rows(train: Split) -> npt.NDArray[np.int64]:
    """Positions of the first face of each class that train has, in the order of the classes."""
    return np.concatenate([np.flatnonzero(train.labels == label)[:1] for label in range(len(CLASSES))])


def vary(name: str, faces: npt.NDArray[np.uint8], augments: dict[str, Any], seed: int) -> npt.NDArray[np.uint8]:
    """Faces uint8 (N, 48, 48) as the network `name` is trained on them: uint8 (N, size, size), before mixup."""
    network = find_network(name)
    framework = import_module(f"fer_pipeline.training.{network.FRAMEWORK}.data")
    varied: npt.NDArray[np.uint8] = framework.vary_faces(faces, network.INPUT_SIZE, augments[name], seed)
    return varied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--picture", required=True, help="PNG to write")
    args = parser.parse_args()
    names, seed, profile = read_params("networks", "seed", "profiles.${profile}")
    train = read_faces(args.data)[0]["train"]
    rows = choose_rows(train)
    faces = train.images[rows]
    augments = {name: getattr(profile, name).augment for name in names}
    varied = call_apart(partial(vary, faces=faces, augments=augments, seed=seed), [*names])
    pictures = {find_network(name).TITLE: crops for name, crops in varied.items()}
    set_style()
    figure = draw_varied({"as they are": faces, **pictures}, [CLASSES[label] for label in train.labels[rows]])
    write_files({args.picture: to_png(figure)})
    print(f"{len(rows)} faces, {len(names)} networks -> {args.picture}")


if __name__ == "__main__":
    run(main)
