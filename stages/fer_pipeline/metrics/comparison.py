"""Networks compared with each other and with the paper, and combined into ensembles.

Functions take {network: predictions of the same images}, and keep the networks' order. The weights of an ensemble and
its best member are chosen on val. A difference in points is 100 times a difference of accuracies.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator
from scipy.optimize import minimize
from sklearn.metrics import cohen_kappa_score

from fer_pipeline.core.record import Count, Difference, Interval, Record, Share
from fer_pipeline.metrics import paper
from fer_pipeline.metrics.annotators import Labels
from fer_pipeline.metrics.evaluation import Scores
from fer_pipeline.metrics.scores import McNemar, Measured, apply_mcnemar, average, bound_accuracy
from fer_pipeline.params.schema import Params
from fer_pipeline.predictions.calibration import SMALLEST
from fer_pipeline.predictions.predictions import Predictions

BESIDE_PAPER = ("train_accuracy", "accuracy", "overfitting_gap")  # the numeric columns of the paper's Table 7
Beside = Annotated[dict[str, float], Field(min_length=len(BESIDE_PAPER))]
WEIGHT_DECIMALS = 3
ENSEMBLE_TITLE = "Soft vote of all"


class Table7Row(Record):
    """Our figures of one network."""

    train_accuracy: Share
    accuracy: Share
    overfitting_gap: Difference
    macro_f1: Share
    parameters: Count
    model_bytes: Count
    paper: Beside | None  # its figures under `BESIDE_PAPER`; None if it lacks the network, or our data are not FER-2013
    difference_points: Beside | None  # our value minus the paper's, in points; None likewise


class Ensemble(Record):
    """A soft vote: the weighted mean of its members' probabilities, compared with its most accurate member on val."""

    members: list[str]
    weights: list[Share]  # rounded; the vote divides by their sum
    val_accuracy: Share
    accuracy: Share
    accuracy_ci95: Interval
    best_member: str  # by val accuracy; the first, if tied
    gain_points: float  # accuracy minus that of the best member, in points
    p_value: Share  # of McNemar's test against the best member

    @model_validator(mode="after")
    def check(self) -> Self:
        """ValueError if the best member is none of the members."""
        if self.best_member not in self.members:
            raise ValueError(f"best_member is {self.best_member}, expected one of {', '.join(self.members)}")
        return self


class Pair(Record):
    first: str
    second: str
    share: Share  # share of the test images on which both predict the same class
    kappa: Annotated[float, Field(ge=-1, le=1)] | None  # Cohen's; None if both predict one class for every image


class Agreement(Record):
    pairs: list[Pair]
    all_share: Share  # share of the test images on which all networks predict the same class
    right_by: Annotated[
        list[Count], Field(min_length=2)
    ]  # numbers of test images that exactly 0, 1, ... and all networks classify correctly.
    any_right: Share  # share that at least one network gets right: the accuracy of a perfect choice among them


class AllWrong(Record):
    """Test images that no network classifies correctly; plots/compare/all_wrong.csv lists them."""

    count: Count
    share: Share
    same_count: Count  # number of these images for which all networks predict the same class


class Comparison(Record):
    """metrics/compare.json."""

    profile: str
    split: str
    comparable: bool  # whether our figures may be compared with the paper's
    label: str  # the data and settings behind our figures and the paper's, in words
    notes: list[str]
    table7: dict[str, Table7Row]
    mcnemar: list[McNemar]
    ensembles: list[Ensemble]  # soft votes with equal weights: of each pair of networks, then of all networks
    weighted_ensemble: Ensemble
    ensemble: Measured  # the soft vote of all networks, with equal weights
    ensemble_views: Ensemble | None = None  # the same by each network's `test_views`; None in older runs
    weighted_ensemble_views: Ensemble | None = None
    agreement: Agreement
    all_wrong: AllWrong
    labels: Labels | None = None  # None if the data have no votes


def describe_run(
    params: Params, study: bool, follows: bool, split: str, counts: Sequence[int], drawn: bool
) -> dict[str, Any]:
    """`comparable` and `label` of `Comparison`.

    Figures are comparable if the data are those of the `study`, FER-2013, and the training `follows` the paper's, on as
    many images: `counts` are those of train, val and test. `drawn` says whether they are the embedded sample.
    """
    source = "drawn faces, not FER-2013" if drawn else Path(params.dataset).name
    label = f"Ours: profile {params.profile}, split {split}, {counts[2]:,} test images ({source})."
    if not study:
        return {"comparable": False, "label": label}
    epochs = [paper.PRINTED[name].training["epochs"] for name in params.networks if name in paper.PRINTED]
    label += (
        f" The paper: FER-2013, its own split, {paper.TEST_IMAGES:,} test images"
        f"{f', up to {max(epochs)} epochs' if epochs else ''}."
    )
    return {"comparable": follows and not drawn and has_papers_counts(counts), "label": label}


