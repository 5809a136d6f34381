"""The paths of the embedded sample, as `dataset` and `prepare.votes` in params.yaml give them."""

import os

SAMPLE = "data/raw/sample.csv"
SAMPLE_VOTES = "data/raw/sample_votes.csv"


def is_sample(dataset: str) -> bool:
    """Whether `dataset` in params.yaml names the embedded sample."""
    return is_same_file(dataset, SAMPLE)


def is_sample_votes(votes: str) -> bool:
    """Whether `prepare.votes` in params.yaml names the votes for the embedded sample."""
    return is_same_file(votes, SAMPLE_VOTES)


def is_same_file(one: str, other: str) -> bool:
    """Whether two paths, relative to the current folder, lead to the same place, links followed."""
    return os.path.realpath(one) == os.path.realpath(other)
