from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.statistics import all_at_k, mean_over_questions, pass_at_k, wilson_interval


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
