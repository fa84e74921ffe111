"""GRPO with virtual answers of a fixed reward in each group.

    ngrpo   (r_i - mean') / (std' + eps)    arXiv 2509.18851 (NGRPO)

mean' and std' (unbiased, as in its code; its eq. 6 prints 1/(G+1)) are those of the group's rewards with ``count``
virtual rewards ``maximum`` added. An all-equal group of rewards below the maximum gets a negative advantage: the
method's purpose. One of the maximum gets 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Composed, Scale, require
from krpo.advantages.group import nan_std
from krpo.advantages.registry import register_baseline, register_estimator, register_scale


@dataclass(frozen=True)
class _Virtual:
    maximum: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        require(self.count >= 1, f"count is {self.count}; it must be at least 1")

    def extended(self, batch: Batch) -> torch.Tensor:
        """The group's rewards and the virtual ones, [P, G + count]."""
        virtual = batch.rewards_PG.new_full((batch.shape[0], self.count), self.maximum)
        return torch.cat([batch.rewards_PG, virtual], dim=1)


@register_baseline("virtual_mean")
@dataclass(frozen=True)
class VirtualMean(_Virtual, Baseline):
    """Mean of the group's rewards and the virtual ones."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        return torch.nanmean(self.extended(batch), dim=1, keepdim=True)


@register_scale("virtual_std")
@dataclass(frozen=True)
class VirtualStd(_Virtual, Scale):
    """Divided by the standard deviation of the group's rewards and the virtual ones."""

    eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.eps > 0, f"eps is {self.eps}; it must be above 0")

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG / (nan_std(self.extended(batch), 1) + self.eps)


@register_estimator(
    "ngrpo",
    formula="(r_i - mean') / (std' + eps), with virtual rewards of the maximum",
    source="arXiv 2509.18851",
    shift="other",
    scale="other",
    order="free",
    all_equal="other",
)
def ngrpo(*, maximum: float = 1.0, count: int = 1, eps: float = 1e-6) -> AdvantageEstimator:
    return Composed(VirtualMean(maximum, count), VirtualStd(maximum, count, eps))
