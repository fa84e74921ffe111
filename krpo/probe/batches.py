"""The raw measurements of a probe: one row for each batch, estimator, group size and noise.

A rollout batch of N answers a prompt holds N // G independent batches of groups of G. All estimators see the same
answers, the same noise and the same orders. Of the gradients g_b only inner products are kept:

    norm2       <g_b, g_b>
    pairs       sum of <g_b, g_b'> over the other batches b'; their mean is unbiased for ||E g||^2
    cosines     sum of cos(g_b, g_b') over the other batches
    reference   <g_b, g_ref>, g_ref from answers of its own and clean rewards
    reference2  an unbiased ||E g_ref||^2, the same in every row
    order       variance of g_b over orders of its groups, the answers held fixed
    power       sum of A^2, and
    progress    sum of p(1-p) A (r - p): what measures the variance where scores are independent of each other
                (`krpo.advantages.measure`); for binary rewards

Of the advantages: `answers` their number; `square` mean of A^2; `group_sum` mean sum over a group; `zero` share of
A = 0; `zero_groups` share of groups without any advantage; `mismatch` share of answers pushed against (clean reward
- pass rate); `degenerate` share of groups whose observed rewards are all equal; `baseline` mean of (b_i - mean
observed reward)^2 and `baseline_clean` of (b_i - pass rate)^2, where the estimator has a baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from krpo.advantages.measure import Measured, Sample, gradient_sums, in_orders, mismatch_sums, order_free
from krpo.config import Named
from krpo.noise import RewardNoise, make_noise
from krpo.probe.gradients import token_weights
from krpo.probe.rollouts import Rollouts
from krpo.probe.spec import ORACLE, ProbeSpec
from krpo.streams import derive_seed, generator

Row = dict[str, Any]

NOISE_REPEATS = 16
"""How often the reference's rewards are disturbed for their mean: noise may be shared by a whole group."""


@dataclass(frozen=True)
class Reference:
    """What the large clean sample says: pass rates and the gradient, with the noise of its own known."""

    rewards_PR: torch.Tensor
    gradient_k: np.ndarray
    squared_norm: float  # unbiased
    spread: float  # variance of gradient_k

    @property
    def rates_P(self) -> torch.Tensor:
        return self.rewards_PR.mean(dim=1)


def reference_of(spec: ProbeSpec, parts: Sequence[Rollouts]) -> Reference:
    """The leave-one-out gradient over all answers of the reference batches."""
    gradients_Nk = []
    for part in parts:
        rewards_PG = part.rewards_PG.double()
        g = rewards_PG.shape[1]
        leave_one_out_PG = (rewards_PG - rewards_PG.mean(dim=1, keepdim=True)) * g / (g - 1)
        weights_PG = token_weights(part.lengths_PG, spec.loss_type, spec.max_completion_length)
        gradients_Nk.append(combine((weights_PG * leave_one_out_PG).unsqueeze(0), part)[0])
    stacked_Nk = np.stack(gradients_Nk)
    norm2_N, pairs_N, _ = inner_products(stacked_Nk)
    n = len(stacked_Nk)
    squared_norm = float(pairs_N.sum() / (n * (n - 1))) if n > 1 else float(norm2_N[0])
    return Reference(
        torch.cat([part.rewards_PG for part in parts], dim=1).double(),
        stacked_Nk.mean(axis=0),
        squared_norm,
        max(0.0, (float(norm2_N.mean()) - squared_norm) / n),
    )


def combine(coefficients_VPG: torch.Tensor, part: Rollouts, first: int = 0) -> np.ndarray:
    """sum_i c_i u_i for V sets of coefficients of the answers from ``first`` on. Returns [V, k]."""
    v, p, g = coefficients_VPG.shape
    index_B = part.index_PG[:, first : first + g].reshape(-1)
    by_answer_VU = torch.zeros(v, len(part.gradients_Uk), dtype=torch.float64)
    by_answer_VU.index_add_(1, index_B, coefficients_VPG.reshape(v, p * g).double())
    used_U = index_B.unique()
    result: np.ndarray = (by_answer_VU[:, used_U].float() @ part.gradients_Uk[used_U]).numpy()
    return result


