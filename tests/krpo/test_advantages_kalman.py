"""The Kalman variants against dense Gaussian conditioning, brute force over orders, and loops written out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from krpo.advantages import make_estimator
from krpo.advantages.krpo import krpo

MODELS = [(1e-5, 1e-2, 0.0, 1.0), (0.05, 0.2, 0.4, 0.1), (0.0, 0.3, -1.0, 2.0)]
NAMES = ("process_variance", "measurement_variance", "prior_mean", "prior_variance")


def rewards(p: int = 4, g: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.rand(p, g, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conditioned(rewards_G: np.ndarray, model: tuple[float, ...], at: int, seen: list[int]) -> tuple[float, float]:
    """Mean and variance of x_at given the rewards at the seen places, by conditioning one joint Gaussian.

    x_i = x_0 + w_1 + ... + w_i, so cov(x_i, x_j) = P_0 + Q min(i, j), with i from 1; r_i = x_i + v_i.
    """
    Q, R, mean, P0 = model
    if not seen:
        return mean, P0 + Q * (at + 1)
    place = np.array(seen) + 1
    covariance = P0 + Q * np.minimum.outer(place, place) + R * np.eye(len(seen))
    cross = P0 + Q * np.minimum(at + 1, place)
    weights = np.linalg.solve(covariance, cross)
    return mean + weights @ (rewards_G[seen] - mean), P0 + Q * (at + 1) - weights @ cross


def expected(name: str, rewards_G: np.ndarray, model: tuple[float, ...]) -> list[float]:
    """The advantages of one group, from the definitions."""
    n, R = len(rewards_G), model[1]
    advantages = []
    for i, r in enumerate(rewards_G):
        if name == "krpo":
            mean, variance = conditioned(rewards_G, model, i, list(range(i + 1)))
        elif name in ("krpo_uniform", "krpo_innovation"):
            mean, variance = conditioned(rewards_G, model, i, list(range(i)))
            variance = variance + R if name == "krpo_innovation" else 1.0
        elif name == "krpo_batch":
            mean, variance = conditioned(rewards_G, model, n - 1, list(range(n)))
        elif name == "krpo_smoother":
            mean, variance = conditioned(rewards_G, model, i, list(range(n)))
        else:  # krpo_loo: the others as a sequence of their own
            others = np.delete(rewards_G, i)
            mean, variance = conditioned(others, model, n - 2, list(range(n - 1)))
        advantages.append((r - mean) / math.sqrt(variance))
    return advantages


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["krpo", "krpo_uniform", "krpo_innovation", "krpo_batch", "krpo_smoother", "krpo_loo"])
def test_estimates_are_those_of_gaussian_conditioning(name: str, model: tuple[float, ...]) -> None:
    estimator = make_estimator(name, **dict(zip(NAMES, model, strict=True)))
    for g in (2, 3, 7):
        rewards_PG = rewards(3, g, seed=g)
        want = [expected(name, row.numpy(), model) for row in rewards_PG]
        torch.testing.assert_close(estimator(rewards_PG), torch.tensor(want), rtol=1e-6, atol=1e-6)


def test_defaults_are_those_of_krpo_but_for_the_batch_filter() -> None:
    rewards_PG = rewards()
    defaults = dict(zip(NAMES, MODELS[0], strict=True))
    for name in ("krpo_uniform", "krpo_innovation", "krpo_smoother", "krpo_loo", "krpo_permavg"):
        assert torch.equal(make_estimator(name)(rewards_PG), make_estimator(name, **defaults)(rewards_PG))
    static = make_estimator("krpo_batch", **{**defaults, "process_variance": 0.0})
    assert torch.equal(make_estimator("krpo_batch")(rewards_PG), static(rewards_PG))


def test_the_gains_and_weights_of_the_published_filter() -> None:
    """The table of c_i with A_i = c_i (r_i - x_{i-1})."""
    matrix_nn = krpo().matrix_nn(12)
    c = np.diag(matrix_nn)  # the own reward's weight is (1 - K_i) / sqrt(P_i) = c_i
    table = [0.0995, 7.12, 11.57, 14.99, 17.83, 20.31, 22.50, 24.49, 26.31, 27.99, 29.55, 31.01]
    np.testing.assert_allclose(c, table, rtol=1e-3)
    assert np.all(np.triu(matrix_nn, 1) == 0)


@pytest.mark.parametrize("g", [2, 3, 5])
def test_permavg_is_the_mean_over_all_orders(g: int) -> None:
    rewards_PG = rewards(3, g)
    published = make_estimator("krpo", prior_mean=0.3)
    total_PG, orders = torch.zeros_like(rewards_PG), list(itertools.permutations(range(g)))
    for order in orders:
        index = torch.tensor(order)
        total_PG[:, index] += published(rewards_PG[:, index])
    got_PG = make_estimator("krpo_permavg", prior_mean=0.3)(rewards_PG)
    torch.testing.assert_close(got_PG, total_PG / len(orders), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("g", "ratio"), [(2, 0.976), (4, 0.992), (8, 0.996), (12, 0.998), (16, 0.998), (32, 0.999)])
def test_the_mean_over_orders_is_a_constant_times_rloo(g: int, ratio: float) -> None:
    """Theory: E[A_i] = a r_i - b' sum of the others with (G - 1) b'/a near 1; 0.3 % at G = 12."""
    matrix_nn = make_estimator("krpo_permavg").matrix_nn(g)  # type: ignore[attr-defined]
    a, b = matrix_nn[0, 0], -matrix_nn[0, 1]
    assert (g - 1) * b / a == pytest.approx(ratio, abs=6e-4)
    rewards_PG = (rewards(200, g) < 0.5).double()
    rewards_PG = rewards_PG[rewards_PG.std(dim=1) > 0]
    rloo_PG, average_PG = make_estimator("rloo")(rewards_PG), make_estimator("krpo_permavg")(rewards_PG)
    error = (average_PG - a * rloo_PG).norm() / average_PG.norm()
    assert error < (0.003 if g == 12 else 1.5 * (1 - ratio) + 0.001)


@pytest.mark.parametrize(("g", "a", "leak"), [(2, 3.61, 0.085), (4, 8.44, 0.069), (8, 14.9, 0.054), (12, 19.5, 0.046)])
def test_scale_and_leak_of_the_mean_over_orders(g: int, a: float, leak: float) -> None:
    """Theory: the constant a, and the row sum b that the prior x_0 = 0 leaves."""
    matrix_nn = make_estimator("krpo_permavg").matrix_nn(g)  # type: ignore[attr-defined]
    assert matrix_nn[0, 0] == pytest.approx(a, rel=3e-3)
    assert matrix_nn[0].sum() == pytest.approx(leak, abs=6e-4)


def test_without_a_prior_and_process_noise_the_mean_over_orders_is_exactly_rloo() -> None:
    rewards_PG = rewards()
    got_PG = make_estimator("krpo_permavg", process_variance=0, prior_variance=1e9)(rewards_PG)
    ratio_PG = got_PG / make_estimator("rloo")(rewards_PG)
    torch.testing.assert_close(ratio_PG, ratio_PG[:1, :1].expand_as(ratio_PG), rtol=1e-6, atol=0)


def test_shuffled_is_krpo_in_some_order_and_repeats_for_a_seed() -> None:
    rewards_PG = rewards(4, 4)
    estimator, published = make_estimator("krpo_shuffled"), make_estimator("krpo")
    ids = ["a", "b", "c", "a"]
    got_PG = estimator(rewards_PG, seed=1, step=2, prompt_ids_P=ids)
    for row, got in zip(rewards_PG, got_PG, strict=True):
        in_order = [torch.tensor(order) for order in itertools.permutations(range(4))]
        candidates = [torch.zeros(4).double().scatter(0, o, published(row[o][None])[0]) for o in in_order]
        assert any(torch.allclose(got, c) for c in candidates)
    assert torch.equal(estimator(rewards_PG, seed=1, step=2, prompt_ids_P=ids), got_PG)
    for other in ({"seed": 2, "step": 2}, {"seed": 1, "step": 3}):
        assert not torch.equal(estimator(rewards_PG, **other, prompt_ids_P=ids), got_PG)
    alone_PG = estimator(rewards_PG[1:2], seed=1, step=2, prompt_ids_P=["b"])
    torch.testing.assert_close(alone_PG, got_PG[1:2])


def test_shuffled_averages_to_permavg() -> None:
    rewards_G = rewards(1, 4)[0]
    p = 20_000
    rewards_PG = rewards_G.expand(p, 4).clone()
    got_PG = make_estimator("krpo_shuffled")(rewards_PG, seed=0, step=0, prompt_ids_P=["q"] * p)
    want_G = make_estimator("krpo_permavg")(rewards_G[None])[0]
    stderr_G = got_PG.std(dim=0) / math.sqrt(p)
    assert ((got_PG.mean(dim=0) - want_G).abs() < 4 * stderr_G).all()


def adaptive_loop(name: str, rewards_G: list[float], model: tuple[float, ...], **rule: Any) -> list[float]:
    """`krpo_adaptive` and `krpo_robust`, one reward at a time."""
    Q, R, x, P = model
    advantages = []
    for i, r in enumerate(rewards_G):
        if rule.get("rule") == "bernoulli":
            p = (1 + sum(rewards_G[:i])) / (i + 2)
            R = max(p * (1 - p), 0.01)
        predicted = P + Q
        z = (r - x) / math.sqrt(predicted + R)
        used = R
        if rule.get("gate") == "huber":
            used = R if abs(z) <= 1.345 else R * abs(z) / 1.345
        if rule.get("gate") == "student_t":
            used = R * (4 + z * z) / 5
        K = predicted / (predicted + used)
        x = x + K * (r - x)
        P = (1 - K) * predicted
        if rule.get("rule") == "innovation":
            R = 0.3 * R + 0.7 * ((r - x) ** 2 + predicted)
        advantages.append((r - x) / (math.sqrt(P) + 1e-8))
    return advantages


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("krpo_adaptive", {"rule": "bernoulli"}),
        ("krpo_adaptive", {"rule": "innovation"}),
        ("krpo_robust", {"gate": "huber"}),
        ("krpo_robust", {"gate": "student_t"}),
    ],
)
def test_adaptive_and_robust_filters_equal_their_loops(
    name: str, rule: dict[str, str], model: tuple[float, ...]
) -> None:
    estimator = make_estimator(name, **dict(zip(NAMES, model, strict=True)), **rule)
    for rewards_PG in (rewards(5, 9), (rewards(5, 9) < 0.4).double()):
        loops = [adaptive_loop(name, row.tolist(), model, **rule) for row in rewards_PG]
        want = torch.tensor(loops, dtype=torch.float64)
        torch.testing.assert_close(estimator(rewards_PG), want, rtol=1e-9, atol=1e-9)


def test_a_gate_that_never_closes_leaves_krpo() -> None:
    rewards_PG = rewards()
    torch.testing.assert_close(
        make_estimator("krpo_robust", threshold=1e6)(rewards_PG), make_estimator("krpo")(rewards_PG)
    )
