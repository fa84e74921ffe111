"""KRPO with a measurement variance R_i, in place of R, that looks at the rewards.

    both                               A_i = (r_i - x_{i|i}) / (sqrt(P_{i|i}) + eps)                as krpo
    krpo_adaptive, rule "bernoulli"    R_i = p (1 - p), p = (1 + sum_{j<i} r_j) / (i + 1)
    krpo_adaptive, rule "innovation"   R_{i+1} = f R_i + (1 - f) ((r_i - x_{i|i})^2 + P_{i|i-1})    arXiv 1702.00884
    krpo_robust, gate "huber"          R_i = R max(1, |z_i| / k)                                    Huber 1964
    krpo_robust, gate "student_t"      R_i = R (nu + z_i^2) / (nu + 1)                              EM weight of a t

z_i = (r_i - x_{i|i-1}) / sqrt(P_{i|i-1} + R). The two adaptive rules use earlier answers only, so the expected
gradient is a weighted mean of unbiased ones; a robust gate uses r_i itself, and its gradient is biased. An
all-equal group gets a small advantage from all of them, through the prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Composed, Scale, require
from krpo.advantages.group import pack, unpack
from krpo.advantages.kalman import Model
from krpo.advantages.registry import register_baseline, register_estimator, register_scale


@dataclass(frozen=True)
class ScannedFilter(Model):
    """A filter whose gains depend on the rewards: one pass along the answers, all prompts at once."""

    def first_variance(self) -> float:
        """R before any answer."""
        return self.measurement_variance

    def scan_batch(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """`scan` of the scored answers. What it makes of the holes, behind them, moves nothing and is discarded."""
        x_PG, p_PG = self.scan(pack(batch).filled_PG)
        return unpack(batch, x_PG), unpack(batch, p_PG)

    def scan(self, rewards_PG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x_{i|i} and P_{i|i}, both [P, G]."""
        x_P = torch.full_like(rewards_PG[:, 0], self.prior_mean)
        p_P = torch.full_like(x_P, self.prior_variance)
        r_P = torch.full_like(x_P, self.first_variance())
        x_PG, p_PG = torch.empty_like(rewards_PG), torch.empty_like(rewards_PG)
        for i in range(rewards_PG.shape[1]):
            predicted_P = p_P + self.process_variance
            innovation_P = rewards_PG[:, i] - x_P
            used_P = self.used_variance(r_P, innovation_P, predicted_P)
            gain_P = predicted_P / (predicted_P + used_P)
            x_P = x_P + gain_P * innovation_P
            p_P = gain_P * used_P
            r_P = self.next_variance(r_P, rewards_PG[:, : i + 1], (1 - gain_P) * innovation_P, predicted_P)
            x_PG[:, i], p_PG[:, i] = x_P, p_P
        return x_PG, p_PG

    def used_variance(self, r_P: torch.Tensor, innovation_P: torch.Tensor, predicted_P: torch.Tensor) -> torch.Tensor:
        """The measurement variance of the present answer, which may look at it."""
        return r_P

    def next_variance(
        self, r_P: torch.Tensor, seen_Pi: torch.Tensor, residual_P: torch.Tensor, predicted_P: torch.Tensor
    ) -> torch.Tensor:
        """The measurement variance of the next answer, after the rewards seen so far."""
        return r_P


@dataclass(frozen=True)
class AdaptiveFilter(ScannedFilter):
    """R from the rewards seen so far.

    Parameters: ``rule``; ``forgetting`` (f, weight of the old R in the innovation rule; 0.3 in its paper);
    ``floor``, the
    least R of the Bernoulli rule, which needs rewards in [0, 1] (others give the floor).
    """

    rule: Literal["bernoulli", "innovation"] = "bernoulli"
    forgetting: float = 0.3
    floor: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.forgetting < 1, f"forgetting is {self.forgetting}; it must be in [0, 1)")
        require(self.floor > 0, f"floor is {self.floor}; it must be above 0")

    def first_variance(self) -> float:
        return max(0.25, self.floor) if self.rule == "bernoulli" else self.measurement_variance

    def next_variance(
        self, r_P: torch.Tensor, seen_Pi: torch.Tensor, residual_P: torch.Tensor, predicted_P: torch.Tensor
    ) -> torch.Tensor:
        if self.rule == "innovation":
            return self.forgetting * r_P + (1 - self.forgetting) * (residual_P**2 + predicted_P)
        rate_P = (1 + seen_Pi.sum(dim=1)) / (seen_Pi.shape[1] + 2)
        return (rate_P * (1 - rate_P)).clamp(min=self.floor)


