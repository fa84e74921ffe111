from collections import Counter
from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.comparison import holm, mcnemar, paired_difference
from eval.statistics import (
    all_at_k,
    maj_at_k,
    mean_over_questions,
    pass_at_k,
    split_variance,
    wilson_interval,
)


def test_standard_error_of_greedy_verdicts_by_hand():
    estimate = mean_over_questions([1, 1, 1, 0])
    assert estimate.value == 0.75
    assert estimate.stderr == pytest.approx(sqrt(0.75 * 0.25 / 3))
    assert estimate.n == 4


def test_repeating_samples_adds_no_certainty():
    """Eight copies of one answer are one answer: the error over questions must not shrink."""
    verdicts_Q = np.array([1.0, 0, 1, 1, 0, 1, 0, 0, 1, 1])
    once = mean_over_questions(verdicts_Q)
    copied = mean_over_questions(np.repeat(verdicts_Q[:, None], 8, axis=1).mean(axis=1))
    assert copied == once


def test_wilson_interval_of_a_published_example():
    """Newcombe (1998), Statistics in Medicine 17:857, table I: 81/263, 15/148, 0/20, 1/29 by method 3."""
    for right, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)]:
        assert wilson_interval(right / n, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_interval_of_all_right_reaches_one_and_not_beyond():
    estimate = mean_over_questions(np.ones(50))
    assert estimate.high == 1.0
    assert 0.9 < estimate.low < 1.0


def test_a_metric_outside_zero_to_one_gets_students_interval():
    estimate = mean_over_questions([10.0, 12.0, 14.0])
    assert estimate.method == "t"
    assert estimate.low == pytest.approx(12 - 4.302653 * 2 / sqrt(3), abs=1e-5)  # t quantile with 2 degrees of freedom


@given(st.integers(1, 7), st.data())
def test_pass_and_all_at_k_equal_enumeration(samples, data):
    right = data.draw(st.integers(0, samples))
    k = data.draw(st.integers(1, samples))
    answers = [1] * right + [0] * (samples - right)
    subsets = list(combinations(answers, k))
    assert pass_at_k([right], samples, k)[0] == pytest.approx(np.mean([max(s) for s in subsets]))
    assert all_at_k([right], samples, k)[0] == pytest.approx(np.mean([min(s) for s in subsets]))


@pytest.mark.parametrize("k", [0, 5])
def test_k_outside_the_samples_is_refused(k):
    with pytest.raises(ValueError, match=r"1\.\.4"):
        pass_at_k([2], 4, k)


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=6), st.data())
def test_maj_at_k_equals_enumeration(labels, data):
    k = data.draw(st.integers(1, len(labels)))
    credits = []
    for subset in combinations(labels, k):
        votes = Counter(label for label in subset if label >= 0)
        winners = [label for label, count in votes.items() if count == max(votes.values())]
        credits.append(1 / len(winners) if 0 in winners else 0.0)
    assert maj_at_k([labels], k)[0] == pytest.approx(np.mean(credits))


def test_maj_at_k_with_many_samples_is_close_to_the_exact_share():
    """20 right, 12 one wrong answer, of 32: the exact value at k = 4 by counting subsets of each make-up."""
    from math import comb

    labels = [0] * 20 + [1] * 12
    exact = sum(comb(20, r) * comb(12, 4 - r) * (1.0 if r > 2 else 0.5 if r == 2 else 0.0) for r in range(5)) / comb(
        32, 4
    )
    assert maj_at_k([labels], 4)[0] == pytest.approx(exact, abs=0.03)


def test_variance_splits_into_questions_and_sampling():
    rng = np.random.default_rng(0)
    p_Q = rng.beta(2, 2, size=4000)
    split = split_variance(rng.binomial(1, p_Q[:, None], size=(4000, 8)))
    assert split.questions == pytest.approx(sqrt(0.05 / 4000), rel=0.05)  # Var of Beta(2, 2) is 1/20
    assert split.sampling == pytest.approx(sqrt(0.2 / (8 * 4000)), rel=0.05)  # E[p(1-p)] is 1/5
    assert split_variance(np.ones((5, 1))) is None


def test_a_difference_of_a_metric_that_is_no_share_may_exceed_one():
    d = paired_difference([10.0, 12, 14], [0.0, 0, 0])  # mean 12, sd 2, t(2) = 4.303: half an interval is 4.968
    assert (d.low, d.high) == pytest.approx((7.032, 16.968), abs=1e-3)


def test_paired_difference_by_hand():
    """Ten questions, three only A, one only B."""
    a_Q = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    b_Q = [1, 1, 1, 1, 0, 0, 0, 1, 0, 0]
    difference = paired_difference(a_Q, b_Q)
    assert (difference.both, difference.only_a, difference.only_b, difference.same) == (4, 3, 1, 2)
    assert difference.value == pytest.approx(0.2)
    assert difference.stderr == pytest.approx(sqrt((3 + 1 - 10 * 0.2**2) / (10 * 9)))
    assert difference.p_value == pytest.approx(0.625)  # 2 (1 + 4) / 16
    middle, half = 2 / 12, 1.959964 * sqrt((6 / 12 - (2 / 12) ** 2) / 12)
    assert (difference.low, difference.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_the_paired_error_is_that_of_the_correlated_difference():
    rng = np.random.default_rng(1)
    a_Q = rng.random(200)
    b_Q = np.clip(a_Q + rng.normal(0, 0.2, 200), 0, 1)
    d = paired_difference(a_Q, b_Q)
    se_a, se_b = (x.std(ddof=1) / sqrt(200) for x in (a_Q, b_Q))
    assert d.stderr == pytest.approx(sqrt(se_a**2 + se_b**2 - 2 * d.correlation * se_a * se_b))
    assert d.method == "paired t"
    assert d.smallest == pytest.approx((1.959964 + 0.841621) * d.stderr, abs=1e-6)


def test_identical_answers_have_no_difference_and_an_honest_interval():
    d = paired_difference([1, 0, 1, 1], [1, 0, 1, 1])
    assert (d.value, d.p_value) == (0.0, 1.0)
    assert d.low < 0 < d.high
    assert d.smallest > 0  # four questions on which nothing differed do not show that nothing could


def test_mcnemar_and_holm():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(("n", "samples"), [(50, 1), (50, 8), (500, 1), (500, 8)])
@pytest.mark.parametrize("beta", [(0.6, 2.0), (3.0, 1.0)])
def test_printed_intervals_cover_the_truth(n, samples, beta):
    """2000 evaluations with known truth. B's chance on each question is A's, half a unit of log-odds higher."""
    rng = np.random.default_rng(5)
    a, b = beta

    def better(p):
        return 1 / (1 + (1 - p) / np.maximum(p, 1e-12) * np.exp(-0.5))

    gain = a / (a + b) - better(rng.beta(a, b, size=1_000_000)).mean()
    p_RQ = rng.beta(a, b, size=(2000, n))
    a_RQ, b_RQ = rng.binomial(samples, p_RQ) / samples, rng.binomial(samples, better(p_RQ)) / samples
    single = [mean_over_questions(a_Q) for a_Q in a_RQ]
    paired = [paired_difference(a_Q, b_Q) for a_Q, b_Q in zip(a_RQ, b_RQ, strict=True)]
    assert 0.93 <= np.mean([e.low <= a / (a + b) <= e.high for e in single]) <= 0.97
    assert 0.93 <= np.mean([d.low <= gain <= d.high for d in paired]) <= 0.97
