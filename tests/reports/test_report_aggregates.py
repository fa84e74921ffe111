"""Aggregates and curve statistics against scipy, brute force and values worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from krpo.streams import generator
from reports import statistics

matrices = arrays(
    np.float64, st.tuples(st.integers(4, 7), st.integers(2, 4)), elements=st.floats(0, 1, width=16, allow_nan=False)
)


@settings(max_examples=30, deadline=None)
@given(matrices)
def test_iqm_equals_scipys_trimmed_mean(scores: np.ndarray) -> None:
    assert statistics.iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), abs=1e-12)


def test_iqm_refuses_what_would_be_the_mean() -> None:
    with pytest.raises(ValueError, match="at least 8 scores, found 3"):
        statistics.iqm([[0.1], [0.2], [0.3]])


def test_optimality_gap_by_hand() -> None:
    assert statistics.optimality_gap([[0.5, 1.2], [1.0, 0.7]]) == pytest.approx((0.5 + 0 + 0 + 0.3) / 4)


@settings(max_examples=30, deadline=None)
@given(matrices, matrices)
def test_improvement_equals_mann_whitney_over_pairs(a: np.ndarray, b: np.ndarray) -> None:
    tasks = min(a.shape[1], b.shape[1])
    a, b = a[:, :tasks], b[:, :tasks]
    u = [stats.mannwhitneyu(a[:, m], b[:, m]).statistic / (len(a) * len(b)) for m in range(tasks)]
    assert statistics.improvement(a, b) == pytest.approx(np.mean(u), abs=1e-12)
    assert statistics.improvement(a, b) + statistics.improvement(b, a) == pytest.approx(1)


def test_performance_profile_by_hand() -> None:
    profile = statistics.performance_profile([0.2, 0.4, 0.4, 0.9], [0.0, 0.4, 0.95])
    assert profile.share.tolist() == [1.0, 0.25, 0.0]
    one = stats.binomtest(1, 4).proportion_ci(method="wilson")
    assert (profile.low[1], profile.high[1]) == pytest.approx((one.low, one.high))


def test_the_bootstrap_draws_whole_runs() -> None:
    # the tasks of a run are equal: a bootstrap that split runs would break the equality
    scores = np.repeat(np.arange(6.0)[:, None], 3, axis=1)
    seen = statistics.whole_run_bootstrap(
        scores, lambda x: (x.max(axis=2) - x.min(axis=2)).max(axis=1), rng=generator(0, "whole"), n_resamples=50
    )
    assert (seen == 0).all()


def test_the_bootstraps_standard_error_of_a_mean_is_the_known_one() -> None:
    x = generator(1, "se").normal(size=(9, 1))
    means = statistics.whole_run_bootstrap(x, lambda x: x.mean(axis=(1, 2)), rng=generator(2, "se"), n_resamples=40_000)
    assert means.std() * math.sqrt(9 / 8) == pytest.approx(stats.sem(x[:, 0]), rel=0.02)


def test_the_bootstrap_is_scipys() -> None:
    x = generator(3, "scipy").normal(size=12)
    ours = statistics.whole_run_bootstrap(
        x[:, None], lambda x: x.mean(axis=(1, 2)), rng=generator(4, "b"), n_resamples=20_000
    )
    theirs = stats.bootstrap((x,), np.mean, n_resamples=20_000, rng=np.random.default_rng(0)).standard_error
    assert ours.std(ddof=1) == pytest.approx(theirs, rel=0.03)


def test_interquartile_mean_repeats_with_its_generator_and_refuses_too_little() -> None:
    x = generator(5, "iqm").normal(0.5, 0.05, (6, 3))
    first, again = (statistics.interquartile_mean(x, rng=generator(6, "b")) for _ in range(2))
    assert first == again
    assert first.low < first.estimate == statistics.iqm(x) < first.high
    for shape in ((6, 1), (4, 3)):
        with pytest.raises(ValueError, match="use the mean"):
            statistics.interquartile_mean(np.ones(shape), rng=generator(0, "b"))


@pytest.mark.parametrize("bad", [[0.1, 0.2], [[0.1, math.nan]], np.zeros((0, 2))])
def test_aggregates_refuse_wrong_shapes_and_missing_scores(bad: object) -> None:
    with pytest.raises(ValueError):
        statistics.optimality_gap(bad)


def brute_force_drawdown(y: list[float]) -> float:
    return max([0.0] + [a - b for a, b in itertools.combinations(y, 2)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=30))
def test_drawdown_equals_brute_force(y: list[float]) -> None:
    assert statistics.stability(y).drawdown == pytest.approx(brute_force_drawdown(y))


def test_stability_by_hand() -> None:
    y = [0.0, 0.2, 0.1, 0.5, 0.4]  # differences .2 -.1 .4 -.1
    result = statistics.stability(y)
    assert result.drawdown == pytest.approx(0.1)
    assert result.cvar == pytest.approx(-0.1)  # 5% of four differences: the worst one
    assert result.final_sd == pytest.approx(np.std([0.5, 0.4], ddof=1))
    assert result.roughness == pytest.approx(np.std([0.2, -0.1, 0.4, -0.1], ddof=1))
    assert result.dispersion == pytest.approx(0.25 + 0.1)  # quartiles -.1 and .25
    forty = statistics.stability(np.r_[np.zeros(40), -1.0, -3.0])  # 41 differences: the worst 3 are -2 -1 0
    assert forty.cvar == pytest.approx(-1.0)


def test_a_straight_line_is_perfectly_stable() -> None:
    result = statistics.stability(np.linspace(0, 1, 50))
    assert result == pytest.approx((0.0, 1 / 49, np.std(np.linspace(0, 1, 50)[-5:], ddof=1), 0.0, 0.0), abs=1e-12)


def test_spread_over_steps() -> None:
    spread = statistics.spread_over_steps([[1.0, 2.0, np.nan], [3.0, 2.0, 1.0], [5.0, np.nan, np.nan]])
    assert spread.sd_T[:2] == pytest.approx([2.0, 0.0])
    assert spread.iqr_T[0] == pytest.approx(2.0)
    assert np.isnan(spread.sd_T[2])
    assert spread.n_T.tolist() == [3, 2, 1]


def test_steps_to_a_level_and_censoring() -> None:
    y = np.r_[np.zeros(10), np.ones(10)]
    assert statistics.steps_to_level(y, 0.5, window=1) == 11
    assert statistics.steps_to_level(y, 0.9, window=5) == 15
    assert statistics.steps_to_level(y, 1.1) is None


def test_area_and_collapse() -> None:
    assert statistics.normalised_area([0.0, 0.5, 1.0]) == pytest.approx(0.5)
    up, down = np.linspace(0.2, 0.8, 60), np.r_[np.linspace(0.2, 0.8, 60), np.full(30, 0.1)]
    assert not statistics.collapsed(up)
    assert statistics.collapsed(down)
    assert statistics.collapsed(up, finite=False)
    assert statistics.collapsed(up, format_rate=0.05)
    assert not statistics.collapsed(up, format_rate=0.95)


def test_aggregates_equal_rliables() -> None:
    """In an environment of its own: rliable needs pandas below 3."""
    reason = "rliable is not installed (pip install rliable 'pandas<3' in an environment of its own)"
    library = pytest.importorskip("rliable.library", reason=reason)
    metrics = pytest.importorskip("rliable.metrics", reason=reason)
    a, b = generator(0, "a").random((9, 3)), generator(0, "b").random((7, 3))
    assert statistics.iqm(a) == pytest.approx(metrics.aggregate_iqm(a), abs=1e-12)
    assert statistics.optimality_gap(a) == pytest.approx(metrics.aggregate_optimality_gap(a), abs=1e-12)
    assert statistics.improvement(a, b) == pytest.approx(metrics.probability_of_improvement(a, b), abs=1e-12)
    tau = np.linspace(0, 1, 21)
    theirs = library.create_performance_profile({"a": a[:, :1]}, tau, reps=10)[0]["a"]
    assert statistics.performance_profile(a[:, 0], tau).share == pytest.approx(theirs, abs=1e-12)
