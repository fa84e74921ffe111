import pytest

from eval.summary import summarize


def row(question, sample, right, *, extracted="5", level=None, **more):
    defaults = {"tokens": 4, "finish": "stop", "prompt_cut": False, "timed_out": False}
    return {
        "question_id": question,
        "sample": sample,
        "level": level,
        "extracted": extracted,
        "verdicts": {"accuracy": right},
        **defaults,
        **more,
    }


def test_scores_by_hand_over_two_questions_and_two_samples():
    rows = [row("a", 0, 1), row("a", 1, 1), row("b", 0, 1), row("b", 1, 0, extracted="7")]
    summary = summarize(rows, metrics=["accuracy"], primary="accuracy", samples=2)
    assert summary["n_questions"] == 2
    assert summary["scores"]["accuracy"]["value"] == 0.75
    assert summary["scores"]["accuracy"]["stderr"] == pytest.approx(0.25)
    assert {k: v["value"] for k, v in summary["at_k"]["pass"].items()} == {"1": 0.75, "2": 1.0}
    assert {k: v["value"] for k, v in summary["at_k"]["all"].items()} == {"1": 0.75, "2": 0.5}
    assert {k: v["value"] for k, v in summary["at_k"]["maj"].items()} == {"1": 0.75, "2": 0.75}  # b: a tie, half


def test_wrong_answers_that_are_the_same_number_vote_together_and_none_votes_for_nothing():
    votes = [(1, "3"), (0, "1,000"), (0, "1000.0"), (0, None), (0, None), (0, None)]
    rows = [row("a", k, right, extracted=text) for k, (right, text) in enumerate(votes)]
    summary = summarize(rows, metrics=["accuracy"], primary="accuracy", samples=6)
    assert summary["at_k"]["maj"]["6"]["value"] == 0.0
    rows[1] = row("a", 1, 0, extracted="1001")
    summary = summarize(rows, metrics=["accuracy"], primary="accuracy", samples=6)
    assert summary["at_k"]["maj"]["6"]["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("levels", "ordered"),
    [
        (["terms10", "terms2", "terms3"], ["terms2", "terms3", "terms10"]),
        (["easy", "hard", "1"], ["easy", "hard", "1"]),
    ],
)
def test_levels_stand_in_their_natural_order(levels, ordered):
    rows = [row(level, 0, 1, level=level) for level in levels]
    summary = summarize(rows, metrics=["accuracy"], primary="accuracy", samples=1)
    assert list(summary["by_level"]) == ordered


def test_what_went_wrong_is_counted():
    rows = [
        row("a", 0, 0, finish="length", extracted=None, prompt_cut=True),
        row("a", 1, 0, timed_out=True, prompt_cut=True),
        row("b", 0, 1),
        row("b", 1, 1),
    ]
    counts = summarize(rows, metrics=["accuracy"], primary="accuracy", samples=2)["counts"]
    assert counts == {
        "answers": 4,
        "answers_cut": 1,
        "not_extracted": 1,
        "timed_out": 1,
        "prompts_cut": 1,
        "mean_tokens": 4.0,
    }


def test_ways_of_scoring_that_disagree():
    rows = [row("a", 0, 1), row("b", 0, 1), row("c", 0, 0), row("d", 0, 0)]
    for r, strict in zip(rows, (1, 0, 0, 0), strict=True):
        r["verdicts"]["strict"] = strict
    summary = summarize(rows, metrics=["accuracy", "strict"], primary="accuracy", samples=1)
    assert summary["disagreement"] == {"accuracy / strict": 0.25}
