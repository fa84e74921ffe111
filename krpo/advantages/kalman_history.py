"""Filters where there is something to track: a prompt's pass rate over training steps, and the batch's pass rate.

`krpo_persistent` keeps, for each prompt, N(x, P) of its mean reward, a random walk of variance Q a step. The
baseline of answer i is the posterior mean given the prompt's past and the group's other answers,

    P^- = P + Q (steps since the prompt was last seen)
    b_i = (x / P^- + sum_{j != i} r_j / R) / (1 / P^- + (n - 1) / R)

and afterwards the whole group updates x and P. `krpo_hierarchical` needs no repeated prompts: the prior of a group
is what the other prompts of the batch and the past say,

    b_i = (m / T + sum_{j != i} r_j / R) / (1 / T + (n - 1) / R),  T = V + tau^2

m, V: a Kalman filter over steps of the batch's mean reward (process variance Q), updated with the other prompts'
means; tau^2, R: variance of mean rewards between prompts and of rewards within a prompt, empirical Bayes from the
other prompts and the (exponentially forgotten) past. No b_i contains r_i, and no part of the prior contains prompt
i's group, so both leave the gradient unbiased.

Source: this project; relatives are SPO (arXiv 2509.13232), KAE (2604.28005), James-Stein (2511.03710), EBPO
(2602.05165).
An all-equal group gets what distinguishes it from its prior: not 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Composed, refuse_state, require
from krpo.advantages.kalman import Model
from krpo.advantages.registry import register_baseline, register_estimator
from krpo.advantages.scales import NoScale
from krpo.errors import BadInput

# Rewards in [0, 1] with a uniform prior on the pass rate: mean 1/2, variance 1/12, expected p(1-p) 1/6.
PRIOR_MEAN, PRIOR_VARIANCE, MEASUREMENT_VARIANCE = 1 / 2, 1 / 12, 1 / 6


def precision_weighted(
    mean_P: torch.Tensor, variance_P: torch.Tensor, noise_P: torch.Tensor, batch: Batch
) -> torch.Tensor:
    """Posterior mean of each prompt's reward given N(mean, variance) and the group's other answers: [P, G]."""
    rewards_PG = batch.filled_PG.double()
    others_PG = rewards_PG.sum(dim=1, keepdim=True) - rewards_PG
    others_P = batch.counts_P.double() - 1
    weighted_PG = (mean_P / variance_P).unsqueeze(1) + others_PG / noise_P.unsqueeze(1)
    return weighted_PG / (1 / variance_P + others_P / noise_P).unsqueeze(1)


@register_baseline("persistent_kalman")
@dataclass(eq=False)
class PersistentKalman(Baseline):
    """One filter for each prompt, carried across steps. Calling it updates its state."""

    extras = ("prompt_ids_P", "step")

    process_variance: float = 1e-3
    measurement_variance: float = MEASUREMENT_VARIANCE
    prior_mean: float = PRIOR_MEAN
    prior_variance: float = PRIOR_VARIANCE
    prompts: dict[str, tuple[float, float, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        Model(self.process_variance, self.measurement_variance, self.prior_mean, self.prior_variance)

    def __call__(self, batch: Batch) -> torch.Tensor:
        ids_P, step = batch.prompt_ids_P(), int(batch.extras["step"])
        before = [self._predicted(prompt_id, step) for prompt_id in ids_P]
        mean_P, variance_P = torch.tensor(before, dtype=torch.float64, device=batch.rewards_PG.device).T
        noise_P = torch.full_like(mean_P, self.measurement_variance)
        baseline_PG = precision_weighted(mean_P, variance_P, noise_P, batch)
        sums_P, counts_P = batch.filled_PG.double().sum(dim=1).tolist(), batch.counts_P.tolist()
        for prompt_id, total, count in zip(ids_P, sums_P, counts_P, strict=True):
            self._update(prompt_id, total, count, step)
        return baseline_PG.to(batch.rewards_PG.dtype)

    def _predicted(self, prompt_id: str, step: int) -> tuple[float, float]:
        if prompt_id not in self.prompts:
            return self.prior_mean, self.prior_variance
        mean, variance, last = self.prompts[prompt_id]
        return mean, variance + self.process_variance * max(step - last, 0)

    def _update(self, prompt_id: str, total: float, count: int, step: int) -> None:
        if count:
            mean, variance = self._predicted(prompt_id, step)
            posterior = 1 / (1 / variance + count / self.measurement_variance)
            mean = posterior * (mean / variance + total / self.measurement_variance)
            self.prompts[prompt_id] = (mean, posterior, step)

    def state_dict(self) -> dict[str, Any]:
        return {"prompts": {prompt_id: list(values) for prompt_id, values in self.prompts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        refuse_state({k: v for k, v in state.items() if k != "prompts"}, "persistent_kalman")
        self.prompts = {k: (float(m), float(v), int(s)) for k, (m, v, s) in state.get("prompts", {}).items()}


class Evidence(NamedTuple):
    """What a set of groups says about means and variances: sums over its prompts, so sets can be subtracted."""

    prompts: torch.Tensor
    means: torch.Tensor
    squared_means: torch.Tensor
    inverse_counts: torch.Tensor
    within_squares: torch.Tensor
    within_freedom: torch.Tensor

    @classmethod
    def of_each(cls, batch: Batch) -> Evidence:
        """The evidence of each prompt by itself: entries [P]. A prompt without a scored answer has none."""
        rewards_PG, counts_P = batch.rewards_PG.double(), batch.counts_P.double()
        means_P = torch.nanmean(rewards_PG, dim=1)
        there_P = (counts_P > 0).double()
        squares_P = (rewards_PG - means_P.unsqueeze(1)).square().nansum(dim=1)
        means_P = means_P.nan_to_num(nan=0.0)
        inverse_P = there_P / counts_P.clamp(min=1)
        return cls(there_P, means_P, means_P.square(), inverse_P, squares_P, (counts_P - 1).clamp(min=0))

    def all(self) -> Evidence:
        return Evidence(*(each_P.sum() for each_P in self))

    def others(self) -> Evidence:
        """For each prompt, the evidence of the others."""
        return Evidence(*(each_P.sum() - each_P for each_P in self))

    @property
    def mean(self) -> torch.Tensor:
        return self.means / self.prompts.clamp(min=1)

    @property
    def between_freedom(self) -> torch.Tensor:
        return (self.prompts - 1).clamp(min=0)

    @property
    def between_squares(self) -> torch.Tensor:
        """Squared deviations of the group means; its mean is freedom * tau^2 + R * between_noise."""
        return (self.squared_means - self.means * self.mean).clamp(min=0)

    @property
    def mean_inverse_count(self) -> torch.Tensor:
        return self.inverse_counts / self.prompts.clamp(min=1)

    @property
    def between_noise(self) -> torch.Tensor:
        return self.between_freedom * self.mean_inverse_count


REMEMBERED = ("within_squares", "within_freedom", "between_squares", "between_freedom", "between_noise")


@register_baseline("hierarchical_kalman")
@dataclass(eq=False)
class HierarchicalKalman(Baseline):
    """A batch-level filter as the prior of each group. Calling it updates its state.

    The prior's parameters count as one prompt's worth of evidence; ``forgetting`` is what a step's evidence on the two
    variances keeps of its weight in the next step.
    """

    process_variance: float = 1e-3
    measurement_variance: float = MEASUREMENT_VARIANCE
    prior_mean: float = PRIOR_MEAN
    prior_variance: float = PRIOR_VARIANCE
    forgetting: float = 0.9
    state: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        Model(self.process_variance, self.measurement_variance, self.prior_mean, self.prior_variance)
        require(0 <= self.forgetting < 1, f"forgetting is {self.forgetting}; it must be in [0, 1)")
        self.state = {"mean": self.prior_mean, "variance": self.prior_variance, **dict.fromkeys(REMEMBERED, 0.0)}

    def __call__(self, batch: Batch) -> torch.Tensor:
        each_P = Evidence.of_each(batch)
        noise_P, tau2_P = self._variances(each_P.others())
        mean_P, variance_P = self._batch_state(each_P.others(), noise_P, tau2_P)
        baseline_PG = precision_weighted(mean_P, variance_P + tau2_P, noise_P, batch)
        self._update(each_P.all())
        return baseline_PG.to(batch.rewards_PG.dtype)

    def _variances(self, seen: Evidence) -> tuple[torch.Tensor, torch.Tensor]:
        """Within-prompt variance R and between-prompt variance tau^2, from the past and what is seen now."""
        past = self.state
        within = past["within_squares"] + seen.within_squares + self.measurement_variance
        noise = within / (past["within_freedom"] + seen.within_freedom + 1)
        between = past["between_squares"] + seen.between_squares
        between = between - noise * (past["between_noise"] + seen.between_noise) + self.prior_variance
        tau2 = between / (past["between_freedom"] + seen.between_freedom + 1)
        return noise, tau2.clamp(min=1e-6)

    def _batch_state(
        self, seen: Evidence, noise: torch.Tensor, tau2: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of the filter over steps, after it has seen the mean of the seen prompts."""
        predicted = self.state["variance"] + self.process_variance
        observed = (tau2 + noise * seen.mean_inverse_count) / seen.prompts.clamp(min=1)
        gain = predicted / (predicted + observed) * (seen.prompts > 0)
        return self.state["mean"] + gain * (seen.mean - self.state["mean"]), (1 - gain) * predicted

    def _update(self, seen: Evidence) -> None:
        mean, variance = self._batch_state(seen, *self._variances(seen))
        remembered = {k: self.forgetting * (self.state[k] + getattr(seen, k).item()) for k in REMEMBERED}
        self.state = {"mean": mean.item(), "variance": variance.item(), **remembered}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if set(state) != set(self.state):
            raise BadInput(f"hierarchical_kalman keeps {sorted(self.state)}, found {sorted(state)}")
        self.state = {key: float(value) for key, value in state.items()}


