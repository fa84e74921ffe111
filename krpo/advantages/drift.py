"""Where a filter has something to track: pass rates that differ between prompts and drift over steps.

Each prompt's pass rate starts at a draw from Beta(1/2, 1/2) and walks: p <- p + N(0, drift^2), reflected at 0 and
1, once a step. All prompts are seen in each step, with G binary rewards. Every estimator sees the same rewards, so
differences are paired. Measured: the squared error of the baseline b_i = r_i - A_i against p, and the variance of
the gradient relative to the oracle's, as in `krpo.advantages.measure`; for estimators without a scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from krpo.advantages.measure import Number, Sample, gradient_sums, relative_variance
from krpo.advantages.registry import make_estimator
from krpo.config import Named
from krpo.streams import generator

REFERENCE = Named("rloo")
COMPARED = (
    Named("james_stein"),
    Named("krpo_hierarchical"),
    Named("krpo_persistent"),
    Named("composed", {"baseline": "beta_tracker"}),
)


@dataclass(frozen=True)
class Drift:
    """What is simulated: ``replicates`` runs of ``steps`` steps, of which the first ``warmup`` are not measured."""

    drift: float = 0.05
    replicates: int = 24
    steps: int = 20
    warmup: int = 5
    prompts: int = 64
    seed: int = 0


class Outcome(NamedTuple):
    """An estimator's baseline error and gradient variance, and their paired differences from RLOO's."""

    error: Number
    variance: Number
    error_difference: Number
    variance_difference: Number


def run(setting: Drift, g: int, replicate: int) -> Iterator[Sample]:
    """The steps of one replicate."""
    random = generator(setting.seed, "drift", str(setting.drift), g, replicate)
    rates_P = random.beta(0.5, 0.5, setting.prompts)
    ids_P = [str(i) for i in range(setting.prompts)]
    nothing = torch.empty(0, setting.prompts, g)
    for step in range(setting.steps):
        rewards_PG = (random.random((setting.prompts, g)) < rates_P[:, None]).astype(float)
        extras = {"prompt_ids_P": ids_P, "step": step}
        yield Sample(torch.as_tensor(rates_P), torch.as_tensor(rewards_PG), nothing, extras)
        moved_P = np.abs(rates_P + setting.drift * random.standard_normal(setting.prompts))
        rates_P = np.where(moved_P > 1, 2 - moved_P, moved_P)


def measured(named: Named, setting: Drift, g: int) -> np.ndarray:
    """Baseline error and relative gradient variance of each replicate: [replicates, 2]."""
    rows = []
    for replicate in range(setting.replicates):
        estimator = make_estimator(named)
        errors, sums = [], []
        for sample in run(setting, g, replicate):
            wanted = {k: v for k, v in sample.extras.items() if k in estimator.extras}
            advantages_PG = estimator(sample.rewards_PG, **wanted)
            if sample.extras["step"] >= setting.warmup:
                baseline_PG = sample.rewards_PG - advantages_PG
                errors.append((baseline_PG - sample.rates_P.unsqueeze(1)).square().mean().item())
                sums.append(gradient_sums(advantages_PG, sample))
        rows.append([float(np.mean(errors)), relative_variance(np.mean(sums, axis=0))])
    return np.array(rows)


def _mean(values_R: np.ndarray) -> Number:
    return Number(float(values_R.mean()), float(values_R.std(ddof=1) / np.sqrt(len(values_R))))


def study(setting: Drift, g: int, compared: tuple[Named, ...] = COMPARED) -> dict[str, Outcome]:
    """The outcome of each estimator, RLOO first, by label."""
    reference_R2 = measured(REFERENCE, setting, g)
    outcomes = {}
    for named in (REFERENCE, *compared):
        own_R2 = reference_R2 if named == REFERENCE else measured(named, setting, g)
        difference_R2 = own_R2 - reference_R2
        outcomes[named.label] = Outcome(
            _mean(own_R2[:, 0]), _mean(own_R2[:, 1]), _mean(difference_R2[:, 0]), _mean(difference_R2[:, 1])
        )
    return outcomes
