"""What a start from a trained network is worth where one's own faces are few: FER-2013 in the place of both.

    python benchmarks/tune.py data/prepared/faces.h5    # hours on two cores; run again, it goes on where it was stopped

Reads FER-2013 with FER+'s votes, as `prepare` writes them with the split `official`. 7,000 train rows of five of its
classes, in their natural shares, stand for one's own faces. `START` is a compact that has learnt FER+'s labels of the
other train rows (the majority in eight classes, and the votes), none of which has the image of one of the 7,000. Each
seed draws 700 and 2,100 of the 7,000, again in natural shares (of all 7,000 only the training's seed differs), and
compact learns FER-2013's own labels of them in each of `WAYS`.
Val accuracy is that of the best epoch by the centre crop, on the val rows of the five classes whose image is not in
train. Test rows have no part. It writes results/tune.json, and the table into docs/experiments.md; the trainings are in
build/tune/.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import checkout
from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import ROOT, to_json, write_files
from fer_pipeline.faces.faces import Facts, Split, read_faces, write_faces
from fer_pipeline.faces.fer2013 import CLASSES, VOTED
from fer_pipeline.faces.votes import find_majority
from fer_pipeline.params.read import read_params
from fer_pipeline.running.stage import catch
from fer_pipeline.training.common.profile import read_training
from pages import set_table
from seeds import train

NETWORK = "compact"
FIVE = ("angry", "happy", "sad", "surprise", "neutral")
START: tuple[str, dict[str, Any]] = ("cpu", {"epochs": 12})  # a profile, and what is changed of it
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "tuned": ("tune", {}),
    "from nothing": ("best", {"batch_size": 64, "epochs": 50}),
}
FOLDER, OUT, PAGE = Path("build/tune"), Path("results/tune.json"), Path("docs/experiments.md")


def draw(labels: NDArray[np.uint8], seed: int) -> NDArray[np.int64]:
    """The rows with these labels in random order; for any n, the first n of them have the classes in natural shares."""
    random, places = np.random.default_rng(seed), np.empty(len(labels))
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        places[rows] = (np.arange(len(rows)) + random.random()) / len(rows)
    return places.argsort()


def take(split: Split, rows: NDArray[np.int64], labels: NDArray[np.integer], votes: bool) -> Split:
    """Rows of a split, with other labels (one for each row of the split)."""
    blank = np.zeros(len(rows), bool)
    return Split(split.images[rows], labels[rows].astype(np.uint8), blank, split.votes[rows] if votes else None)


def write_rows(path: Path, train_rows: Split, val_rows: Split, facts: Facts) -> Path:
    """Write a faces.h5 without test rows of its own."""
    splits = {"train": train_rows._replace(duplicate_of_train=None), "val": val_rows, "test": val_rows}
    write_files({path: lambda unfinished: write_faces(unfinished, splits, facts)})
    return path


def divide(splits: dict[str, Split], facts: Facts, count: int) -> tuple[Path, Split, Split, Facts]:
    """The faces.h5 of the start; `count` train rows of the five classes, the val rows to measure on, and their facts.

    InputError if the data are not those that the docstring above names.
    """
    rows, val = splits["train"], splits["val"]
    if (facts.classes, facts.voted) != (CLASSES, VOTED):
        raise InputError("not FER-2013 with FER+'s votes; set prepare.votes, and prepare.labels to emotion")
    numbers = {CLASSES.index(name): number for number, name in enumerate(FIVE)}
    labels = {name: np.array([numbers.get(one, -1) for one in splits[name].labels]) for name in ("train", "val")}
    five = np.flatnonzero(labels["train"] >= 0)
    if len(five) < count:
        raise InputError(f"train has {len(five):,} rows of {', '.join(FIVE)}; draw fewer than {count:,} by --rows")
    own = five[draw(labels["train"][five], 0)[:count]]
    images = {rows.images[row].tobytes() for row in own}
    majority = {name: find_majority(splits[name].votes) for name in ("train", "val")}
    others = [row for row in np.flatnonzero(majority["train"] >= 0) if rows.images[row].tobytes() not in images]
    unseen = {
        name: np.flatnonzero((known["val"] >= 0) & ~val.duplicate_of_train)
        for name, known in (("majority", majority), ("labels", labels))
    }
    start = write_rows(
        FOLDER / "start.h5",
        take(rows, np.array(others), majority["train"], True),
        take(val, unseen["majority"], majority["val"], True),
        facts._replace(classes=facts.voted),
    )
    measured = take(val, unseen["labels"], labels["val"], False)
    return start, take(rows, own, labels["train"], False), measured, facts._replace(classes=FIVE, voted=())


def run(
    folder: Path, data: Path, seed: int, profile: str, changes: dict[str, Any], epochs: int | None
) -> tuple[Path, dict[str, Any]]:
    """Train compact in `folder`, and say how it went."""
    params = read_params().model_copy(update={"seed": seed})
    settings = read_training(params, NETWORK, profile)
    few = {"epochs": epochs, "freeze_epochs": min(settings.freeze_epochs, epochs - 1)} if epochs else {}
    model = train(folder, NETWORK, data, params, settings.model_copy(update=changes | few))
    report, times = (json.loads((folder / f"{name}.json").read_text()) for name in ("training", "timing"))
    times = times[f"train_{NETWORK}"]
    facts = {key: report[key] for key in ("epochs_run", "best_epoch", "train_accuracy", "val_accuracy")}
    return model, facts | {key: times[key] for key in ("seconds", "hardware")}


def make_table(found: dict[str, Any]) -> str:
    """The table in docs/experiments.md: mean of the seeds, lowest and highest."""
    lines = [f"| train faces | {' | '.join(WAYS)} |", "|---" * (1 + len(WAYS)) + "|"]
    for count in sorted({one["rows"] for one in found["runs"]}):
        cells = []
        for way in WAYS:
            values = [one["val_accuracy"] for one in found["runs"] if (one["rows"], one["way"]) == (count, way)]
            cells.append(f"{np.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})" if values else "–")
        lines.append(f"| {count:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="faces.h5")
    parser.add_argument("--rows", type=int, nargs="+", default=[700, 2100, 7000], help="train rows (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2013, 2014, 2015], help="(%(default)s)")
    parser.add_argument("--epochs", type=int, help="of every training, to try this script")
    parser.add_argument("--dry", action="store_true", help="print only; results/ and docs/ stay as they are")
    args = parser.parse_args()
    data = args.data.absolute()
    os.chdir(ROOT)
    splits, facts = read_faces(data)
    start, own, val, of_own = divide(splits, facts, max(args.rows))
    profile, changes = START
    model, told = run(FOLDER / "start", start, args.seeds[0], profile, changes, args.epochs)
    found: dict[str, Any] = {"start": told, "val_rows": len(val.labels), "classes": FIVE, "runs": []}
    for count in args.rows:
        for seed in args.seeds:
            chosen = draw(own.labels, seed)[:count]
            rows = write_rows(FOLDER / f"{count}-{seed}.h5", take(own, np.sort(chosen), own.labels, False), val, of_own)
            for way, (profile, changes) in WAYS.items():
                weights = {"weights": str(model.absolute())} if way == "tuned" else {}
                folder = FOLDER / f"{way.replace(' ', '-')}-{count}-{seed}"
                _, told = run(folder, rows, seed, profile, changes | weights, args.epochs)
                found["runs"].append({"way": way, "rows": count, "seed": seed, **told})
                print(f"{way}, {count:,} rows, seed {seed}: {told['val_accuracy']:.2%} on val", flush=True)
    print(make_table(found))
    if not args.dry:
        text = (ROOT / PAGE).read_text(encoding="utf-8")
        page = set_table(text, "<!-- tune -->", "<!-- end -->", make_table(found), str(PAGE))
        write_files({OUT: to_json(found), PAGE: page.encode()})


if __name__ == "__main__":
    catch(main)
