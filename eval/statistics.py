"""The statistics of one evaluation: n questions, K sampled answers to each.

Arrays of verdicts are ``verdicts_QK`` (0 or 1; question by sample). Sources: Miller, "Adding Error Bars to Evals"
(arXiv 2411.00640) for standard errors over questions and paired differences; Chen et al. (arXiv 2107.03374) for the
unbiased pass@k; Wilson (1927) for the interval of a proportion.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from krpo.streams import generator

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
    method: str = "wilson"  # of the interval: wilson, wilson_from_stderr or t

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
    worth = effective_questions(mean, stderr, n)
    if worth == n:
        return Estimate(mean, stderr, *wilson_interval(mean, n, confidence=confidence), n)
    # an estimated variance has Student's t in place of the normal quantile
    low, high = wilson_interval(mean, worth, confidence=confidence, freedom=n - 1)
    return Estimate(mean, stderr, low, high, n, method="wilson_from_stderr")


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


def wilson_interval(
    proportion: float, n: float, *, confidence: float = CONFIDENCE, freedom: int | None = None
) -> tuple[float, float]:
    """Wilson's score interval for a proportion seen in ``n`` trials. It stays inside 0..1 and is right near both ends.

    With the standard normal quantile z (Student's with ``freedom`` degrees of freedom, where given):
    centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n).
    """
    from scipy.stats import norm, t

    z = float(norm.ppf(0.5 + confidence / 2) if freedom is None else t.ppf(0.5 + confidence / 2, freedom))
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


def maj_at_k(labels_QK: ArrayLike, k: int, *, seed: int = 0, most_subsets: int = 500) -> Floats:
    """maj@k of each question: how often the majority of k of its answers is right.

    ``labels_QK``: 0 for a right answer, a positive number for each different wrong one, -1 for none found, which votes
    for nothing. Averaged over all k-subsets of the K answers, or over ``most_subsets`` random ones (the same for every
    question) where there are more. A tie for first place gives the right answer 1 / (number of tied).
    """
    labels_QK = np.asarray(labels_QK)
    samples = labels_QK.shape[1]
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k}; it must be within 1..{samples}, the number of samples")
    if comb(samples, k) <= most_subsets:
        subsets = np.array(list(combinations(range(samples), k)))
    else:
        rng = generator(seed, "maj", samples, k)
        subsets = np.array([rng.permutation(samples)[:k] for _ in range(most_subsets)])
    return np.array([_share_won(labels_K[subsets]) for labels_K in labels_QK], dtype=np.float64)


def _share_won(labels_Sk: NDArray[Any]) -> float:
    """The share of the votes (one a row) that label 0 wins; a tie counts in part."""
    rivals = [label for label in np.unique(labels_Sk) if label > 0]
    right_S = (labels_Sk == 0).sum(axis=1)
    rivals_RS = np.array([(labels_Sk == label).sum(axis=1) for label in rivals]).reshape(len(rivals), len(labels_Sk))
    won_S = (right_S > 0) & (rivals_RS <= right_S).all(axis=0)
    return float(np.where(won_S, 1.0 / (1 + (rivals_RS == right_S).sum(axis=0)), 0.0).mean())


@dataclass(frozen=True)
class VarianceSplit:
    """Where the uncertainty of a score comes from (arXiv 2411.00640, section 3)."""

    questions: float  # standard error left with endlessly many samples: the choice of questions
    sampling: float  # standard error if the questions were fixed: the draw of the answers


def split_variance(verdicts_QK: ArrayLike) -> VarianceSplit | None:
    """Question and sampling parts of the standard error of the mean over ``verdicts_QK`` (0/1); None for K = 1.

    Var(mean) = (Var(p_i) + E[p_i (1 - p_i)] / K) / n, with the within-question variance estimated by
    K/(K-1) p_i (1 - p_i) and Var(p_i) by what it leaves of the variance of the question means, at least 0.
    """
    verdicts_QK = np.asarray(verdicts_QK, dtype=np.float64)
    n, samples = verdicts_QK.shape
    if samples < 2 or n < 2:
        return None
    means_Q = verdicts_QK.mean(axis=1)
    within = float((means_Q * (1 - means_Q)).mean() * samples / (samples - 1))
    between = max(0.0, float(means_Q.var(ddof=1)) - within / samples)
    return VarianceSplit(sqrt(between / n), sqrt(within / (samples * n)))
