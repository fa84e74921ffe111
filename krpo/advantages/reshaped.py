"""GRPO on rewards that are changed first.

    noise_corrected   r' = (r - rho_0) / (1 - rho_0 - rho_1)                           arXiv 2510.18924, 2510.00915
    sgpo              in a group without a correct answer r' = 1 / (1 + exp(beta (gamma - c)))      arXiv 2505.11595
    grpo_lead         r' = exp(-alpha z) if correct, else -1; then A w(rho) if A > 0, else A w(1 - rho)
                      z: length standardised over the group's correct answers          arXiv 2504.09696
                      w(rho) = low + (high - low) / (1 + exp(k (rho - rho_0)))

noise_corrected: rho_0, rho_1 are the rates of false positives and false negatives. The correction is affine, so a
group's std cancels it but for eps: after `grpo` it changes nothing. Give ``estimator`` an inner estimator without
std (dr_grpo) to see it.
sgpo: c in [0, 1] is the share of the answer that is right before its first wrong step (extra
``partial_credit_PG``); beta and gamma are not stated by the paper. grpo_lead: "correct" is what the observed reward
says (above 0.5), so reward noise acts on it; the length term needs the extra ``lengths_PG``, and its std is the
population one, 0 for a single correct answer.

An all-equal group gets 0 from noise_corrected; from sgpo what its partial credits tell apart; from grpo_lead 0
where it is wrong, and what its lengths tell apart where it is correct.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from krpo.advantages.base import AdvantageEstimator, Batch, Scale, require
from krpo.advantages.grpo import grpo
from krpo.advantages.registry import ESTIMATORS, register_estimator, register_scale
from krpo.advantages.scales import Rescaled
from krpo.config import Named

GRPO = Named("grpo")


class Reshaped(AdvantageEstimator):
    """An estimator applied to a function of the rewards."""

    def __init__(
        self,
        reshape: Callable[[Batch], torch.Tensor],
        inner: AdvantageEstimator,
        extras: tuple[str, ...] = (),
    ) -> None:
        self.reshape = reshape
        self.inner = inner
        self.extras = tuple(dict.fromkeys((*extras, *inner.extras)))

    def compute(self, batch: Batch) -> torch.Tensor:
        rewards_PG = self.reshape(batch).masked_fill(~batch.mask_PG, torch.nan)
        return self.inner.compute(dataclasses.replace(batch, rewards_PG=rewards_PG))

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)


@register_estimator(
    "noise_corrected",
    formula="grpo of (r_i - rho_0) / (1 - rho_0 - rho_1)",
    source="arXiv 2510.18924, 2510.00915",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def noise_corrected(
    *, false_positive: float = 0.1, false_negative: float = 0.1, estimator: Named = GRPO
) -> AdvantageEstimator:
    for name, rate in (("false_positive", false_positive), ("false_negative", false_negative)):
        require(0 <= rate < 1, f"{name} is {rate}; it must be at least 0 and below 1")
    kept = 1 - false_positive - false_negative
    require(kept > 0, f"false_positive + false_negative is {1 - kept:g}; it must be below 1")

    def corrected(batch: Batch) -> torch.Tensor:
        return (batch.rewards_PG - false_positive) / kept

    return Reshaped(corrected, ESTIMATORS.make(estimator))


@register_estimator(
    "sgpo",
    formula="grpo; in a group without a correct answer, of 1 / (1 + exp(beta (gamma - partial credit)))",
    source="arXiv 2505.11595",
    shift="other",
    scale="other",
    order="free",
    all_equal="other",
)
def sgpo(*, beta: float = 5.0, gamma: float = 0.5, eps: float = 1e-4) -> AdvantageEstimator:
    def guided(batch: Batch) -> torch.Tensor:
        credit_PG = batch.column_PG("partial_credit_PG")
        lost_P1 = ~(batch.rewards_PG > 0.5).any(dim=1, keepdim=True)
        return torch.where(lost_P1, torch.sigmoid(beta * (credit_PG - gamma)), batch.rewards_PG)

    return Reshaped(guided, grpo(eps=eps), extras=("partial_credit_PG",))


@register_scale("difficulty_weight")
@dataclass(frozen=True)
class DifficultyWeight(Scale):
    """Multiplied by w(rho) where positive and by w(1 - rho) where negative; rho: share of rewards above 0.5."""

    low: float = 0.4
    high: float = 1.5
    midpoint: float = 0.75
    steepness: float = 10.0

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        won_P1 = (batch.rewards_PG > 0.5).sum(dim=1, keepdim=True).to(centred_PG.dtype)
        rate_P1 = won_P1 / batch.counts_P.unsqueeze(1).clamp(min=1)
        weight_PG = torch.where(centred_PG > 0, self._weight(rate_P1), self._weight(1 - rate_P1))
        return centred_PG * weight_PG

    def _weight(self, rate_P1: torch.Tensor) -> torch.Tensor:
        return self.low + (self.high - self.low) * torch.sigmoid(self.steepness * (self.midpoint - rate_P1))


@register_estimator(
    "grpo_lead",
    formula="w(difficulty) x grpo of (exp(-alpha z(length)) if correct, else -1)",
    source="arXiv 2504.09696",
    shift="other",
    scale="other",
    order="free",
    all_equal="other",
)
def grpo_lead(
    *,
    length_weight: float = 0.05,
    wrong_reward: float = -1.0,
    low: float = 0.4,
    high: float = 1.5,
    midpoint: float = 0.75,
    steepness: float = 10.0,
    eps: float = 1e-4,
) -> AdvantageEstimator:
    def by_length(batch: Batch) -> torch.Tensor:
        correct_PG = batch.rewards_PG > 0.5
        lengths_PG = batch.column_PG("lengths_PG").masked_fill(~correct_PG, torch.nan)
        centred_PG = lengths_PG - torch.nanmean(lengths_PG, dim=1, keepdim=True)
        std_P1 = centred_PG.square().nanmean(dim=1, keepdim=True).sqrt()
        z_PG = centred_PG / (std_P1 + 1e-6)
        return torch.where(correct_PG, torch.exp(-length_weight * z_PG), wrong_reward)

    inner = Rescaled(grpo(eps=eps), DifficultyWeight(low, high, midpoint, steepness))
    return Reshaped(by_length, inner, extras=("lengths_PG",))
