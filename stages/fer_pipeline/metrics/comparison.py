"""Networks against each other, against the paper, and together as ensembles: what `stages/compare.py` works out.

Functions take {network: rows of the same images}, for any number of networks from 2 on, and keep their order. Nothing
is chosen on test rows: the one thing chosen at all, the weights of an ensemble, is chosen on val. Accuracies are in
[0, 1]; what is called points is a difference of two of them times 100.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from scipy.optimize import minimize
from sklearn.metrics import cohen_kappa_score

from fer_pipeline.core.record import Count, Difference, Interval, Record, Share
from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES, is_sample
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.labels import Labels
from fer_pipeline.metrics.mcnemar import McNemar, apply_mcnemar
from fer_pipeline.metrics.scores import Measured, bound_accuracy
from fer_pipeline.predictions.calibration import SMALLEST
from fer_pipeline.predictions.predictions import Predictions

WEIGHT_DECIMALS = 3
"""Of the weights chosen for an ensemble."""
LISTED = 100
"""Images of `tabulate_all_wrong` that compare.json names; all_wrong.csv names all."""
ENSEMBLE_TITLE = "Soft vote of all"
BESIDE_PAPER = ("train_accuracy", "accuracy", "overfitting_gap")
"""What Table 7 has in numbers."""
VAL_IN_TEST = "Under the split paper val lies inside test: weights chosen on val are chosen on test rows as well."

Bools = npt.NDArray[np.bool_]


class Accuracies(Record):
    train_accuracy: Share
    accuracy: Share
    overfitting_gap: Difference


class AccuracyDifferences(Record):
    """Ours less the paper's, in points."""

    train_accuracy: float
    accuracy: float
    overfitting_gap: float


class Table7Row(Accuracies):
    """One network, and what the paper has for it; None where it has not this network."""

    macro_f1: Share
    parameters: Count
    model_bytes: Count
    paper: Accuracies | None
    difference_points: AccuracyDifferences | None


class Ensemble(Record):
    """A soft vote: the weighted mean of its members' probabilities."""

    members: list[str]
    weights: list[Share]
    val_accuracy: Share
    accuracy: Share
    accuracy_ci95: Interval
    best_member: str
    """On test."""
    gain_points: float
    """Over the best member."""
    p_value: Share
    """McNemar's, against the best member."""


class WeightedEnsemble(Ensemble):
    chosen_on: Literal["val"]


class Pair(Record):
    first: str
    second: str
    share: Share
    """Test images of which both say the same."""
    kappa: Annotated[float, Field(ge=-1, le=1)] | None
    """Cohen's; None where both always say one and the same class."""


class Agreement(Record):
    pairs: list[Pair]
    all_share: Share
    """Test images of which all networks say the same."""
    right_by: list[Count]
    """Images that none, one, ... all of them get right."""
    any_right: Share


class AllWrong(Record):
    """Test images that no network gets right."""

    count: Count
    share: Share
    same_count: Count
    """Of them, those of which all networks say the same."""
    same_share: Share | None
    indices: list[Count]
    """Rows of test, the first hundred of all_wrong.csv."""


class Comparison(Record):
    """metrics/compare.json."""

    profile: str
    split: str
    comparable: bool
    """Whether our figures may be held against the paper's."""
    label: str
    """The sentence that says what both come from."""
    notes: list[str]
    table7: dict[str, Table7Row]
    mcnemar: list[McNemar]
    ensembles: list[Ensemble]
    """With equal weights: each pair, ... and at last all."""
    weighted_ensemble: WeightedEnsemble
    ensemble: Measured
    """The vote of all, with equal weights."""
    agreement: Agreement
    all_wrong: AllWrong
    labels: Labels | None = None
    """None where the data have no votes."""


class Origin(NamedTuple):
    """What our figures come from."""

    comparable: bool
    """Whether they may be held against the paper's."""
    label: str
    """The sentence that says what both come from."""


