"""Judge one network by its predictions: metrics (Tables 5 and 6) and pictures (Figures 3 to 9).

Reads   data/predictions/<name>.csv and the files that `stages/predict.py` writes beside it, data/prepared/faces.h5, and
        the training history. No network is loaded.
Writes  metrics/<name>.json, metrics/summary/<name>.json; plots/<name>/test/.
Alone   python stages/evaluate.py --name vgg19 --data data/prepared/faces.h5 --history plots/vgg19/history.csv
            --predictions data/predictions --metrics metrics --plots plots/vgg19/test

Nothing here is chosen on test.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import read_faces
from fer_pipeline.figures.network import draw_all
from fer_pipeline.figures.style import table_to_csv
from fer_pipeline.metrics.evaluation import judge
from fer_pipeline.metrics.groups import read_groups
from fer_pipeline.metrics.scores import Measured, bin_confidence, cover, summarise
from fer_pipeline.networks.network import find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.heat import read_heat
from fer_pipeline.predictions.predictions import WAYS, Predictions, read_predictions, read_votes
from fer_pipeline.predictions.record import NetworkFacts
from fer_pipeline.running.stage import run
from fer_pipeline.training.common.run import HISTORY


def read_history(path: str | Path) -> pd.DataFrame:
    """Read a training's history.csv as a data frame with the columns `HISTORY`.

    Raises:
        InputError: the file is missing, has other columns, no row or a cell that is not a finite number.
    """
    try:
        history = pd.read_csv(path)
        if tuple(history.columns) == HISTORY and len(history) and np.isfinite(history.to_numpy(float)).all():
            return history
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run `dvc repro`") from None
    except (ValueError, pd.errors.ParserError):
        pass
    remedy = "train anew with `dvc repro -f -s train_<network>`"
    raise InputError(f"{path}: not the history of a training (columns {', '.join(HISTORY)}); {remedy}")


def tabulate(test: Predictions, measured: Measured, bins: int) -> dict[str, bytes]:
    """{file name: bytes}: the tables behind the pictures, for `dvc plots`."""
    names = np.array(test.classes)
    tables = {
        "confusion.csv": pd.DataFrame({"actual": names[test.actual], "predicted": names[test.predicted]}),
        "calibration.csv": bin_confidence(test, bins),
        "classes.csv": pd.DataFrame(
            {"emotion": emotion, **scores.model_dump(exclude={"accuracy"})}  # equal to recall
            for emotion, scores in measured.per_class.items()
        ),
        "risk_coverage.csv": cover(test),
    }
    return {name: table_to_csv(table) for name, table in tables.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the network")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--history", required=True, help="CSV of its training")
    parser.add_argument("--predictions", required=True, help="folder of <name>.csv and the files beside it")
    parser.add_argument("--metrics", required=True, help="folder for <name>.json and summary/<name>.json")
    parser.add_argument("--plots", required=True, help="folder for the pictures and their tables")
    args = parser.parse_args()
    params, network = read_params(), find_network(args.name)
    faces, facts = read_faces(args.data)
    history = read_history(args.history)
    said = f"{args.predictions}/{args.name}"
    rows = {way: read_predictions(f"{said}{way}.csv", faces, facts.classes) for way in WAYS}
    train = read_predictions(f"{said}_train.csv", faces, facts.classes, ["train"])["train"]
    votes = read_votes(f"{said}_votes.csv", faces, facts.voted)
    told = NetworkFacts.read(f"{said}.json", "predict")
    scores = judge(rows, train, votes, faces, read_groups(args.data), told, params.evaluate, params.seed)
    images, test, bins = faces["test"].images, rows[""]["test"], params.evaluate.bins
    explained = read_heat(f"{said}_heat.npz", test) if hasattr(network, "find_explained_layer") else None
    pictures = draw_all(network.TITLE, history, images, test, scores, bins, explained) | tabulate(test, scores, bins)
    write_files(
        {
            f"{args.metrics}/{args.name}.json": scores.to_bytes(),
            f"{args.metrics}/summary/{args.name}.json": summarise(scores).to_bytes(),
            **{f"{args.plots}/{file}": content for file, content in pictures.items()},
        }
    )
    low, high = scores.accuracy_ci95
    print(f"{args.name}: accuracy {scores.accuracy:.2%} on {len(images):,} test faces (95 %: {low:.2%} to {high:.2%})")


if __name__ == "__main__":
    run(main)
