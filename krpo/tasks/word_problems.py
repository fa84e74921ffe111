"""Word problems from data sets: local files, or the hub where no folder is given.

The pool of training questions is shuffled anew for every pass, by the run's own stream. Answers are compared by
`krpo.math_verifier`: by number or text where that decides, else by math-verify in processes that can be killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from krpo.answers import Verdict, tagged_answer
from krpo.datafiles import find_file, read_rows
from krpo.errors import BadInput
from krpo.math_verifier import MathVerifier
from krpo.streams import generator
from krpo.tasks.base import Row, Task


class WordProblems(Task):
    """Base of `gsm8k` and `math`. Subclasses say where rows come from and how one becomes a `Row`."""

    instruct: ClassVar[bool] = True
    files: ClassVar[dict[str, str]]  # split -> local file
    columns: ClassVar[dict[str, type]]
    data_dir: str | None

    @abstractmethod
    def from_hub(self, split: str) -> Sequence[dict[str, Any]]:
        """The rows of a split (`train` or `test`) from the hub."""

    @abstractmethod
    def as_row(self, split: str, index: int, raw: dict[str, Any]) -> Row: ...

    def split(self, split: str) -> tuple[Row, ...]:
        if self.data_dir is None:
            return _rows(self, split, None, None)
        file = find_file(Path(self.data_dir), self.files[split], f"task {self.name}")
        status = file.stat()
        return _rows(self, split, file, (status.st_size, status.st_mtime_ns))

    def train_rows(self, seed: int, n: int) -> list[Row]:
        pool = self.split("train")
        order: list[int] = []
        while len(order) < n:
            passes = len(order) // len(pool)
            order += generator(seed, self.name, "train", passes).permutation(len(pool)).tolist()
        return [pool[i] for i in order[:n]]

    def eval_rows(self) -> list[Row]:
        return list(self.split("test"))

    def fingerprint(self) -> str:
        content = [[row.prompt, row.answer] for split in ("train", "test") for row in self.split(split)]
        return hashlib.sha256(json.dumps([self.name, content]).encode()).hexdigest()[:16]

    def verify_all(self, texts: Sequence[str], rows: Sequence[Row]) -> list[Verdict]:
        matches = _verifier().check(texts, [row.answer for row in rows])
        return [
            Verdict(
                correct=match.equal,
                formatted=tagged_answer(text) is not None,
                extracted=match.extracted,
                partial_credit=float(match.equal),
                timed_out=match.timed_out,
            )
            for text, match in zip(texts, matches, strict=True)
        ]

    def verify(self, text: str, row: Row) -> Verdict:
        return self.verify_all([text], [row])[0]


@lru_cache(maxsize=8)
def _rows(task: WordProblems, split: str, file: Path | None, stamp: tuple[int, int] | None) -> tuple[Row, ...]:
    """A split's rows; remembered while its local file stays the same (``stamp``: size, time of modification)."""
    raw = task.from_hub(split) if file is None else read_rows(file, task.columns)
    return tuple(task.as_row(split, i, row) for i, row in enumerate(raw))


@lru_cache(maxsize=1)
def _verifier() -> MathVerifier:
    """One pool for the process, with as many workers as half of its cores."""
    return MathVerifier(workers=max(1, (os.cpu_count() or 2) // 2))


def load_from_hub(task: str, *where: str, split: str) -> Sequence[dict[str, Any]]:
    """A split of a data set from the hub. Raises `BadInput` that says what to do where there is no network."""
    from datasets import load_dataset

    try:
        found: Sequence[dict[str, Any]] = load_dataset(*where, split=split)
    except Exception as error:
        raise BadInput(
            f"task {task}: {'/'.join(where)} cannot be loaded from the hub ({type(error).__name__}); "
            "with local files, name their folder: --set task.data_dir=DIR"
        ) from None
    return found