def describe_run(
    profile: str,
    ours: Mapping[str, Any],
    papers: Mapping[str, Any],
    split: str,
    dataset: str,
    splits: Mapping[str, Split],
) -> Origin:
    """Whether our figures may be compared with the paper's, and the sentence that says what both come from.

    They may if the paper's networks are trained as in the paper (`follows_paper`, which takes `ours` and `papers`), on
    as many images of each split. `ours` are the settings of the profile named `profile`, `splits` is
    {'train', 'val', 'test': rows}.
    """
    drawn = is_sample(dataset)
    counts = [len(rows.labels) for rows in splits.values()]
    theirs = [paper.TRAIN_IMAGES, paper.VAL_IMAGES, paper.TEST_IMAGES]
    source = "drawn faces, not FER-2013" if drawn else Path(dataset).name
    epochs = [paper.PRINTED[name].training["epochs"] for name in ours if name in paper.PRINTED]
    return Origin(
        comparable=paper.follows_paper(ours, papers) and not drawn and counts == theirs,
        label=(
            f"Ours: profile {profile}, split {split}, {counts[2]:,} test images ({source}). The paper: FER-2013, its "
            f"own split, {paper.TEST_IMAGES:,} test images{f', up to {max(epochs)} epochs' if epochs else ''}."
        ),
    )


def collect_notes(names: Iterable[str], split: str) -> list[str]:
    """What to know about the paper's figures for these networks, and about the split."""
    notes = [paper.PRINTED[name].note for name in names if name in paper.PRINTED and paper.PRINTED[name].note]
    return [*notes, *([VAL_IN_TEST] if split == "paper" else [])]


def set_beside_paper(scores: Mapping[str, Scores]) -> dict[str, Table7Row]:
    """Table 7: our figures, and for the paper's networks the paper's figures and the differences."""
    table = {}
    for name, ours in scores.items():
        figures = {key: getattr(ours, key) for key in BESIDE_PAPER}
        theirs = differences = None
        if printed := paper.PRINTED.get(name):
            theirs = Accuracies(**{key: getattr(printed, key) for key in BESIDE_PAPER})
            gained = {key: round(100 * (figures[key] - getattr(theirs, key)), 2) for key in BESIDE_PAPER}
            differences = AccuracyDifferences(**gained)
        table[name] = Table7Row(
            **figures,
            macro_f1=ours.macro_f1,
            parameters=ours.cost.parameters,
            model_bytes=ours.cost.model_bytes,
            paper=theirs,
            difference_points=differences,
        )
    return table


def tabulate_table7(table7: Mapping[str, Table7Row], origin: Origin) -> pd.DataFrame:
    """`set_beside_paper` as a table of one row per network, with `origin` in each; no column stays empty."""
    rows = []
    for name, row in table7.items():
        beside = {
            column: value
            for key in BESIDE_PAPER
            for column, value in (
                (key, getattr(row, key)),
                (f"paper_{key}", getattr(row.paper, key, None)),
                (f"{key}_difference_points", getattr(row.difference_points, key, None)),
            )
        }
        rest = {key: getattr(row, key) for key in ("macro_f1", "parameters", "model_bytes")}
        rows.append({"network": name, **beside, **rest, **origin._asdict()})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def tabulate_literature(
    table7: Mapping[str, Table7Row], titles: Mapping[str, str], ensemble_accuracy: float, origin: Origin
) -> pd.DataFrame:
    """Figure 10 as a table: Table 1, the paper's networks, ours and our ensemble, by falling accuracy.

    Columns: source ('literature', 'paper' or 'ours'), name, year, dataset, accuracy, and those of `origin`. A network
    that the paper has not stands under 'ours' alone.
    """
    rows: list[tuple[str, str, int | None, str, float]] = [
        ("literature", f"{work.reference} [{work.number}]", work.year, work.dataset, work.accuracy)
        for work in paper.LITERATURE
        if work.accuracy is not None
    ]
    rows += [("paper", titles[name], None, "FER-2013", row.paper.accuracy) for name, row in table7.items() if row.paper]
    rows += [("ours", titles[name], None, "ours", row.accuracy) for name, row in table7.items()]
    rows += [("ours", ENSEMBLE_TITLE, None, "ours", ensemble_accuracy)]
    table = pd.DataFrame(rows, columns=["source", "name", "year", "dataset", "accuracy"]).astype({"year": "Int64"})
    return table.sort_values("accuracy", ascending=False, kind="stable").assign(**origin._asdict())


