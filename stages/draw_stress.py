"""Draw what damaged faces look like, and how accuracy falls with the strength of each damage.

Reads   metrics/stress/<network>.json of each network, and the first train face of data/prepared/faces.h5.
Writes  plots/stress/damages.png, plots/stress/accuracy.png
Alone   python stages/draw_stress.py --metrics metrics/stress --data data/prepared/faces.h5 --plots plots/stress
"""

import argparse
from collections.abc import Mapping

import numpy as np
import pandas as pd

from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.figures.stress import draw_accuracies, draw_damages
from fer_pipeline.figures.style import to_png
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.running.stage import run
from fer_pipeline.stress.damages import DAMAGES, HELD_OUT, STRENGTHS, Face, damage
from fer_pipeline.stress.record import Stress

HEADS = {kind: one.title[0].upper() + one.title[1:] for kind, one in DAMAGES.items()}
"""{kind: its title, as a line begins with it}."""


def tabulate(found: Mapping[str, Stress]) -> pd.DataFrame:
    """The table of `draw_accuracies`, from {title of a network: its record}."""
    return pd.DataFrame(
        {"kind": HEADS[kind], "network": title, "strength": strength, "accuracy": one.accuracy}
        for title, record in found.items()
        for kind, scores in record.test.kinds.items()
        for strength, one in enumerate([record.test.clean, *scores])
    )


def vary(face: Face, seed: int) -> dict[str, Face]:
    """{kind and amounts: a face, uint8 (1, S, S) or (1, S, S, 3), in all strengths}."""
    return {
        f"{HEADS[kind]}\n{one.extent}": np.concatenate([damage(face, kind, k, seed, "train") for k in STRENGTHS])
        for kind, one in DAMAGES.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", required=True, help="folder with a JSON per network, from stages/stress.py")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--plots", required=True, help="folder for the pictures to write")
    args = parser.parse_args()
    params = read_params()
    titles = {name: network.TITLE for name, network in find_networks(params.networks).items()}
    found = {title: Stress.read(f"{args.metrics}/{name}.json", "stress") for name, title in titles.items()}
    face = read_faces(args.data, ["train"])[0]["train"].images[:1]
    pictures = {
        "damages": draw_damages(vary(face, params.seed), STRENGTHS),
        "accuracy": draw_accuracies(tabulate(found), [HEADS[kind] for kind in HELD_OUT], [*titles.values()]),
    }
    write_files({f"{args.plots}/{name}.png": to_png(figure) for name, figure in pictures.items()})
    print(f"{len(DAMAGES)} kinds of damage, {len(titles)} networks -> {args.plots}")


if __name__ == "__main__":
    run(main)
