"""Sums of two, three or four small numbers: the task of the built-in tiny policy.

A row: prompt `7+9-4=`, answer `12`, level `normal`. The answer that the tiny policy was taught to write gives the
running totals, then the result: `<think>16;12</think><answer>12</answer>`. A level is a number of steps: `easy` one,
`normal` two, `hard` three. Numbers are 1 to 49 and all running totals 0 to 99, so no sign and no third digit.

A question belongs to the held-out part by a hash of its text, one in eight: training skips these at every seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from krpo import answers
from krpo.answers import Verdict
from krpo.errors import BadInput, nearest
from krpo.streams import derive_seed
from krpo.tasks.base import Row, Task, hash_rows
from krpo.tasks.registry import register_task

STEPS = {"easy": 1, "normal": 2, "hard": 3}
LARGEST_FIRST, LARGEST_NEXT, LARGEST_TOTAL = 99, 9, 99
HELD_OUT_SHARE = 5  # one question in so many
EVAL_ROWS_PER_LEVEL = 200


@register_task("sums")
@dataclass(frozen=True)
class Sums(Task):
    """``levels``: those to draw from, in turn, so that every level has the same share of a batch."""

    name: ClassVar[str] = "sums"
    levels: tuple[str, ...] = tuple(STEPS)

    def __post_init__(self) -> None:
        if not self.levels:
            raise BadInput(f"levels is empty; known: {', '.join(STEPS)}")
        for level in self.levels:
            if level not in STEPS:
                raise BadInput(f"levels holds '{level}'; {nearest(level, STEPS)}")
        if len(set(self.levels)) < len(self.levels):
            raise BadInput(f"levels holds a level twice: {', '.join(self.levels)}")

    def train_rows(self, seed: int, n: int) -> list[Row]:
        streams = [
            (row for row in draw(level, derive_seed(seed, "sums", "train", level)) if not is_held_out(row.prompt))
            for level in self.levels
        ]
        return [next(streams[i % len(streams)]) for i in range(n)]

    def eval_rows(self) -> list[Row]:
        return [row for level in self.levels for row in _held_out(level)]

    def fingerprint(self) -> str:
        return hash_rows(self.name, self.eval_rows(), self.train_rows(0, 100))

    def verify(self, text: str, row: Row) -> Verdict:
        verdict = answers.verify(text, row.answer)
        return Verdict(
            verdict.correct, verdict.formatted, verdict.extracted, partial_credit(text, row, verdict.correct)
        )


def draw(level: str, seed: int) -> Iterator[Row]:
    """An endless stream of rows of one level, held-out questions included."""
    rng = random.Random(seed)
    while True:
        terms = [rng.randint(1, LARGEST_FIRST)]
        for _ in range(STEPS[level]):
            total = sum(terms)
            if rng.random() < 0.5:
                terms.append(rng.randint(1, min(LARGEST_NEXT, LARGEST_TOTAL - total)) if total < LARGEST_TOTAL else 0)
            else:
                terms.append(-rng.randint(1, min(LARGEST_NEXT, total)) if total > 0 else 0)
        if 0 not in terms:
            question = "".join(f"{t:+d}" for t in terms).removeprefix("+")
            yield Row(id=f"{level}/{question}", prompt=f"{question}=", answer=str(sum(terms)), level=level)


def is_held_out(prompt: str) -> bool:
    return derive_seed(0, "sums", "held-out", prompt) % HELD_OUT_SHARE == 0


def _held_out(level: str) -> list[Row]:
    """The first `EVAL_ROWS_PER_LEVEL` different held-out questions of a fixed stream."""
    rows = {row.id: row for row in islice(draw(level, derive_seed(0, "sums", "eval", level)), 5000)}
    return [row for row in rows.values() if is_held_out(row.prompt)][:EVAL_ROWS_PER_LEVEL]


def running_totals(prompt: str) -> list[int]:
    """The steps of a question: `7+9-4=` has the running totals 16 and 12."""
    terms = [int(t) for t in re.findall(r"[+-]?\d+", prompt)]
    return [sum(terms[: i + 1]) for i in range(1, len(terms))]


def solution(prompt: str) -> str:
    """The right answer in the form that the tiny policy was taught."""
    totals = running_totals(prompt)
    return written(totals, totals[-1])


def written(totals: list[int], answer: int) -> str:
    return f"<think>{';'.join(map(str, totals))}</think><answer>{answer}</answer>"


def partial_credit(text: str, row: Row, correct: bool) -> float:
    """The share of a question's steps and final answer that are right, in [0, 1].

    The i-th running total written between `<think>` and `</think>` must equal the i-th of the question. Steps written
    beyond the question's own count against it, so that listing numbers earns nothing.
    """
    right = running_totals(row.prompt)
    thought, closed, _ = text[: answers.MAX_ANSWER].removeprefix("<think>").partition("</think>")
    steps = thought.split(";") if closed else []
    hits = sum(step.strip() == str(total) for step, total in zip(steps, right, strict=False))
    return (hits + correct) / (max(len(right), len(steps)) + 1)
