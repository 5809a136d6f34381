"""Draw training faces as the networks see them: to look at, before hours of training on them.

Reads   data/prepared/faces.h5 (its train rows).
Writes  plots/data/augmented.png: of each network the same faces, varied as `augment` of its profile says.
Alone   python stages/draw_augmented.py --data data/prepared/faces.h5 --picture plots/data/augmented.png
"""

import argparse
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.figures.data import draw_varied
from fer_pipeline.figures.style import to_png
from fer_pipeline.networks.network import find_crop, find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.running.apart import call_apart
from fer_pipeline.running.stage import run
from fer_pipeline.training.common.profile import read_trainings


def vary(
    framework: str, faces: npt.NDArray[np.uint8], settings: dict[str, Any], seed: int
) -> dict[str, npt.NDArray[np.uint8]]:
    """{network of a framework: faces uint8 (N, S, S) or (N, S, S, 3), varied as in training, before mixup}."""
    data = import_module(f"fer_pipeline.training.{framework}.data")
    return {
        name: data.vary_faces(faces, find_crop(name, faces.shape[1]), settings[name].augment, seed)
        for name, network in find_networks(settings).items()
        if framework == network.FRAMEWORK
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--picture", required=True, help="PNG to write")
    args = parser.parse_args()
    params = read_params()
    networks, settings = find_networks(params.networks), read_trainings(params)
    splits, facts = read_faces(args.data)
    train = splits["train"]
    rows = np.concatenate([np.flatnonzero(train.labels == label)[:1] for label in range(len(facts.classes))])
    faces = train.images[rows]
    frameworks = dict.fromkeys(network.FRAMEWORK for network in networks.values())
    found = call_apart(partial(vary, faces=faces, settings=settings, seed=params.seed), [*frameworks])
    varied = {name: crops for of_framework in found.values() for name, crops in of_framework.items()}
    pictures = {network.TITLE: varied[name] for name, network in networks.items()}
    figure = draw_varied({"as they are": faces, **pictures}, [facts.classes[label] for label in train.labels[rows]])
    write_files({args.picture: to_png(figure)})
    print(f"{len(rows)} faces, {len(networks)} networks -> {args.picture}")


if __name__ == "__main__":
    run(main)
