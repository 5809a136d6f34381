"""Compare the networks with each other and, on FER-2013, with the paper, and combine them into ensembles.

Reads   data/predictions/<network>.csv, <network>_views.csv and metrics/<network>.json of each network, and
        data/prepared/faces.h5
Writes  metrics/compare.json, metrics/summary/ensemble.json, plots/compare/ (each picture beside the CSV it draws).
Alone   python stages/compare.py --data data/prepared/faces.h5 --predictions data/predictions --metrics metrics
        --report compare.json --summary ensemble.json --plots compare

The networks are those of params.yaml, in its order; one is enough.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fer_pipeline.core.errors import InputError
from fer_pipeline.core.files import write_files
from fer_pipeline.faces.faces import Split, read_faces
from fer_pipeline.faces.fer2013 import NAME
from fer_pipeline.figures.comparison import draw_comparison
from fer_pipeline.figures.style import table_to_csv
from fer_pipeline.metrics import comparison
from fer_pipeline.metrics.annotators import count_favourites, judge_labels
from fer_pipeline.metrics.comparison import Comparison
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.paper import PRINTED, follows_paper
from fer_pipeline.metrics.scores import compare_pairs, measure, summarise, tabulate_images
from fer_pipeline.networks.network import find_networks
from fer_pipeline.params.read import read_params
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import SCORED, Predictions, read_predictions
from fer_pipeline.running.stage import run
from fer_pipeline.sample.paths import is_sample
from fer_pipeline.training.common.profile import BASE, read_training, read_trainings


def read_scores(path: str, test: Predictions) -> Scores:
    """metrics/<network>.json, checked against the network's predictions of test; InputError if they do not fit."""
    remedy = "run `dvc repro evaluate`"
    scores = Scores.read(path, "evaluate")
    if (*scores.per_class,) != test.classes:
        listed = ", ".join(scores.per_class) or "empty"
        raise InputError(f"{path}: per_class is {listed}, expected {', '.join(test.classes)}; {remedy}")
    measured = test.correct.mean()
    if abs(scores.accuracy - measured) > 1e-4:  # below the share of one image of 7,178
        raise InputError(f"{path}: accuracy is {scores.accuracy}, that of the predictions {measured:.6f}; {remedy}")
    return scores


def judge(
    rows: Mapping[str, Mapping[str, Predictions]],
    by_views: Mapping[str, Mapping[str, Predictions]],
    faces: Split,
    vote_classes: Sequence[str],
    settings: Evaluate,
    seed: int,
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """What `Comparison` says by predictions alone, and the tables of that.

    `rows` and `by_views` are {network: {'val', 'test': predictions}}, `faces` those of test with their votes.
    """
    val, test = ({name: one[split] for name, one in rows.items()} for split in SCORED)
    val_views, test_views = ({name: one[split] for name, one in by_views.items()} for split in SCORED)
    ensembles, weighted = comparison.judge_ensembles(val, test, settings.bootstrap, seed)
    of_views, weighted_views = comparison.judge_ensembles(val_views, test_views, settings.bootstrap, seed)
    val_vote, test_vote = (comparison.vote([*members.values()]) for members in (val, test))
    images = tabulate_images(test)
    all_wrong = comparison.tabulate_all_wrong(images)
    labels, of_labels = judge_labels(faces.votes, vote_classes, test, images, settings.bootstrap, seed)
    found = {
        "mcnemar": compare_pairs({name: one.correct for name, one in test.items()}),
        "ensembles": ensembles,
        "weighted_ensemble": weighted,
        "ensemble": measure(val_vote, test_vote, faces.duplicate_of_train, settings, seed),
        "ensemble_views": of_views[-1],
        "weighted_ensemble_views": weighted_views,
        "agreement": comparison.measure_agreement(images, [*test]),
        "all_wrong": comparison.count_all_wrong(all_wrong, len(images)),
        "labels": labels,
    }
    classes = next(iter(test.values())).classes
    agreement = comparison.tabulate_agreement(images, len(test), classes)
    return found, {"agreement": agreement, "all_wrong": all_wrong, **of_labels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="faces.h5")
    parser.add_argument("--predictions", required=True, help="folder with a CSV per network")
    parser.add_argument("--metrics", required=True, help="folder with a JSON per network")
    parser.add_argument("--report", required=True, help="JSON file to write")
    parser.add_argument("--summary", required=True, help="JSON file to write, with the main scores of the ensemble")
    parser.add_argument("--plots", required=True, help="folder for the pictures and tables to write")
    args = parser.parse_args()
    params = read_params()
    names, seed, settings = [*params.networks], params.seed, params.evaluate
    titles = {name: network.TITLE for name, network in find_networks(names).items()}

    splits, facts = read_faces(args.data)
    rows, by_views = (
        {name: read_predictions(f"{args.predictions}/{name}{way}.csv", splits, facts.classes) for name in names}
        for way in ("", "_views")
    )
    scores = {name: read_scores(f"{args.metrics}/{name}.json", one["test"]) for name, one in rows.items()}

    split, faces, drawn = facts.split, splits["test"], is_sample(params.dataset)
    study = facts.name == NAME and not drawn  # whether the paper's figures have a place beside ours
    papers = {name: read_training(params, name, BASE) for name in names if name in PRINTED}
    follows, counts = follows_paper(read_trainings(params), papers), [len(one.labels) for one in splits.values()]
    origin = comparison.describe_run(params, study, follows, split, counts, drawn)
    found, tables = judge(rows, by_views, faces, facts.vote_classes, settings, seed)
    table7, ensemble = comparison.set_beside_paper(scores, study), found["ensemble"]
    report = Comparison(
        profile=params.profile,
        split=split,
        **origin,
        notes=comparison.collect_notes(papers if study else ()),
        table7=table7,
        **found,
    )
    tables |= {
        "table7": comparison.tabulate_table7(table7, origin),
        "literature": comparison.tabulate_literature(table7, titles, ensemble.accuracy, origin, study),
        "class_f1": comparison.tabulate_class_f1(scores, ensemble),
        "ensembles": comparison.tabulate_ensembles(scores, titles, found["ensembles"], found["weighted_ensemble"]),
    }
    favourites = None
    if faces.votes is not None:
        by_label = count_favourites(faces.votes, faces.labels, len(facts.classes))
        favourites = pd.DataFrame(by_label, index=facts.classes, columns=facts.vote_classes)
    pictures = draw_comparison(tables, faces.images, titles, origin["label"], favourites, facts.name)
    write_files(
        {
            args.report: report.to_bytes(),
            args.summary: summarise(ensemble).to_bytes(),
            **{f"{args.plots}/{name}.csv": table_to_csv(table) for name, table in tables.items()},
            **{f"{args.plots}/{name}.png": picture for name, picture in pictures.items()},
        }
    )
    accuracies = [f"{titles[name]} {one.accuracy:.2%}" for name, one in scores.items()]
    print(" | ".join([*accuracies, f"soft vote {ensemble.accuracy:.2%}"]) + f" -> {args.report}")


if __name__ == "__main__":
    run(main)
