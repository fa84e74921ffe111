"""The statistics of a probe on a model whose gradient variance is known exactly.

Independent Gaussian scores: s_i = u_q (r_i - p_q) + sigma z_i in D dimensions. Then
E g = sum_q u_q E[sum_i A_i (r_i - p_q)] and
tr Cov g = sum_q |u_q|^2 Var(sum_i A_i (r_i - p_q)) + sigma^2 D E sum_i A_i^2,
and both expectations are sums over the 2^G binary rewards of a group.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from krpo.advantages import make_estimator
from krpo.probe.batches import inner_products
from krpo.probe.results import MEASURES, interval, means_of

RATES_P = np.array([0.3, 0.5, 0.7])
G, D, SIGMA, M = 4, 60, 0.5, 32
U_PD = np.random.default_rng(5).standard_normal((len(RATES_P), D)) / np.sqrt(D) * 3
NAMES = ("krpo", "grpo", "rloo", "oracle")


def advantages(name: str, rewards_NPG: np.ndarray) -> np.ndarray:
    if name == "oracle":
        return rewards_NPG - RATES_P[:, None]
    n, p, g = rewards_NPG.shape
    return make_estimator(name)(torch.as_tensor(rewards_NPG.reshape(n * p, g))).numpy().reshape(n, p, g)


def truth(name: str) -> dict[str, float]:
    """Signal, variance and progress by enumeration."""
    groups_NG = np.array(list(product([0.0, 1.0], repeat=G)))
    mean_D, variance = np.zeros(D), 0.0
    for q, p in enumerate(RATES_P):
        weight_N = np.prod(np.where(groups_NG == 1, p, 1 - p), axis=1)
        a_NG = advantages(name, np.repeat(groups_NG[:, None, :], len(RATES_P), axis=1))[:, q]
        along_N = (a_NG * (groups_NG - p)).sum(axis=1)
        first, second = weight_N @ along_N, weight_N @ along_N**2
        mean_D += U_PD[q] * first
        variance += U_PD[q] @ U_PD[q] * (second - first**2) + SIGMA**2 * D * (weight_N @ (a_NG**2).sum(axis=1))
    true_D = (U_PD * (RATES_P * (1 - RATES_P))[:, None]).sum(axis=0)
    return {"signal": mean_D @ mean_D, "variance": variance, "progress": mean_D @ true_D}


TRUTH = {name: truth(name) for name in NAMES}
RELATIVE = {name: TRUTH[name]["variance"] / TRUTH[name]["signal"] for name in NAMES}
EXPECTED = {
    "signal": lambda n: TRUTH[n]["signal"],
    "variance": lambda n: TRUTH[n]["variance"],
    "snr": lambda n: 1 / RELATIVE[n],
    "variance_over_oracle": lambda n: RELATIVE[n] / RELATIVE["oracle"],
    "scaled_over_oracle": lambda n: (
        TRUTH[n]["variance"] / TRUTH["oracle"]["variance"] * (TRUTH["oracle"]["progress"] / TRUTH[n]["progress"]) ** 2
    ),
}


def simulate(repeats: int, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """[repeats, 3]: value, low, high of each measure and estimator over independent probes of M batches."""
    rng = np.random.default_rng(seed)
    true_D = (U_PD * (RATES_P * (1 - RATES_P))[:, None]).sum(axis=0)
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _ in range(repeats):
        rewards = (rng.random((M, len(RATES_P), G)) < RATES_P[:, None]).astype(float)
        scores = U_PD[:, None, :] * (rewards - RATES_P[:, None])[..., None]
        scores = scores + SIGMA * rng.standard_normal(scores.shape)
        means = {}
        for name in NAMES:
            g_MD = np.einsum("mpg,mpgd->md", advantages(name, rewards), scores, optimize=True)
            norm2, pairs, cosines = inner_products(g_MD)
            means[name] = means_of({"norm2": norm2, "pairs": pairs, "cosines": cosines, "reference": g_MD @ true_D})
        for name in NAMES:
            for measure in EXPECTED:
                if measure.endswith("oracle") and name == "oracle":
                    continue
                values = MEASURES[measure](means[name], means["oracle"], means["krpo"])
                _, low, high = interval(measure, values)
                found.setdefault((measure, name), []).append((values[0], low, high))
    return {key: np.array(values) for key, values in found.items()}


def test_the_enumerated_truth_is_the_closed_form_for_linear_estimators():
    """Where scores carry no reward, the ratio is that of `exact_relative_variance` at p = 1/2."""
    from krpo.advantages.predictions import exact_relative_variance, matrix_of

    groups_NG = np.array(list(product([0.0, 1.0], repeat=G)))
    a_NG = make_estimator("krpo")(torch.as_tensor(groups_NG)).numpy()
    noise, progress = (a_NG**2).sum(1).mean(), (a_NG * (groups_NG - 0.5)).sum(1).mean()
    oracle = G * 0.25
    ratio = (noise / oracle) / (progress / oracle) ** 2
    assert ratio == pytest.approx(exact_relative_variance(matrix_of("krpo", G), 0.5), rel=1e-9)
    assert ratio == pytest.approx(2.10, abs=0.01)


def test_signal_and_variance_are_unbiased():
    found = simulate(300, seed=1)
    for measure in ("signal", "variance"):
        for name in NAMES:
            values = found[measure, name][:, 0]
            z = (values.mean() - EXPECTED[measure](name)) / (values.std(ddof=1) / np.sqrt(len(values)))
            assert abs(z) < 4, (measure, name, z)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say():
    found = simulate(2000, seed=2)
    for (measure, name), values in found.items():
        truth_ = EXPECTED[measure](name)
        covered = np.mean((values[:, 1] <= truth_) & (truth_ <= values[:, 2]))
        assert 0.93 <= covered <= 0.97, (measure, name, covered)


def test_the_jackknife_leaves_out_what_it_says():
    """Leaving batch b out of the columns is measuring without it."""
    g_MD = np.random.default_rng(0).standard_normal((17, 5))
    norm2, pairs, cosines = inner_products(g_MD)
    means = means_of({"norm2": norm2, "pairs": pairs, "cosines": cosines})
    for b in range(17):
        norm2, pairs, cosines = inner_products(np.delete(g_MD, b, axis=0))
        without = means_of({"norm2": norm2, "pairs": pairs, "cosines": cosines})
        for name, values in means.items():
            assert values[1 + b] == pytest.approx(without[name][0])


def test_pairs_by_hand():
    norm2, pairs, cosines = inner_products(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
    assert norm2.tolist() == [1, 2, 4]
    assert pairs.tolist() == [1, 3, 2]
    assert cosines == pytest.approx([2**-0.5, 2**0.5, 2**-0.5])
    assert means_of({"pairs": pairs, "norm2": norm2})["pairs"][0] == 1.0


def test_one_estimator_over_itself_is_one():
    g_MD = np.random.default_rng(3).standard_normal((16, 7)) + 1
    norm2, pairs, _ = inner_products(g_MD)
    means = means_of({"norm2": norm2, "pairs": pairs, "reference": g_MD.sum(axis=1)})
    for name in ("variance_over_oracle", "scaled_over_first"):
        stderr, low, high = interval(name, MEASURES[name](means, means, means))
        assert (stderr, low, high) == pytest.approx((0, 1, 1))
