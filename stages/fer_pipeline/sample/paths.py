"""The paths of the embedded sample, as `dataset` and `prepare.votes` in params.yaml give them."""

import os

SAMPLE = "data/raw/sample.csv"
SAMPLE_VOTES = "data/raw/sample_votes.csv"


def is_sample(dataset: str) -> bool:
    """Whether `dataset` in params.yaml names the embedded sample."""
    return os.path.realpath(dataset) == os.path.realpath(SAMPLE)


def is_sample_votes(votes: str) -> bool:
    """Whether `prepare.votes` in params.yaml names the votes for the embedded sample."""
    return os.path.realpath(votes) == os.path.realpath(SAMPLE_VOTES)
