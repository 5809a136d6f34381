"""What `stages/predict.py` reports of a trained network beside its predictions."""

from fer_pipeline.core.record import Count, Device, Precision, Record


class Cost(Record):
    parameters: Count  # trainable ones
    macs: Count  # multiply-accumulates for one image
    model_bytes: Count


class NetworkFacts(Record):
    """data/predictions/<network>.json."""

    cost: Cost
    device: Device  # where the predictions were computed
    precision: Precision


class PredictionTimes(Record):
    """metrics/timing.json: predict@<network>. From faces in memory to probabilities in memory, one crop each."""

    latency_ms_batch1: float  # of one image: the median call
    images_per_second: float  # in batches of 256: the fastest
    hardware: str
