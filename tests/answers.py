"""Predictions that are given or drawn, and splits of drawn faces, for the tests of metrics and figures."""

import numpy as np

from fer_pipeline.faces.faces import Split
from fer_pipeline.faces.fer2013 import CLASSES
from fer_pipeline.predictions.predictions import Predictions, as_written


def predict(actual, predicted, confidence=0.7, classes=CLASSES):
    """`Predictions` of given classes (numbers or names); `confidence` is one or (N,), the rest is spread evenly."""
    numbers = {name: number for number, name in enumerate(classes)}
    actual, predicted = (
        np.array([numbers.get(one, one) for one in labels], np.uint8) for labels in (actual, predicted)
    )
    confidence = np.broadcast_to(confidence, len(actual))
    probabilities = np.tile((1 - confidence[:, None]) / (len(classes) - 1), len(classes))
    probabilities[np.arange(len(actual)), predicted] = confidence
    return Predictions(tuple(classes), actual, probabilities)


def draw(actual, strength, rng, sharpness=1, classes=CLASSES):
    """Drawn `Predictions`, as the CSV holds them: at a strength of 1.6 about two thirds are right, at 20 all."""
    count = len(classes)
    logits = sharpness * (rng.normal(size=(len(actual), count)) + strength * np.eye(count)[actual])
    return as_written(classes, actual.astype(np.uint8), np.exp(logits))


def draw_rows(count, seed, strength=1.6, sharpness=1, classes=CLASSES):
    """`draw` for `count` images of drawn classes."""
    rng = np.random.default_rng(seed)
    return draw(rng.integers(0, len(classes), count), strength, rng, sharpness, classes)


def name_classes(count):
    """So many classes; every fourth name is longer than those of FER-2013."""
    names = tuple(f"{'contemptuous smile' if k % 4 == 1 else 'class'} {k}" for k in range(count))
    return CLASSES if count == 7 else names


def make_splits(labels, shape=(48, 48)):
    """{split: drawn faces of a shape with these labels}, of {split: labels}; none of them occurs twice."""
    rng, splits = np.random.default_rng(0), {}
    for name, one in labels.items():
        images, unseen = rng.integers(0, 256, (len(one), *shape), np.uint8), np.zeros(len(one), bool)
        splits[name] = Split(images, np.array(one, np.uint8), None if name == "train" else unseen)
    return splits
