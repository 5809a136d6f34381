"""Judge all networks on another data set: how they do on faces that were gathered and labelled by others.

Reads   SOURCE: faces in any form of docs/data.md, or pictures below folders named as classes (as CK+48 comes);
        the trained networks, and data/prepared/faces.h5, to count what of SOURCE they were trained or chosen on.
Writes  metrics/other/<set>.json
Alone   python stages/score_external.py --source SOURCE --data data/prepared/faces.h5 --report metrics/other/ck.json

All rows are test rows: nothing is learnt from them, and nothing is chosen on them. Pictures below no folder of an
emotion are left out and counted.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import Facts, Split, read_faces
from fer_pipeline.metrics.evaluation import Other, OtherScores
from fer_pipeline.metrics.scores import average, bound_accuracy, score_classes
from fer_pipeline.networks.load import load_model, predict
from fer_pipeline.networks.network import CROPS, find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.predictions import Predictions, as_written
from fer_pipeline.raw.source import read_other
from fer_pipeline.running.apart import call_apart
from fer_pipeline.running.hardware import limit_threads
from fer_pipeline.running.stage import run


def predict_apart(
    name: str, networks: Mapping[str, str], images: npt.NDArray[np.uint8], precision: str, facts: Facts
) -> npt.NDArray[np.float64]:
    """Probabilities float64 (N, K) of faces (N, *facts.shape), by one of `networks`, {name: file}."""
    model = load_model(name, networks[name], precision, facts)
    return predict(model, images, networks[name], CROPS[find_network(name).TEST_CROPS])[0][0]


def count_seen(images: npt.NDArray[np.uint8], faces: Mapping[str, Split]) -> int:
    """How many of the images, uint8 (N, S, S) or (N, S, S, 3), are, pixel by pixel, in train or val."""
    known = {face.tobytes() for split in ("train", "val") for face in faces[split].images}
    return sum(image.tobytes() in known for image in images)


def judge(rows: Predictions, resamples: int, seed: int) -> OtherScores:
    """The scores of a network; the interval comes from so many `resamples`."""
    classes = score_classes(rows)
    return OtherScores(
        accuracy=average(rows.correct),
        accuracy_ci95=bound_accuracy(rows.correct, resamples, seed),
        balanced_accuracy=average([scores.recall for scores in classes.values() if scores.support]),
        per_class=classes,
        confusion=confusion_matrix(rows.actual, rows.predicted, labels=range(len(rows.classes))).tolist(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="CSV, archive or image folder")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--report", required=True, help="JSON to write")
    args = parser.parse_args()
    params = read_params()
    limit_threads(params.compute.threads)
    faces, facts = read_faces(args.data)
    rows = read_other(args.source, facts.classes, facts.size, facts.colour)
    precision, evaluate = params.compute.precision, params.evaluate
    predict_all = partial(predict_apart, networks=params.networks, images=rows.images, precision=precision, facts=facts)
    said = {
        name: as_written(facts.classes, rows.labels, one)
        for name, one in call_apart(predict_all, [*params.networks]).items()
    }
    scores = {name: judge(one, evaluate.bootstrap, params.seed) for name, one in said.items()}
    report = Other(
        source=Path(args.source).name,
        md5=rows.md5,
        faces=len(rows.labels),
        left_out=dict(rows.left_out),
        scaled=rows.scaled,
        seen=count_seen(rows.images, faces),
        networks=scores,
    )
    write_files({args.report: report.to_bytes()})
    print(" | ".join(f"{name} {one.accuracy:.2%}" for name, one in scores.items()) + f" of {len(rows.labels):,} faces")


if __name__ == "__main__":
    run(main)
