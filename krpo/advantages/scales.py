"""Scales: what the centred rewards d_i are divided by.

    none         A_i = d_i
    constant     A_i = factor d_i
    group_std    A_i = d_i / (std of the group's rewards + eps)      unbiased std; TRL's eps 1e-4
    batch_std    A_i = d_i / (std of the batch's rewards + eps)
    unit_rms     A_i = d_i / (root mean square of d over the batch + eps)
    whiten       A_i = (d_i - mean of d over the batch) / (std of d over the batch + eps)

None of them turns a batch of zeros into anything else; `whiten` moves a zero where the rest of the batch has a
mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from krpo.advantages.base import AdvantageEstimator, Batch, Scale, require
from krpo.advantages.group import batch_rms, batch_std, nan_std
from krpo.advantages.registry import register_scale


@register_scale("none")
@dataclass(frozen=True)
class NoScale(Scale):
    """The centred rewards as they are."""

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG


@register_scale("constant")
@dataclass(frozen=True)
class Constant(Scale):
    """The centred rewards times a constant."""

    factor: float = 1.0

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG * self.factor


@dataclass(frozen=True)
class _WithEps(Scale):
    eps: float = 1e-4

    def __post_init__(self) -> None:
        require(self.eps > 0, f"eps is {self.eps}; it must be above 0, or an all-equal group divides 0 by 0")


@register_scale("group_std")
@dataclass(frozen=True)
class GroupStd(_WithEps):
    """Divided by the unbiased standard deviation of the group's rewards."""

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG / (nan_std(batch.rewards_PG, 1) + self.eps)


@register_scale("batch_std")
@dataclass(frozen=True)
class BatchStd(_WithEps):
    """Divided by the unbiased standard deviation of the batch's rewards."""

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG / (batch_std(batch.rewards_PG) + self.eps)


@register_scale("unit_rms")
@dataclass(frozen=True)
class UnitRMS(_WithEps):
    """Divided by the root mean square of the batch's centred rewards, which becomes 1."""

    eps: float = 1e-8

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        return centred_PG / (batch_rms(centred_PG.masked_fill(~batch.mask_PG, torch.nan)) + self.eps)


@register_scale("whiten")
@dataclass(frozen=True)
class Whiten(_WithEps):
    """Mean 0 and standard deviation 1 over the batch."""

    eps: float = 1e-8

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        scored_PG = centred_PG.masked_fill(~batch.mask_PG, torch.nan)
        return (centred_PG - torch.nanmean(scored_PG)) / (batch_std(scored_PG) + self.eps)


class Rescaled(AdvantageEstimator):
    """An estimator with a scale applied to its advantages."""

    def __init__(self, inner: AdvantageEstimator, scale: Scale) -> None:
        self.inner = inner
        self.scale = scale
        self.extras = tuple(dict.fromkeys((*inner.extras, *scale.extras)))

    def compute(self, batch: Batch) -> torch.Tensor:
        return self.scale(self.inner.compute(batch), batch)

    def diagnostics(self, rewards_PG: torch.Tensor, *, mask_PG: torch.Tensor | None = None) -> dict[str, float]:
        return self.inner.diagnostics(rewards_PG, mask_PG=mask_PG)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)
