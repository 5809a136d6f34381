"""metrics/other/<set>.json: all networks on another data set, from which nothing was learnt or chosen."""

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.metrics.scores import ClassScores


class OtherScores(Record):
    """A network on all faces of another data set."""

    accuracy: Share
    accuracy_ci95: Interval
    balanced_accuracy: Share
    per_class: dict[str, ClassScores]
    confusion: list[list[Count]]
    """Row: label; column: prediction; both in the order of the classes."""


class Other(Record):
    """metrics/other/<name>.json: all networks on another data set, of which nothing was learnt or chosen."""

    source: str
    """Its name without folders."""
    md5: str
    faces: Count
    left_out: dict[str, Count]
    """{folder: pictures} below no folder of a known emotion."""
    scaled: Count
    """Pictures of another size than 48x48."""
    seen: Count
    """Faces that stand, pixel by pixel, in the train or val rows of FER-2013 as well."""
    networks: dict[str, OtherScores]
