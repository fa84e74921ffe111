"""A task's verifier as reward functions for TRL.

Each answer is verified once; `accuracy` (1 or 0) and `shaped` (the published 1 / 0.5 / 0.01 / 0) read the same
verdicts, both are logged, and `reward_weights` says which of them trains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from krpo.answers import Verdict, shaped_reward
from krpo.prompts import training_prompt
from krpo.tasks import Row, Task


class TaskReward:
    """The reward functions of one task.

    The training set must have the columns that `dataset_rows` makes.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._verdicts: list[Verdict] = []

    def functions(self) -> list[Callable[..., list[float]]]:
        """In the order in which TRL calls them: `accuracy` verifies, `shaped` reads."""
        return [self.accuracy, self.shaped]

    @staticmethod
    def weights(reward: str) -> list[float]:
        """TRL's `reward_weights` for `RunSpec.reward`."""
        return [1.0, 0.0] if reward == "accuracy" else [0.0, 1.0]

    def accuracy(
        self,
        completions: list[Any],
        question: list[str],
        question_id: list[str],
        answer: list[str],
        level: list[str],
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float]:
        """1.0 where the extracted answer equals the gold answer, else 0.0. One value per completion."""
        rows = [
            Row(id=i, prompt=p, answer=a, level=v)
            for i, p, a, v in zip(question_id, question, answer, level, strict=True)
        ]
        self._verdicts = self.task.verify_all([_text(c) for c in completions], rows)
        correct = [float(v.correct) for v in self._verdicts]
        if log_extra is not None:
            log_extra("correct", correct)
            log_extra("partial_credit", [float(v.partial_credit) for v in self._verdicts])
        if log_metric is not None:
            log_metric("formatted", sum(v.formatted for v in self._verdicts) / len(correct))
            log_metric("verifier_timeouts", float(sum(v.timed_out for v in self._verdicts)))
            by_level: dict[str, list[float]] = defaultdict(list)
            for name, value in zip(level, correct, strict=True):
                by_level[name].append(value)
            for name, values in sorted(by_level.items()):
                log_metric(f"accuracy/{name}", sum(values) / len(values))
        return correct

    def shaped(self, completions: list[Any], answer: list[str], **_: Any) -> list[float]:
        """The published shaping: 1.0 correct; 0.5 gold inside the answer; 0.01 an answer tag; 0.0 none."""
        judged = zip(self._verdicts, completions, answer, strict=True)
        return [shaped_reward(verdict, _text(completion), gold) for verdict, completion, gold in judged]


def dataset_rows(rows: list[Row], *, instruct: bool = False, chat: bool = False) -> list[dict[str, Any]]:
    """Rows of a task as rows of the training set; `instruct` and `chat` as in `krpo.prompts.training_prompt`."""
    return [
        {
            "prompt": training_prompt(row.prompt, instruct=instruct, chat=chat),
            "question": row.prompt,
            "question_id": row.id,
            "answer": row.answer,
            "level": row.level,
        }
        for row in rows
    ]


def _text(completion: Any) -> str:
    """A completion's text; TRL gives the completion of a conversation as its messages."""
    return completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
