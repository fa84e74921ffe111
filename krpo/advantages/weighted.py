"""Baselines that weigh or select the group's answers, and the greedy answer's reward.

    remax    r_i - r(greedy answer)                         arXiv 2310.10505
    opo      r_i - sum_j l_j r_j / sum_j l_j                arXiv 2505.23585, l = length in tokens
    median   (r_i - median) / (MAD + eps) * n / nonzero     arXiv 2601.22582 (MC-GRPO)
    qae      (r_i - Q_K) / (std_group + eps)                arXiv 2509.22611, Q_K the K-quantile

median: MAD is the median of |r - median|, both the lower median where n is even; the published method samples one
answer more than it trains on and leaves out the median one, whose advantage is 0 here as well. n / nonzero makes up
for the zeros. With 0/1 rewards MAD is 0 as soon as one value has the majority, and the minority gets +-1/eps =
1000.
qae: Q_K is the least reward x with at least a share K of the group at or below x, so for 0/1 rewards it is 0 where
the pass rate is at most 1 - K, else 1.

An all-equal group gets 0 from opo, median and qae; from remax what distinguishes it from the greedy answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Composed, Scale, require
from krpo.advantages.registry import register_baseline, register_estimator, register_scale
from krpo.advantages.scales import GroupStd, NoScale
from krpo.errors import BadInput


@register_baseline("greedy")
@dataclass(frozen=True)
class Greedy(Baseline):
    """The reward of the prompt's greedy answer."""

    extras = ("greedy_rewards_P",)

    def __call__(self, batch: Batch) -> torch.Tensor:
        return batch.column_P("greedy_rewards_P").unsqueeze(1)


@register_baseline("length_weighted")
@dataclass(frozen=True)
class LengthWeighted(Baseline):
    """Mean of the group's rewards, weighted by the answers' lengths."""

    extras = ("lengths_PG",)

    def __call__(self, batch: Batch) -> torch.Tensor:
        lengths_PG = batch.column_PG("lengths_PG").masked_fill(~batch.mask_PG, 0.0)
        if bool((lengths_PG < 0).any()):
            raise BadInput("lengths_PG holds a negative length")
        # a group without a token has nothing to train on, whatever its baseline
        return (lengths_PG * batch.filled_PG).sum(1, keepdim=True) / lengths_PG.sum(1, keepdim=True).clamp(min=1)


@register_baseline("group_median")
@dataclass(frozen=True)
class GroupMedian(Baseline):
    """The group's median; the lower of the two middle rewards where n is even."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        return batch.rewards_PG.nanmedian(dim=1, keepdim=True).values


@register_scale("group_mad")
@dataclass(frozen=True)
class GroupMAD(Scale):
    """Divided by the median absolute deviation; what is not 0 is then multiplied by n / (number not 0)."""

    eps: float = 1e-3

    def __post_init__(self) -> None:
        require(self.eps > 0, f"eps is {self.eps}; it must be above 0, or an all-equal group divides 0 by 0")

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        deviations_PG = (batch.rewards_PG - batch.rewards_PG.nanmedian(dim=1, keepdim=True).values).abs()
        scaled_PG = centred_PG / (deviations_PG.nanmedian(dim=1, keepdim=True).values + self.eps)
        nonzero_P1 = ((scaled_PG.abs() > 1e-6) & batch.mask_PG).sum(dim=1, keepdim=True)
        return scaled_PG * batch.counts_P.unsqueeze(1) / nonzero_P1.clamp(min=1)


@register_baseline("group_quantile")
@dataclass(frozen=True)
class GroupQuantile(Baseline):
    """The group's K-quantile (inverse of the empirical distribution function)."""

    quantile: float = 0.4

    def __post_init__(self) -> None:
        require(0 < self.quantile <= 1, f"quantile is {self.quantile}; it must be above 0 and at most 1")

    def __call__(self, batch: Batch) -> torch.Tensor:
        counts_P1 = batch.counts_P.unsqueeze(1)
        rank_P1 = (counts_P1 * self.quantile - 1e-6).ceil().long().clamp(min=1) - 1
        ascending_PG = batch.rewards_PG.nan_to_num(nan=math.inf).sort(dim=1).values
        return ascending_PG.gather(1, rank_P1)


@register_estimator(
    "remax",
    formula="r_i - r(greedy answer)",
    source="arXiv 2310.10505",
    shift="invariant",
    scale="equivariant",
    order="free",
    all_equal="other",
)
def remax() -> AdvantageEstimator:
    return Composed(Greedy(), NoScale())


@register_estimator(
    "opo",
    formula="r_i - sum_j l_j r_j / sum_j l_j",
    source="arXiv 2505.23585",
    shift="invariant",
    scale="equivariant",
    order="free",
    all_equal="zero",
)
def opo() -> AdvantageEstimator:
    return Composed(LengthWeighted(), NoScale())


@register_estimator(
    "median",
    formula="(r_i - median) / (MAD + eps) * n / nonzero",
    source="arXiv 2601.22582 (MC-GRPO)",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def median(*, eps: float = 1e-3) -> AdvantageEstimator:
    return Composed(GroupMedian(), GroupMAD(eps))


@register_estimator(
    "qae",
    formula="(r_i - Q_K) / (std_group + eps)",
    source="arXiv 2509.22611",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def qae(*, quantile: float = 0.4, eps: float = 1e-4) -> AdvantageEstimator:
    return Composed(GroupQuantile(quantile), GroupStd(eps))