@register_estimator(
    "krpo_persistent",
    formula="r_i - posterior mean given the prompt's past and the group's other answers",
    source="krpo; relatives: arXiv 2509.13232, 2604.28005",
    shift="other",
    scale="other",
    order="free",
    all_equal="other",
)
def krpo_persistent(
    *,
    process_variance: float = 1e-3,
    measurement_variance: float = MEASUREMENT_VARIANCE,
    prior_mean: float = PRIOR_MEAN,
    prior_variance: float = PRIOR_VARIANCE,
) -> AdvantageEstimator:
    return Composed(PersistentKalman(**locals()), NoScale())


@register_estimator(
    "krpo_hierarchical",
    formula="r_i - posterior mean given the other prompts, the past, and the group's other answers",
    source="krpo; relatives: arXiv 2511.03710, 2602.05165",
    shift="other",
    scale="other",
    order="free",
    all_equal="other",
)
def krpo_hierarchical(
    *,
    process_variance: float = 1e-3,
    measurement_variance: float = MEASUREMENT_VARIANCE,
    prior_mean: float = PRIOR_MEAN,
    prior_variance: float = PRIOR_VARIANCE,
    forgetting: float = 0.9,
) -> AdvantageEstimator:
    return Composed(HierarchicalKalman(**locals()), NoScale())
