"""Statistics of groups and batches that skip the answers that could not be scored."""

from __future__ import annotations

from collections.abc import Callable

import torch

from krpo.advantages.base import Batch


def nan_std(values: torch.Tensor, dim: int | tuple[int, ...]) -> torch.Tensor:
    """Unbiased standard deviation along ``dim`` (kept), ignoring NaN; 0 where fewer than two values are left.

    The operations and their order are those of TRL's `nanstd`, so that `grpo` equals TRL's advantages bit for
    bit.
    """
    mean = torch.nanmean(values, dim=dim, keepdim=True)
    variance = torch.nanmean((values - mean) ** 2, dim=dim, keepdim=True)
    count = torch.sum(~torch.isnan(values), dim=dim, keepdim=True).to(values.dtype)
    std = torch.sqrt(variance * (count / (count - 1)))
    return torch.where(count > 1, std, torch.zeros_like(std))


def batch_std(values_PG: torch.Tensor) -> torch.Tensor:
    """Unbiased standard deviation of the whole batch, ignoring NaN, as a scalar."""
    return nan_std(values_PG.flatten(), 0).squeeze()


def batch_rms(values_PG: torch.Tensor) -> torch.Tensor:
    """Root mean square over the batch, ignoring NaN, as a scalar; 0 where nothing is left."""
    return values_PG.square().nanmean().sqrt().nan_to_num(nan=0.0)


def pack(batch: Batch) -> Batch:
    """The batch with each group's scored answers moved to the front, in generation order."""
    if batch.complete:
        return batch
    order_PG = _scored_first(batch)
    return Batch(batch.rewards_PG.gather(1, order_PG), batch.mask_PG.gather(1, order_PG), False, batch.extras)


def unpack(batch: Batch, values_PG: torch.Tensor) -> torch.Tensor:
    """Values in the order of `pack(batch)` put back in the places of ``batch``."""
    if batch.complete:
        return values_PG
    return torch.zeros_like(values_PG).scatter(1, _scored_first(batch), values_PG)


def _scored_first(batch: Batch) -> torch.Tensor:
    return torch.argsort((~batch.mask_PG).to(torch.uint8), dim=1, stable=True)


def per_group(batch: Batch, values_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply a function of dense groups to groups with holes.

    ``values_of`` takes rewards [p, n] of p prompts with n answers each, in generation order, and returns
    [p, n]. It is called once for a complete batch, else once for each number n of scored answers that occurs,
    with those answers moved together; the result is put back in their places, with 0 in the holes.
    """
    if batch.complete:
        return values_of(batch.rewards_PG)
    packed_PG = pack(batch).rewards_PG
    out_PG = torch.zeros_like(packed_PG)
    counts_P = batch.counts_P
    for count in counts_P.unique().tolist():
        if count:
            rows = counts_P == count
            out_PG[rows, :count] = values_of(packed_PG[rows, :count])
    return unpack(batch, out_PG)
