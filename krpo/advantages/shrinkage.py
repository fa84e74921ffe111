"""Baselines shrunk towards the mean of other prompts, and a Beta tracker of each prompt's pass rate.

    james_stein   r_i - ((1 - lam_p) mean of the group's others + lam_p mean of the other prompts' means)
                  lam_p = (P-1)/P * v / (v + s)                                arXiv 2511.03710, eq. 10 and 13 to 16
    ebpo          r_i - ((1 - S) mean_group + S mean_global), whitened over the batch
                  S = (sigma^2 / n) / (sigma^2 / n + tau^2)                    arXiv 2602.05165
    spo           r_i - v, whitened over the batch; v = alpha / (alpha + beta)
                  alpha <- rho alpha + sum r,  beta <- rho beta + sum (1 - r)  arXiv 2509.13232

james_stein: v is the mean over the other prompts of the variance of their group mean, s the variance (divided by
their number) of their group means; nothing of it contains r_i. With one prompt lam = 0 and it is `rloo`.
ebpo: mean_global and sigma^2 are the mean and variance of all rewards so far, tau^2 the variance of all group means
so far, the present batch included (as described, to our knowledge, by the paper; its code was not read).
spo: published for one answer a prompt and rewards in [0, 1] (others are clipped for the tracker); here a group's
answers update the tracker together, after v was used. rho is constant; alpha + beta starts at 1 / (1 - rho).

An all-equal group gets what distinguishes it from the others, or from its past: not 0, by design.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Composed, refuse_state, require
from krpo.advantages.means import LeaveOneOut
from krpo.advantages.registry import register_baseline, register_estimator
from krpo.advantages.scales import NoScale, Whiten
from krpo.errors import BadInput


@register_baseline("james_stein")
@dataclass(frozen=True)
class JamesStein(Baseline):
    """The mean of the group's others, shrunk towards the mean of the other prompts' means."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        counts_P = batch.counts_P.to(batch.rewards_PG.dtype)
        means_P = torch.nanmean(batch.rewards_PG, dim=1)
        squares_P = (batch.rewards_PG - means_P.unsqueeze(1)).square().nansum(dim=1)
        there_P = (counts_P > 0).to(means_P.dtype)
        means_P = means_P.nan_to_num(nan=0.0)
        noise_P = squares_P / (counts_P * (counts_P - 1)).clamp(min=1)

        prompts = there_P.sum()
        others_P = (prompts - there_P).clamp(min=1)
        target_P = (means_P.sum() - means_P) / others_P
        v_P = (noise_P.sum() - noise_P) / others_P
        # deviations from each prompt's own leave-one-out mean: [P, P], with the diagonal left out
        deviations_PP = (means_P.unsqueeze(0) - target_P.unsqueeze(1)).square() * there_P.unsqueeze(0)
        s_P = (deviations_PP.sum(dim=1) - deviations_PP.diagonal()) / others_P

        shrink_P = (prompts - 1) / prompts.clamp(min=1) * v_P / (v_P + s_P)
        shrink_P1 = shrink_P.nan_to_num(nan=0.0).unsqueeze(1)
        return (1 - shrink_P1) * LeaveOneOut()(batch) + shrink_P1 * target_P.unsqueeze(1)


