"""The paths of the embedded sample, as `dataset` and `prepare.votes` in params.yaml give them."""

import os

SAMPLE = "data/raw/sample.csv"
SAMPLE_VOTES = "data/raw/sample_votes.csv"


def is_sample(path: str, sample: str = SAMPLE) -> bool:
    """Whether `path` names the embedded sample, or its votes with `sample=SAMPLE_VOTES`; links are followed."""
    return os.path.realpath(path) == os.path.realpath(sample)
