"""Temperatures, fitted on val: what the evaluation reports and the export puts into its files."""

import numpy as np
from scipy.optimize import minimize_scalar

from fer_pipeline.faces.votes import Votes, to_shares
from fer_pipeline.predictions.predictions import Floats, Predictions

TEMPERATURES = (0.05, 20)  # bounds of the fitted temperature
SMALLEST = 1e-6  # the smallest probability whose logarithm is taken: predictions have six decimals


def temper(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities (N, K), at least 1e-6, to the power of 1 / `temperature`, divided by their sum.

    For a softmax this equals dividing its logits by `temperature`; an average over ten crops has no logits.
    """
    logits = np.log(np.clip(probabilities, SMALLEST, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def fit_temperature(rows: Predictions) -> float:
    """The temperature in [0.05, 20] with the least mean -ln(probability of the true class); above 1: overconfident."""
    return fit_temperature_to(rows.probabilities, np.eye(len(rows.classes))[rows.actual])


def fit_temperature_to(probabilities: Floats, shares: Floats) -> float:
    """The temperature in [0.05, 20] of `probabilities` (N, K) with the least mean cross-entropy to `shares` (N, K)."""

    def nll(log_temperature: float) -> float:
        tempered = temper(probabilities, np.exp(log_temperature))
        return float(-(shares * np.log(np.clip(tempered, 1e-300, None))).sum(axis=1).mean())

    return float(np.exp(minimize_scalar(nll, bounds=np.log(TEMPERATURES), method="bounded").x))


def fit_votes_temperature(probabilities: Floats | None, votes: Votes | None) -> float | None:
    """`fit_temperature_to` for a second head, float64 (N, V), and the votes; None without such a head or any votes."""
    if probabilities is None or votes is None:
        return None
    shares = to_shares(votes).astype(float)
    told = shares.sum(axis=1) > 0
    return round(fit_temperature_to(probabilities[told], shares[told]), 6) if told.any() else None