def inner_products(gradients_mk: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each batch: its squared norm, and the sums of its inner products and cosines with all others."""
    gram_mm = gradients_mk.astype(np.float64) @ gradients_mk.astype(np.float64).T
    norm2_m = np.diag(gram_mm).copy()
    length_m = np.sqrt(norm2_m)
    safe_m = np.where(length_m > 0, length_m, 1.0)
    cosines_mm = gram_mm / np.outer(safe_m, safe_m)
    return norm2_m, gram_mm.sum(axis=1) - norm2_m, cosines_mm.sum(axis=1) - np.diag(cosines_mm)


def observed_means(spec: ProbeSpec, noise: RewardNoise, reference: Reference) -> torch.Tensor:
    """The mean reward of each prompt as an estimator sees it: the oracle's baseline. [P]"""
    groups = reference.rewards_PR.split(spec.answers, dim=1)
    means = []
    for repeat in range(NOISE_REPEATS):
        seen = [
            noise(rewards, seed=spec.seed, step=-1 - repeat * len(groups) - i, prompt_ids_P=_ids(spec))
            for i, rewards in enumerate(groups)
        ]
        means.append(torch.cat(seen, dim=1).mean(dim=1))
    return torch.stack(means).mean(dim=0)


def _ids(spec: ProbeSpec) -> list[str]:
    return [str(p) for p in range(spec.prompts)]


def measure(
    spec: ProbeSpec, g: int, noise: Named, parts: Iterator[Rollouts], reference: Reference, greedy_P: torch.Tensor
) -> list[Row]:
    """All rows of one group size and noise."""
    model = make_noise(noise)
    means_P1 = observed_means(spec, model, reference).unsqueeze(1)
    estimators = {named.label: Measured(named) for named in spec.estimators}
    moved = {named.label for named in spec.estimators if not order_free(named)}
    past_VPG = _past(spec, g, model, reference)
    binary = bool(((reference.rewards_PR == 0) | (reference.rewards_PR == 1)).all())
    rows: dict[str, list[Row]] = {label: [] for label in (*estimators, ORACLE)}
    gradients: dict[str, list[np.ndarray]] = {label: [] for label in rows}
    batch = 0
    for part in parts:
        for first in range(0, part.rewards_PG.shape[1] - g + 1, g):
            sample = _sample(spec, part, slice(first, first + g), past_VPG, reference, greedy_P, batch)
            observed_PG = model(sample.rewards_PG, seed=spec.seed, step=batch, prompt_ids_P=_ids(spec))
            weights_PG = token_weights(sample.extras["lengths_PG"], spec.loss_type, spec.max_completion_length)
            advantages = {label: measured(sample, observed_PG) for label, measured in estimators.items()}
            advantages[ORACLE] = observed_PG - means_P1
            stacked_Vk = combine(torch.stack([weights_PG * a for a in advantages.values()]), part, first)
            for (label, advantages_PG), gradient_k in zip(advantages.items(), stacked_Vk, strict=True):
                if label == ORACLE:
                    baseline_PG: torch.Tensor | None = means_P1.expand(observed_PG.shape)
                else:
                    baseline_PG = estimators[label].baseline(sample, observed_PG)
                row = _advantage_row(advantages_PG, sample, observed_PG, baseline_PG, means_P1)
                if not binary:
                    row["power"] = row["progress"] = None
                row["order"] = 0.0
                if label in moved:
                    random = generator(spec.seed, "probe", "orders", g, batch)
                    seen_OPG = in_orders(estimators[label], sample, observed_PG, spec.orders, random)
                    row["order"] = float(combine(weights_PG * seen_OPG, part, first).var(axis=0, ddof=1).sum())
                row["reference"] = float(gradient_k.astype(np.float64) @ reference.gradient_k)
                gradients[label].append(gradient_k)
                rows[label].append(
                    {"group_size": g, "noise": noise.label, "estimator": label, "batch": batch, "row": row}
                )
            batch += 1
    finished = []
    for label, own in rows.items():
        norm2_m, pairs_m, cosines_m = inner_products(np.stack(gradients[label]))
        for i, entry in enumerate(own):
            gradient = {"norm2": norm2_m[i], "pairs": pairs_m[i], "cosines": cosines_m[i]}
            values = {**gradient, **entry.pop("row"), "reference2": reference.squared_norm}
            finished.append({**entry, **{k: None if v is None else float(f"{v:.9g}") for k, v in values.items()}})
    return finished


def _past(spec: ProbeSpec, g: int, noise: RewardNoise, reference: Reference) -> torch.Tensor:
    """Rewards of earlier visits, for estimators that remember: [visits - 1, P, G], from the reference."""
    visits = [
        noise(reference.rewards_PR[:, v * g : (v + 1) * g].contiguous(), seed=derive_seed(spec.seed, "probe", "past"),
              step=v, prompt_ids_P=_ids(spec))
        for v in range(spec.visits - 1)
    ]  # fmt: skip
    return torch.stack(visits) if visits else torch.empty(0, spec.prompts, g, dtype=torch.float64)


def _sample(
    spec: ProbeSpec,
    part: Rollouts,
    answers: slice,
    past_VPG: torch.Tensor,
    reference: Reference,
    greedy_P: torch.Tensor,
    batch: int,
) -> Sample:
    """Some of a rollout batch's answers as `krpo.advantages.measure` takes them."""
    extras = {
        "lengths_PG": part.lengths_PG[:, answers].contiguous(),
        "prompt_ids_P": _ids(spec),
        "partial_credit_PG": part.partial_credit_PG[:, answers].double(),
        "correct_PG": part.correct_PG[:, answers].double(),
        "greedy_rewards_P": greedy_P.double(),
        "seed": batch,
    }
    return Sample(reference.rates_P, part.rewards_PG[:, answers].double().contiguous(), past_VPG, extras)


def _advantage_row(
    advantages_PG: torch.Tensor,
    sample: Sample,
    observed_PG: torch.Tensor,
    baseline_PG: torch.Tensor | None,
    means_P1: torch.Tensor,
) -> Row:
    power, progress = gradient_sums(advantages_PG, sample)[:2]
    wrong, answers = mismatch_sums(advantages_PG, sample)[:2]
    row: Row = {
        "answers": float(advantages_PG.numel()),
        "power": power,
        "progress": progress,
        "square": advantages_PG.square().mean().item(),
        "group_sum": advantages_PG.sum(dim=1).mean().item(),
        "zero": (advantages_PG == 0).double().mean().item(),
        "zero_groups": (advantages_PG == 0).all(dim=1).double().mean().item(),
        "mismatch": wrong / answers,
        "degenerate": (observed_PG == observed_PG[:, :1]).all(dim=1).double().mean().item(),
        "baseline": None,
        "baseline_clean": None,
    }
    if baseline_PG is not None:
        row["baseline"] = (baseline_PG - means_P1).square().mean().item()
        row["baseline_clean"] = (baseline_PG - sample.rates_P.unsqueeze(1)).square().mean().item()
    return row
