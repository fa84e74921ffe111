"""What theory predicts for KRPO, computed: exact gradient variances of linear estimators, and cosines under noise.

Exact: one prompt of pass rate p, binary rewards, scores with independent isotropic noise. For A = M r the variance
of the gradient estimate, scaled to the oracle's expectation, over the oracle's is

    G (||M||^2 + sum_i (sum_j M_ij)^2 p / (1 - p)) / tr(M)^2

The second term is the prior's leak. Cosines: P prompts with pass rates from Beta(1/2, 1/2), a gradient direction
u_p of length about ``length`` for each in ``dimensions`` dimensions, scores u_p (r_i - p) + ``score_noise`` N(0,
1), where r_i is the clean reward and the estimator sees the noisy one; the cosine between sum A_i s_i and sum_p u_p
p(1-p).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from krpo.advantages.measure import Number
from krpo.advantages.registry import make_estimator
from krpo.config import Named
from krpo.noise import make_noise
from krpo.streams import generator

NOISES = (
    Named("none"),
    Named("gaussian", {"sigma": 0.1}),
    Named("gaussian", {"sigma": 0.3}),
    Named("gaussian", {"sigma": 0.6}),
    Named("flip", {"rate": 0.1}),
    Named("flip", {"rate": 0.2}),
    Named("flip", {"rate": 0.4}),
)
ESTIMATORS = ("grpo", "rloo", "krpo", "krpo_uniform")


def matrix_of(named: str | Named, g: int) -> np.ndarray:
    """M of an estimator with A = M r: what it makes of one reward of 1 among zeros, in each place."""
    return make_estimator(named)(torch.eye(g, dtype=torch.float64)).numpy().T


def exact_relative_variance(matrix_nn: np.ndarray, pass_rate: float) -> float:
    """Variance of the gradient over the oracle's, for A = M r."""
    g, odds = len(matrix_nn), pass_rate / (1 - pass_rate)
    noise = np.square(matrix_nn).sum() + odds * np.square(matrix_nn.sum(axis=1)).sum()
    return float(g * noise / np.trace(matrix_nn) ** 2)


@dataclass(frozen=True)
class Toy:
    """The toy model of the cosines."""

    repeats: int = 300
    prompts: int = 32
    dimensions: int = 200
    length: float = 4.0
    score_noise: float = 0.25
    seed: int = 0


def cosines(toy: Toy, g: int) -> dict[tuple[str, str], np.ndarray]:
    """The cosine of each repeat, [repeats], by noise label and estimator; all of them see the same samples."""
    estimators = {name: make_estimator(name) for name in ESTIMATORS}
    noises = {noise.label: make_noise(noise) for noise in NOISES}
    found: dict[tuple[str, str], list[float]] = {(n, e): [] for n in noises for e in estimators}
    ids_P = [str(i) for i in range(toy.prompts)]
    for repeat in range(toy.repeats):
        random = generator(toy.seed, "cosines", g, repeat)
        rates_P1 = random.beta(0.5, 0.5, (toy.prompts, 1))
        direction_PD = random.standard_normal((toy.prompts, toy.dimensions)) * toy.length / np.sqrt(toy.dimensions)
        clean_PG = (random.random((toy.prompts, g)) < rates_P1).astype(float)
        noise_PGD = toy.score_noise * random.standard_normal((toy.prompts, g, toy.dimensions))
        score_PGD = direction_PD[:, None, :] * (clean_PG - rates_P1)[:, :, None] + noise_PGD
        true_D = (direction_PD * rates_P1 * (1 - rates_P1)).sum(axis=0)
        for label, noise in noises.items():
            observed_PG = noise(torch.as_tensor(clean_PG), seed=repeat, step=0, prompt_ids_P=ids_P)
            for name, estimator in estimators.items():
                estimate_D = np.einsum("pg,pgd->d", estimator(observed_PG).numpy(), score_PGD, optimize=True)
                size = np.linalg.norm(estimate_D) * np.linalg.norm(true_D)
                found[label, name].append(float(estimate_D @ true_D / size) if size else 0.0)
    return {key: np.array(values) for key, values in found.items()}


def mean(values_N: np.ndarray) -> Number:
    return Number(float(values_N.mean()), float(values_N.std(ddof=1) / np.sqrt(len(values_N))))
