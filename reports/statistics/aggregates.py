"""Aggregates over runs and tasks: interquartile mean, optimality gap, probability of improvement, performance profile
(Agarwal et al. 2021, arXiv 2108.13264), with intervals from whole runs.

Here the tasks, or levels, of one run are scored with the same checkpoint and therefore move together. A
bootstrap that is
stratified over tasks takes them for independent and covers 61 to 80% where it says 95%, so only whole runs are
resampled. No interval is offered where none of those tried covers between 93 and 97% at 5, 8 and 10 seeds: that is
the case for the probability of improvement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.statistics.paired import t_quantile, wilson

Array = NDArray[np.float64]

LEAST_SCORES = 8
"""An interquartile mean of fewer scores cuts nothing, or next to nothing, and is refused."""


class InterquartileMean(NamedTuple):
    """The interquartile mean over all runs and tasks, with a t interval on the whole-run bootstrap's standard error."""

    estimate: float
    low: float
    high: float
    stderr: float
    runs: int
    tasks: int
    confidence: float


class Profile(NamedTuple):
    """Share of runs that score above each threshold, with a pointwise Wilson band."""

    thresholds: Array
    share: Array
    low: Array
    high: Array
    runs: int


def _scores(scores_SM: ArrayLike, what: str) -> Array:
    x_SM = np.asarray(scores_SM, dtype=np.float64)
    if x_SM.ndim != 2:
        raise ValueError(f"{what}: expected runs x tasks, found an array of shape {x_SM.shape}")
    if not x_SM.size:
        raise ValueError(f"{what}: no scores")
    if not np.isfinite(x_SM).all():
        missing = int((~np.isfinite(x_SM)).sum())
        raise ValueError(f"{what}: {missing} scores are not finite; exclude those runs first and say so")
    return x_SM


def iqm(scores_SM: ArrayLike) -> float:
    """Interquartile mean: floor(n/4) scores cut off at each end, the rest averaged. Equal to
    `scipy.stats.trim_mean(scores, 0.25, axis=None)`.

    Raises `ValueError` for fewer than 8 scores: with 3 it is the mean under another name.
    """
    x_SM = _scores(scores_SM, "interquartile mean")
    if x_SM.size < LEAST_SCORES:
        raise ValueError(f"interquartile mean: needs at least {LEAST_SCORES} scores, found {x_SM.size}; use the mean")
    return float(_iqm_of_rows(x_SM.reshape(1, -1))[0])


def _iqm_of_rows(rows: Array) -> Array:
    cut = rows.shape[-1] // 4
    return np.asarray(np.sort(rows, axis=-1)[..., cut : rows.shape[-1] - cut].mean(axis=-1))


def optimality_gap(scores_SM: ArrayLike, gamma: float = 1.0) -> float:
    """How far the scores fall short of ``gamma`` on average: gamma - mean(min(score, gamma))."""
    return float(gamma - np.minimum(_scores(scores_SM, "optimality gap"), gamma).mean())


def improvement(treatment_SM: ArrayLike, baseline_SM: ArrayLike) -> float:
    """Probability that a run of the treatment scores above a run of the baseline, averaged over tasks; ties count half.

    The Mann-Whitney statistic over the number of pairs. It says how often, not by how much. A point estimate only: with
    ten runs an arm, percentile bootstrap, jackknife and placement intervals cover between 60 and 99% depending on
    the true value.
    """
    a_SM, b_SM = _scores(treatment_SM, "improvement"), _scores(baseline_SM, "improvement")
    if a_SM.shape[1] != b_SM.shape[1]:
        raise ValueError(f"improvement: {a_SM.shape[1]} and {b_SM.shape[1]} tasks; score both arms on the same ones")
    difference = a_SM[:, None, :] - b_SM[None, :, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def performance_profile(scores_S: ArrayLike, thresholds: ArrayLike, confidence: float = 0.95) -> Profile:
    """Share of runs above each threshold. ``scores_S``: one score per run; the band is Wilson's, threshold by
    threshold."""
    x_S = np.asarray(scores_S, dtype=np.float64)
    if x_S.ndim != 1:
        raise ValueError(f"performance profile: expected one score per run, found an array of shape {x_S.shape}")
    _scores(x_S[:, None], "performance profile")
    tau = np.asarray(thresholds, dtype=np.float64)
    above = (x_S[None, :] > tau[:, None]).sum(axis=1)
    bands = {int(k): wilson(int(k), x_S.size, confidence) for k in np.unique(above)}
    low, high = (np.array([getattr(bands[int(k)], end) for k in above]) for end in ("low", "high"))
    return Profile(tau, above / x_S.size, low, high, x_S.size)


def whole_run_bootstrap(
    scores_SM: ArrayLike,
    statistic: Callable[[Array], Array],
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
) -> Array:
    """The statistic of ``n_resamples`` samples of whole runs, drawn with replacement.

    ``statistic`` takes [resamples, runs, tasks] and returns [resamples]. All tasks of a run are drawn together; paired
    arms are resampled together by stacking them along the last axis.
    """
    x_SM = _scores(scores_SM, "bootstrap")
    chosen = rng.integers(0, x_SM.shape[0], size=(n_resamples, x_SM.shape[0]))
    return np.asarray(statistic(x_SM[chosen]), dtype=np.float64)


def interquartile_mean(
    scores_SM: ArrayLike, *, rng: np.random.Generator, confidence: float = 0.95, n_resamples: int = 2000
) -> InterquartileMean:
    """Interquartile mean with an interval: estimate ± t(S - 1) x the whole-run bootstrap's standard error; NaN where
    all runs are equal.

    By simulation the interval covers 94 to 96% at 5, 8 and 10 runs of three correlated tasks, normal or t-distributed;
    about 87% where a quarter of the runs collapses. Raises `ValueError` for one task (the interval would cover 98%:
    use the mean with its t interval), for fewer than five runs, and for fewer than 8 scores.
    """
    x_SM = _scores(scores_SM, "interquartile mean")
    runs, tasks = x_SM.shape
    if tasks < 2 or runs < 5:
        found = f"found {runs} and {tasks}"
        raise ValueError(f"interquartile mean: an interval needs 5 runs and 2 tasks, {found}; use the mean")
    estimate = iqm(x_SM)
    drawn = whole_run_bootstrap(
        x_SM, lambda x: _iqm_of_rows(x.reshape(x.shape[0], -1)), rng=rng, n_resamples=n_resamples
    )
    stderr = float(drawn.std(ddof=1)) * math.sqrt(runs / (runs - 1))
    half = float(t_quantile(confidence, runs - 1)) * (stderr if stderr > 1e-12 else math.nan)
    return InterquartileMean(estimate, estimate - half, estimate + half, stderr, runs, tasks, confidence)
