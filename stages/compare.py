"""Set the three networks side by side: against each other, against the paper, and as one ensemble.

Reads   data/predictions/<network>.csv and metrics/<network>.json of the three, and data/prepared/faces.h5.
Writes  metrics/compare.json, metrics/summary/ensemble.json, plots/compare/ (each picture beside the CSV it draws).
Alone   python stages/compare.py --data data/prepared/faces.h5 --predictions data/predictions --metrics metrics
        --report compare.json --summary ensemble.json --plots compare

Nothing is chosen on test rows: the one thing chosen at all, the weights of an ensemble, is chosen on val. Accuracies
are in [0, 1]; what is called points is a difference of two of them times 100.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from fer.core.params import read_params
from fer.core.stage import InputError, run, to_json, write_files
from fer.data.faces import read_faces
from fer.data.fer2013 import CLASSES, is_sample
from fer.evidence import paper
from fer.evidence.comparison import TITLES, draw_comparison
from fer.evidence.metrics import SMALLEST, bound_accuracy, measure, summarise
from fer.evidence.predictions import read_predictions

WEIGHT_STEPS = 20
"""Weights are chosen in twentieths."""
LISTED = 100
"""Images of `all_wrong` that compare.json names; all_wrong.csv names all."""
NOTES = {
    "baseline": "The paper calls the baseline's 67.25 % validation accuracy in its text, and test accuracy in Table 7.",
    "val_in_test": "Under the split paper val lies inside test: weights chosen on val are chosen on test rows as well.",
}


class ClassFigures(BaseModel):
    """Of metrics/<network>.json, per_class.<emotion>."""

    f1: float | None = Field(ge=0, le=1)


class Cost(BaseModel):
    """Of metrics/<network>.json, cost."""

    parameters: int
    model_bytes: int
    latency_ms_batch1: float


class Metrics(BaseModel):
    """What is read of metrics/<network>.json."""

    model_config = ConfigDict(allow_inf_nan=False)

    accuracy: float = Field(ge=0, le=1)
    train_accuracy: float = Field(ge=0, le=1)
    overfitting_gap: float = Field(ge=-1, le=1)
    accuracy_ci95: tuple[float, float]
    macro_f1: float = Field(ge=0, le=1)
    per_class: dict[str, ClassFigures]
    cost: Cost


def read_metrics(path, test):
    """metrics/<network>.json as `Metrics`, held against the network's test predictions.

    Raises:
        InputError: the file is missing, no JSON, without a key, or its accuracy is not that of the predictions.
    """
    remedy = "run `dvc repro evaluate`"
    try:
        metrics = Metrics.model_validate_json(Path(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: not found; {remedy}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise InputError(f"{path}: {where}: {problem['msg']}; {remedy}") from None
    if set(metrics.per_class) != set(CLASSES):
        listed = ", ".join(metrics.per_class) or "empty"
        raise InputError(f"{path}: per_class is {listed}, expected {', '.join(CLASSES)}; {remedy}")
    measured = test.correct.mean()
    if abs(metrics.accuracy - measured) > 1e-4:  # below the share of one image of 7,178
        raise InputError(f"{path}: accuracy is {metrics.accuracy}, that of the predictions {measured:.6f}; {remedy}")
    return metrics


def follows_paper(settings):
    """Whether the three networks are trained as in Table 3, at full width; `settings` is a `fer.core.params.Profile`."""
    for name, theirs in paper.TRAINING.items():
        ours = getattr(settings, name)
        keys = ["learning_rate", "batch_size", "epochs", *(["patience"] if theirs.patience else [])]
        if ours.width != 1 or any(getattr(ours, key) != getattr(theirs, key) for key in keys):
            return False
    return True


def describe_run(profile, settings, split, dataset, splits):
    """Whether our figures may be held against the paper's, and the sentence that says what they come from.

    They may where the networks are trained as in the paper, on as many images of each split; `settings` is the
    `fer.core.params.Profile` named `profile`, `splits` {'train', 'val', 'test': `fer.data.faces.Split`}.
    """
    drawn = is_sample(dataset)
    counts = [len(rows.labels) for rows in splits.values()]
    theirs = [paper.TRAIN_IMAGES, paper.VAL_IMAGES, paper.TEST_IMAGES]
    ours = "drawn faces, not FER-2013" if drawn else Path(dataset).name
    return {
        "comparable": follows_paper(settings) and not drawn and counts == theirs,
        "label": (
            f"Ours: profile {profile}, split {split}, {counts[2]:,} test images ({ours}). The paper: FER-2013, its own "
            f"split, {paper.TEST_IMAGES:,} test images, up to {paper.TRAINING['vgg19'].epochs} epochs."
        ),
    }


def set_beside_paper(metrics):
    """Table 7: {network: our figures, the paper's, and the differences in points} of {network: `Metrics`}."""
    table = {}
    for name, ours in metrics.items():
        theirs = {key: getattr(paper.RESULTS[name], key) for key in ("train_accuracy", "accuracy", "overfitting_gap")}
        table[name] = {
            **{key: getattr(ours, key) for key in theirs},
            "macro_f1": ours.macro_f1,
            "parameters": ours.cost.parameters,
            "model_bytes": ours.cost.model_bytes,
            "latency_ms_batch1": ours.cost.latency_ms_batch1,
            "paper": theirs,
            "difference_points": {key: round(100 * (getattr(ours, key) - theirs[key]), 2) for key in theirs},
        }
    return table


def tabulate_table7(table7, run):
    """`set_beside_paper` as a table of one row per network, with the label of `describe_run` in each."""
    rows = []
    for name, row in table7.items():
        beside = {
            column: value
            for key in row["paper"]
            for column, value in (
                (key, row[key]),
                (f"paper_{key}", row["paper"][key]),
                (f"{key}_difference_points", row["difference_points"][key]),
            )
        }
        rest = {key: row[key] for key in ("macro_f1", "parameters", "model_bytes", "latency_ms_batch1")}
        rows.append({"network": name, **beside, **rest, **run})
    return pd.DataFrame(rows)


def tabulate_literature(table7, ensemble_accuracy, run):
    """Figure 10 as a table: Table 1, the paper's networks, ours and our ensemble, by falling accuracy.

    Columns: source ('literature', 'paper' or 'ours'), name, year, dataset, accuracy, and the label of `describe_run`.
    """
    rows = [
        ("literature", f"{work.reference} [{work.number}]", work.year, work.dataset, work.accuracy)
        for work in paper.LITERATURE
        if work.accuracy is not None
    ]
    rows += [("paper", NAMES[name], None, "FER-2013", row["paper"]["accuracy"]) for name, row in table7.items()]
    rows += [("ours", NAMES[name], None, "ours", row["accuracy"]) for name, row in table7.items()]
    rows += [("ours", TITLES["ensemble"], None, "ours", ensemble_accuracy)]
    table = pd.DataFrame(rows, columns=["source", "name", "year", "dataset", "accuracy"]).astype({"year": "Int64"})
    return table.sort_values("accuracy", ascending=False, kind="stable").assign(**run)


def apply_mcnemar(first, second):
    """McNemar's exact test: are two networks, right on `first` and `second` (bool (N,)), equally often right?

    Under that hypothesis the images that just one of them gets right fall to either like a fair coin.

    Returns:
        first_only and second_only, the numbers of such images, and p_value (1 where there are none).
    """
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = first_only + second_only
    p_value = binomtest(first_only, discordant).pvalue if discordant else 1.0
    return {"first_only": first_only, "second_only": second_only, "p_value": significant(p_value)}


def adjust_holm(p_values):
    """Holm's adjustment: p-values that hold for all of these comparisons together."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.minimum(1, np.maximum.accumulate(np.array(p_values)[order] * factors))
    return [significant(p) for p in adjusted[np.argsort(order, kind="stable")]]


def significant(number):
    """A float of six significant digits: p-values may be tiny."""
    return float(f"{number:.6g}")


def compare_pairs(right):
    """McNemar's test between each pair of {network: bool (N,)}, with Holm's p-values for all pairs together."""
    pairs = [
        {"first": first, "second": second, **apply_mcnemar(right[first], right[second])}
        for first, second in combinations(right, 2)
    ]
    adjusted = adjust_holm([pair["p_value"] for pair in pairs])
    return [{**pair, "p_value_holm": p} for pair, p in zip(pairs, adjusted, strict=True)]


def vote(members, weights=None):
    """The soft vote of several `Predictions` of the same images: the weighted mean of their probabilities."""
    mean = np.average([rows.probabilities for rows in members], axis=0, weights=weights)
    return members[0]._replace(probabilities=mean)


def choose_weights(members):
    """The weights of a soft vote with the least negative log-likelihood; `members` are `Predictions` of val.

    Tries all twentieths that add up to 1, the equal ones first among equals.
    """
    steps = range(WEIGHT_STEPS + 1)
    grid = [(a, b, WEIGHT_STEPS - a - b) for a in steps for b in steps if a + b <= WEIGHT_STEPS]
    actual = members[0].actual
    of_truth = np.stack([rows.probabilities[np.arange(len(actual)), actual] for rows in members])
    losses = -np.log(np.maximum(np.array(grid) / WEIGHT_STEPS @ of_truth, SMALLEST)).mean(axis=1).round(9)
    spread = [max(weights) - min(weights) for weights in grid]
    return [weight / WEIGHT_STEPS for weight in grid[np.lexsort((spread, losses))[0]]]


def judge_ensemble(val, test, names, weights, resamples, seed):
    """The soft vote of some networks: its accuracy on val and test, and its gain over the best of its members on test.

    Args:
        val, test: {network: `Predictions`} of all networks.
        names: the members.
        weights: one per member.
        resamples, seed: of the bootstrap.

    Returns:
        A dict, ready for JSON; p_value is McNemar's against the best member.
    """
    right = {name: test[name].correct for name in names}
    best = max(names, key=lambda name: right[name].mean())
    together = vote([test[name] for name in names], weights).correct
    gain = float(together.mean() - right[best].mean())
    return {
        "members": list(names),
        "weights": [round(weight, 6) for weight in weights],
        "val_accuracy": round(float(vote([val[name] for name in names], weights).correct.mean()), 6),
        "accuracy": round(float(together.mean()), 6),
        "accuracy_ci95": bound_accuracy(together, resamples, seed),
        "best_member": best,
        "gain_points": round(100 * gain, 4),
        "p_value": apply_mcnemar(together, right[best])["p_value"],
    }


def judge_ensembles(val, test, resamples, seed):
    """Soft votes with equal weights: of each pair, and of all."""
    groups = [*combinations(test, 2), tuple(test)]
    return [judge_ensemble(val, test, names, [1 / len(names)] * len(names), resamples, seed) for names in groups]


def measure_agreement(test):
    """How often networks say the same, right or wrong: each pair (and Cohen's kappa) and all of {network: Predictions}.

    `right_by` counts the images that none, one, … all of them get right; `any_right` is the share of the others than
    none: what a perfect choice among the networks would reach. Kappa is None where both always say one and the same.
    """
    predicted = {name: rows.predicted for name, rows in test.items()}
    pairs = []
    for first, second in combinations(test, 2):
        same = predicted[first] == predicted[second]
        constant = same.all() and len(set(predicted[first])) == 1
        kappa = None if constant else round(float(cohen_kappa_score(predicted[first], predicted[second])), 6)
        pairs.append({"first": first, "second": second, "share": round(float(same.mean()), 6), "kappa": kappa})
    votes = np.stack(list(predicted.values()))
    right = count_right(test)
    return {
        "pairs": pairs,
        "all_share": round(float((votes == votes[0]).all(axis=0).mean()), 6),
        "right_by": np.bincount(right, minlength=len(test) + 1).tolist(),
        "any_right": round(float((right > 0).mean()), 6),
    }


def count_right(test):
    """int (N,): how many networks get each row right, of {name: rows of the same N images}."""
    return np.stack([rows.correct for rows in test.values()]).sum(axis=0)


def tabulate_agreement(test):
    """Per class with images: emotion, images, and the shares that three, two, one and no network gets right."""
    actual = next(iter(test.values())).actual
    right = count_right(test)
    return pd.DataFrame(
        {"emotion": emotion, "images": len(mine), **{f"right_by_{n}": (mine == n).mean() for n in (3, 2, 1, 0)}}
        for label, emotion in enumerate(CLASSES)
        if len(mine := right[actual == label])
    )


def tabulate_all_wrong(test):
    """The images that all networks get wrong, one row each; first those of which all say the same: is the label right?

    Columns: index (row of test), actual, the prediction of each network, same (all predictions are equal), and
    confidence (the mean of the networks' confidences), by which the rows fall.
    """
    rows = list(test.values())
    wrong = np.flatnonzero(~np.any([one.correct for one in rows], axis=0))
    names = np.array(CLASSES)
    votes = np.stack([one.predicted[wrong] for one in rows])
    table = pd.DataFrame(
        {
            "index": wrong,
            "actual": names[rows[0].actual[wrong]],
            **{name: names[predicted] for name, predicted in zip(test, votes, strict=True)},
            "same": (votes == votes[0]).all(axis=0),
            "confidence": np.mean([one.confidence[wrong] for one in rows], axis=0).round(6),
        }
    )
    return table.sort_values(["same", "confidence", "index"], ascending=[False, False, True], ignore_index=True)


def count_all_wrong(table, images):
    """`tabulate_all_wrong` in numbers, of so many test images, and the first rows of it."""
    same = int(table["same"].sum())
    return {
        "count": len(table),
        "share": round(len(table) / images, 6),
        "same_count": same,
        "same_share": round(same / len(table), 6) if len(table) else None,
        "indices": table["index"].head(LISTED).tolist(),
    }


def tabulate_class_f1(metrics, ensemble):
    """One row per class: emotion, and the F1 of each network and of the ensemble; NaN where the class has no image."""
    columns = {name: [one.per_class[emotion].f1 for emotion in CLASSES] for name, one in metrics.items()}
    columns["ensemble"] = [ensemble["per_class"][emotion]["f1"] for emotion in CLASSES]
    return pd.DataFrame({"emotion": CLASSES, **{name: np.array(f1, float) for name, f1 in columns.items()}})


def tabulate_ensembles(metrics, ensembles, weighted):
    """One row per network and ensemble: name, kind, weights, accuracy, ci95_low, ci95_high, gain_points, p_value."""
    singles = [
        {"members": [name], "weights": [1.0], "accuracy": one.accuracy, "accuracy_ci95": one.accuracy_ci95}
        for name, one in metrics.items()
    ]
    kinds = ["one network"] * len(singles) + ["equal weights"] * len(ensembles) + ["weights chosen on val"]
    return pd.DataFrame(
        {
            "name": " + ".join(NAMES[member] for member in one["members"]),
            "kind": kind,
            "weights": " ".join(f"{weight:.2f}" for weight in one["weights"]),
            "accuracy": one["accuracy"],
            "ci95_low": one["accuracy_ci95"][0],
            "ci95_high": one["accuracy_ci95"][1],
            "gain_points": one.get("gain_points"),
            "p_value": one.get("p_value"),
        }
        for one, kind in zip([*singles, *ensembles, weighted], kinds, strict=True)
    )


def to_csv(table):
    """A table as CSV (bytes), floats with six decimals."""
    return table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="faces.h5")
    parser.add_argument("--predictions", required=True, help="folder with a CSV per network")
    parser.add_argument("--metrics", required=True, help="folder with a JSON per network")
    parser.add_argument("--report", required=True, help="JSON file to write")
    parser.add_argument("--summary", required=True, help="JSON file to write, with the few numbers of the ensemble")
    parser.add_argument("--plots", required=True, help="folder for the pictures and tables to write")
    args = parser.parse_args()
    profile, training, dataset, seed, settings = read_params(
        "profile", "profiles.${profile}", "dataset", "seed", "evaluate"
    )

    splits, attributes = read_faces(args.data)
    rows = {name: read_predictions(f"{args.predictions}/{name}.csv", splits) for name in NAMES}
    val = {name: rows[name]["val"] for name in NAMES}
    test = {name: rows[name]["test"] for name in NAMES}
    metrics = {name: read_metrics(f"{args.metrics}/{name}.json", test[name]) for name in NAMES}

    run_label = describe_run(profile, training, attributes["split"], dataset, splits)
    ensembles = judge_ensembles(val, test, settings.bootstrap, seed)
    weights = choose_weights(list(val.values()))
    weighted = judge_ensemble(val, test, tuple(NAMES), weights, settings.bootstrap, seed)
    seen = splits["test"].duplicate_of_train
    ensemble = measure(vote(list(val.values())), vote(list(test.values())), seen, settings, seed)
    table7 = set_beside_paper(metrics)
    all_wrong = tabulate_all_wrong(test)
    report = {
        "profile": profile,
        "split": attributes["split"],
        **run_label,
        "notes": [NOTES["baseline"], *([NOTES["val_in_test"]] if attributes["split"] == "paper" else [])],
        "table7": table7,
        "mcnemar": compare_pairs({name: one.correct for name, one in test.items()}),
        "ensembles": ensembles,
        "weighted_ensemble": {"chosen_on": "val", **weighted},
        "ensemble": ensemble,
        "agreement": measure_agreement(test),
        "all_wrong": count_all_wrong(all_wrong, len(splits["test"].labels)),
    }
    tables = {
        "table7": tabulate_table7(table7, run_label),
        "literature": tabulate_literature(table7, ensemble["accuracy"], run_label),
        "class_f1": tabulate_class_f1(metrics, ensemble),
        "ensembles": tabulate_ensembles(metrics, ensembles, weighted),
        "agreement": tabulate_agreement(test),
        "all_wrong": all_wrong,
    }
    pictures = draw_comparison(tables, splits["test"].images, run_label["label"])
    write_files(
        {
            args.report: to_json(report),
            args.summary: to_json(summarise(ensemble)),
            **{f"{args.plots}/{name}.csv": to_csv(table) for name, table in tables.items()},
            **{f"{args.plots}/{name}.png": picture for name, picture in pictures.items()},
        }
    )
    accuracies = [f"{NAMES[name]} {one.accuracy:.2%}" for name, one in metrics.items()]
    print(" | ".join([*accuracies, f"soft vote {ensemble['accuracy']:.2%}"]) + f" -> {args.report}")


if __name__ == "__main__":
    run(main)
