"""KRPO as published: against the plain loop, and what it does that a user would not expect."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from krpo.advantages import make_estimator


def plain_loop(rewards: list[float], Q: float = 1e-5, R: float = 1e-2, x: float = 0.0, P: float = 1.0) -> list[float]:
    """The published algorithm for one prompt, one reward at a time."""
    advantages = []
    for r in rewards:
        P = P + Q
        K = P / (P + R)
        x = x + K * (r - x)
        P = (1 - K) * P
        advantages.append((r - x) / (math.sqrt(P) + 1e-8))
    return advantages


def loop(rewards_PG: torch.Tensor, **model: float) -> torch.Tensor:
    return torch.tensor([plain_loop(row.tolist(), **model) for row in rewards_PG], dtype=torch.float64)


def assert_rows_close(got_PG: torch.Tensor, want_PG: torch.Tensor, relative: float) -> None:
    """Errors relative to the largest advantage of each row; a row of zeros must be zero."""
    error_P = (got_PG - want_PG).abs().amax(dim=1)
    assert (error_P <= relative * want_PG.abs().amax(dim=1)).all(), error_P.max()


@pytest.mark.parametrize("g", range(2, 65))
def test_equals_the_plain_loop(g: int) -> None:
    random = torch.Generator().manual_seed(g)
    graded_PG = torch.rand(40, g, generator=random, dtype=torch.float64)
    binary_PG = (torch.rand(40, g, generator=random, dtype=torch.float64) < 0.3).double()
    constant_PG = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64).expand(3, g)
    for rewards_PG in (graded_PG, binary_PG, constant_PG):
        assert_rows_close(make_estimator("krpo")(rewards_PG), loop(rewards_PG), 1e-12)


@pytest.mark.parametrize("model", [(1e-3, 0.25, 0.5, 0.1), (0.0, 1.0, -1.0, 3.0), (0.1, 1e-4, 0.2, 1e-3)])
def test_equals_the_plain_loop_for_other_parameters(model: tuple[float, float, float, float]) -> None:
    Q, R, x, P = model
    rewards_PG = torch.rand(20, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    estimator = make_estimator("krpo", process_variance=Q, measurement_variance=R, prior_mean=x, prior_variance=P)
    assert_rows_close(estimator(rewards_PG), loop(rewards_PG, Q=Q, R=R, x=x, P=P), 1e-12)


def test_all_equal_groups_do_not_get_zero() -> None:
    levels_PG = torch.tensor([[1.0], [0.5], [0.0]], dtype=torch.float64).expand(3, 12)
    ones_G, halves_G, zeros_G = make_estimator("krpo")(levels_PG)
    assert ones_G[0].item() == pytest.approx(0.0995, abs=5e-5)
    assert ones_G[-1].item() == pytest.approx(0.0276, abs=5e-5)
    assert ones_G.sum().item() == pytest.approx(0.554, abs=5e-4)
    assert halves_G.sum().item() == pytest.approx(0.277, abs=5e-4)
    assert torch.equal(zeros_G, torch.zeros(12, dtype=torch.float64))


@pytest.mark.parametrize(("place", "advantage", "total"), [(0, 0.0995, -45.3), (5, 20.3, 0.85), (11, 31.0, 31.0)])
def test_one_correct_answer_of_twelve_is_worth_what_its_place_says(place: int, advantage: float, total: float) -> None:
    rewards_PG = torch.zeros(1, 12, dtype=torch.float64)
    rewards_PG[0, place] = 1.0
    got_G = make_estimator("krpo")(rewards_PG)[0]
    assert got_G[place].item() == pytest.approx(advantage, rel=5e-3)
    assert got_G.sum().item() == pytest.approx(total, rel=5e-3)


@pytest.mark.parametrize(("pass_rate", "ratio"), [(0.1, 8.6), (0.5, 12.1), (0.9, 8.6)])
def test_scale_is_about_ten_times_that_of_grpo(pass_rate: float, ratio: float) -> None:
    random = torch.Generator().manual_seed(0)
    rewards_PG = (torch.rand(20_000, 12, generator=random) < pass_rate).float()
    rms = {name: make_estimator(name)(rewards_PG).square().mean().sqrt().item() for name in ("krpo", "grpo")}
    assert rms["krpo"] / rms["grpo"] == pytest.approx(ratio, rel=0.02)


def test_unit_rms_has_the_direction_of_krpo_and_root_mean_square_one() -> None:
    rewards_PG = torch.rand(8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    published_PG = make_estimator("krpo")(rewards_PG)
    got_PG = make_estimator("krpo_unit_rms")(rewards_PG)
    assert got_PG.square().mean().item() == pytest.approx(1.0, rel=1e-6)
    torch.testing.assert_close(got_PG / published_PG, (got_PG / published_PG)[:1, :1].expand(8, 12))


def test_a_masked_answer_is_skipped_by_the_filter() -> None:
    rewards_PG = torch.rand(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask_PG = torch.ones(3, 6, dtype=torch.bool)
    mask_PG[0, 2] = mask_PG[1, 0] = mask_PG[1, 5] = False
    mask_PG[2] = False
    got_PG = make_estimator("krpo")(rewards_PG.masked_fill(~mask_PG, torch.nan), mask_PG=mask_PG)
    for row, mask, got in zip(rewards_PG, mask_PG, got_PG, strict=True):
        torch.testing.assert_close(
            got[mask],
            torch.tensor(plain_loop(row[mask].tolist()), dtype=torch.float64),
            rtol=1e-10,
            atol=1e-10,
        )
        assert (got[~mask] == 0).all()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.lists(st.one_of(st.none(), st.floats(-10, 10)), min_size=6, max_size=6), min_size=1, max_size=4),
    log_q=st.floats(-8, 1),
    log_r=st.floats(-4, 2),
    mean=st.floats(-2, 2),
    log_p=st.floats(-3, 3),
)
def test_equals_the_plain_loop_for_any_rewards_holes_and_parameters(
    rows: list[list[float | None]], log_q: float, log_r: float, mean: float, log_p: float
) -> None:
    Q, R, P = 10**log_q, 10**log_r, 10**log_p
    estimator = make_estimator("krpo", process_variance=Q, measurement_variance=R, prior_mean=mean, prior_variance=P)
    rewards_PG = torch.tensor([[math.nan if r is None else r for r in row] for row in rows], dtype=torch.float64)
    got_PG = estimator(rewards_PG, mask_PG=~rewards_PG.isnan())
    for row, got in zip(rows, got_PG.tolist(), strict=True):
        scored = iter(plain_loop([r for r in row if r is not None], Q, R, mean, P))
        want = [0.0 if r is None else next(scored) for r in row]
        size = 12 / math.sqrt(min(R, P + Q))  # rewards are within 12 of the prior mean
        assert got == pytest.approx(want, rel=1e-9, abs=1e-12 * size)


def test_diagnostics_are_the_gain_and_the_innovations_of_the_loop():
    rewards_PG = torch.rand(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squares, gain = [], 0.0
    for rewards_G in rewards_PG.tolist():
        x, variance = 0.0, 1.0
        for reward in rewards_G:
            predicted = variance + 1e-5
            gain = predicted / (predicted + 1e-2)
            squares.append((reward - x) ** 2)
            x, variance = x + gain * (reward - x), (1 - gain) * predicted
    for name in ("krpo", "krpo_unit_rms"):
        said = make_estimator(name).diagnostics(rewards_PG)
        assert said["kalman_gain"] == pytest.approx(gain, rel=1e-12)
        assert said["innovation_rms"] == pytest.approx((sum(squares) / len(squares)) ** 0.5, rel=1e-12)
    assert make_estimator("grpo").diagnostics(rewards_PG) == {}
