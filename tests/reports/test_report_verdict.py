"""The verdict says what the interval allows, and no more."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_grid

from reports.compare import Endpoint, comparisons, endpoint, primary_comparisons
from reports.names import circumstance
from reports.tables import read_study
from reports.verdict import interval, judge, points


def end(conditions: tuple[str, ...] = ("clean",), effect: float | None = None) -> Endpoint:
    return Endpoint("sums", "accuracy", "all", "grpo", "krpo", conditions, effect, "")


def pairs(differences: list[float], condition: str = "clean") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "estimator": "krpo",
            "condition": condition,
            "level": "all",
            "seed": range(len(differences)),
            "difference": differences,
        }
    )


def test_higher() -> None:
    verdict = judge(end(), comparisons(pairs([0.05, 0.06, 0.07])))
    # mean 6, half width 4.30265 x 1 / sqrt(3) = 2.48
    assert verdict.kind == "higher"
    assert "KRPO scored 6.0 points higher than GRPO on held-out sums accuracy with clean rewards" in verdict.sentence
    assert "95% interval +3.5 to +8.5 points; 3 paired seeds" in verdict.sentence
    assert "3 seeds cannot give less than 0.25" in verdict.detail


def test_lower() -> None:
    assert judge(end(), comparisons(pairs([-0.05, -0.06, -0.07]))).kind == "lower"


def test_cannot_tell_says_what_is_excluded_and_what_could_not_be_seen() -> None:
    rows = comparisons(pairs([0.01, -0.02, 0.03, 0.0, 0.01]))
    verdict = judge(end(), rows)
    assert verdict.kind == "cannot tell"
    assert verdict.sentence.startswith("This grid cannot tell whether KRPO or GRPO is better with clean rewards")
    assert f"better by more than {points(rows.high[0])} points" in verdict.detail
    assert f"worse by more than {points(-rows.low[0])}" in verdict.detail
    assert (
        f"5 seeds find a true difference of {points(rows.detectable[0])} points four times out of five"
        in verdict.detail
    )


def test_equivalent_only_within_the_declared_effect() -> None:
    rows = comparisons(pairs([0.001, -0.001, 0.002, 0.0, 0.001]))
    assert judge(end(effect=0.02), rows).kind == "equivalent"
    assert judge(end(effect=0.001), rows).kind == "cannot tell"
    assert judge(end(), rows).kind == "cannot tell"


def test_a_difference_below_what_matters_is_still_a_difference() -> None:
    rows = comparisons(pairs([0.010, 0.011, 0.012, 0.009]))
    verdict = judge(end(effect=0.03), rows)
    assert verdict.kind == "higher"
    assert verdict.detail.startswith("All of the interval is below the 3.0 points declared to matter.")
    assert "declared to matter" not in judge(end(effect=0.011), rows).detail


def test_of_one_arm_nothing_is_compared_whatever_the_grid_file_says(tmp_path: Path) -> None:
    end = endpoint(read_study([write_grid(tmp_path / "g", estimators=["rloo"], seeds=[0, 1], steps=2)]))
    assert end is not None
    assert (end.baseline, end.treatment) == ("rloo", None)
    assert judge(end, pd.DataFrame(columns=["condition"])).sentence == (
        "Nothing is compared: RLOO is the only arm with runs."
    )


def test_one_seed_equal_differences_and_identical_arms_give_no_interval() -> None:
    assert "one paired seed" in judge(end(), comparisons(pairs([0.5]))).sentence
    same = judge(end(), comparisons(pairs([0.1, 0.1, 0.1])))
    assert same.kind == "cannot tell"
    assert "no interval" in same.sentence
    assert judge(end(), comparisons(pairs([0.0, 0.0]))).kind == "identical"
    assert judge(end(), comparisons(pairs([]))).kind == "nothing"


def test_intervals_of_several_conditions_hold_jointly() -> None:
    both = pd.concat([pairs([0.05, 0.06, 0.07, 0.055]), pairs([0.01, -0.02, 0.01, 0.0], "flip 0.2")])
    rows = primary_comparisons(end(("clean", "flip 0.2")), both)
    d = np.array([0.05, 0.06, 0.07, 0.055])
    half = 4.1765 * d.std(ddof=1) / 2  # t(1 - .05/4, 3) = 4.1765
    assert rows.low[0] == pytest.approx(d.mean() - half, abs=1e-5)
    verdict = judge(end(("clean", "flip 0.2")), rows)
    assert verdict.kind == "mixed"
    assert verdict.sentence.startswith("KRPO scored higher than GRPO: +5.9 points with clean rewards")
    assert "this grid cannot tell whether KRPO or GRPO is better: 0.0 points under flip 0.2" in verdict.sentence


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0421, "+4.2"), (-0.0421, "\N{MINUS SIGN}4.2"), (0.0, "0.0"), (0.00005, "+0.005"), (-1e-17, "0.0")],
)
def test_points(value: float, shown: str) -> None:
    assert points(value, sign=True) == shown


def test_points_of_nothing() -> None:
    assert points(math.nan) == "nan"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("clean", "with clean rewards"),
        ("flip 0.2", "under flip 0.2"),
        ("group size 8", "at group size 8"),
        ("clean, group size 8", "with clean rewards, group size 8"),
        ("flip 0.2, group size 8", "under flip 0.2, group size 8"),
    ],
)
def test_a_condition_in_a_sentence(condition: str, words: str) -> None:
    assert circumstance(condition) == words


def test_a_condition_without_an_interval_hides_no_other() -> None:
    told = pd.concat([pairs([0.05, -0.06, 0.07]), pairs([0.01], "flip 0.2"), pairs([0.1, 0.1], "flip 0.4")])
    rows = primary_comparisons(end(("clean", "flip 0.2", "flip 0.4")), told)
    assert rows.low.notna().tolist() == [True, False, False]
    alone = comparisons(pairs([0.05, -0.06, 0.07]))
    assert rows.low[0] == alone.low[0]  # the one interval holds alone
    assert judge(end(("clean", "flip 0.2", "flip 0.4")), rows).sentence == (
        "This grid cannot tell whether KRPO or GRPO is better: +2.0 points with clean rewards "
        f"({points(alone.low[0], sign=True)} to {points(alone.high[0], sign=True)}), +1.0 points under flip 0.2 (one "
        "pair, no interval) and +10.0 points under flip 0.4 (the same in all 2 pairs, no interval). (Held-out "
        "accuracy, KRPO minus GRPO, 1 to 3 paired seeds; the interval holds at 95%.)"
    )


def test_no_interval_no_claim_of_one() -> None:
    both = pd.concat([pairs([0.1, 0.1]), pairs([0.0, 0.0], "flip 0.2")])
    rows = primary_comparisons(end(("clean", "flip 0.2")), both)
    assert rows[["low", "high"]].isna().all(axis=None)
    sentence = judge(end(("clean", "flip 0.2")), rows).sentence
    assert "95%" not in sentence
    assert "KRPO and GRPO are exactly equal under flip 0.2" in sentence


def test_declared_conditions_without_a_pair_are_named() -> None:
    conditions = ("clean", "flip 0.2", "flip 0.4")
    rows = primary_comparisons(end(conditions), pairs([0.05, 0.06, 0.07]))
    verdict = judge(end(conditions), rows)
    assert verdict.kind == "higher"
    assert verdict.sentence.endswith(
        "No seed has a finished and evaluated run of both KRPO and GRPO under flip 0.2 or under flip 0.4."
    )


def test_an_interval_that_is_none() -> None:
    assert interval(math.nan, math.nan) == "no interval"
