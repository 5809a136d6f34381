"""Judge one trained network on test: predictions, metrics (Tables 5 and 6) and pictures (Figures 3 to 9).

Reads   a model, data/prepared/faces.h5, and the history of its training.
Writes  data/predictions/<name>.csv and <name>_single_crop.csv, from which all metrics but train accuracy and cost are
        computed, and <name>_votes.csv, what its second head says (a header alone where it has none);
        metrics/<name>.json, metrics/summary/<name>.json; plots/<name>/test/; its speed, into metrics/timing.json.
Alone   python stages/evaluate.py --name vgg19 --model models/vgg19.safetensors --data data/prepared/faces.h5
            --history plots/vgg19/history.csv --predictions data/predictions --metrics metrics --plots plots/vgg19/test
            --timing metrics/timing.json

A network with ten test crops sees TenCrop of each val and test face (section 2), and the centre crop for the
single-crop file; for one that sees the whole face both files are the same. Train accuracy is that of the finished
network on plain training faces, on the centre crop alone: ten crops of 28,709 faces would take ten times as long.
Nothing here is chosen on test.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.figures import network as figures
from fer_pipeline.figures.style import set_style, to_png
from fer_pipeline.metrics.annotators import judge_network
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import Measured, average, bin_confidence, cover, measure, summarise
from fer_pipeline.networks.load import load_model, predict
from fer_pipeline.networks.network import Network, find_network
from fer_pipeline.params.read import read_params
from fer_pipeline.predictions.calibration import fit_temperature, fit_votes_temperature
from fer_pipeline.predictions.predictions import SCORED, Predictions, as_written, to_csv, votes_to_csv
from fer_pipeline.predictions.record import Cost, EvaluationTimes
from fer_pipeline.running.stage import run
from fer_pipeline.running.timing import record_times, time_calls
from fer_pipeline.training.common.run import HISTORY

BATCH = 256
"""Images at a time where their rate is measured."""


def predict_splits(
    model: Any, splits: dict[str, Split], crops: int, path: str | Path
) -> tuple[dict[str, Predictions], dict[str, NDArray[np.float64]]]:
    """{split: `Predictions`} of val and test, as the CSV will hold them, and {split: what the second head says}.

    The latter is float64 (N, 8), adding up to 1, or {} of a network with one head.
    """
    rows, votes = {}, {}
    for split in SCORED:
        labels = splits[split].labels
        first, second = predict(model, splits[split].images, crops, path)
        rows[split] = as_written(labels, first)
        if second.shape[1]:
            votes[split] = as_written(labels, second).probabilities
    return rows, votes


def measure_cost(model: Any, path: str | Path) -> Cost:
    """The size of a trained network and of its file `path`."""
    return Cost(
        parameters=model.count_parameters(),
        macs=model.count_macs(),
        model_bytes=Path(path).stat().st_size,
    )


def measure_speed(model: Any, images: NDArray[np.uint8]) -> EvaluationTimes:
    """Latency (the median of 30 calls) and rate (the fastest of three batches), in the model's precision."""
    batch = np.resize(images, (BATCH, *images.shape[1:]))
    one = time_calls(lambda: model.predict(batch[:1], crops=1), 30)
    many = time_calls(lambda: model.predict(batch, crops=1), 3)
    return EvaluationTimes(
        latency_ms_batch1=round(1000 * float(np.median(one)), 3),
        images_per_second=round(BATCH / min(many), 1),
        hardware=model.hardware,
    )


