"""What a task is: questions with gold answers, split into training and held-out, and a verifier."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from krpo import answers
from krpo.answers import Verdict


@dataclass(frozen=True)
class Row:
    """One question."""

    id: str  # unique within the task
    prompt: str  # what the policy is given, as text
    answer: str  # the gold answer
    level: str  # one of the task's levels


class Task(ABC):
    """A source of questions. Nothing here needs torch."""

    name: ClassVar[str]
    levels: tuple[str, ...]
    instruct: ClassVar[bool] = False
    """Whether `Row.prompt` is a bare question that wants the system prompt of `krpo.prompts`."""

    @abstractmethod
    def train_rows(self, seed: int, n: int) -> list[Row]:
        """``n`` training rows in the order of the stream ``seed``; a shorter request gives the beginning of a
        longer one.
        """

    @abstractmethod
    def eval_rows(self) -> list[Row]:
        """The held-out split: always the same rows, none of whose questions occurs in training at any seed."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of what defines the data: it changes when the questions or gold answers change."""

    def verify(self, text: str, row: Row) -> Verdict:
        """The verdict on one answer."""
        return answers.verify(text, row.answer)

    def verify_all(self, texts: Sequence[str], rows: Sequence[Row]) -> list[Verdict]:
        """The verdicts on a whole batch."""
        return [self.verify(text, row) for text, row in zip(texts, rows, strict=True)]


def hash_rows(name: str, *parts: Iterable[Row]) -> str:
    """16 hexadecimal digits that stand for these rows."""
    content = [name, *([asdict(row) for row in rows] for rows in parts)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
