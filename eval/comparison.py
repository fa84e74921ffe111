"""Two evaluations of the same questions: the paired difference, its test, and what it could have shown.

Sources: Miller (arXiv 2411.00640) for paired standard errors and planning; Bonett and Price (2012), Journal of
Educational and Behavioral Statistics 37:479, for the interval of paired proportions; McNemar (1947), exact form;
Holm (1979) for several tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from eval.statistics import CONFIDENCE


@dataclass(frozen=True)
class Difference:
    """A - B over the questions both answered."""

    value: float
    stderr: float
    low: float
    high: float
    p_value: float
    correlation: float | None  # of the two scores over questions; None where one of them is constant
    smallest: float  # the difference that n questions this variable would show with 80 % power at the 5 % level
    both: int  # questions: both fully right
    only_a: int  # A scored higher
    only_b: int  # B scored higher
    same: int  # equal and not both fully right
    n: int
    method: str  # of the interval and of the test


def paired_difference(a_Q: ArrayLike, b_Q: ArrayLike, *, confidence: float = CONFIDENCE) -> Difference:
    """The mean of a_i - b_i with its interval and p-value; scores of question i averaged over samples.

    Single 0/1 verdicts: Bonett and Price's interval (one imagined question on each side) and the exact McNemar test.
    Averages over samples: Student's t on the differences. Raises ValueError for fewer than two questions.
    """
    from scipy.stats import norm, t

    a_Q, b_Q = np.asarray(a_Q, dtype=np.float64), np.asarray(b_Q, dtype=np.float64)
    n = a_Q.size
    if n < 2 or b_Q.size != n:
        raise ValueError(f"{n} and {b_Q.size} questions; a paired comparison needs the same ones, and at least two")
    d_Q = a_Q - b_Q
    value, stderr = float(d_Q.mean()), float(d_Q.std(ddof=1) / sqrt(n))
    only_a, only_b = int((d_Q > 0).sum()), int((d_Q < 0).sum())
    z = float(norm.ppf(0.5 + confidence / 2))
    if np.isin(np.concatenate([a_Q, b_Q]), (0.0, 1.0)).all():
        p_a, p_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
        middle, spread = p_a - p_b, sqrt((p_a + p_b - (p_a - p_b) ** 2) / (n + 2))
        half = z * spread
        p_value, method = mcnemar(only_a, only_b), "Bonett-Price; exact McNemar"
    else:
        middle, spread = value, stderr
        half = float(t.ppf(0.5 + confidence / 2, n - 1)) * stderr
        p_value = float(2 * t.sf(abs(value) / stderr, n - 1)) if stderr > 0 else float(value == 0)
        method = "paired t"
    shares = min(a_Q.min(), b_Q.min()) >= 0 and max(a_Q.max(), b_Q.max()) <= 1
    reach = 1.0 if shares else float("inf")  # of a difference
    constant = a_Q.std() == 0 or b_Q.std() == 0
    return Difference(
        value=value,
        stderr=stderr,
        low=max(-reach, middle - half),
        high=min(reach, middle + half),
        p_value=p_value,
        correlation=None if constant else float(np.corrcoef(a_Q, b_Q)[0, 1]),
        smallest=smallest_detectable(spread, confidence=confidence),
        both=int(((a_Q == 1) & (b_Q == 1)).sum()),
        only_a=only_a,
        only_b=only_b,
        same=int(((a_Q == b_Q) & (a_Q < 1)).sum()),
        n=n,
        method=method,
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar test: of the questions on which the two differ, is either side's share beyond chance?"""
    from scipy.stats import binom

    discordant = only_a + only_b
    return min(1.0, 2 * float(binom.cdf(min(only_a, only_b), discordant, 0.5))) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: each at most 0.05 keeps the chance of any false alarm among them at 5 %."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def smallest_detectable(stderr: float, *, power: float = 0.8, confidence: float = CONFIDENCE) -> float:
    """(z_{1-alpha/2} + z_power) x standard error: the true difference found with this power."""
    from scipy.stats import norm

    return float(norm.ppf(0.5 + confidence / 2) + norm.ppf(power)) * stderr
