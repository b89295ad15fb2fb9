"""Logistic regression by Newton's method: a probability from a few numbers, in a few lines."""

from dataclasses import dataclass

import numpy as np

_STEPS = 25
_SETTLED = 1e-6


@dataclass(frozen=True)
class LogisticRegression:
    """The probability that a case with features x [F] is positive: 1 / (1 + exp(-(w x + b)))."""

    weight: np.ndarray
    bias: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The log odds of cases [...,F]: [...]."""
        return features @ self.weight + self.bias


def fit_logistic_regression(
    features: np.ndarray, positive: np.ndarray, *, ridge: float = 1.0
) -> LogisticRegression:
    """The weights that are likeliest for cases [N,F] of which some are positive [N].

    ``ridge`` is half of what a weight's square adds to the sum over cases of the negative log
    likelihood, so that weights stay finite where classes can be told apart without an error. The
    bias is not held back.
    """
    cases = np.column_stack([features.astype(np.float64), np.ones(len(features))])
    target = positive.astype(np.float64)
    held_back = np.full(cases.shape[1], 2 * ridge)
    held_back[-1] = 1e-6
    weights = np.zeros(cases.shape[1])
    for _ in range(_STEPS):
        share = _sigmoid(cases @ weights)
        gradient = cases.T @ (share - target) + held_back * weights
        curvature = (cases * (share * (1 - share))[:, None]).T @ cases + np.diag(held_back)
        step = np.linalg.solve(curvature, gradient)
        # Far from the minimum a whole step may lead away from it.
        step *= min(1.0, 10 / max(np.abs(cases @ step).max(), 1e-12))
        weights -= step
        if np.abs(step).max() < _SETTLED:
            break
    return LogisticRegression(weights[:-1], float(weights[-1]))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(logits / 2))
