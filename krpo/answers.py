"""What a model answered, and whether it is right.

A model's text is hostile input: every function here takes linear time and reads at most `MAX_TEXT` characters. Nothing
is evaluated.

Which answer counts where a text holds several: the **first** `<answer>...</answer>`, as in the published KRPO code, so
that a policy cannot earn a second try by answering again; in a text without that tag, the **last** `\\boxed{...}`, as
is usual for MATH, where boxes may stand inside a derivation. A text that opens `<answer>` and never closes it gave no
answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

MAX_TEXT = 100_000
"""Characters of a text that are looked at; the rest is ignored."""

MAX_ANSWER = 300
"""An extracted answer of more characters than this counts as none."""

OPEN, CLOSE = "<answer>", "</answer>"
_BOX = re.compile(r"\\boxed\s*\{")
_NUMBER = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d*)?|([+-]?)(\.\d+)", re.ASCII)


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one answer."""

    correct: bool  # the extracted answer equals the gold answer
    formatted: bool  # the text has a closed answer tag
    extracted: str | None  # what counts as the answer, blanks around it removed; None where there is none
    partial_credit: float  # in [0, 1], by rule from the written steps; 1 or 0 where a task has no such rule
    timed_out: bool = False  # the comparison exceeded its limit and was given up: counted as wrong, and counted


def tagged_answer(text: str) -> str | None:
    """What stands in the first `<answer>...</answer>`, blanks kept; None where there is no closed tag."""
    text = text[:MAX_TEXT]
    start = text.find(OPEN)
    if start < 0:
        return None
    start += len(OPEN)
    end = text.find(CLOSE, start)
    return None if end < 0 else text[start:end]


def boxed_answer(text: str) -> str | None:
    """What stands in the last `\\boxed{...}` with balanced braces; None where there is none."""
    text = text[:MAX_TEXT]
    starts = [match.end() for match in _BOX.finditer(text)]
    if not starts:
        return None
    depth = 1
    for position in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[starts[-1] : position]
    return None


def extract_answer(text: str) -> str | None:
    """The answer that counts, blanks around it removed; None where there is none or it exceeds `MAX_ANSWER`."""
    found = tagged_answer(text)
    if found is None and OPEN not in text[:MAX_TEXT]:
        found = boxed_answer(text)
    if found is None or len(found) > MAX_ANSWER:
        return None
    return found.strip()


def as_number(text: str) -> Decimal | None:
    """An integer or decimal as a number: `$1,234.50` is 1234.5. None for everything else.

    A currency sign (`$` or `\\$`) before or after the sign, commas between groups of three digits, and one final full
    stop are passed over. Only ASCII digits count; exponents, fractions and infinities do not.
    """
    if len(text) > MAX_ANSWER:
        return None
    match = _NUMBER.fullmatch(text.strip().replace("\\$", "").replace("$", "", 1))
    return Decimal(match[0].replace(",", "")) if match else None


def is_equal(answer: str, gold: str) -> bool:
    """Equal as numbers where the gold answer is a number, else equal as texts without surrounding blanks."""
    gold_number = as_number(gold)
    if gold_number is None:
        return answer.strip() == gold.strip()
    return as_number(answer) == gold_number


def verify(text: str, gold: str) -> Verdict:
    """Extract and compare. Partial credit is 1 or 0 here; a task that knows the steps has its own rule."""
    extracted = extract_answer(text)
    correct = extracted is not None and is_equal(extracted, gold)
    return Verdict(correct, tagged_answer(text) is not None, extracted, float(correct))


def shaped_reward(verdict: Verdict, text: str, gold: str) -> float:
    """The reward of KRPO's published code (arXiv 2505.07527) and of tiny-grpo for one answer.

    1.0 where the first answer tag holds the gold answer; 0.5 where it holds it as a substring (so `118` earns half for
    `18`); 0.01 for any other closed answer tag; 0.0 without one. The published code compares texts character by
    character; here an answer that equals the gold as a number is right as well, so that this reward and true accuracy
    agree on tagged answers.
    """
    tagged = tagged_answer(text)
    if tagged is None:
        return 0.0
    if verdict.correct:
        return 1.0
    return 0.5 if gold in tagged else 0.01
