"""metrics/stress/<network>.json, which `stages/stress.py` writes: how the answers hold on damaged faces."""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from fer_pipeline.core.record import Count, Record, Share
from fer_pipeline.metrics.scores import average, sum_calibration_error
from fer_pipeline.params.schema import Evaluate
from fer_pipeline.predictions.predictions import Predictions
from fer_pipeline.stress.damages import HELD_OUT, STRENGTHS

Strength = Annotated[int, Field(ge=STRENGTHS[0], le=STRENGTHS[-1])]


class Held(Record):
    """How the answers hold on faces that are all damaged alike, or on average over such sets."""

    accuracy: Share  # by the data set's labels
    calibration_error: Share  # expected calibration error, in `evaluate.bins` bins
    uncertain: Share  # share of the answers with a confidence below `evaluate.threshold`


class Extreme(Record):
    """The worst value of one measure, and where it was found first."""

    value: Share
    kind: str
    strength: Strength


class Worst(Record):
    """The lowest accuracy, the highest calibration error and the most uncertain answers, each wherever it is."""

    accuracy: Extreme
    calibration_error: Extreme
    uncertain: Extreme


class Summary(Record):
    """Over all strengths of some kinds of damage."""

    mean: Held
    worst: Worst


class OnSplit(Summary):
    """One split; its own `mean` and `worst` are over all kinds."""

    rows: Count
    clean: Held  # the same rows as they are
    kinds: dict[str, Annotated[list[Held], Field(min_length=len(STRENGTHS), max_length=len(STRENGTHS))]]
    """{kind: scores by strength, the least first}."""
    unseen: Summary  # over the kinds that no training uses: `HELD_OUT`
    seen: Summary  # over all others


class Stress(Record):
    """metrics/stress/<network>.json: the int8 export's first head."""

    val: OnSplit
    test: OnSplit


def score(rows: Predictions, settings: Evaluate) -> Held:
    """How the answers hold on the faces that `rows` are about."""
    return Held(
        accuracy=average(rows.correct),
        calibration_error=sum_calibration_error(rows, settings.bins),
        uncertain=average(rows.confidence < settings.threshold),
    )


def summarise(kinds: Mapping[str, Sequence[Held]], chosen: Collection[str]) -> Summary:
    """Over `chosen` of {kind: scores by strength}."""
    cells = [(kind, place, one) for kind in kinds if kind in chosen for place, one in enumerate(kinds[kind], 1)]
    mean, worst = {}, {}
    for measure, find in (("accuracy", min), ("calibration_error", max), ("uncertain", max)):
        values = [getattr(one, measure) for _, _, one in cells]
        mean[measure] = average(values)
        kind, strength, _ = cells[values.index(find(values))]
        worst[measure] = Extreme(value=find(values), kind=kind, strength=strength)
    return Summary(mean=Held(**mean), worst=Worst(**worst))


def describe(clean: Held, kinds: Mapping[str, list[Held]], rows: int) -> OnSplit:
    """The record of a split with so many rows, from its scores."""
    return OnSplit(
        **dict(summarise(kinds, kinds)),
        rows=rows,
        clean=clean,
        kinds=dict(kinds),
        unseen=summarise(kinds, HELD_OUT),
        seen=summarise(kinds, kinds.keys() - {*HELD_OUT}),
    )
