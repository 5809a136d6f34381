"""Val accuracy of a trained network by several lists of views: what to choose its `test_views` in params.yaml from.

    python tools/choose_views.py compact

It prints a table, best first. Only val rows have a part in it.
"""

import argparse
import os

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.networks.load import load_model, predict
from fer_pipeline.networks.network import find_network, list_views
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Views
from fer_pipeline.running.stage import catch

TURNS: tuple[list[float], ...] = ([0], [-4, 0, 4], [-6, 0, 6], [-9, 0, 9], [-12, 0, 12], [-12, -6, 0, 6, 12])
SCALES = ([1.0], [0.95, 1.05], [0.9, 1.0, 1.1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="one of those in params.yaml")
    name = parser.parse_args().network
    os.chdir(ROOT)
    params = read_params()
    if name not in params.networks:
        raise InputError(f"{name}: not in params.yaml, which has {', '.join(params.networks)}")
    framework = find_network(name).FRAMEWORK
    (splits, facts), path = read_faces("data/prepared/faces.h5"), params.networks[name]
    pairs = [(turns, scales) for turns in TURNS for scales in SCALES if len(turns) * len(scales) <= 5]
    lists = [Views(turns=turns, scales=scales, mirrored=True) for turns, scales in pairs]
    settings: list[Views | str] = ["centre", *(["ten_crop"] if framework == "pytorch" else []), *lists]
    model, val = load_model(name, path, params.compute.precision, facts), splits["val"]
    said = predict(model, val.images, path, *map(list_views, settings))
    scores = {str(one): (head.argmax(1) == val.labels).mean() for one, (head, _) in zip(settings, said, strict=True)}
    print(f"{name} on {len(val.labels):,} val faces")
    for setting, score in sorted(scores.items(), key=lambda one: -one[1]):
        print(f"{score:.2%}  {setting}")


if __name__ == "__main__":
    catch(main)
