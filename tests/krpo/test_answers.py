"""Extraction and comparison of answers, with hand-made cases."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krpo.answers import (
    MAX_ANSWER,
    Verdict,
    as_number,
    boxed_answer,
    extract_answer,
    is_equal,
    shaped_reward,
    tagged_answer,
    verify,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>7+9</think><answer>16</answer>", "16"),
        ("<answer> 16\n</answer>", "16"),
        ("<answer>16</answer><answer>17</answer>", "16"),  # the first counts
        ("so \\boxed{1} and then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),  # the last counts
        ("\\boxed{1} <answer>2</answer> \\boxed{3}", "2"),  # the tag goes before the box
        ("\\boxed {5}", "5"),
        ("<answer></answer>", ""),
        ("<answer>16", None),
        ("<answer>16 \\boxed{3}", None),  # opened and never closed
        ("16</answer>", None),
        ("\\boxed{16", None),
        ("the answer is 16", None),
        ("", None),
        ("<answer>" + "1" * (MAX_ANSWER + 1) + "</answer>", None),
    ],
)
def test_extraction(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"),
        ("-18", "-18"),
        ("+18.", "18"),
        ("18.00", "18"),
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1,234,567", "1234567"),
        ("$1,234.50", "1234.5"),
        ("-$7", "-7"),
        ("\\$7", "7"),
        (" 7 ", "7"),
    ],
)
def test_numbers(text: str, number: str) -> None:
    assert as_number(text) == Decimal(number)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".",
        "1,8",
        "1,2345",
        ",123",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "1/2",
        "1 2",
        "--1",
        "$$1",
        "١٨",
        "9" * (MAX_ANSWER + 1),
    ],
)
def test_what_is_no_number(text: str) -> None:
    assert as_number(text) is None


def test_equality() -> None:
    assert is_equal("18.0", "18")
    assert is_equal("1,000", "1000")
    assert not is_equal("118", "18")
    assert not is_equal("eighteen", "18")
    assert is_equal(" x+1 ", "x+1")  # a gold answer that is no number: equal texts
    assert not is_equal("1+x", "x+1")


def test_verdict() -> None:
    assert verify("<answer>18</answer>", "18") == Verdict(True, True, "18", 1.0)
    assert verify("\\boxed{18}", "18") == Verdict(True, False, "18", 1.0)
    assert verify("<answer>17</answer>", "18") == Verdict(False, True, "17", 0.0)
    assert verify("18", "18") == Verdict(False, False, None, 0.0)


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("<answer>18</answer>", 1.0),
        ("<answer> 18 </answer>", 1.0),
        ("<answer>118</answer>", 0.5),  # the published substring rule
        ("<answer>17 or 18</answer>", 0.5),
        ("<answer>17</answer>", 0.01),
        ("<answer></answer>", 0.01),
        ("<answer>17</answer><answer>18</answer>", 0.01),  # the first tag counts
        ("18", 0.0),
        ("\\boxed{18}", 0.0),  # right, but without the tag
        ("<answer>18", 0.0),
    ],
)
def test_shaped_reward(text: str, reward: float) -> None:
    assert shaped_reward(verify(text, "18"), text, "18") == reward


@given(st.text(alphabet=st.sampled_from("<answer></answer>\\boxed{}0123456789.,$-+ \n\x00٣é"), max_size=400))
def test_any_text_is_survived(text: str) -> None:
    verdict = verify(text, "18")
    assert verdict.formatted == (tagged_answer(text) is not None)
    assert 0.0 <= shaped_reward(verdict, text, "18") <= 1.0
    assert not verdict.correct or verdict.extracted is not None


@pytest.mark.parametrize("piece", ["<answer>", "</answer>", "\\boxed{", "{", "9,", "\\boxed{}", "<", "1" * 50])
def test_hostile_repetition_costs_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    verify(text, "18")
    verify(f"<answer>{text}</answer>", "18")
    assert time.perf_counter() - start < 1.0
    assert boxed_answer("\\boxed{" + "{" * 1000) is None
