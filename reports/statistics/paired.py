"""Intervals and tests on per-seed values and differences: t, sign-flip, Wilson, Holm, power. All as arrays of
seeds `_S`.

A few seeds can only show so much, and each function says so: an interval needs two, a sign-flip test six before it can
reject at 5%.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]

EXACT_SIGN_FLIPS = 16
"""Up to this many differences the sign-flip test enumerates every assignment of signs (2^16 = 65,536)."""


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float
    n: int
    confidence: float


class PairedResult(NamedTuple):
    """Paired comparison of two arms by Student's t on the per-seed differences."""

    mean: float
    low: float
    high: float
    sd: float
    stderr: float
    statistic: float
    pvalue: float
    df: int
    n: int
    confidence: float


class SignFlipResult(NamedTuple):
    """Sign-flip permutation test. ``least`` is the smallest p-value that n differences can give at all."""

    pvalue: float
    least: float
    n: int
    exact: bool


class Band(NamedTuple):
    """A mean curve with a pointwise Student t band; ``n_T`` says how many seeds stand behind each step."""

    mean_T: Array
    low_T: Array
    high_T: Array
    n_T: NDArray[np.int64]
    confidence: float


def _sample(values: ArrayLike, what: str, least: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{what}: expected one value per seed, found an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{what}: {int((~np.isfinite(array)).sum())} of {array.size} values are not finite; exclude them "
            f"first and say so"
        )
    if array.size < least:
        raise ValueError(f"{what}: needs at least {least} seeds, found {array.size}")
    return array


def _confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    return confidence


def _spread(x_S: Array) -> float:
    """The standard deviation over seeds; exactly 0 where all values are equal up to rounding."""
    sd = float(x_S.std(ddof=1))
    return sd if sd > 1e-12 * max(1.0, float(np.abs(x_S).max())) else 0.0


def t_quantile(confidence: float, df: ArrayLike) -> Array:
    """The two-sided Student t quantile: 2.776 for 0.95 and 4 degrees of freedom."""
    return np.asarray(special.stdtrit(np.asarray(df, dtype=np.float64), 0.5 + confidence / 2))


