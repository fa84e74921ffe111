"""What an advantage estimator does, measured on simulated rewards: the numbers of the estimator sheet.

The simulation: prompts with pass rates p ~ Beta(alpha, beta), binary rewards, G answers each. An answer's score
(the gradient of its log-probability) is u_p (r_i - p) plus isotropic noise that outweighs it, with a direction u_p
for each prompt; so the true gradient is sum_p u_p p(1-p), and the noise of an estimate is proportional to sum
A_i^2.

Each measure is a pure function of one batch; `estimate` turns the values of many batches into a number with its
standard error (jackknife over batches).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from krpo.advantages.base import AdvantageEstimator, check_batch
from krpo.advantages.registry import ESTIMATORS, make_estimator
from krpo.advantages.scales import Rescaled
from krpo.config import Named
from krpo.noise import make_noise
from krpo.streams import generator


class Number(NamedTuple):
    """A Monte Carlo estimate and its standard error."""

    value: float
    stderr: float


@dataclass(frozen=True)
class Setting:
    """What is simulated. A stateful estimator has seen each batch's prompts ``visits - 1`` times before."""

    batches: int = 160
    prompts: int = 64
    alpha: float = 0.5
    beta: float = 0.5
    visits: int = 5
    orders: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """One batch: pass rates, the rewards of the present visit and of those before it, and what else is asked for."""

    rates_P: torch.Tensor
    rewards_PG: torch.Tensor
    past_VPG: torch.Tensor
    extras: dict[str, Any]


@lru_cache(maxsize=8)
def samples(setting: Setting, g: int) -> tuple[Sample, ...]:
    """The batches of a setting, each from a stream of its own."""
    return tuple(_samples(setting, g))


def _samples(setting: Setting, g: int) -> Iterator[Sample]:
    for b in range(setting.batches):
        random = generator(setting.seed, "sheet", g, b)
        rates_P = random.beta(setting.alpha, setting.beta, setting.prompts)
        uniform_VPG = random.random((setting.visits, setting.prompts, g))
        rewards_VPG = torch.as_tensor((uniform_VPG < rates_P[:, None]).astype(float))
        credit_PG = torch.as_tensor(random.random((setting.prompts, g)))
        extras = {
            "lengths_PG": torch.as_tensor(random.integers(20, 60, (setting.prompts, g))),
            "prompt_ids_P": [str(i) for i in range(setting.prompts)],
            "partial_credit_PG": torch.where(rewards_VPG[-1] > 0.5, 1.0, 0.9 * credit_PG),
            "greedy_rewards_P": torch.as_tensor((rates_P > 0.5).astype(float)),
            "seed": b,
        }
        yield Sample(torch.as_tensor(rates_P), rewards_VPG[-1], rewards_VPG[:-1], extras)


ROUNDING = 1e-10
"""Relative to the largest advantage of a batch."""


class Measured:
    """An estimator that can be asked about many batches, each time as if it had seen that batch's past and no other."""

    def __init__(self, named: str | Named) -> None:
        self.estimator: AdvantageEstimator = make_estimator(named)
        self.start = self.estimator.state_dict()

    def __call__(self, sample: Sample, rewards_PG: torch.Tensor | None = None, **extras: Any) -> torch.Tensor:
        """Advantages of the present visit; of other rewards and extras than the sample's where they are given.

        What is only a rounding error is made 0: it has a sign, and would be counted.
        """
        wanted = {k: v for k, v in {**sample.extras, **extras}.items() if k in self.estimator.extras}
        stepped = "step" in self.estimator.extras
        if self.start:
            self.estimator.load_state_dict(self.start)
            for step, past_PG in enumerate(sample.past_VPG):
                self.estimator(past_PG, **wanted, **({"step": step} if stepped else {}))
        present_PG = sample.rewards_PG if rewards_PG is None else rewards_PG
        advantages_PG = self.estimator(present_PG, **wanted, **({"step": len(sample.past_VPG)} if stepped else {}))
        return advantages_PG.masked_fill(advantages_PG.abs() < ROUNDING * advantages_PG.abs().max(), 0.0)

    def baseline(self, sample: Sample, rewards_PG: torch.Tensor) -> torch.Tensor | None:
        """What the estimator subtracts from these rewards, [P, G], where it is a stateless baseline with a scale."""
        estimator: Any = self.estimator
        while isinstance(estimator, Rescaled):
            estimator = estimator.inner
        part = getattr(estimator, "baseline", None)
        if part is None or self.start:
            return None
        wanted = {k: v for k, v in sample.extras.items() if k in estimator.extras}
        return part(check_batch(rewards_PG, None, wanted)).expand(rewards_PG.shape)


