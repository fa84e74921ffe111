"""Kalman estimates as baselines, and their standard deviations as scales, over the answers of one group.

    baseline            subtracts                 scale                   divides by
    running_kalman      x_{i|i}                   kalman_posterior_std    sqrt(P_{i|i}) + eps
    kalman_prediction   x_{i|i-1}                 kalman_innovation_std   sqrt(P_{i|i-1} + R) + eps
    kalman_final        x_{n|n}                   kalman_final_std        sqrt(P_{n|n}) + eps
    kalman_smoother     x_{i|n}                   kalman_smoother_std     sqrt(P_{i|n}) + eps
    kalman_loo          x of the other answers    kalman_loo_std          sqrt(P of the others) + eps

The filter is started anew for each group; an answer that could not be scored is skipped by it. All are parametrised
by `krpo.advantages.kalman.Model`. A baseline of an all-equal group differs from its rewards by what the prior still
weighs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache

import numpy as np
import torch

from krpo.advantages import kalman
from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Scale, check_batch, require
from krpo.advantages.group import batch_rms, per_group
from krpo.advantages.kalman import Model
from krpo.advantages.registry import register_baseline, register_scale


@dataclass(frozen=True)
class KalmanBaseline(Model, Baseline):
    """x_0 + B (r - x_0), with the matrix B of a subclass."""

    def weights_nn(self, n: int) -> np.ndarray:
        raise NotImplementedError

    def __call__(self, batch: Batch) -> torch.Tensor:
        def estimate(rewards_PG: torch.Tensor) -> torch.Tensor:
            weights_nn = torch.as_tensor(self.weights_nn(rewards_PG.shape[1])).to(rewards_PG)
            return self.prior_mean + (rewards_PG - self.prior_mean) @ weights_nn.T

        return per_group(batch, estimate)


@dataclass(frozen=True)
class KalmanScale(Model, Scale):
    """Division by a standard deviation that depends only on the answer's place in the group."""

    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.eps >= 0, f"eps is {self.eps}; it must not be negative")

    def std_n(self, n: int) -> np.ndarray:
        raise NotImplementedError

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        def divisors(rewards_PG: torch.Tensor) -> torch.Tensor:
            std_n = torch.as_tensor(self.std_n(rewards_PG.shape[1])).to(rewards_PG)
            return std_n.expand(rewards_PG.shape)

        # in the holes per_group returns 0, and what is divided there is discarded
        return centred_PG / (per_group(batch, divisors) + self.eps)


@register_baseline("running_kalman")
@dataclass(frozen=True)
class RunningKalman(KalmanBaseline):
    """x_{i|i}, as published: it contains the answer's own reward."""

    def weights_nn(self, n: int) -> np.ndarray:
        return kalman.posterior(self, n).weights_nn


@register_scale("kalman_posterior_std")
@dataclass(frozen=True)
class PosteriorStd(KalmanScale):
    """sqrt(P_{i|i}), as published."""

    def std_n(self, n: int) -> np.ndarray:
        return np.sqrt(kalman.posterior(self, n).variance_n)


@register_baseline("kalman_prediction")
@dataclass(frozen=True)
class Prediction(KalmanBaseline):
    """x_{i|i-1}: the estimate from the answers before i."""

    def weights_nn(self, n: int) -> np.ndarray:
        return kalman.prediction(self, n).weights_nn


@register_scale("kalman_innovation_std")
@dataclass(frozen=True)
class InnovationStd(KalmanScale):
    """sqrt(P_{i|i-1} + R): the standard deviation of r_i - x_{i|i-1} under the filter's own model."""

    def std_n(self, n: int) -> np.ndarray:
        return np.sqrt(kalman.prediction(self, n).variance_n + self.measurement_variance)


@register_baseline("kalman_final")
@dataclass(frozen=True)
class Final(KalmanBaseline):
    """x_{n|n} for all answers."""

    def weights_nn(self, n: int) -> np.ndarray:
        return kalman.final(self, n).weights_nn


@register_scale("kalman_final_std")
@dataclass(frozen=True)
class FinalStd(KalmanScale):
    """sqrt(P_{n|n}), one number for the group."""

    def std_n(self, n: int) -> np.ndarray:
        return np.sqrt(kalman.final(self, n).variance_n)


