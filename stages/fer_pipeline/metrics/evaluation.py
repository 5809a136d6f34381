"""metrics/<network>.json: the metrics of one network."""

from typing import Annotated

from pydantic import Field

from fer_pipeline.core.record import Difference, Share
from fer_pipeline.metrics.annotators import Annotators
from fer_pipeline.metrics.scores import Measured
from fer_pipeline.predictions.record import Cost, Device, Precision


class Scores(Measured):
    """metrics/<network>.json."""

    accuracy_single_crop: Share
    """Accuracy on test, by the centre crop alone."""
    temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)]
    """Like `calibration.temperature`, for the centre crop alone: the temperature of the exported network."""
    votes_temperature_single_crop: Annotated[float, Field(gt=0, lt=1000)] | None = None
    """That of the second head, fitted to the votes on val; None if there is no second head or no vote."""
    annotators: Annotators | None = None
    """None if the data have no votes."""
    train_accuracy: Share
    """Accuracy of the finished network on training faces without augmentation, by the centre crop alone."""
    overfitting_gap: Difference
    """Train accuracy minus test accuracy."""
    cost: Cost
    device: Device
    precision: Precision
