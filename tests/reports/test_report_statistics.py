"""The statistics against scipy, against enumeration by brute force, and against values worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from krpo.streams import generator
from reports import statistics

values = st.floats(-1, 1, allow_nan=False, width=32)


def test_t_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, deviation 1, t(.975, 2) = 4.30265, half width 4.30265 / sqrt(3) = 2.48414
    result = statistics.t_interval([1.0, 2.0, 3.0])
    assert result == pytest.approx((2.0, 2 - 2.4841377, 2 + 2.4841377, 3, 0.95), abs=1e-6)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_paired_t_equals_scipy(n: int) -> None:
    rng = generator(n, "paired")
    a, b = rng.normal(0.7, 0.1, n), rng.normal(0.6, 0.1, n)
    ours, theirs = statistics.paired_t(a, b), stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert ours[:3] == pytest.approx((np.mean(a - b), low, high), rel=1e-10)
    assert (ours.statistic, ours.pvalue, ours.df) == pytest.approx((theirs.statistic, theirs.pvalue, n - 1), rel=1e-10)


def test_paired_t_without_spread_gives_no_confident_p() -> None:
    result = statistics.paired_t([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])
    assert result.sd == 0
    assert math.isnan(result.pvalue)


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        ([1, 2], [1, 2, 3], "pair the arms by seed"),
        ([1], [2], "at least 2 seeds"),
        ([1, math.nan], [1, 2], "not finite"),
        ([[1, 2]], [[1, 2]], "one value per seed"),
    ],
)
def test_paired_t_refuses(a: list, b: list, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        statistics.paired_t(a, b)


def brute_force_sign_flip(thousandths: list[int]) -> float:
    """In whole numbers, in which ties are exact."""
    sums = [
        abs(sum(s * x for s, x in zip(signs, thousandths, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(thousandths))
    ]
    return sum(one >= abs(sum(thousandths)) for one in sums) / len(sums)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9))
def test_sign_flip_equals_enumeration(thousandths: list[int]) -> None:
    exact = brute_force_sign_flip(thousandths)
    assert statistics.sign_flip([n / 1000 for n in thousandths]).pvalue == exact


def test_sign_flip_equals_scipys_permutation_test() -> None:
    d = generator(3, "flip").normal(0.2, 0.5, 8)
    theirs = stats.permutation_test((d,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=np.inf)
    assert statistics.sign_flip(d).pvalue == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize(("n", "least"), [(3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125), (10, 0.001953125)])
def test_least_attainable_p(n: int, least: float) -> None:
    result = statistics.sign_flip(np.arange(1, n + 1))
    assert result.pvalue == result.least == least


def test_sign_flip_of_many_seeds_is_drawn_and_repeats() -> None:
    d = generator(0, "many").normal(0.15, 0.5, 24)
    first, again = (statistics.sign_flip(d, rng=generator(1, "flips"), n_resamples=40_000) for _ in range(2))
    assert first == again
    assert not first.exact
    assert first.pvalue == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.02)
    with pytest.raises(ValueError, match="give an rng"):
        statistics.sign_flip(d)


def test_t_band_equals_the_interval_at_each_step_and_leaves_out_what_is_missing() -> None:
    curves = generator(0, "curves").normal(size=(5, 4))
    curves[0, 1] = np.nan
    curves[1:, 2] = np.nan
    curves[:, 3] = np.nan
    band = statistics.t_band(curves)
    assert band.n_T.tolist() == [5, 4, 1, 0]
    for t in (0, 1):
        seen = curves[np.isfinite(curves[:, t]), t]
        expected = stats.t.interval(0.95, len(seen) - 1, seen.mean(), stats.sem(seen))
        assert (band.low_T[t], band.high_T[t]) == pytest.approx(expected, rel=1e-10)
    assert band.mean_T[2] == curves[0, 2]
    assert np.isnan([band.low_T[2], band.high_T[2], band.mean_T[3]]).all()


@pytest.mark.parametrize(("k", "n"), [(0, 8), (3, 8), (8, 8), (41, 100)])
def test_wilson_equals_scipy(k: int, n: int) -> None:
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    ours = statistics.wilson(k, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_holm_by_hand() -> None:
    # sorted .01 .02 .04: x3 = .03, x2 = .04, x1 = .04
    assert statistics.holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert statistics.holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([0.02, math.nan])[0] == 0.02


@pytest.mark.parametrize(("delta", "n"), [(0.3, 10), (1.0, 5), (0.0, 8)])
def test_power_by_simulation(delta: float, n: int) -> None:
    draws = generator(0, "power").normal(delta, 1.0, (20_000, n))
    rejected = (stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean()
    assert statistics.power_paired_t(delta, 1.0, n) == pytest.approx(rejected, abs=0.012)


def test_detectable_difference_and_seeds_needed_invert_power() -> None:
    delta = statistics.detectable_difference(0.02, 8)
    assert statistics.power_paired_t(delta, 0.02, 8) == pytest.approx(0.8, abs=1e-6)
    n = statistics.seeds_needed(0.5, 1.0)
    assert n is not None
    assert statistics.power_paired_t(0.5, 1.0, n) >= 0.8 > statistics.power_paired_t(0.5, 1.0, n - 1)
    assert n == 34  # the textbook value for an effect of half a deviation
    assert statistics.seeds_needed(0.0, 1.0) is None