def read_history(path: str | Path) -> pd.DataFrame:
    """history.csv of a training as a data frame with the columns `HISTORY`.

    Raises:
        InputError: the file is missing, has other columns, no row or a cell that is no finite number.
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
    raise InputError(f"{path}: no history of a training (columns {', '.join(HISTORY)}); {remedy}")


def tabulate(test: Predictions, measured: Measured, bins: int) -> dict[str, bytes]:
    """{file name: bytes}: the tables behind the pictures, for `dvc plots`."""
    names = np.array(CLASSES)
    confusion = pd.DataFrame({"actual": names[test.actual], "predicted": names[test.predicted]})
    reliability = pd.DataFrame(bin_confidence(test, bins))
    scores = {emotion: one.model_dump() for emotion, one in measured.per_class.items()}
    classes = pd.DataFrame(scores).T.rename_axis("emotion").reset_index()
    classes["support"] = classes["support"].astype(int)
    tables = {
        "confusion.csv": confusion,
        "calibration.csv": reliability[reliability["images"] > 0],
        "classes.csv": classes.drop(columns="accuracy"),  # which is the recall
        "risk_coverage.csv": pd.DataFrame(cover(test)),
    }
    return {
        name: table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode()
        for name, table in tables.items()
    }


def draw(
    network: Network,
    model: Any,
    images: NDArray[np.uint8],
    test: Predictions,
    measured: Measured,
    history: pd.DataFrame,
    bins: int,
) -> dict[str, bytes]:
    """{file name: bytes}: the pictures; `model` is the trained network and serves for Grad-CAM alone."""
    set_style()
    title = network.TITLE
    counts = confusion_matrix(test.actual, test.predicted, labels=range(len(CLASSES)))
    pictures = {
        "curves.png": figures.draw_curves(history, title),
        "confusion.png": figures.draw_confusion(counts, title),
        "confidence.png": figures.draw_confidence(test, bins, measured.calibration.ece, title),
        "classes.png": figures.draw_classes(measured.per_class, title),
        "mistakes.png": figures.draw_mistakes(images, test, title),
        "risk_coverage.png": figures.draw_risk_coverage(cover(test), title),
    }
    if hasattr(network, "find_explained_layer"):
        pictures["gradcam.png"] = figures.draw_grad_cam(explain(model, images, test), title)
    return {file: to_png(figure) for file, figure in pictures.items()}


def explain(model: Any, images: NDArray[np.uint8], test: Predictions) -> dict[str, list[Any]]:
    """Of each class the first correct face and the most confident error, for `draw_grad_cam`.

    The heat is that of the predicted class.
    """
    correct = test.correct
    columns: dict[str, list[Any]] = {"correct": [], "incorrect": []}
    for label in range(len(CLASSES)):
        right = np.flatnonzero((test.actual == label) & correct)[:1]
        wrong = np.flatnonzero((test.actual == label) & ~correct)
        wrong = wrong[np.argsort(-test.confidence[wrong], kind="stable")][:1]
        for kind, rows in (("correct", right), ("incorrect", wrong)):
            if len(rows):
                crops, heat = model.explain(images[rows], test.predicted[rows])
                columns[kind].append((crops[0], heat[0], test.predicted[rows[0]]))
            else:
                columns[kind].append(None)
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the network")
    parser.add_argument("--model", required=True, help="its file, .keras or .safetensors")
    parser.add_argument("--data", required=True, help="faces.h5, from stages/prepare.py")
    parser.add_argument("--history", required=True, help="CSV of its training")
    parser.add_argument("--predictions", required=True, help="folder for <name>.csv and its like")
    parser.add_argument("--metrics", required=True, help="folder for <name>.json and summary/<name>.json")
    parser.add_argument("--plots", required=True, help="folder for the pictures and their tables")
    parser.add_argument("--timing", required=True, help="JSON to add to: how fast it is")
    args = parser.parse_args()
    seed, precision, settings = read_params("seed", "compute.precision", "evaluate")
    name, network = args.name, find_network(args.name)
    crops = network.TEST_CROPS
    splits, _ = read_faces(args.data)
    history = read_history(args.history)
    model = load_model(name, args.model, precision)

    rows, votes = predict_splits(model, splits, crops, args.model)
    single, single_votes = predict_splits(model, splits, 1, args.model) if crops > 1 else (rows, votes)
    train = as_written(splits["train"].labels, predict(model, splits["train"].images, 1, args.model)[0])
    images, test = splits["test"].images, rows["test"]
    measured = measure(rows["val"], test, splits["test"].duplicate_of_train, settings, seed)
    train_accuracy = average(train.correct)
    scores = Scores(
        **dict(measured),
        accuracy_single_crop=average(single["test"].correct),
        temperature_single_crop=round(fit_temperature(single["val"]), 6),
        votes_temperature_single_crop=fit_votes_temperature(single_votes.get("val"), splits["val"].votes),
        annotators=judge_network(test, votes.get("test"), splits["test"].votes),
        train_accuracy=train_accuracy,
        overfitting_gap=round(train_accuracy - measured.accuracy, 6),
        cost=measure_cost(model, args.model),
        device=model.device,
        precision=model.precision,
    )
    outputs = {
        f"{args.predictions}/{name}.csv": to_csv(rows),
        f"{args.predictions}/{name}_single_crop.csv": to_csv(single),
        f"{args.predictions}/{name}_votes.csv": votes_to_csv(votes),
        f"{args.metrics}/{name}.json": scores.to_bytes(),
        f"{args.metrics}/summary/{name}.json": summarise(measured).to_bytes(),
    }
    pictures = draw(network, model, images, test, measured, history, settings.bins)
    tables = tabulate(test, measured, settings.bins)
    write_files(outputs | {f"{args.plots}/{file}": content for file, content in (pictures | tables).items()})
    record_times(args.timing, f"evaluate@{name}", measure_speed(model, images))
    low, high = measured.accuracy_ci95
    print(f"{name}: accuracy {measured.accuracy:.2%} on {len(images):,} test faces (95 %: {low:.2%} to {high:.2%})")


if __name__ == "__main__":
    run(main)
