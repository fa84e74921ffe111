"""Baselines that are plain means.

    group_mean      b_i = mean of the group
    leave_one_out   b_i = mean of the group's other answers = r_i - G/(G-1) (r_i - mean)
    batch_mean      b_i = mean of the batch
    none            b_i = 0

An all-equal group of rewards c has the baseline c (group_mean, leave_one_out), so its centred rewards are 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from krpo.advantages.base import Baseline, Batch
from krpo.advantages.registry import register_baseline


@register_baseline("none")
@dataclass(frozen=True)
class NoBaseline(Baseline):
    """0: the reward itself."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        return batch.rewards_PG.new_zeros(())


@register_baseline("group_mean")
@dataclass(frozen=True)
class GroupMean(Baseline):
    """Mean of the group's scored answers."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        return torch.nanmean(batch.rewards_PG, dim=1, keepdim=True)


@register_baseline("leave_one_out")
@dataclass(frozen=True)
class LeaveOneOut(Baseline):
    """Mean of the group's other scored answers; an answer that is alone is its own baseline."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        mean_P1 = torch.nanmean(batch.rewards_PG, dim=1, keepdim=True)
        n_P1 = batch.counts_P.unsqueeze(1).to(mean_P1.dtype)
        return mean_P1 - (batch.rewards_PG - mean_P1) / (n_P1 - 1).clamp(min=1)


@register_baseline("batch_mean")
@dataclass(frozen=True)
class BatchMean(Baseline):
    """Mean of all scored answers of the batch."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        return torch.nanmean(batch.rewards_PG)
