"""Raw rows -> numbers with intervals: a pure function of `batches.jsonl`.

For m independent batches, with means over batches and S = mean over pairs b != b' of <g_b, g_b'>:

    signal                ||E g||^2, unbiased: S
    variance              tr Cov g, unbiased: mean <g_b, g_b> - S
    snr                   S / variance, of one batch
    relative_variance     1 / snr; noise_scale is the same times the answers of a batch
    cosine_pairs          mean cosine of two independent batches of the same prompts
    cosine_reference      mean cosine of g_b with the true gradient (the reference's own noise taken out)
    cosine_expected       cosine of E g with the true gradient: below 1 where an estimator is biased in direction
    fit_mse               min over c of E||c g - true||^2 / ||true||^2
    variance_over_oracle  relative variance over that of r - p_q on the same answers
    variance_over_first   the same over the first estimator's
    scaled_over_oracle    variance over the oracle's, both scaled to the same progress <E g, true>: the same number for
                          an estimator that is unbiased in direction, with a much narrower interval
    scaled_over_first     the same over the first estimator's
    variance_model        scaled_over_oracle if answers' scores were independent of each other (no gradient used)
    order_share           share of the variance that is due to the order of a group's answers alone

Intervals are at 95 %: jackknife over batches, Student's t with m - 1 degrees of freedom; of the logarithm for
*_over_*, variance_model and variance; 1 / the bounds of snr for relative_variance and noise_scale (no upper
bound where snr's interval holds 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import stats

from krpo.advantages.measure import jackknife_stderr, relative_variance
from krpo.probe.spec import ORACLE

COLUMNS = ("group_size", "noise", "estimator", "measure", "value", "stderr", "low", "high", "batches", "method")

Means = dict[str, np.ndarray]
"""By column: the mean over all batches, then those with each batch left out. [1 + m]"""


def means_of(columns: dict[str, np.ndarray]) -> Means:
    """Of columns [m]; `pairs` and `cosines` become means over pairs of different batches."""
    found = {}
    for name, values_m in columns.items():
        m, total = len(values_m), values_m.sum()
        if name in ("pairs", "cosines"):
            left_out_m = (total - 2 * values_m) / ((m - 1) * (m - 2))
            found[name] = np.concatenate([[total / (m * (m - 1))], left_out_m])
        else:
            found[name] = np.concatenate([[total / m], (total - values_m) / (m - 1)])
    return found


def _variance(c: Means) -> np.ndarray:
    return c["norm2"] - c["pairs"]


def _relative(c: Means) -> np.ndarray:
    return _variance(c) / np.where(c["pairs"] > 0, c["pairs"], np.nan)


def _scaled(c: Means, other: Means) -> np.ndarray:
    ratio: np.ndarray = (_variance(c) / _variance(other)) * (other["reference"] / c["reference"]) ** 2
    return ratio


def _model(c: Means, oracle: Means) -> np.ndarray:
    return np.array(relative_variance(np.array([c["power"], c["progress"], oracle["power"], oracle["progress"]])))


def _fit(c: Means) -> np.ndarray:
    return 1 - c["reference"] ** 2 / (c["norm2"] * c["reference2"])


def _expected(c: Means) -> np.ndarray:
    return c["reference"] / np.sqrt(np.where(c["pairs"] > 0, c["pairs"], np.nan) * c["reference2"])


MEASURES: dict[str, Callable[[Means, Means, Means], np.ndarray]] = {
    "signal": lambda c, oracle, first: c["pairs"],
    "variance": lambda c, oracle, first: _variance(c),
    "snr": lambda c, oracle, first: c["pairs"] / _variance(c),
    "cosine_pairs": lambda c, oracle, first: c["cosines"],
    "cosine_reference": lambda c, oracle, first: c["cosine"] / np.sqrt(c["reference2"]),
    "cosine_expected": lambda c, oracle, first: _expected(c),
    "fit_mse": lambda c, oracle, first: _fit(c),
    "variance_over_oracle": lambda c, oracle, first: _relative(c) / _relative(oracle),
    "variance_over_first": lambda c, oracle, first: _relative(c) / _relative(first),
    "scaled_over_oracle": lambda c, oracle, first: _scaled(c, oracle),
    "scaled_over_first": lambda c, oracle, first: _scaled(c, first),
    "variance_model": lambda c, oracle, first: _model(c, oracle),
    "order_share": lambda c, oracle, first: c["order"] / _variance(c),
    "baseline_mse": lambda c, oracle, first: c["baseline"],
    "baseline_mse_clean": lambda c, oracle, first: c["baseline_clean"],
    "advantage_rms": lambda c, oracle, first: np.sqrt(c["square"]),
    "group_sum": lambda c, oracle, first: c["group_sum"],
    "zero_share": lambda c, oracle, first: c["zero"],
    "zero_groups": lambda c, oracle, first: c["zero_groups"],
    "sign_mismatch": lambda c, oracle, first: c["mismatch"],
    "degenerate_groups": lambda c, oracle, first: c["degenerate"],
}
LOGARITHMIC = (
    "variance",
    "variance_over_oracle",
    "variance_over_first",
    "scaled_over_oracle",
    "scaled_over_first",
    "variance_model",
)


def interval(name: str, values: np.ndarray) -> tuple[float, float, float]:
    """Standard error and 95 % interval of [value, values with each batch left out]."""
    m = len(values) - 1
    t = float(stats.t.ppf(0.975, m - 1))
    stderr = jackknife_stderr(values[1:])
    if name in LOGARITHMIC and (values > 0).all():
        half = t * jackknife_stderr(np.log(values[1:]))
        return stderr, values[0] * np.exp(-half), values[0] * np.exp(half)
    return stderr, values[0] - t * stderr, values[0] + t * stderr


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The columns of one estimator that have a value in every row."""
    names = [n for n in rows[0] if n not in ("group_size", "noise", "estimator", "batch") and rows[0][n] is not None]
    columns = {name: np.array([row[name] for row in rows], dtype=float) for name in names}
    length_m = np.sqrt(columns["norm2"])
    columns["cosine"] = np.divide(columns["reference"], length_m, out=np.zeros_like(length_m), where=length_m > 0)
    return columns