def jackknife_stderr(left_out_B: np.ndarray) -> float:
    """The standard error of a number, from its values with each batch left out in turn."""
    b = len(left_out_B)
    return float(np.sqrt((b - 1) / b * np.sum((left_out_B - left_out_B.mean()) ** 2)))


def estimate(values_Bk: np.ndarray, of_means: Callable[[np.ndarray], float]) -> Number:
    """A function of the means of k columns over B batches, with its jackknife standard error."""
    b = len(values_Bk)
    total_k = values_Bk.sum(axis=0)
    left_out_B = np.array([of_means((total_k - row_k) / (b - 1)) for row_k in values_Bk])
    return Number(float(of_means(total_k / b)), jackknife_stderr(left_out_B))


# --- measures of one batch: each returns the columns whose means `estimate` combines ---------------------------------


def gradient_sums(advantages_PG: torch.Tensor, sample: Sample) -> list[float]:
    """Noise power and signal of an estimate of the gradient, and those of the oracle baseline A_i = r_i - p."""
    g = advantages_PG.shape[1]
    variance_P1 = (sample.rates_P * (1 - sample.rates_P)).unsqueeze(1)
    progress_PG = variance_P1 * advantages_PG * (sample.rewards_PG - sample.rates_P.unsqueeze(1))
    oracle = g * variance_P1
    return [
        advantages_PG.square().sum().item(),
        progress_PG.sum().item(),
        oracle.sum().item(),
        (oracle * variance_P1).sum().item(),
    ]


def relative_variance(means_k: np.ndarray) -> float:
    """Variance of the gradient over the oracle's, both scaled to the same progress along the true gradient."""
    noise, signal, oracle_noise, oracle_signal = means_k
    return (noise / oracle_noise) / (signal / oracle_signal) ** 2


def in_orders(
    measured: Measured, sample: Sample, rewards_PG: torch.Tensor, orders: int, random: np.random.Generator
) -> torch.Tensor:
    """The advantage that each answer gets in random orders of its group: [orders, P, G], back in place."""
    seen = []
    for _ in range(orders):
        order_PG = torch.as_tensor(random.random(rewards_PG.shape).argsort(axis=1))
        moved = {k: v.gather(1, order_PG) for k, v in sample.extras.items() if k.endswith("_PG")}
        advantages_PG = measured(sample, rewards_PG.gather(1, order_PG), **moved)
        seen.append(torch.zeros_like(advantages_PG).scatter(1, order_PG, advantages_PG))
    return torch.stack(seen)


def order_sums(measured: Measured, sample: Sample, orders: int, random: np.random.Generator) -> list[float]:
    """Variance of an answer's advantage over orders of its group, and variance of all advantages."""
    seen_OPG = in_orders(measured, sample, sample.rewards_PG, orders, random)
    return [seen_OPG.var(dim=0).mean().item(), seen_OPG.var().item()]


def order_free(named: str | Named) -> bool:
    """Whether an estimator declares that it does not depend on the order of a group's answers, which is tested."""
    return ESTIMATORS.entry(named.name if isinstance(named, Named) else named).facts.get("order") == "free"


def effective_sums(advantages_PG: torch.Tensor) -> list[float]:
    """Sum of (sum |A|)^2 / (G sum A^2) over the groups that have any advantage, and their number."""
    squares_P = advantages_PG.square().sum(dim=1)
    there_P = squares_P > 0
    share_P = advantages_PG.abs().sum(dim=1).square()[there_P] / (advantages_PG.shape[1] * squares_P[there_P])
    return [share_P.sum().item(), float(there_P.sum())]


def mismatch_sums(advantages_PG: torch.Tensor, sample: Sample) -> list[float]:
    """Answers whose advantage has the sign opposite to (clean reward - pass rate), and all; then both by |A|."""
    wrong_PG = advantages_PG * (sample.rewards_PG - sample.rates_P.unsqueeze(1)) < 0
    weight_PG = advantages_PG.abs()
    return [
        wrong_PG.double().sum().item(),
        float(wrong_PG.numel()),
        weight_PG[wrong_PG].sum().item(),
        weight_PG.sum().item(),
    ]


# --- the columns of the sheet -----------------------------------------------------------------------------------------


def gradient_variance(named: str | Named, setting: Setting, g: int) -> Number:
    """Variance of the gradient relative to that of the oracle baseline, for groups of g answers."""
    measured = Measured(named)
    values_Bk = np.array([gradient_sums(measured(sample), sample) for sample in samples(setting, g)])
    return estimate(values_Bk, relative_variance)


def rms_over_grpo(named: str | Named, setting: Setting, g: int) -> Number:
    """Root mean square of the advantages, over that of GRPO's."""
    measured, grpo = Measured(named), Measured("grpo")
    values_Bk = np.array(
        [[measured(s).square().sum().item(), grpo(s).square().sum().item()] for s in samples(setting, g)]
    )
    return estimate(values_Bk, lambda means_k: float(np.sqrt(means_k[0] / means_k[1])))


