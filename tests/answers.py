"""Predictions that are given or drawn, and splits of drawn faces, for the tests of metrics and figures."""

import numpy as np

from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.predictions.predictions import Predictions, as_written


def predict(actual, predicted, confidence=0.7):
    """`Predictions` of given classes (numbers or names); `confidence` is one or (N,), the rest is spread evenly."""
    actual, predicted = (
        np.array([CLASSES.index(one) if isinstance(one, str) else one for one in classes], np.uint8)
        for classes in (actual, predicted)
    )
    confidence = np.broadcast_to(confidence, len(actual))
    probabilities = np.tile((1 - confidence[:, None]) / 6, 7)
    probabilities[np.arange(len(actual)), predicted] = confidence
    return Predictions(actual, probabilities)


def draw(actual, strength, rng, sharpness=1):
    """Drawn `Predictions`, as the CSV holds them: at a strength of 1.6 about two thirds are right, at 20 all."""
    logits = sharpness * (rng.normal(size=(len(actual), 7)) + strength * np.eye(7)[actual])
    return as_written(actual.astype(np.uint8), np.exp(logits))


def draw_rows(count, seed, strength=1.6, sharpness=1):
    """`draw` for `count` images of drawn classes."""
    rng = np.random.default_rng(seed)
    return draw(rng.integers(0, 7, count), strength, rng, sharpness)


def make_splits(labels, seed=0):
    """{split: drawn faces with these labels}, of {split: labels}; none of them occurs twice."""
    rng = np.random.default_rng(seed)
    return {
        name: Split(
            rng.integers(0, 256, (len(one), 48, 48), np.uint8),
            np.array(one, np.uint8),
            None if name == "train" else np.zeros(len(one), bool),
        )
        for name, one in labels.items()
    }
