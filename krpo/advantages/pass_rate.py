"""Scales that depend on the group's pass rate p, all on r_i - mean_group; rewards in [0, 1].

    bnpo     (r_i - p) / f(p; alpha, beta)                                                arXiv 2506.02864
             f: density of Beta(alpha, beta), alpha = max(1, 1 + a/3), beta = max(1, 1 + b/3),
             (a, b): Beta distribution with the mean and variance of the batch's group means
    mapo     (1 - lam) (r_i - mean)/(std + eps) + lam (r_i - mean)/(mean + eps)           arXiv 2509.18849, eq. 6
             lam = 1 - 4 p (1 - p), p = share of rewards equal to 1
    s_grpo   w (r_i - mean)/(std + eps)                                                   arXiv 2508.05928
             w = (1 - 2q) sqrt(t (1 - t)) / sqrt(p (1 - p)), t = clip((p - q)/(1 - 2q), 0, 1), q = flip rate

An all-equal group gets exactly 0 from all three. bnpo's 1/f is capped at 1e6, as in its code; a batch whose group
means are all equal is given the variance 1e-6, where its code divides by 0. mapo grows like 1/p as p goes to 0.
Rewards outside [0, 1] (Gaussian noise) have p clipped to [0, 1] in bnpo and s_grpo; mapo then divides by a mean
that may be near 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from krpo.advantages.base import AdvantageEstimator, Batch, Composed, Scale, require
from krpo.advantages.group import nan_std
from krpo.advantages.means import GroupMean
from krpo.advantages.registry import register_estimator, register_scale
from krpo.advantages.scales import GroupStd


def group_rate_P1(batch: Batch) -> torch.Tensor:
    """Mean reward of each group, [P, 1], clipped to [0, 1]; 0 where nothing could be scored."""
    return torch.nanmean(batch.rewards_PG, dim=1, keepdim=True).nan_to_num(nan=0.0).clamp(0, 1)


@register_scale("beta_density")
@dataclass(frozen=True)
class BetaDensity(Scale):
    """Divided by the density, at the group's pass rate, of a Beta distribution fitted to the batch."""

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        rates_P1 = group_rate_P1(batch)
        rates_p = rates_P1[batch.counts_P > 0].flatten().double()
        if len(rates_p) < 2:
            return centred_PG
        mean, variance = rates_p.mean(), rates_p.var().clamp(min=1e-6)
        strength = mean * (1 - mean) / variance - 1
        alpha = (1 + strength * mean / 3).clamp(min=1)
        beta = (1 + strength * (1 - mean) / 3).clamp(min=1)
        log_density_P1 = (
            torch.xlogy(alpha - 1, rates_P1.double())
            + torch.xlogy(beta - 1, 1 - rates_P1.double())
            + (torch.lgamma(alpha + beta) - torch.lgamma(alpha) - torch.lgamma(beta))
        )
        return centred_PG * torch.exp(-log_density_P1).clamp(max=1e6).to(centred_PG.dtype)


@register_scale("mixed_advantage")
@dataclass(frozen=True)
class MixedAdvantage(Scale):
    """MAPO's mix of a division by the group's std and one by its mean."""

    eps: float = 1e-6

    def __post_init__(self) -> None:
        require(self.eps > 0, f"eps is {self.eps}; it must be above 0")

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        won_P1 = (batch.rewards_PG == 1).sum(dim=1, keepdim=True)
        share_P1 = won_P1.to(centred_PG.dtype) / batch.counts_P.unsqueeze(1).clamp(min=1)
        certainty_P1 = 1 - 4 * share_P1 * (1 - share_P1)
        mean_P1 = torch.nanmean(batch.rewards_PG, dim=1, keepdim=True)
        by_std_PG = centred_PG / (nan_std(batch.rewards_PG, 1) + self.eps)
        return (1 - certainty_P1) * by_std_PG + certainty_P1 * centred_PG / (mean_P1 + self.eps)


@register_scale("noise_aware_std")
@dataclass(frozen=True)
class NoiseAwareStd(Scale):
    """Divided by the group's std, times the weight that is optimal where rewards are flipped at ``rate``."""

    rate: float = 0.1
    eps: float = 1e-4

    def __post_init__(self) -> None:
        require(0 <= self.rate < 0.5, f"rate is {self.rate}; it must be at least 0 and below 0.5")

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen_P1 = group_rate_P1(batch)
        true_P1 = ((seen_P1 - self.rate) / (1 - 2 * self.rate)).clamp(0, 1)
        ratio_P1 = true_P1 * (1 - true_P1) / (seen_P1 * (1 - seen_P1))
        weight_P1 = (1 - 2 * self.rate) * ratio_P1.nan_to_num(nan=0.0).sqrt()
        return weight_P1 * GroupStd(self.eps)(centred_PG, batch)


@register_estimator(
    "bnpo",
    formula="(r_i - p) / f(p; alpha, beta)",
    source="arXiv 2506.02864",
    shift="other",
    scale="other",
    order="free",
    all_equal="zero",
)
def bnpo() -> AdvantageEstimator:
    return Composed(GroupMean(), BetaDensity())


@register_estimator(
    "mapo",
    formula="(1 - lam) (r_i - mean) / (std + eps) + lam (r_i - mean) / (mean + eps), lam = 1 - 4 p (1 - p)",
    source="arXiv 2509.18849",
    shift="other",
    scale="other",
    order="free",
    all_equal="zero",
)
def mapo(*, eps: float = 1e-6) -> AdvantageEstimator:
    return Composed(GroupMean(), MixedAdvantage(eps))


@register_estimator(
    "s_grpo",
    formula="w(p, flip rate) (r_i - mean) / (std + eps)",
    source="arXiv 2508.05928",
    shift="other",
    scale="other",
    order="free",
    all_equal="zero",
)
def s_grpo(*, rate: float = 0.1, eps: float = 1e-4) -> AdvantageEstimator:
    return Composed(GroupMean(), NoiseAwareStd(rate, eps))
