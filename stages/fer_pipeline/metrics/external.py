"""metrics/other/<set>.json: all networks on another data set, on which nothing was trained or chosen."""

from fer_pipeline.core.record import Count, Interval, Record, Share
from fer_pipeline.metrics.scores import ClassScores


class OtherScores(Record):
    """One network on all faces of another data set."""

    accuracy: Share
    accuracy_ci95: Interval
    balanced_accuracy: Share
    per_class: dict[str, ClassScores]
    confusion: list[list[Count]]
    """int (7, 7): faces by label (rows) and prediction (columns), in the order of the classes."""


class Other(Record):
    source: str  # the file or folder of the data set, without the folders above it
    md5: str
    faces: Count
    left_out: dict[str, Count]  # {folder: number of its pictures}, for folders whose name is no known emotion
    scaled: Count  # pictures scaled to 48x48 from another size
    seen: Count  # faces whose exact pixels are also in FER-2013's train or val rows
    networks: dict[str, OtherScores]
