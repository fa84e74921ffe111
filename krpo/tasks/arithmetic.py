"""The arithmetic of tiny-grpo and KRPO, regenerated from its rules: no file is needed.

A row: question `Solve 53   +   -77 -   8 + -31 - -59   +   24`, answer `20`, level `terms6`. Expressions have 2 to 6
numbers of 1 to 6 digits, operators + - *, brackets, and stray blanks; 10 <= |answer| <= 10^8. The stream of
`random.Random(42)` gives the 100,000 published rows (`data/math_tasks.jsonl` of github.com/open-thought/tiny-grpo at
eafedd7, Apache-2.0) byte for byte: the first 80,000 are KRPO's training rows, the rest its test rows.

307 published test questions occur in training as well, blanks aside; the held-out split here leaves them out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import ClassVar

from krpo.errors import BadInput
from krpo.streams import generator
from krpo.tasks.base import Row, Task, hash_rows
from krpo.tasks.registry import register_task

PUBLISHED_SEED, PUBLISHED_ROWS, PUBLISHED_TRAIN_ROWS = 42, 100_000, 80_000
LEAST, MOST = 10, 10**8  # bounds of |answer|
TEMPLATES = ("{}", "{} =", "{} = ?", "What is {}?", "Solve {}")


@register_task("arithmetic")
@dataclass(frozen=True)
class Arithmetic(Task):
    """``max_terms``, ``max_digits``: only expressions up to these (5 and 5 in KRPO, 3 and 3 in tiny-grpo).

    ``eval_size``: how many held-out rows are used, from the start of the split; None for all.
    """

    name: ClassVar[str] = "arithmetic"
    instruct: ClassVar[bool] = True
    max_terms: int = 5
    max_digits: int = 5
    eval_size: int | None = 1000

    def __post_init__(self) -> None:
        for key, least, most in (("max_terms", 2, 6), ("max_digits", 1, 6)):
            if not least <= getattr(self, key) <= most:
                raise BadInput(f"{key} is {getattr(self, key)}; it must be {least} to {most}")
        if self.eval_size is not None and self.eval_size < 1:
            raise BadInput(f"eval_size is {self.eval_size}; it must be at least 1")

    @property
    def levels(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"terms{n}" for n in range(2, self.max_terms + 1))

    def train_rows(self, seed: int, n: int) -> list[Row]:
        pool = self._admitted(published()[:PUBLISHED_TRAIN_ROWS])
        order: list[int] = []
        while len(order) < n:  # one shuffle per pass through the data
            order += generator(seed, "arithmetic", "train", len(order) // len(pool)).permutation(len(pool)).tolist()
        return [as_row(pool[i]) for i in order[:n]]

    def eval_rows(self) -> list[Row]:
        seen = {without_blanks(p) for p in published()[:PUBLISHED_TRAIN_ROWS]}
        fresh = []
        for problem in self._admitted(published()[PUBLISHED_TRAIN_ROWS:]):
            bare = without_blanks(problem)
            if bare not in seen:
                seen.add(bare)
                fresh.append(as_row(problem))
        return fresh[: self.eval_size]

    def fingerprint(self) -> str:
        return hash_rows(self.name, self.eval_rows(), self.train_rows(0, 100))

    def _admitted(self, problems: list[Problem]) -> list[Problem]:
        return [p for p in problems if p.num_terms <= self.max_terms and p.num_digits <= self.max_digits]


@dataclass(frozen=True)
class Problem:
    """One published row; ``expression`` is the question without its template."""

    id: str
    question: str
    answer: str
    num_terms: int
    num_digits: int
    expression: str

    def json_line(self) -> str:
        """The row as the published file has it."""
        keys = ("id", "question", "answer", "num_terms", "num_digits")
        return json.dumps({key: getattr(self, key) for key in keys}) + "\n"


def as_row(problem: Problem) -> Row:
    return Row(id=problem.id, prompt=problem.question, answer=problem.answer, level=f"terms{problem.num_terms}")


def without_blanks(problem: Problem) -> str:
    return problem.expression.replace(" ", "")


@lru_cache(maxsize=1)
def published() -> list[Problem]:
    """The 100,000 published rows. Takes about two seconds, once per process."""
    return list(islice(problems(PUBLISHED_SEED), PUBLISHED_ROWS))


def problems(seed: int) -> Iterator[Problem]:
    """An endless stream of problems. The order of the random draws is part of the definition."""
    rng = random.Random(seed)
    accepted = 0
    while True:
        num_terms = rng.randint(2, 6)
        num_digits = rng.randint(1, 6)
        spaced: list[str] = []
        tokens = _tokens(rng, num_terms, 10**num_digits - 1)
        for token in tokens:
            while rng.random() < 0.15:
                spaced.append(" ")
            spaced.append(token)
        value = evaluate(tokens)
        if not LEAST <= abs(value) <= MOST:
            continue
        expression = " ".join(spaced)
        question = rng.choice(TEMPLATES).format(expression)
        yield Problem(str(accepted), question, str(value), num_terms, num_digits, expression)
        accepted += 1


def _tokens(rng: random.Random, remaining: int, largest: int) -> list[str]:
    """Numbers, operators and brackets of an expression with ``remaining`` numbers, by recursive splitting."""
    left = rng.randint(1, remaining)
    rest = remaining - left
    tokens: list[str] = []
    if left > 1 and rng.random() > 0.5:
        tokens.append("-(" if rng.random() > 0.5 else "(")
        tokens += _tokens(rng, left, largest)
        tokens.append(")")
    else:
        for i in range(left):
            tokens.append(str(rng.randint(-largest, largest)))
            if i < left - 1:
                tokens.append(rng.choice("+-*"))
    if rest > 0:
        tokens.append(rng.choice("+-*"))
        tokens += _tokens(rng, rest, largest)
    return tokens


def evaluate(tokens: list[str]) -> int:
    """The value of an expression: products before sums, brackets first. No `eval`."""
    totals, products, signs = [0], [1], [1]  # one entry per open bracket: finished terms, the term in work, its sign
    outer_sign: list[int] = []
    for token in tokens:
        if token in ("(", "-("):
            outer_sign.append(-1 if token == "-(" else 1)
            totals.append(0)
            products.append(1)
            signs.append(1)
        elif token == ")":
            inside = totals.pop() + signs.pop() * products.pop()
            products[-1] *= outer_sign.pop() * inside
        elif token in ("+", "-"):
            totals[-1] += signs[-1] * products[-1]
            products[-1], signs[-1] = 1, 1 if token == "+" else -1
        elif token != "*":
            products[-1] *= int(token)
    return totals[0] + signs[0] * products[0]
