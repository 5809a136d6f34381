"""Judge a network on damaged faces: how far its answers hold under what photos go through.

Reads   models/export/<name>.int8.onnx, and val and test of data/prepared/faces.h5.
Writes  metrics/stress/<name>.json
Alone   python stages/stress.py --model models/export/compact.int8.onnx --data data/prepared/faces.h5
            --report metrics/stress/compact.json

The damages are in fer_pipeline/stress/damages.py. The answers are the first head's calibrated probabilities for the
centre crop and its mirror image. Nothing is learnt or chosen on the rows.
"""

import argparse
from itertools import islice, product

import numpy as np

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.core.parallel import map_threads
from fer_pipeline.exported.onnx import REMEDY, OnnxModel, load_exported
from fer_pipeline.faces.faces import Facts, Split, read_faces
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import SCORED, as_written
from fer_pipeline.running.hardware import count_cores, limit_threads
from fer_pipeline.running.stage import run
from fer_pipeline.stress.damages import DAMAGES, STRENGTHS, Face, damage
from fer_pipeline.stress.record import Held, OnSplit, Stress, describe, score


def draw_rows(rows: Split, count: int | None, seed: int) -> Split:
    """`count` rows drawn with `seed`, in their original order; all if `count` is None or there are no more."""
    places = np.sort(np.random.default_rng(seed).permutation(len(rows.labels))[:count])
    return Split(rows.images[places], rows.labels[places], None)


def judge(model: OnnxModel, rows: Split, split: str, settings: Evaluate, seed: int) -> OnSplit:
    """How a network's answers hold on the rows of a split, as they are and damaged."""

    def ask(faces: Face) -> Held:
        return score(as_written(model.classes, rows.labels, model.predict(faces)), settings)

    def ask_damaged(cell: tuple[str, int]) -> Held:
        return ask(damage(rows.images, *cell, seed, split))

    # each thread runs the network by itself, which wastes the least
    held = map_threads(ask_damaged, product(DAMAGES, STRENGTHS), count_cores())
    kinds = {kind: [*islice(held, len(STRENGTHS))] for kind in DAMAGES}
    return describe(ask(rows.images), kinds, len(rows.labels))


def load_for(path: str, facts: Facts) -> OnnxModel:
    """The exported network in a file; `InputError` if its classes are not those of the data."""
    model = load_exported(path, threads=1)
    if model.classes != facts.classes:
        known, expected = ", ".join(model.classes), ", ".join(facts.classes)
        raise InputError(f"{path}: classes are {known}, those of the data {expected}; {REMEDY}")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="ONNX file, from stages/export.py")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--report", required=True, help="JSON to write")
    args = parser.parse_args()
    params = read_params()
    limit_threads(params.compute.threads)
    faces, facts = read_faces(args.data, SCORED)
    model = load_for(args.model, facts)
    found = {}
    for split in SCORED:
        rows = draw_rows(faces[split], params.stress.rows, params.seed)
        found[split] = one = judge(model, rows, split, params.evaluate, params.seed)
        worst, held = one.worst.accuracy, f"{one.clean.accuracy:.2%} of {one.rows:,} {split} faces"
        where = f"{DAMAGES[worst.kind].title}, strength {worst.strength}"
        print(f"{model.name}: {held}; damaged {one.mean.accuracy:.2%} on average, {worst.value:.2%} at worst ({where})")
    write_files({args.report: Stress(**found).to_bytes()})


if __name__ == "__main__":
    run(main)