def has_papers_counts(counts: Sequence[int]) -> bool:
    """Whether train, val and test have as many images as the paper's."""
    return (*counts,) == (paper.TRAIN_IMAGES, paper.VAL_IMAGES, paper.TEST_IMAGES)


def collect_notes(names: Iterable[str]) -> list[str]:
    """What to know about the paper's figures for these of its networks."""
    return [paper.PRINTED[name].note for name in names if name in paper.PRINTED and paper.PRINTED[name].note]


def set_beside_paper(scores: Mapping[str, Scores], study: bool) -> dict[str, Table7Row]:
    """Table 7: our figures, and on the `study`'s data, for networks of the paper, its figures and the differences."""
    table = {}
    for name, one in scores.items():
        ours = one.model_dump(include={*BESIDE_PAPER, "macro_f1"}) | one.cost.model_dump(exclude={"macs"})
        printed = paper.PRINTED.get(name) if study else None
        theirs = {key: getattr(printed, key) for key in BESIDE_PAPER} if printed else None
        gained = {key: round(100 * (ours[key] - theirs[key]), 2) for key in BESIDE_PAPER} if theirs else None
        table[name] = Table7Row(**ours, paper=theirs, difference_points=gained)
    return table


def tabulate_table7(table7: Mapping[str, Table7Row], origin: Mapping[str, Any]) -> pd.DataFrame:
    """`set_beside_paper` as a table with one row per network, `origin` added to each; empty columns are left out."""
    rows = []
    for name, row in table7.items():
        values: dict[str, Any] = {"network": name}
        for key in BESIDE_PAPER:
            values[key] = getattr(row, key)
            values[f"paper_{key}"] = (row.paper or {}).get(key)
            values[f"{key}_difference_points"] = (row.difference_points or {}).get(key)
        rows.append({**values, **row.model_dump(include={"macro_f1", "parameters", "model_bytes"}), **origin})
    return pd.DataFrame(rows).dropna(axis="columns", how="all")


def tabulate_literature(
    table7: Mapping[str, Table7Row],
    titles: Mapping[str, str],
    ensemble_accuracy: float,
    origin: Mapping[str, Any],
    study: bool,
) -> pd.DataFrame:
    """Figure 10 as a table: Table 1, the paper's networks, our networks and our ensemble, best first.

    On other data than the `study`'s, ours alone.
    """
    rows: list[tuple[str, str, int | None, str, float | None]] = [
        ("literature", f"{work.reference} [{work.number}]", work.year, work.dataset, work.accuracy)
        for work in (paper.LITERATURE if study else ())
    ]
    papers = [(titles[name], row.paper["accuracy"]) for name, row in table7.items() if row.paper]
    ours = [*((titles[name], row.accuracy) for name, row in table7.items()), (ENSEMBLE_TITLE, ensemble_accuracy)]
    rows += [("paper", name, None, "FER-2013", accuracy) for name, accuracy in papers]
    rows += [("ours", name, None, "ours", accuracy) for name, accuracy in ours]
    table = pd.DataFrame(rows, columns=["source", "name", "year", "dataset", "accuracy"]).astype({"year": "Int64"})
    known = table.dropna(subset="accuracy")
    return known.sort_values("accuracy", ascending=False, kind="stable").assign(**origin)


def vote(members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """The soft vote of several networks on the same images: the weighted mean of their probabilities."""
    mean = np.average([rows.probabilities for rows in members], axis=0, weights=weights)
    return members[0]._replace(probabilities=mean)


def choose_weights(members: Sequence[Predictions]) -> list[float]:
    """The weights that minimise the mean negative log-likelihood of a soft vote; `members` are predictions of val.

    This loss is convex in the weights (probabilities below 1e-6 count as 1e-6), so SLSQP, started at equal weights and
    given the exact gradient, finds the only minimum in every call. The weights have three decimals.
    """
    actual = members[0].actual
    of_truth = np.stack([rows.probabilities[np.arange(len(actual)), actual] for rows in members]).clip(SMALLEST)

    def measure_loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        together = weights @ of_truth
        return -float(np.log(together).mean()), -(of_truth / together).mean(axis=1)

    start, bounds = np.full(len(members), 1 / len(members)), [(0, 1)] * len(members)
    whole = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like}
    exact = {"ftol": 1e-12, "maxiter": 1000}
    found = minimize(measure_loss, start, jac=True, method="SLSQP", bounds=bounds, constraints=whole, options=exact)
    return [round(max(0.0, float(weight)), WEIGHT_DECIMALS) for weight in found.x]


