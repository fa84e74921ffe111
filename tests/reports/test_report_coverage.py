"""What the report promises about its intervals, checked by simulation: 95% means 93 to 97%, and no difference is found
where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from krpo.streams import generator
from reports import statistics
from reports.compare import Endpoint, paired_differences, primary_comparisons
from reports.verdict import judge

SEEDS = (5, 8, 10)
MEANS_M = np.array([0.75, 0.55, 0.4])
"""True accuracies on three levels; the levels of one run are correlated (.7)."""


def runs(rng: np.random.Generator, n: int) -> np.ndarray:
    """Scores of n runs on three correlated levels, [n, 3]."""
    shared, own = rng.standard_normal((n, 1)), rng.standard_normal((n, 3))
    return MEANS_M + 0.03 * (np.sqrt(0.7) * shared + np.sqrt(0.3) * own)


def mean_of_runs(rng: np.random.Generator, n: int) -> bool:
    result = statistics.t_interval(runs(rng, n).mean(axis=1))
    return result.low <= MEANS_M.mean() <= result.high


def paired(rng: np.random.Generator, n: int) -> bool:
    """A true effect of 2 points, seeds shared by the arms."""
    seed_effect = 0.04 * rng.standard_normal(n)
    treatment, baseline = (mu + seed_effect + 0.02 * rng.standard_normal(n) for mu in (0.62, 0.60))
    result = statistics.paired_t(treatment, baseline)
    return result.low <= 0.02 <= result.high


def joint(rng: np.random.Generator, n: int) -> bool:
    """Three conditions with one joint level, as the primary endpoint uses it."""
    results = [statistics.paired_t(rng.normal(0.02, 0.02, n), np.zeros(n), 1 - 0.05 / 3) for _ in range(3)]
    return all(result.low <= 0.02 <= result.high for result in results)


def band(rng: np.random.Generator, n: int) -> bool:
    result = statistics.t_band(0.6 + 0.05 * rng.standard_normal((n, 1)))
    return bool(result.low_T[0] <= 0.6 <= result.high_T[0])


def interquartile(rng: np.random.Generator, n: int) -> bool:
    result = statistics.interquartile_mean(runs(rng, n), rng=rng, n_resamples=200)
    return result.low <= TRUE_IQM <= result.high


def proportion(rng: np.random.Generator, n: int) -> bool:
    """A rate drawn anew each time: at a single rate the coverage of any interval for a count jumps about."""
    rate = rng.uniform()
    result = statistics.wilson(int(rng.binomial(n, rate)), n)
    return result.low <= rate <= result.high


TRUE_IQM = statistics.iqm(runs(generator(0, "true iqm"), 200_000))
METHODS: list[Callable[[np.random.Generator, int], bool]] = [
    mean_of_runs,
    paired,
    joint,
    band,
    interquartile,
    proportion,
]


def coverage(method: Callable[[np.random.Generator, int], bool], n: int, draws: int) -> float:
    rng = generator(n, "coverage", method.__name__)
    return sum(method(rng, n) for _ in range(draws)) / draws


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_coverage_is_93_to_97_percent(method: Callable, n: int) -> None:
    assert 0.93 <= coverage(method, n, 4000) <= 0.97


def test_why_a_percentile_bootstrap_is_not_shown() -> None:
    """At five seeds it covers 84% where it says 95%: the number that the documentation quotes."""
    rng = generator(0, "percentile")
    hits = 0
    for _ in range(500):
        x = rng.standard_normal((5, 1))
        means = statistics.whole_run_bootstrap(x, lambda x: x.mean(axis=(1, 2)), rng=rng, n_resamples=400)
        low, high = np.quantile(means, [0.025, 0.975])
        hits += low <= 0 <= high
    assert hits / 500 == pytest.approx(0.84, abs=0.04)


def false_difference(rng: np.random.Generator, seeds: int, conditions: tuple[str, ...]) -> bool:
    """Whether the verdict finds a difference between GRPO and GRPO under other seeds, scored on 300 questions."""
    rows = []
    for condition in conditions:
        for arm in ("grpo", "again"):
            ability = np.clip(0.6 + 0.03 * rng.standard_normal(seeds), 0, 1)
            value = rng.binomial(300, ability) / 300
            rows.append(
                pd.DataFrame(
                    {"estimator": arm, "condition": condition, "level": "all", "seed": range(seeds), "value": value}
                )
            )
    end = Endpoint("sums", "accuracy", "all", "grpo", "again", conditions, None, "")
    verdict = judge(end, primary_comparisons(end, paired_differences(pd.concat(rows), "grpo")))
    assert verdict.kind in ("cannot tell", "higher", "lower", "mixed")
    return verdict.kind != "cannot tell"


@pytest.mark.parametrize("conditions", [("clean",), ("clean", "flip 0.2", "flip 0.4")])
def test_a_a_grids_give_a_false_difference_in_at_most_7_percent(conditions: tuple[str, ...]) -> None:
    rng = generator(len(conditions), "A/A")
    found = sum(false_difference(rng, 8, conditions) for _ in range(200))
    assert found <= 14


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS)
def test_a_a_grids_in_full(seeds: int) -> None:
    rng = generator(seeds, "A/A in full")
    assert sum(false_difference(rng, seeds, ("clean", "flip 0.2")) for _ in range(1500)) / 1500 <= 0.065
