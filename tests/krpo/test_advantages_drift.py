"""Pass rates that differ between prompts and drift over steps give a filter something to track."""

from __future__ import annotations

import pytest

from krpo.advantages.drift import REFERENCE, Drift, Outcome, run, study
from krpo.advantages.measure import Number
from krpo.config import Named

FILTERS = (Named("krpo_hierarchical"), Named("krpo_persistent"))
SMALL = Drift(replicates=12)


def lead(difference: Number) -> float:
    """How far below RLOO, in standard errors of the paired difference."""
    return -difference.value / difference.stderr


@pytest.fixture(scope="module")
def outcomes() -> dict[int, dict[str, Outcome]]:
    return {g: study(SMALL, g, FILTERS) for g in (2, 4, 16)}


@pytest.mark.parametrize("g", [2, 4])
@pytest.mark.parametrize("name", ["krpo_hierarchical", "krpo_persistent"])
def test_filters_beat_rloo_in_small_groups(outcomes: dict[int, dict[str, Outcome]], g: int, name: str) -> None:
    outcome = outcomes[g][name]
    assert lead(outcome.error_difference) > 5
    assert lead(outcome.variance_difference) > 5


@pytest.mark.parametrize("name", ["krpo_hierarchical", "krpo_persistent"])
def test_the_benefit_vanishes_as_groups_grow(outcomes: dict[int, dict[str, Outcome]], name: str) -> None:
    gains = {g: -outcomes[g][name].variance_difference.value for g in (2, 4, 16)}
    assert gains[2] > 2 * gains[4] > 10 * gains[16] > 0
    assert gains[16] < 1 / 15  # RLOO's excess over the oracle is all there is to gain


def test_rloo_has_the_variance_that_theory_gives_it(outcomes: dict[int, dict[str, Outcome]]) -> None:
    for g, by_name in outcomes.items():
        number = by_name[REFERENCE.label].variance
        assert abs(number.value - g / (g - 1)) < 4 * number.stderr + 0.01
        assert by_name[REFERENCE.label].error_difference == Number(0.0, 0.0)


def test_a_past_that_is_worth_nothing_does_harm_if_it_is_trusted() -> None:
    outcome = study(Drift(drift=0.4, replicates=8), 4, FILTERS)
    assert lead(outcome["krpo_persistent"].variance_difference) < -5
    assert lead(outcome["krpo_hierarchical"].variance_difference) > 5


def test_rates_stay_rates_and_move_by_the_drift() -> None:
    still = list(run(Drift(drift=0.0), 2, 0))
    assert all((sample.rates_P == still[0].rates_P).all() for sample in still)
    moving = list(run(Drift(drift=0.05, prompts=4000), 2, 0))
    assert all(((sample.rates_P >= 0) & (sample.rates_P <= 1)).all() for sample in moving)
    inside = (moving[0].rates_P > 0.2) & (moving[0].rates_P < 0.8)
    step = (moving[1].rates_P - moving[0].rates_P)[inside]
    assert step.std().item() == pytest.approx(0.05, rel=0.1)