def order_share(named: str | Named, setting: Setting, g: int) -> Number:
    """Share of the variance of the advantages that is due to the order of the answers alone.

    Exactly 0 for an estimator that declares that it does not depend on order, which is tested.
    """
    if order_free(named):
        return Number(0.0, 0.0)
    measured, random = Measured(named), generator(setting.seed, "sheet orders", g)
    values_Bk = np.array([order_sums(measured, s, setting.orders, random) for s in samples(setting, g)])
    return estimate(values_Bk, lambda means_k: means_k[0] / means_k[1])


def effective_share(named: str | Named, setting: Setting, g: int) -> Number:
    """Effective sample size of a group's advantages as a share of G, mean over groups that have any."""
    measured = Measured(named)
    values_Bk = np.array([effective_sums(measured(sample)) for sample in samples(setting, g)])
    return estimate(values_Bk, lambda means_k: means_k[0] / means_k[1])


def sign_mismatch(named: str | Named, setting: Setting, g: int, noise: Named) -> tuple[Number, Number]:
    """Share of answers that are pushed the wrong way where the estimator sees noisy rewards, and their share of |A|."""
    measured, model = Measured(named), make_noise(noise)
    values_Bk = []
    for sample in samples(setting, g):
        ids_P, seed = sample.extras["prompt_ids_P"], sample.extras["seed"]
        observed_PG = model(sample.rewards_PG, seed=seed, step=0, prompt_ids_P=ids_P)
        values_Bk.append(mismatch_sums(measured(sample, observed_PG), sample))
    columns_Bk = np.array(values_Bk)
    return (
        estimate(columns_Bk, lambda means_k: means_k[0] / means_k[1]),
        estimate(columns_Bk, lambda means_k: means_k[2] / means_k[3]),
    )


# --- columns without chance: one fixed batch --------------------------------------------------------------------------


def fixed_sample(g: int = 12) -> Sample:
    """Eight prompts with 1, 2, .. g - 1 right answers in turn, spread evenly over the group; no history."""
    rights = [1 + (5 * i) % (g - 1) for i in range(8)]
    # answer i is right where the running share of right answers passes a whole number
    rows = [[float((i + 1) * n // g - i * n // g) for i in range(g)] for n in rights]
    rewards_PG = torch.tensor(rows, dtype=torch.float64)
    extras = {
        "lengths_PG": torch.tensor([[20 + (7 * i + 3 * p) % 23 for i in range(g)] for p in range(8)]),
        "prompt_ids_P": [str(p) for p in range(8)],
        "partial_credit_PG": rewards_PG.clamp(min=0.25),
        "greedy_rewards_P": (rewards_PG.mean(dim=1) > 0.5).double(),
        "seed": 0,
    }
    return Sample(rewards_PG.mean(dim=1), rewards_PG, torch.empty(0, 8, g, dtype=torch.float64), extras)


def all_equal_sum(named: str | Named, level: float, g: int = 12) -> float:
    """Sum of the advantages of a group whose answers all have one reward, as the first of the fixed batch."""
    sample = fixed_sample(g)
    rewards_PG = sample.rewards_PG.clone()
    rewards_PG[0] = level
    return Measured(named)(sample, rewards_PG)[0].sum().item()


SQUEEZE, LIFT = 0.6, 0.4
"""Rewards of 0 and 1 become 0 and 0.6, and then 0.4 and 1: inside [0, 1], and on the same sides of 1/2."""


def shift_response(named: str | Named, g: int = 12) -> float:
    """||A(r + 0.4) - A(r)|| / ||A(r)|| for the fixed batch's rewards times 0.6: 0 for a shift-invariant estimator."""
    sample, measured = fixed_sample(g), Measured(named)
    greedy_P = SQUEEZE * sample.extras["greedy_rewards_P"]
    plain_PG = measured(sample, SQUEEZE * sample.rewards_PG, greedy_rewards_P=greedy_P)
    shifted_PG = measured(sample, SQUEEZE * sample.rewards_PG + LIFT, greedy_rewards_P=greedy_P + LIFT)
    return ((shifted_PG - plain_PG).norm() / plain_PG.norm()).item()


def scale_exponent(named: str | Named, g: int = 12) -> float:
    """k where ||A(0.6 r)|| = 0.6^k ||A(r)|| for the fixed batch: 1 follows the rewards' scale, 0 ignores it."""
    sample, measured = fixed_sample(g), Measured(named)
    greedy_P = SQUEEZE * sample.extras["greedy_rewards_P"]
    squeezed_PG = measured(sample, SQUEEZE * sample.rewards_PG, greedy_rewards_P=greedy_P)
    return math.log(squeezed_PG.norm().item() / measured(sample).norm().item()) / math.log(SQUEEZE)