def judge_ensembles(
    val: Mapping[str, Predictions], test: Mapping[str, Predictions], resamples: int, seed: int
) -> tuple[list[Ensemble], Ensemble]:
    """Soft votes with equal weights, of each pair and then of all networks (of two networks, one vote); and the vote of
    all networks with weights from `choose_weights`. `resamples` and `seed` are for the bootstrap."""

    def judge(names: Sequence[str], weights: Sequence[float]) -> dict[str, Any]:
        best = max(names, key=lambda name: float(val[name].correct.mean()))
        together = vote([test[name] for name in names], weights).correct
        return {
            "members": list(names),
            "weights": [round(weight, 6) for weight in weights],
            "val_accuracy": average(vote([val[name] for name in names], weights).correct),
            "accuracy": average(together),
            "accuracy_ci95": bound_accuracy(together, resamples, seed),
            "best_member": best,
            "gain_points": round(100 * float(together.mean() - test[best].correct.mean()), 4),
            "p_value": apply_mcnemar(together, test[best].correct)[2],
        }

    groups = dict.fromkeys([*combinations(test, 2), tuple(test)])
    equal = [Ensemble(**judge(names, [1 / len(names)] * len(names))) for names in groups]
    return equal, Ensemble(**judge([*test], choose_weights([*val.values()])))


def measure_agreement(images: pd.DataFrame, names: Sequence[str]) -> Agreement:
    """How often the networks predict the same class, right or wrong: for each pair, and for all.

    `images` is from `tabulate_images`, here and below; `names` are the networks.
    """
    pairs = []
    for first, second in combinations(names, 2):
        one, other = images[first], images[second]
        kappa = round(float(cohen_kappa_score(one, other)), 6) if len({*one, *other}) > 1 else None
        pairs.append(Pair(first=first, second=second, share=average(one == other), kappa=kappa))
    return Agreement(
        pairs=pairs,
        all_share=average(images["same"]),
        right_by=np.bincount(images["right"], minlength=len(names) + 1).tolist(),
        any_right=average(images["right"] > 0),
    )


def tabulate_agreement(images: pd.DataFrame, networks: int, classes: Sequence[str]) -> pd.DataFrame:
    """One row per class with images: emotion, images, and right_by_<k>, the share that exactly k networks get right."""
    present = [emotion for emotion in classes if emotion in set(images["actual"])]
    shares = pd.crosstab(images["actual"], images["right"], normalize="index")
    shares = shares.reindex(index=present, columns=range(networks, -1, -1), fill_value=0.0).add_prefix("right_by_")
    shares.insert(0, "images", images["actual"].value_counts())
    return shares.rename_axis(index="emotion", columns=None).reset_index()


def tabulate_all_wrong(images: pd.DataFrame) -> pd.DataFrame:
    """The rows of `images` without `right` that no network gets right.

    Images for which all predict the same class come first; within both groups, rows are sorted by falling confidence.
    """
    wrong = images.query("right == 0").drop(columns="right")
    return wrong.sort_values(["same", "confidence"], ascending=False, kind="stable", ignore_index=True)


def count_all_wrong(table: pd.DataFrame, images: int) -> AllWrong:
    """The record of `table`, made by `tabulate_all_wrong` from a test split of `images` images."""
    return AllWrong(
        count=len(table),
        share=round(len(table) / images, 6),
        same_count=int(table["same"].sum()),
    )


def tabulate_class_f1(scores: Mapping[str, Scores], ensemble: Measured) -> pd.DataFrame:
    """One row per class: emotion, and the F1 of each network and of the ensemble; NaN for a class without images."""
    every = {**scores, "ensemble": ensemble}
    columns = {name: [scores.f1 for scores in one.per_class.values()] for name, one in every.items()}
    return pd.DataFrame({"emotion": [*ensemble.per_class], **columns})


def tabulate_ensembles(
    scores: Mapping[str, Scores], titles: Mapping[str, str], ensembles: Sequence[Ensemble], weighted: Ensemble
) -> pd.DataFrame:
    """One row per network and ensemble: name, kind, weights, accuracy, ci95_low, ci95_high, gain_points, p_value."""
    singles = {name: one.model_dump(include={"accuracy", "accuracy_ci95"}) for name, one in scores.items()}
    rows = [{"kind": "one network", "members": [name], "weights": [1.0], **one} for name, one in singles.items()]
    rows += [{"kind": "equal weights", **one.model_dump()} for one in ensembles]
    table = pd.DataFrame([*rows, {"kind": "weights chosen on val", **weighted.model_dump()}])
    table["name"] = [" + ".join(titles[name] for name in members) for members in table["members"]]
    table["weights"] = [" ".join(f"{one:.{WEIGHT_DECIMALS}f}" for one in weights) for weights in table["weights"]]
    table[["ci95_low", "ci95_high"]] = table["accuracy_ci95"].tolist()
    return table[["name", "kind", "weights", "accuracy", "ci95_low", "ci95_high", "gain_points", "p_value"]]