@dataclass(frozen=True)
class RobustFilter(ScannedFilter):
    """R grows with the present answer's innovation.

    Parameters: ``gate``; ``threshold`` (k of Huber's gate; 1.345 is 95 % efficient on Gaussian noise);
    ``degrees_of_freedom`` (nu of Student's t).
    """

    gate: Literal["huber", "student_t"] = "huber"
    threshold: float = 1.345
    degrees_of_freedom: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("threshold", "degrees_of_freedom"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; it must be above 0")

    def used_variance(self, r_P: torch.Tensor, innovation_P: torch.Tensor, predicted_P: torch.Tensor) -> torch.Tensor:
        z_P = innovation_P / torch.sqrt(predicted_P + r_P)
        if self.gate == "huber":
            return r_P * (z_P.abs() / self.threshold).clamp(min=1)
        return r_P * (self.degrees_of_freedom + z_P**2) / (self.degrees_of_freedom + 1)


@dataclass(frozen=True)
class _ScannedBaseline(ScannedFilter, Baseline):
    def __call__(self, batch: Batch) -> torch.Tensor:
        return self.scan_batch(batch)[0]


@dataclass(frozen=True)
class _ScannedScale(ScannedFilter, Scale):
    """Division by sqrt(P_{i|i}) + eps, eps = 1e-8 as in KRPO."""

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG / (self.scan_batch(batch)[1].sqrt() + 1e-8)


@register_baseline("adaptive_kalman")
@dataclass(frozen=True)
class AdaptiveBaseline(AdaptiveFilter, _ScannedBaseline):
    """x_{i|i} with R from the rewards seen so far."""


@register_scale("adaptive_kalman_std")
@dataclass(frozen=True)
class AdaptiveStd(AdaptiveFilter, _ScannedScale):
    """sqrt(P_{i|i}) with R from the rewards seen so far."""


@register_baseline("robust_kalman")
@dataclass(frozen=True)
class RobustBaseline(RobustFilter, _ScannedBaseline):
    """x_{i|i} with gated innovations."""


@register_scale("robust_kalman_std")
@dataclass(frozen=True)
class RobustStd(RobustFilter, _ScannedScale):
    """sqrt(P_{i|i}) with gated innovations."""


@register_estimator(
    "krpo_adaptive",
    formula="krpo with R_i from the rewards before i: p(1-p), or from the innovations",
    source="arXiv 2505.07527 with arXiv 1702.00884",
    shift="other",
    scale="other",
    order="dependent",
    all_equal="other",
)
def krpo_adaptive(
    *,
    process_variance: float = 1e-5,
    measurement_variance: float = 1e-2,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
    rule: Literal["bernoulli", "innovation"] = "bernoulli",
    forgetting: float = 0.3,
    floor: float = 1e-2,
) -> AdvantageEstimator:
    params = locals()
    return Composed(AdaptiveBaseline(**params), AdaptiveStd(**params))


@register_estimator(
    "krpo_robust",
    formula="krpo with R_i that grows with the innovation: Huber or Student t",
    source="control for arXiv 2505.07527",
    shift="other",
    scale="other",
    order="dependent",
    all_equal="other",
)
def krpo_robust(
    *,
    process_variance: float = 1e-5,
    measurement_variance: float = 1e-2,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
    gate: Literal["huber", "student_t"] = "huber",
    threshold: float = 1.345,
    degrees_of_freedom: float = 4.0,
) -> AdvantageEstimator:
    params = locals()
    return Composed(RobustBaseline(**params), RobustStd(**params))
