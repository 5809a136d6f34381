"""What metrics/timing.json holds, by stage."""

import hashlib
from collections.abc import Collection, Mapping
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


def read_timing(path: str | Path, names: Collection[str], models: Mapping[str, str] | None = None) -> Timing:
    """What metrics/timing.json holds of the networks `names`; of trainings only those that made the files `models`."""
    found = read_times(path)

    def read(stage: str, kind: type[Record]) -> Any:
        try:
            return kind.model_validate(found.get(stage))
        except ValidationError:
            return None

    training = {name: read(f"train_{name}", TrainingTimes) for name in names}
    for name, model in (models or {}).items():
        file = Path(model)
        if training[name] and not (file.is_file() and training[name].md5 == hashlib.md5(file.read_bytes()).hexdigest()):
            training[name] = None
    return Timing(
        training,
        {name: read(f"predict@{name}", PredictionTimes) for name in names},
        read("score_exports", ExportTimes),
    )
