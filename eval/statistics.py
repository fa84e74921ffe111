"""The statistics of one evaluation: n questions, K sampled answers to each.

Arrays of verdicts are ``verdicts_QK`` (0 or 1; question by sample). Sources: Miller, "Adding Error Bars to Evals"
(arXiv 2411.00640) for standard errors over questions and paired differences; Chen et al. (arXiv 2107.03374) for the
unbiased pass@k; Wilson (1927) for the interval of a proportion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over questions with its standard error and its 95 % interval."""

    value: float
    stderr: float
    low: float
    high: float
    n: int  # questions
    method: str = "wilson"

    def to_plain(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "stderr": self.stderr,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "method": self.method,
        }


def mean_over_questions(scores_Q: ArrayLike, *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of one score per question with its standard error and interval.

    ``scores_Q``: what each question got, averaged over its samples; the questions are the independent units, so
    repeated samples of one question do not shrink the error as independent questions would. The standard error is
    sqrt(sum (s_i - mean)^2 / (n (n - 1))). The interval is Wilson's with the effective number of questions, that is
    with the n at which a proportion of this mean has this standard error; for single 0/1 verdicts that is n itself.
    Scores outside 0..1 (a metric that is no share) get Student's t interval.
    """
    scores_Q = np.asarray(scores_Q, dtype=np.float64)
    n = scores_Q.size
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    mean = float(scores_Q.mean())
    stderr = float(scores_Q.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    if scores_Q.min() < 0 or scores_Q.max() > 1:
        from scipy.stats import t

        half = float(t.ppf(0.5 + confidence / 2, max(n - 1, 1))) * stderr
        return Estimate(mean, stderr, mean - half, mean + half, n, method="t")
    low, high = wilson_interval(mean, effective_questions(mean, stderr, n), confidence=confidence)
    return Estimate(mean, stderr, low, high, n)


def effective_questions(mean: float, stderr: float, n: int) -> float:
    """How many 0/1 questions would give this standard error at this mean; at least the real n.

    Averages over samples vary less than single verdicts, so n questions with K samples are worth more than n. Where
    every question scored the same (no variance to learn from) it is n: no credit for samples that cannot be told
    from copies.
    """
    variance = mean * (1.0 - mean)
    if n < 2 or not stderr > 0 or variance <= 0:
        return float(n)
    return max(float(n), variance / stderr**2)


def wilson_interval(proportion: float, n: float, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a proportion seen in ``n`` trials. It stays inside 0..1 and is right near both ends.

    With the standard normal quantile z: centre (p + z^2/2n) / (1 + z^2/n), half width
    z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    """
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + confidence / 2))
    shrink = 1.0 + z * z / n
    centre = (proportion + z * z / (2 * n)) / shrink
    half = z * float(np.sqrt(max(proportion * (1.0 - proportion), 0.0) / n + z * z / (4 * n * n))) / shrink
    low = 0.0 if proportion <= 0 else max(0.0, centre - half)
    high = 1.0 if proportion >= 1 else min(1.0, centre + half)
    return low, high


def pass_at_k(correct_Q: ArrayLike, samples: int, k: int) -> Floats:
    """Unbiased pass@k of each question: the chance that k of its answers, drawn without replacement, hold a right one.

    ``correct_Q``: right answers among ``samples``. 1 - C(n-c, k) / C(n, k), as the product that does not overflow:
    1 - prod_{j<k} (n-c-j) / (n-j). Raises ValueError unless 1 <= k <= samples.
    """
    return 1.0 - _share_without(np.asarray(correct_Q, dtype=np.float64), samples, k)


def all_at_k(correct_Q: ArrayLike, samples: int, k: int) -> Floats:
    """all@k (pass^k) of each question: the chance that k answers drawn without replacement are all right."""
    return _share_without(samples - np.asarray(correct_Q, dtype=np.float64), samples, k)


def _share_without(marked_Q: Floats, samples: int, k: int) -> Floats:
    """The chance that k draws without replacement out of ``samples`` hold none of the marked ones."""
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k}; it must be within 1..{samples}, the number of samples")
    drawn = np.arange(k)
    return np.prod(np.clip(samples - marked_Q[:, None] - drawn, 0.0, None) / (samples - drawn), axis=1)
