"""One task of one checkpoint: what is asked, what has been answered, and what stays on disk.

A batch is taken from the journal whole or generated whole, and rows are written in the order of questions and samples:
an evaluation that was interrupted, or shared among processes, leaves the same records as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.checkpoints import Checkpoint
from eval.facts import facts_of, key_of
from eval.settings import token_limit
from eval.spec import FORMAT, EvalSpec
from eval.store import Row, Store
from eval.summary import summarize
from krpo.streams import derive_seed

if TYPE_CHECKING:
    from eval.backends import Answer, Asked, Prompt, Reply
    from eval.tasks.task import EvalTask, Question, Scored

Summary = dict[str, Any]


class Job:
    """Open it, ask what `open` returns, hand in the replies batch by batch, and close it when it is complete."""

    def __init__(self, checkpoint: Checkpoint, task: EvalTask, spec: EvalSpec, backend_name: str, out: Path) -> None:
        self.checkpoint, self.task, self.spec = checkpoint, task, spec
        self.samples = spec.samples if task.generates else 1
        self.facts = facts_of(task, checkpoint, spec, backend_name)
        self.store = Store(out, task.name, key_of(self.facts))
        self.wanted = [(q, k) for q in task.questions for k in range(self.samples)]
        self.rows: dict[tuple[str, int], Row] = {}
        self.started = 0.0

    def finished(self) -> Summary | None:
        """The summary, if this very evaluation was finished before."""
        return self.store.finished()

    def open(self) -> list[Asked]:
        """Take up what an interrupted evaluation has left. Returns what is asked, one item per question and sample."""
        self.started = time.time()
        self.rows = {(row["question_id"], row["sample"]): row for row in self.store.resume()}
        if not self.task.generates:
            return [q.requests for q in self.task.questions]
        return [self._prompt(q, k) for q, k in self.wanted]

    def missing(self, batches: Sequence[list[int]]) -> list[list[int]]:
        """The batches of which something has not been answered yet."""
        return [batch for batch in batches if any(self._place(i) not in self.rows for i in batch)]

    def take(self, batch: Sequence[int], replies: Sequence[Reply]) -> None:
        """Score the replies to a batch and put them on the disk."""
        if not batch:
            return
        from eval.backends import Answer

        given = [[reply.text] if isinstance(reply, Answer) else reply for reply in replies]
        scored = self.task.score([self.wanted[i][0] for i in batch], given)
        fresh = [self._row(i, reply, s) for i, reply, s in zip(batch, replies, scored, strict=True)]
        self.store.append(fresh)
        self.rows |= {(row["question_id"], row["sample"]): row for row in fresh}

    @property
    def complete(self) -> bool:
        return len(self.rows) == len(self.wanted)

    def score(self) -> float | None:
        """The primary metric over the answers so far; None where it is no plain mean."""
        values = [row["verdicts"][self.task.primary] for row in self.rows.values()]
        plain = [v for v in values if isinstance(v, (int, float))]
        return sum(plain) / len(plain) if plain else None

    def close(self) -> Summary:
        """Write the rows and the summary."""
        task, rows = self.task, [self.rows[q.id, k] for q, k in self.wanted]
        means = {name for name, function in task.aggregations.items() if function.__name__ == "mean"}
        others = {
            task.metric_name(m, f): task.aggregations[m]
            for f in task.filters
            for m in task.aggregations
            if m not in means
        }
        names = task.metric_names()
        wall = {
            "seconds": round(time.time() - self.started, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        summary = {
            "format": FORMAT,
            "key": self.store.key,
            "task": task.name,
            "primary": task.primary,
            **summarize(rows, metrics=names, primary=task.primary, samples=self.samples, aggregations=others),
            **{name: self.facts[name] for name in ("settings", "task_config", "data", "weights", "versions")},
            "wall": wall,
        }
        return self.store.finish(rows, summary)

    def _place(self, i: int) -> tuple[str, int]:
        question, sample = self.wanted[i]
        return question.id, sample

    def _prompt(self, question: Question, sample: int) -> Prompt:
        from eval.backends import Prompt

        spec, settings = self.spec, self.task.generation()
        until = settings.get("until") or []
        seeded = spec.temperature > 0
        return Prompt(
            text=question.prompt,
            until=(until,) if isinstance(until, str) else tuple(until),
            max_tokens=token_limit(spec.max_tokens, settings),
            temperature=spec.temperature,
            seed=derive_seed(spec.seed, "eval", self.task.name, question.id, sample) if seeded else None,
        )

    def _row(self, i: int, reply: Reply, scored: Scored) -> Row:
        from eval.backends import Answer

        question, sample = self.wanted[i]
        verdicts = {m: int(v) if isinstance(v, float) and v.is_integer() else v for m, v in scored.verdicts.items()}
        answer: Answer | None = reply if isinstance(reply, Answer) else None
        return {
            "question_id": question.id,
            "sample": sample,
            "level": question.level,
            "prompt_sha256": hashlib.sha256(question.prompt.encode()).hexdigest(),
            "prompt_cut": answer.prompt_cut if answer else False,
            "answer_text": answer.text if answer else None,
            "extracted": scored.extracted,
            "gold": question.gold,
            "verdicts": verdicts,
            "timed_out": scored.timed_out,
            "tokens": answer.tokens if answer else None,
            "finish": answer.finish if answer else None,
            "seed": self._prompt(question, sample).seed if answer else None,
        }
