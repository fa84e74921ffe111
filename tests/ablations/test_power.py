"""What few seeds can show: textbook sample sizes, a simulation, and the variance taken from stored scores."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ablations.power import answers_of, detectable, sampling_sd, seeds_needed, sentences, variation
from eval.spec import EvalSpec
from krpo.config import Named
from krpo.spec import RunSpec


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_textbook_sample_sizes_of_the_paired_t_test(effect, seeds):
    """Cohen's small, medium and large effects at 80 % power, two-sided 5 %."""
    assert seeds_needed(effect, 1.0) == seeds
    assert detectable(seeds) <= effect < detectable(seeds - 1)


def test_the_detectable_difference_is_detected_at_the_promised_rate():
    seeds, rng = 5, np.random.default_rng(0)
    drawn = rng.normal(detectable(seeds), 1.0, size=(20_000, seeds))
    found = stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_one_seed_shows_nothing_and_two_show_little():
    assert detectable(1) == math.inf
    assert 8 < detectable(2) < 12
    assert "no difference between arms can be shown" in sentences(1, None, 0.03, 100)[0]


def scores(values: dict[str, list[float]], noise: str = "none") -> list[tuple[RunSpec, float]]:
    return [
        (replace(RunSpec(estimator=Named(name), noise=Named(noise)), seed=seed), value)
        for name, column in values.items()
        for seed, value in enumerate(column)
    ]


def test_the_variance_is_that_of_the_pairs_pooled_over_conditions():
    clean = scores({"grpo": [0.5, 0.6, 0.7], "krpo": [0.6, 0.6, 0.8]})
    noisy = scores({"grpo": [0.1, 0.2], "krpo": [0.1, 0.6]}, "random")
    found = variation([*clean, *noisy], "grpo", "krpo")
    assert found is not None
    squares = np.var([0.1, 0.0, 0.1]) * 3 + np.var([0.0, 0.4]) * 2
    assert found.sd == pytest.approx(math.sqrt(squares / 3))
    assert found.degrees == 3


def test_single_arms_count_as_independent_and_no_runs_as_unknown():
    found = variation(scores({"grpo": [0.5, 0.6, 0.7]}), "grpo", "krpo")
    assert found is not None
    assert found.sd == pytest.approx(0.1 * math.sqrt(2))
    assert variation(scores({"grpo": [0.5], "krpo": [0.6]}), "grpo", "krpo") is None


def test_a_grid_that_cannot_answer_its_question_says_so():
    found = variation(scores({"grpo": [0.5, 0.6, 0.7], "krpo": [0.6, 0.6, 0.8]}), "grpo", "krpo")
    assert found is not None
    few = "\n".join(sentences(3, found, 0.03, None))
    assert "NOT ENOUGH" in few
    assert f"{seeds_needed(0.03, found.sd)} seeds would" in few
    assert "sign-flip" in few
    many = "\n".join(sentences(100, found, 0.03, None))
    assert "enough for the difference of 0.03" in many
    assert "sign-flip" not in many


def test_sampling_alone():
    """Two arms of n answers that are right half of the time."""
    rng = np.random.default_rng(1)
    differences = np.diff(rng.binomial(600, 0.5, size=(20_000, 2)) / 600, axis=1)
    assert sampling_sd(600) == pytest.approx(differences.std(), rel=0.02)
    assert answers_of(EvalSpec(tasks=("sums",), samples=4, temperature=1.0), 600) == 2400
    assert answers_of(EvalSpec(tasks=("sums",)), 600) is None  # greedy: nothing is sampled