def vote(members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """The soft vote of several networks on the same images: the weighted mean of their probabilities."""
    mean = np.average([rows.probabilities for rows in members], axis=0, weights=weights)
    return members[0]._replace(probabilities=mean)


def choose_weights(members: Sequence[Predictions]) -> list[float]:
    """The weights of a soft vote with the least mean negative log-likelihood; `members` are the predictions of val.

    That loss is convex in the weights (probabilities count as 1e-6 at least), so SLSQP, from equal weights on and with
    the exact gradient, finds its one minimum, the same at each call. Rounded to thousandths that add up to 1.
    """
    actual = members[0].actual
    of_truth = np.stack([rows.probabilities[np.arange(len(actual)), actual] for rows in members]).clip(SMALLEST)

    def measure_loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        together = weights @ of_truth
        return -float(np.log(together).mean()), -(of_truth / together).mean(axis=1)

    found = minimize(
        measure_loss,
        np.full(len(members), 1 / len(members)),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(members),
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    return round_weights(found.x)


def round_weights(weights: npt.NDArray[np.float64]) -> list[float]:
    """Weights >= 0 as thousandths that add up to 1: those that rounding down costs most are rounded up."""
    units = 10**WEIGHT_DECIMALS
    exact = units * weights.clip(0) / weights.clip(0).sum()
    whole = np.floor(exact.round(6))  # what is a whole thousandth but for the last bits stays one
    losers = np.argsort((whole - exact).round(6), kind="stable")[: int(units - whole.sum())]
    whole[losers] += 1
    return [round(float(one) / units, WEIGHT_DECIMALS) for one in whole]


def judge_ensemble(
    val: Mapping[str, Predictions],
    test: Mapping[str, Predictions],
    names: Sequence[str],
    weights: Sequence[float],
    resamples: int,
    seed: int,
) -> Ensemble:
    """The soft vote of some networks: its accuracy on val and test, and its gain over the best of its members on test.

    Args:
        val, test: the predictions of all networks.
        names: the members.
        weights: one per member.
        resamples, seed: of the bootstrap.
    """
    right = {name: test[name].correct for name in names}
    best = max(names, key=lambda name: float(right[name].mean()))
    together = vote([test[name] for name in names], weights).correct
    gain = float(together.mean() - right[best].mean())
    return Ensemble(
        members=list(names),
        weights=[round(weight, 6) for weight in weights],
        val_accuracy=round(float(vote([val[name] for name in names], weights).correct.mean()), 6),
        accuracy=round(float(together.mean()), 6),
        accuracy_ci95=bound_accuracy(together, resamples, seed),
        best_member=best,
        gain_points=round(100 * gain, 4),
        p_value=apply_mcnemar(together, right[best]).p_value,
    )


def judge_ensembles(
    val: Mapping[str, Predictions], test: Mapping[str, Predictions], resamples: int, seed: int
) -> list[Ensemble]:
    """Soft votes with equal weights: of each pair, and at last of all; of two networks that is one."""
    groups = dict.fromkeys([*combinations(test, 2), tuple(test)])
    return [judge_ensemble(val, test, names, [1 / len(names)] * len(names), resamples, seed) for names in groups]


def judge_weighted(
    val: Mapping[str, Predictions], test: Mapping[str, Predictions], resamples: int, seed: int
) -> WeightedEnsemble:
    """The soft vote of all networks with the weights that `choose_weights` finds on val."""
    weights = choose_weights(list(val.values()))
    together = judge_ensemble(val, test, list(test), weights, resamples, seed)
    return WeightedEnsemble(**together.model_dump(), chosen_on="val")


def measure_agreement(test: Mapping[str, Predictions]) -> Agreement:
    """How often networks say the same, right or wrong: each pair (and Cohen's kappa), and all.

    `right_by` counts the images that none, one, ... all of them get right; `any_right` is the share of the others than
    none: what a perfect choice among the networks would reach. Kappa is None where both always say one and the same.
    """
    predicted = {name: rows.predicted for name, rows in test.items()}
    pairs = []
    for first, second in combinations(test, 2):
        same = predicted[first] == predicted[second]
        constant = same.all() and len(set(predicted[first])) == 1
        kappa = None if constant else round(float(cohen_kappa_score(predicted[first], predicted[second])), 6)
        pairs.append(Pair(first=first, second=second, share=round(float(same.mean()), 6), kappa=kappa))
    votes = np.stack(list(predicted.values()))
    right = count_right(test)
    return Agreement(
        pairs=pairs,
        all_share=round(float((votes == votes[0]).all(axis=0).mean()), 6),
        right_by=np.bincount(right, minlength=len(test) + 1).tolist(),
        any_right=round(float((right > 0).mean()), 6),
    )


def count_right(test: Mapping[str, Predictions]) -> npt.NDArray[np.int64]:
    """int (N,): how many networks get each of the N images right."""
    counts: npt.NDArray[np.int64] = np.stack([rows.correct for rows in test.values()]).sum(axis=0)
    return counts


def tabulate_agreement(test: Mapping[str, Predictions]) -> pd.DataFrame:
    """One row per class with images: emotion, images, and right_by_<k>, the share that k of the networks get right."""
    actual = next(iter(test.values())).actual
    right = count_right(test)

    def count_rows() -> Iterator[dict[str, Any]]:
        for label, emotion in enumerate(CLASSES):
            mine = right[actual == label]
            if len(mine):
                shares = {f"right_by_{k}": float((mine == k).mean()) for k in range(len(test), -1, -1)}
                yield {"emotion": emotion, "images": len(mine), **shares}

    return pd.DataFrame(count_rows())


def tabulate_all_wrong(test: Mapping[str, Predictions]) -> pd.DataFrame:
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


def count_all_wrong(table: pd.DataFrame, images: int) -> AllWrong:
    """`tabulate_all_wrong` in numbers, of so many test images, and the first rows of it."""
    same = int(table["same"].sum())
    return AllWrong(
        count=len(table),
        share=round(len(table) / images, 6),
        same_count=same,
        same_share=round(same / len(table), 6) if len(table) else None,
        indices=table["index"].head(LISTED).tolist(),
    )


def tabulate_class_f1(scores: Mapping[str, Scores], ensemble: Measured) -> pd.DataFrame:
    """One row per class: emotion, and the F1 of each network and of the ensemble; NaN where the class has no image."""
    columns = {
        name: np.array([one.per_class[emotion].f1 for emotion in CLASSES], float)
        for name, one in {**scores, "ensemble": ensemble}.items()
    }
    return pd.DataFrame({"emotion": CLASSES, **columns})


def tabulate_ensembles(
    scores: Mapping[str, Scores], titles: Mapping[str, str], ensembles: Sequence[Ensemble], weighted: WeightedEnsemble
) -> pd.DataFrame:
    """One row per network and ensemble: name, kind, weights, accuracy, ci95_low, ci95_high, gain_points, p_value."""
    singles = [
        {"members": [name], "weights": [1.0], "accuracy": one.accuracy, "accuracy_ci95": one.accuracy_ci95}
        for name, one in scores.items()
    ]
    votes = [one.model_dump() for one in (*ensembles, weighted)]
    kinds = ["one network"] * len(singles) + ["equal weights"] * len(ensembles) + ["weights chosen on val"]
    return pd.DataFrame(
        {
            "name": " + ".join(titles[member] for member in one["members"]),
            "kind": kind,
            "weights": " ".join(f"{weight:.{WEIGHT_DECIMALS}f}" for weight in one["weights"]),
            "accuracy": one["accuracy"],
            "ci95_low": one["accuracy_ci95"][0],
            "ci95_high": one["accuracy_ci95"][1],
            "gain_points": one.get("gain_points"),
            "p_value": one.get("p_value"),
        }
        for one, kind in zip([*singles, *votes], kinds, strict=True)
    )