def t_interval(values_S: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean with a Student t interval; without an interval (NaN) where all values are equal: see `paired_t`.

    Raises `ValueError` for fewer than two seeds or for values that are not finite.
    """
    x_S = _sample(values_S, "t interval", 2)
    sd = _spread(x_S) or math.nan
    half = t_quantile(_confidence(confidence), x_S.size - 1) * sd / math.sqrt(x_S.size)
    return Interval(float(x_S.mean()), float(x_S.mean() - half), float(x_S.mean() + half), x_S.size, confidence)


def paired_t(treatment_S: ArrayLike, baseline_S: ArrayLike, confidence: float = 0.95) -> PairedResult:
    """Treatment - baseline, paired by seed: entry s of both arrays comes from seed s.

    Equal to `scipy.stats.ttest_rel`. Where all differences are equal there is no spread to learn from: ``sd`` is 0, the
    interval and the p-value are NaN. An interval of no width would claim what no number of seeds can show.

    Raises
    ------
    ValueError
        For arrays of different lengths (unpaired seeds), fewer than two seeds, or values that are not finite.
    """
    a_S, b_S = _sample(treatment_S, "paired t", 1), _sample(baseline_S, "paired t", 1)
    if a_S.size != b_S.size:
        raise ValueError(f"paired t: {a_S.size} and {b_S.size} seeds; pair the arms by seed first")
    d_S = _sample(a_S - b_S, "paired t", 2)
    n = d_S.size
    mean, sd = float(d_S.mean()), _spread(d_S)
    if not sd:
        return PairedResult(mean, math.nan, math.nan, 0.0, 0.0, math.nan, math.nan, n - 1, n, confidence)
    stderr = sd / math.sqrt(n)
    half = float(t_quantile(_confidence(confidence), n - 1)) * stderr
    statistic = mean / stderr
    pvalue = float(2 * special.stdtr(n - 1, -abs(statistic)))
    return PairedResult(mean, mean - half, mean + half, sd, stderr, statistic, pvalue, n - 1, n, confidence)


def sign_flip(
    differences_S: ArrayLike, *, rng: np.random.Generator | None = None, n_resamples: int = 100_000
) -> SignFlipResult:
    """Two-sided sign-flip permutation test of the mean of paired differences.

    Under the null hypothesis the two arms of a seed are exchangeable, so each difference may change its sign. All 2^n
    assignments are enumerated up to 16 seeds; beyond that ``n_resamples`` are drawn from ``rng`` and the observed one
    is counted in. Three seeds cannot give less than p = .25, five no less than .0625, six .031.
    """
    d_S = _sample(differences_S, "sign-flip test", 1)
    n = d_S.size
    observed = abs(d_S.sum()) * (1 - 1e-12) - 1e-15  # ties count, whatever the order of summation
    if n <= EXACT_SIGN_FLIPS:
        signs = 1 - 2 * ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)) & 1)  # the last sign fixed: symmetric
        sums = np.abs(signs @ d_S[:-1] + d_S[-1])
        return SignFlipResult(float((sums >= observed).mean()), 2.0 ** (1 - n), n, True)
    if rng is None:
        raise ValueError(f"sign-flip test: {n} seeds are too many to enumerate; give an rng")
    hits = 0
    for start in range(0, n_resamples, 10_000):
        size = min(10_000, n_resamples - start)
        flipped = rng.integers(0, 2, size=(size, n), dtype=np.int8)
        hits += int((np.abs(d_S.sum() - 2 * (flipped @ d_S)) >= observed).sum())
    return SignFlipResult((hits + 1) / (n_resamples + 1), 1 / (n_resamples + 1), n, False)


def t_band(curves_ST: ArrayLike, confidence: float = 0.95) -> Band:
    """Pointwise mean and Student t band over seeds; NaN marks a step that a seed does not have.

    A step with one seed, or whose seeds are all equal, has a mean and no band (NaN); one without any has neither.
    """
    y_ST = np.asarray(curves_ST, dtype=np.float64)
    if y_ST.ndim != 2:
        raise ValueError(f"t band: expected seeds x steps, found an array of shape {y_ST.shape}")
    finite_ST = np.isfinite(y_ST)
    n_T = finite_ST.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_T = np.where(finite_ST, y_ST, 0.0).sum(axis=0) / n_T
        sd_T = np.sqrt((np.where(finite_ST, y_ST - mean_T, 0.0) ** 2).sum(axis=0) / (n_T - 1))
        half_T = t_quantile(_confidence(confidence), np.maximum(n_T - 1, 1)) * sd_T / np.sqrt(n_T)
    half_T[~(sd_T > 1e-12 * np.maximum(1.0, np.abs(mean_T)))] = np.nan
    return Band(mean_T, mean_T - half_T, mean_T + half_T, n_T, confidence)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion; right also at 0 and n successes, where Wald's has no width."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of {n}")
    z = float(special.ndtri(0.5 + _confidence(confidence) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half), n, confidence)


def holm(pvalues: ArrayLike) -> Array:
    """Holm's step-down adjustment (1979): adjusted p-values in the order given. NaN stays NaN and counts as no test."""
    p = np.asarray(pvalues, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = order.size - np.arange(order.size)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def power_paired_t(difference: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """Probability that a two-sided paired t test on n seeds finds a true ``difference``, given the deviation of the
    per-seed differences (noncentral t; both tails)."""
    if n < 2 or not sd > 0:
        raise ValueError(f"power: needs at least 2 seeds and a spread above 0, found n = {n}, sd = {sd}")
    shift, df = abs(difference) / sd * math.sqrt(n), n - 1
    critical = float(t_quantile(1 - alpha, df))
    upper = 1.0 - float(special.nctdtr(df, shift, critical))
    lower = float(special.nctdtr(df, shift, -critical))
    return min(1.0, upper + (lower if math.isfinite(lower) else 0.0))


def detectable_difference(sd: float, n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that n seeds would show with this power, in the units of ``sd``.

    Written for planning. Fed with the deviation seen in the same data it is itself an estimate: with five seeds the
    deviation may be off by a factor of two.
    """
    from scipy.optimize import brentq  # a third of a second

    ceiling = sd
    while power_paired_t(ceiling, sd, n, alpha) < power:
        ceiling *= 2
    return float(brentq(lambda d: power_paired_t(d, sd, n, alpha) - power, 0.0, ceiling, xtol=sd * 1e-9))


def seeds_needed(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05, most: int = 10_000
) -> int | None:
    """How many seeds a paired t test needs to find ``difference`` with this power; None if more than ``most``."""
    if not abs(difference) > 0:
        return None
    low, high = 2, 2
    while power_paired_t(difference, sd, high, alpha) < power:
        low, high = high, high * 2
        if high > most:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if power_paired_t(difference, sd, middle, alpha) < power else (low, middle)
    return low
