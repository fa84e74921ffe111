"""KRPO without its dependence on order: averaged away, or drawn at random.

    krpo_permavg    A_i = mean over all n! orders of krpo's A_i = a (r_i - x_0) - b' sum_{j != i} (r_j - x_0)
    krpo_shuffled   krpo on a random order of each group's answers, drawn from the run's seed

With krpo's matrix M (A = M (r - x_0)), a is the mean of its diagonal and -b' that of its other entries. Answers of
a prompt are exchangeable, so the average leaves the expected gradient as it is and cannot raise its variance
(Rao-Blackwell); it is a constant times `rloo`, but for the prior's leak: 0.3 % at n = 12.

Source: control for arXiv 2505.07527. An all-equal group of rewards c gets (row sum of M) (c - x_0), not 0.
"""

from __future__ import annotations

import numpy as np
import torch

from krpo.advantages.base import AdvantageEstimator, Batch
from krpo.advantages.group import pack, unpack
from krpo.advantages.kalman import average_over_orders
from krpo.advantages.kalman_parts import Linear
from krpo.advantages.krpo import krpo
from krpo.advantages.registry import register_estimator
from krpo.streams import prompt_generators

SOURCE = "control for arXiv 2505.07527"


class OrderAverage(Linear):
    """The mean of a linear estimator over all orders of the answers, in closed form."""

    def __init__(self, inner: Linear) -> None:
        super().__init__(inner.prior_mean)
        self.inner = inner

    def matrix_nn(self, n: int) -> np.ndarray:
        return average_over_orders(self.inner.matrix_nn(n))


class Shuffled(AdvantageEstimator):
    """An estimator that sees each group in a random order; its advantages are put back in place."""

    extras = ("seed", "step", "prompt_ids_P")

    def __init__(self, inner: AdvantageEstimator) -> None:
        self.inner = inner

    def compute(self, batch: Batch) -> torch.Tensor:
        seed, step = int(batch.extras["seed"]), int(batch.extras["step"])
        streams = prompt_generators(seed, "order of a group", step, batch.prompt_ids_P())
        keys_PG = np.stack([stream.random(batch.shape[1]) for stream in streams])
        packed = pack(batch)
        # scored answers come first and take the first keys, so a hole does not change their order
        order_PG = torch.as_tensor(keys_PG, device=packed.rewards_PG.device)
        order_PG = order_PG.masked_fill(~packed.mask_PG, torch.inf).argsort(dim=1)
        shuffled = Batch(packed.rewards_PG.gather(1, order_PG), packed.mask_PG, packed.complete, {})
        advantages_PG = self.inner.compute(shuffled)
        return unpack(batch, torch.zeros_like(advantages_PG).scatter(1, order_PG, advantages_PG))


@register_estimator(
    "krpo_permavg",
    formula="mean of krpo over all orders of the answers",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="free",
    all_equal="other",
)
def krpo_permavg(
    *,
    process_variance: float = 1e-5,
    measurement_variance: float = 1e-2,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
    eps: float = 1e-8,
) -> AdvantageEstimator:
    return OrderAverage(krpo(**locals()))


@register_estimator(
    "krpo_shuffled",
    formula="krpo on a random order drawn from the seed",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="dependent",
    all_equal="other",
)
def krpo_shuffled(
    *,
    process_variance: float = 1e-5,
    measurement_variance: float = 1e-2,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
    eps: float = 1e-8,
) -> AdvantageEstimator:
    return Shuffled(krpo(**locals()))