@register_baseline("kalman_smoother")
@dataclass(frozen=True)
class Smoother(KalmanBaseline):
    """x_{i|n}, the Rauch-Tung-Striebel smoother."""

    def weights_nn(self, n: int) -> np.ndarray:
        return kalman.smoother(self, n).weights_nn


@register_scale("kalman_smoother_std")
@dataclass(frozen=True)
class SmootherStd(KalmanScale):
    """sqrt(P_{i|n})."""

    def std_n(self, n: int) -> np.ndarray:
        return np.sqrt(kalman.smoother(self, n).variance_n)


@register_baseline("kalman_loo")
@dataclass(frozen=True)
class LeaveOneOutFilter(KalmanBaseline):
    """The final estimate of a filter over the group's other answers: independent of the answer itself."""

    def weights_nn(self, n: int) -> np.ndarray:
        return kalman.leave_one_out(self, n).weights_nn


@register_scale("kalman_loo_std")
@dataclass(frozen=True)
class LeaveOneOutStd(KalmanScale):
    """The standard deviation of that estimate."""

    def std_n(self, n: int) -> np.ndarray:
        return np.sqrt(kalman.leave_one_out(self, n).variance_n)


class Linear(AdvantageEstimator):
    """Advantages that are a fixed matrix times the rewards: A = M (r - x_0), one matrix product for a batch.

    The matrix is cached for each number of answers, dtype and device.
    """

    def __init__(self, prior_mean: float) -> None:
        self.prior_mean = prior_mean
        self._operator = lru_cache(maxsize=256)(self._operator_of)

    def matrix_nn(self, n: int) -> np.ndarray:
        """M for groups of n answers, in float64."""
        raise NotImplementedError

    def compute(self, batch: Batch) -> torch.Tensor:
        return per_group(batch, self._apply)

    def _apply(self, rewards_PG: torch.Tensor) -> torch.Tensor:
        matrix_GG, offset_G = self._operator(rewards_PG.shape[1], rewards_PG.dtype, rewards_PG.device)
        return torch.addmm(offset_G, rewards_PG, matrix_GG)

    def _operator_of(self, n: int, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        matrix_nn = self.matrix_nn(n)
        offset_n = -self.prior_mean * matrix_nn.sum(axis=1)
        return (
            torch.as_tensor(matrix_nn.T.copy()).to(device=device, dtype=dtype),
            torch.as_tensor(offset_n).to(device=device, dtype=dtype),
        )


class LinearFilter(Linear):
    """A Kalman baseline with a Kalman scale: M = (1 - B) / std."""

    def __init__(self, baseline: KalmanBaseline, scale: KalmanScale) -> None:
        super().__init__(baseline.prior_mean)
        self.baseline = baseline
        self.scale = scale

    def matrix_nn(self, n: int) -> np.ndarray:
        return (np.eye(n) - self.baseline.weights_nn(n)) / (self.scale.std_n(n) + self.scale.eps)[:, None]

    def diagnostics(self, rewards_PG: torch.Tensor, *, mask_PG: torch.Tensor | None = None) -> dict[str, float]:
        """`kalman_gain`: K_G, the weight of a group's last answer. `innovation_rms`: root mean square of
        r_i - x_{i|i-1}.
        """
        batch = check_batch(rewards_PG, mask_PG)
        model = Model(**{f.name: getattr(self.baseline, f.name) for f in fields(Model)})
        innovation_PG = batch.rewards_PG - Prediction(**asdict(model))(batch)
        gain = float(kalman.posterior(model, rewards_PG.shape[1]).weights_nn[-1, -1])
        return {"kalman_gain": gain, "innovation_rms": float(batch_rms(innovation_PG))}


def pair(
    baseline: type[KalmanBaseline], scale: type[KalmanScale], defaults: Model | None = None
) -> Callable[..., LinearFilter]:
    """A factory of the estimator (r - baseline) / scale in which both parts share one model."""
    d = defaults or Model()

    def make(
        *,
        process_variance: float = d.process_variance,
        measurement_variance: float = d.measurement_variance,
        prior_mean: float = d.prior_mean,
        prior_variance: float = d.prior_variance,
        eps: float = 1e-8,
    ) -> LinearFilter:
        model = (process_variance, measurement_variance, prior_mean, prior_variance)
        return LinearFilter(baseline(*model), scale(*model, eps=eps))

    return make
