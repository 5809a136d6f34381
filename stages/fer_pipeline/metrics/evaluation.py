"""metrics/<network>.json: all that is known of one network on test."""

from typing import Annotated

from pydantic import Field

from fer_pipeline.core.record import Difference, Share
from fer_pipeline.metrics.annotators import Annotators
from fer_pipeline.metrics.scores import Measured
from fer_pipeline.predictions.record import Cost, Device, Precision


class Scores(Measured):
    """metrics/<network>.json."""

    accuracy_single_crop: Share
    """By the centre crop."""
    temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)]
    """As `calibration.temperature`, for the centre crop: what the exported network carries."""
    votes_temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)] | None = None
    """The same of the second head, by what annotators said; None without one."""
    annotators: Annotators | None = None
    """None where the data have no votes."""
    train_accuracy: Share
    """Of the finished network on plain training faces, by the centre crop."""
    overfitting_gap: Difference
    """Train accuracy less test accuracy."""
    cost: Cost
    device: Device
    precision: Precision