def results(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tidy table of one group size and noise: a row for each estimator and measure."""
    by_estimator: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_estimator.setdefault(row["estimator"], []).append(row)
    found = {label: means_of(_columns(own)) for label, own in by_estimator.items()}
    oracle, first = found[ORACLE], next(iter(found.values()))
    table = []
    for label, means in found.items():
        head = by_estimator[label][0]
        facts = {"group_size": head["group_size"], "noise": head["noise"], "estimator": label}
        for name, value, stderr, low, high in _measured(means, oracle, first):
            numbers = {"value": value, "stderr": stderr, "low": low, "high": high}
            shown = {k: float(f"{v:.6g}") if np.isfinite(v) else None for k, v in numbers.items()}
            method = "log jackknife t" if name in LOGARITHMIC else "jackknife t"
            method = "1 / interval of snr" if name in ("relative_variance", "noise_scale") else method
            row = {**facts, "measure": name, **shown, "batches": len(by_estimator[label]), "method": method}
            table.append(row)
    return table


def _measured(c: Means, oracle: Means, first: Means) -> Iterable[tuple[str, float, float, float, float]]:
    for name, function in MEASURES.items():
        try:
            with np.errstate(all="ignore"):
                values = np.asarray(function(c, oracle, first), dtype=float)
        except KeyError:  # no baseline, or rewards for which the model says nothing
            continue
        stderr, low, high = interval(name, values)
        yield name, float(values[0]), stderr, low, high
        if name == "snr":
            with np.errstate(all="ignore"):
                inverse = 1 / values
            bounds = (1 / high if high > 0 else np.nan, 1 / low if low > 0 else np.nan)
            value = float(inverse[0]) if values[0] > 0 else np.nan
            stderr = jackknife_stderr(inverse[1:])
            yield "relative_variance", value, stderr, *bounds
            answers = float(c["answers"][0])
            yield "noise_scale", answers * value, answers * stderr, answers * bounds[0], answers * bounds[1]
