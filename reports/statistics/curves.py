"""Learning and stability of training curves (after Chan et al. 2020, arXiv 1912.05663): how far, how fast, how
steadily.

A curve is one run's reward or accuracy, one value per step. Spread within a run is measured on first differences, so
that learning itself does not count as instability.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Stability(NamedTuple):
    """One run's curve.

    ``drawdown``: largest fall from an earlier value. ``cvar``: mean of the worst 5% of the first differences.
    ``final_sd``: standard deviation of the last tenth. ``roughness``: standard deviation of the first differences.
    ``dispersion``: mean interquartile range of the first differences in sliding windows.
    """

    drawdown: float
    cvar: float
    final_sd: float
    roughness: float
    dispersion: float


class SpreadOverSteps(NamedTuple):
    """Standard deviation and interquartile range over seeds, step by step."""

    sd_T: Array
    iqr_T: Array
    n_T: NDArray[np.int64]


class CollapseRule(NamedTuple):
    """Thresholds that are fixed before the runs. A run has collapsed if any of these holds."""

    share_of_best: float = 0.5  # the final accuracy is below this share of the best (both smoothed)
    format_rate: float = 0.1  # fewer final answers than this share can be read
    window: int = 10  # steps that are averaged before anything is compared


COLLAPSE = CollapseRule()


def _curve(y_T: ArrayLike, least: int = 2) -> Array:
    y = np.asarray(y_T, dtype=np.float64)
    if y.ndim != 1:
        raise ValueError(f"expected one curve, found an array of shape {y.shape}")
    y = y[np.isfinite(y)]
    if y.size < least:
        raise ValueError(f"a curve needs at least {least} finite values, found {y.size}")
    return y


def stability(y_T: ArrayLike, *, tail: float = 0.05, window: int = 20) -> Stability:
    """Stability of one curve; values that are not finite are left out. Raises `ValueError` for fewer than two."""
    y = _curve(y_T)
    steps = np.diff(y)
    worst = np.sort(steps)[: max(1, math.ceil(tail * steps.size - 1e-9))]
    last = y[-max(2, math.ceil(y.size / 10)) :]
    windows = np.lib.stride_tricks.sliding_window_view(steps, min(window, steps.size))
    upper, lower = np.percentile(windows, [75, 25], axis=1)
    return Stability(
        drawdown=float((np.maximum.accumulate(y) - y).max()),
        cvar=float(worst.mean()),
        final_sd=float(last.std(ddof=1)),
        roughness=float(steps.std(ddof=1)) if steps.size > 1 else 0.0,
        dispersion=float((upper - lower).mean()),
    )


def spread_over_steps(curves_ST: ArrayLike) -> SpreadOverSteps:
    """Spread over seeds at each step; NaN where fewer than two seeds have the step."""
    y_ST = np.asarray(curves_ST, dtype=np.float64)
    if y_ST.ndim != 2:
        raise ValueError(f"expected seeds x steps, found an array of shape {y_ST.shape}")
    n_T = np.isfinite(y_ST).sum(axis=0)
    sd_T, iqr_T = np.full(y_ST.shape[1], np.nan), np.full(y_ST.shape[1], np.nan)
    enough = n_T >= 2
    if enough.any():
        kept = np.where(np.isfinite(y_ST), y_ST, np.nan)[:, enough]
        sd_T[enough] = np.nanstd(kept, axis=0, ddof=1)
        upper, lower = np.nanpercentile(kept, [75, 25], axis=0)
        iqr_T[enough] = upper - lower
    return SpreadOverSteps(sd_T, iqr_T, n_T)


def normalised_area(y_T: ArrayLike) -> float:
    """Mean of the curve: the area under it over the number of steps. Comparable only between runs of equal length."""
    return float(_curve(y_T, 1).mean())


def steps_to_level(y_T: ArrayLike, level: float, *, window: int = 5) -> int | None:
    """The first step (counted from 1) at which the mean of the last ``window`` values reaches ``level``; None if never.

    A run that never gets there is censored, not missing: report how many did beside any average.
    """
    y = _curve(y_T, 1)
    reached = np.flatnonzero(smooth(y, window) >= level)
    return int(reached[0]) + min(window, y.size) if reached.size else None


def smooth(y_T: ArrayLike, window: int) -> Array:
    """Trailing means over ``window`` values; the first one stands at step ``window``."""
    y = _curve(y_T, 1)
    return np.lib.stride_tricks.sliding_window_view(y, min(window, y.size)).mean(axis=1)


def collapsed(
    y_T: ArrayLike, *, format_rate: float | None = None, finite: bool = True, rule: CollapseRule = COLLAPSE
) -> bool:
    """Whether a run collapsed: a loss that is not finite, a final value far below the best one, or unreadable
    answers."""
    if not finite or (format_rate is not None and format_rate < rule.format_rate):
        return True
    y = smooth(y_T, rule.window)
    return bool(y[-1] < rule.share_of_best * y.max())