@dataclass
class RunningMoments:
    """Number, mean and sum of squared deviations of all values so far (Welford, by batches)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: torch.Tensor) -> None:
        values = values[~values.isnan()].double()
        if count := values.numel():
            mean = values.mean().item()
            step, total = mean - self.mean, self.count + count
            self.squares += (values - mean).square().sum().item() + step**2 * self.count * count / total
            self.mean += step * count / total
            self.count = total

    @property
    def variance(self) -> float:
        """Unbiased; 0 before the second value."""
        return self.squares / (self.count - 1) if self.count > 1 else 0.0


@register_baseline("empirical_bayes")
@dataclass(eq=False)
class EmpiricalBayes(Baseline):
    """The group mean, shrunk towards the mean of all rewards so far. Calling it updates its state."""

    rewards: RunningMoments = field(default_factory=RunningMoments, init=False)
    group_means: RunningMoments = field(default_factory=RunningMoments, init=False)

    def __call__(self, batch: Batch) -> torch.Tensor:
        means_P1 = torch.nanmean(batch.rewards_PG, dim=1, keepdim=True)
        self.rewards.add(batch.rewards_PG)
        self.group_means.add(means_P1)
        noise_P1 = self.rewards.variance / batch.counts_P.unsqueeze(1).clamp(min=1).to(means_P1.dtype)
        # where all rewards so far are equal there is nothing to shrink
        shrink_P1 = noise_P1 / (noise_P1 + self.group_means.variance).clamp(min=1e-30)
        return (1 - shrink_P1) * means_P1 + shrink_P1 * self.rewards.mean

    def state_dict(self) -> dict[str, Any]:
        return {"rewards": vars(self.rewards).copy(), "group_means": vars(self.group_means).copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != {"rewards", "group_means"}:
            raise BadInput(f"empirical_bayes keeps rewards and group_means, found {sorted(state)}")
        self.rewards = RunningMoments(**state["rewards"])
        self.group_means = RunningMoments(**state["group_means"])


@register_baseline("beta_tracker")
@dataclass(eq=False)
class BetaTracker(Baseline):
    """alpha / (alpha + beta) of each prompt, carried across steps. Calling it updates its state."""

    extras = ("prompt_ids_P",)

    decay: float = 0.875
    initial_value: float = 0.5
    prompts: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, f"decay is {self.decay}; it must be in [0, 1)")
        require(0 < self.initial_value < 1, f"initial_value is {self.initial_value}; it must be in (0, 1)")

    def __call__(self, batch: Batch) -> torch.Tensor:
        ids_P = batch.prompt_ids_P()
        counters = [self._counters(prompt_id) for prompt_id in ids_P]
        values_P1 = batch.rewards_PG.new_tensor([[alpha / (alpha + beta)] for alpha, beta in counters])
        won_P = batch.filled_PG.double().clamp(0, 1).sum(dim=1).tolist()
        for prompt_id, won, count in zip(ids_P, won_P, batch.counts_P.tolist(), strict=True):
            if count:
                alpha, beta = self._counters(prompt_id)
                self.prompts[prompt_id] = (self.decay * alpha + won, self.decay * beta + count - won)
        return values_P1

    def _counters(self, prompt_id: str) -> tuple[float, float]:
        weight = 1 / (1 - self.decay)
        fresh = (weight * self.initial_value, weight * (1 - self.initial_value))
        return self.prompts.get(prompt_id, fresh)

    def state_dict(self) -> dict[str, Any]:
        return {"prompts": {prompt_id: list(counters) for prompt_id, counters in self.prompts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        refuse_state({k: v for k, v in state.items() if k != "prompts"}, "beta_tracker")
        self.prompts = {k: (float(a), float(b)) for k, (a, b) in state.get("prompts", {}).items()}


@register_estimator(
    "james_stein",
    formula="r_i - ((1 - lam) mean of the others + lam mean of the other prompts)",
    source="arXiv 2511.03710",
    shift="invariant",
    scale="equivariant",
    order="free",
    all_equal="other",
)
def james_stein() -> AdvantageEstimator:
    return Composed(JamesStein(), NoScale())


@register_estimator(
    "ebpo",
    formula="r_i - ((1 - S) mean_group + S mean_global), whitened",
    source="arXiv 2602.05165",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="other",
)
def ebpo(*, eps: float = 1e-8) -> AdvantageEstimator:
    return Composed(EmpiricalBayes(), Whiten(eps))


@register_estimator(
    "spo",
    formula="r_i - alpha / (alpha + beta), whitened",
    source="arXiv 2509.13232",
    shift="other",
    scale="other",
    order="free",
    all_equal="other",
)
def spo(*, decay: float = 0.875, initial_value: float = 0.5, eps: float = 1e-8) -> AdvantageEstimator:
    return Composed(BetaTracker(decay, initial_value), Whiten(eps))
