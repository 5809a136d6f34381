"""What metrics/timing.json holds, by stage."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

import checkout
from fer_pipeline.core.record import Record
from fer_pipeline.exported.record import ExportTimes
from fer_pipeline.predictions.record import PredictionTimes
from fer_pipeline.running.timing import read_times
from fer_pipeline.training.common.run import TrainingTimes


class Timing(NamedTuple):
    """Times by network; None for a stage that wrote nothing there, or nothing that fits."""

    training: dict[str, TrainingTimes | None]
    prediction: dict[str, PredictionTimes | None]
    exports: ExportTimes | None


def read_timing(path: str | Path, names: Collection[str]) -> Timing:
    """What metrics/timing.json holds of the networks `names`."""
    found = read_times(path)

    def read(stage: str, kind: type[Record]) -> Any:
        try:
            return kind.model_validate(found.get(stage))
        except ValidationError:
            return None

    return Timing(
        {name: read(f"train_{name}", TrainingTimes) for name in names},
        {name: read(f"predict@{name}", PredictionTimes) for name in names},
        read("score_exports", ExportTimes),
    )
