"""Any procedurally generated task of the reasoning-gym library (arXiv 2505.24760) by name; it needs no network.

    krpo-train --task reasoning_gym --set task.dataset=chain_sum --set task.options.max_terms=3

A row is regenerated from its id (`<dataset seed>/<index>`), and the library itself scores answers, in [0, 1]: an answer
is correct at 1, and the score is its partial credit. Needs the extra: pip install 'krpo[reasoning-gym]'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from krpo.answers import Verdict, extract_answer, tagged_answer
from krpo.errors import BadInput, nearest
from krpo.streams import derive_seed
from krpo.tasks.base import Row, Task
from krpo.tasks.registry import register_task

ENDLESS = 2**31 - 1
"""Size of a data set: its rows are made when asked for."""


@register_task("reasoning_gym")
@dataclass(frozen=True)
class ReasoningGym(Task):
    """``dataset``: its name in the library. ``options``: its configuration. ``eval_size``: held-out rows."""

    name: ClassVar[str] = "reasoning_gym"
    levels: ClassVar[tuple[str, ...]] = ("all",)  # type: ignore[misc]
    instruct: ClassVar[bool] = True
    dataset: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    eval_size: int = 200

    def __post_init__(self) -> None:
        self._rows(0)[0]  # whatever is wrong with the name or the options shows now

    def train_rows(self, seed: int, n: int) -> list[Row]:
        held_out = {row.prompt for row in self.eval_rows()}
        rows: list[Row] = []
        stream, index = _dataset_seed("train", seed), 0
        while len(rows) < n:
            row = self._row(stream, index)
            if row.prompt not in held_out:
                rows.append(row)
            index += 1
            if index > 100 * n + 1000:
                raise BadInput(f"task reasoning_gym: '{self.dataset}' has too few questions beside the held-out ones")
        return rows

    def eval_rows(self) -> list[Row]:
        stream = _dataset_seed("held-out", 0)
        return [self._row(stream, index) for index in range(self.eval_size)]

    def fingerprint(self) -> str:
        rows = [*self.eval_rows()[:50], *self.train_rows(0, 20)]
        content = [self.dataset, sorted(self.options.items()), [[row.prompt, row.answer] for row in rows]]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]

    def verify(self, text: str, row: Row) -> Verdict:
        stream, index = map(int, row.id.split("/"))
        answer = extract_answer(text)
        score = float(self._rows(stream).score_answer(answer, self._rows(stream)[index]))
        return Verdict(score >= 1.0, tagged_answer(text) is not None, answer, score)

    def _row(self, stream: int, index: int) -> Row:
        entry = self._rows(stream)[index]
        return Row(f"{stream}/{index}", entry["question"], str(entry["answer"]), "all")

    def _rows(self, stream: int) -> Any:
        return _data_set(self.dataset, json.dumps(dict(self.options), sort_keys=True), stream)


def _dataset_seed(purpose: str, seed: int) -> int:
    return derive_seed(seed, "reasoning_gym", purpose, bits=31)


@lru_cache(maxsize=16)
def _data_set(name: str, options: str, stream: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise BadInput("task reasoning_gym: the library is missing: pip install 'krpo[reasoning-gym]'") from None
    if name not in DATASETS:
        raise BadInput(f"task reasoning_gym: no data set '{name}'; {nearest(name, DATASETS)}")
    try:
        return reasoning_gym.create_dataset(name, seed=stream, size=ENDLESS, **json.loads(options))
    except (TypeError, AssertionError, ValueError) as error:
        raise BadInput(f"task reasoning_gym: options of '{name}': {error}") from None
