"""The one-dimensional Kalman filter over a group's rewards, in closed form.

State: the prompt's mean reward x, a random walk of process variance Q; observations r_1..r_n of measurement
variance R; prior N(x_0, P_0).

    P_i^- = P_{i-1} + Q              K_i = P_i^- / (P_i^- + R)
    x_i = x_{i-1} + K_i (r_i - x_{i-1})    P_i = (1 - K_i) P_i^-

Neither K_i nor P_i depends on the rewards, so every estimate of x is an affine function of them: x = x_0 + B (r -
x_0) with a fixed matrix B [n, n]. This file holds these matrices and variances, in float64 numpy.
Source: R. E. Kalman (1960); for the smoother Rauch, Tung and Striebel (1965).

An all-equal group of rewards c is estimated as x_0 + (row sum of B) (c - x_0): the prior keeps it from c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from krpo.advantages.base import require


@dataclass(frozen=True)
class Model:
    """What a filter assumes. The defaults are KRPO's (arXiv 2505.07527)."""

    process_variance: float = 1e-5
    measurement_variance: float = 1e-2
    prior_mean: float = 0.0
    prior_variance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("measurement_variance", "prior_variance"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"{name} is {value}; it must be above 0, and finite")
        require(
            0 <= self.process_variance < math.inf,
            f"process_variance is {self.process_variance}; it must not be negative, and must be finite",
        )
        require(math.isfinite(self.prior_mean), f"prior_mean is {self.prior_mean}; it must be finite")


class Estimate(NamedTuple):
    """x = x_0 + weights_nn (r - x_0), with its variance by position."""

    weights_nn: np.ndarray
    variance_n: np.ndarray


@lru_cache(maxsize=1024)
def posterior(model: Model, n: int) -> Estimate:
    """x_{i|i}: each answer's own reward included. Lower triangular."""
    weights_nn, variance_n = np.zeros((n, n)), np.zeros(n)
    row_n, variance = np.zeros(n), model.prior_variance
    for i in range(n):
        predicted = variance + model.process_variance
        gain = predicted / (predicted + model.measurement_variance)
        row_n = (1 - gain) * row_n
        row_n[i] = gain
        # P = K R is (1 - K) P^- without the cancellation in 1 - K
        variance = gain * model.measurement_variance
        weights_nn[i], variance_n[i] = row_n, variance
    return Estimate(weights_nn, variance_n)


@lru_cache(maxsize=1024)
def prediction(model: Model, n: int) -> Estimate:
    """x_{i|i-1}: what the answers before i say. Strictly lower triangular; the variance is P_i^-."""
    weights_nn, variance_n = posterior(model, n)
    before_nn = np.vstack([np.zeros((1, n)), weights_nn[:-1]])
    before_n = np.concatenate([[model.prior_variance], variance_n[:-1]])
    return Estimate(before_nn, before_n + model.process_variance)


@lru_cache(maxsize=1024)
def final(model: Model, n: int) -> Estimate:
    """x_{n|n}, the same for all answers: what the whole group says, weighing late answers more where Q > 0."""
    weights_nn, variance_n = posterior(model, n)
    return Estimate(np.tile(weights_nn[-1], (n, 1)), np.full(n, variance_n[-1]))


@lru_cache(maxsize=1024)
def smoother(model: Model, n: int) -> Estimate:
    """x_{i|n}: the Rauch-Tung-Striebel smoother, the backward pass over the filter's estimates.

    C_i = P_i / P_{i+1}^-,  x_{i|n} = x_i + C_i (x_{i+1|n} - x_i),  P_{i|n} = P_i + C_i^2 (P_{i+1|n} - P_{i+1}^-)
    """
    filtered = posterior(model, n)
    weights_nn, variance_n = filtered.weights_nn.copy(), filtered.variance_n.copy()
    for i in range(n - 2, -1, -1):
        predicted = filtered.variance_n[i] + model.process_variance
        c = filtered.variance_n[i] / predicted
        weights_nn[i] += c * (weights_nn[i + 1] - filtered.weights_nn[i])
        variance_n[i] += c**2 * (variance_n[i + 1] - predicted)
    return Estimate(weights_nn, variance_n)


@lru_cache(maxsize=1024)
def leave_one_out(model: Model, n: int) -> Estimate:
    """The final estimate of a filter run over the other n - 1 answers, in their order. The diagonal is 0."""
    weights_nn = np.zeros((n, n))
    if n == 1:
        return Estimate(weights_nn, np.array([model.prior_variance]))
    others = final(model, n - 1)
    for i in range(n):
        weights_nn[i] = np.insert(others.weights_nn[0], i, 0.0)
    return Estimate(weights_nn, np.full(n, others.variance_n[0]))


def average_over_orders(matrix_nn: np.ndarray) -> np.ndarray:
    """The mean over all permutations pi of pi^T M pi: one number on the diagonal, one beside it."""
    n = matrix_nn.shape[0]
    diagonal = np.trace(matrix_nn) / n
    beside = (matrix_nn.sum() - np.trace(matrix_nn)) / (n * (n - 1)) if n > 1 else 0.0
    return np.where(np.eye(n, dtype=bool), diagonal, beside)
