"""metrics/export.json and how fast exported networks are: what `stages/score_exports.py` writes."""

from fer_pipeline.core.record import Count, Difference, Record, Share


class Exported(Record):
    """One exported network."""

    accuracy: Share
    """On test, by the centre crop."""
    largest_difference: Share
    """Of any probability on test, from the network in its framework."""
    bytes: Count


class Quantised(Exported):
    lost: Difference
    """Accuracy of the float32 file on test minus that of this one, in [-1, 1]."""
    kept_in_float32: list[str]


class Trained(Record):
    """What trained a network; the same for equal trainings."""

    hardware: str
    device: str
    seed: int
    versions: dict[str, str]
    """Of Python and of what trained it."""


class Precisions(Record):
    float32: Exported
    int8: Quantised
    trained: Trained | None = None
    """None for files of networks that do not say so."""


class Exports(Record):
    """metrics/export.json."""

    networks: dict[str, Precisions]


class Latency(Record):
    """Milliseconds for one face."""

    median: float
    p95: float
    """95th percentile."""


class Latencies(Record):
    threads_1: Latency
    threads_2: Latency


class ExportedTimes(Record):
    """One exported network, run by onnxruntime on the CPU."""

    latency_ms: Latencies
    faces_per_second: float
    """In batches of 64, on all cores."""


class PrecisionTimes(Record):
    float32: ExportedTimes
    int8: ExportedTimes


class ExportTimes(Record):
    """metrics/timing.json: score_exports."""

    networks: dict[str, PrecisionTimes]
    hardware: str
