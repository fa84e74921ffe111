"""GSM8K: grade-school word problems (Cobbe et al. 2021, arXiv 2110.14168; github.com/openai/grade-school-math, MIT).

A row of the data: question `Natalia sold clips to 48 of her friends in April, and then ...`, answer
`Natalia sold 48/2 = <<48/2=24>>24 clips in May. ... #### 72`. The gold answer is what stands behind `####`, commas
removed. 7,473 training questions, 1,319 test questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from krpo.errors import BadInput
from krpo.tasks.base import Row
from krpo.tasks.registry import register_task
from krpo.tasks.word_problems import WordProblems, load_from_hub


@register_task("gsm8k")
@dataclass(frozen=True)
class GSM8K(WordProblems):
    """``data_dir``: a folder with `gsm8k_train.jsonl` and `gsm8k_test.jsonl`; None takes them from the hub."""

    name: ClassVar[str] = "gsm8k"
    levels: ClassVar[tuple[str, ...]] = ("all",)  # type: ignore[misc]
    files: ClassVar[dict[str, str]] = {"train": "gsm8k_train.jsonl", "test": "gsm8k_test.jsonl"}
    columns: ClassVar[dict[str, type]] = {"question": str, "answer": str}
    data_dir: str | None = None

    def from_hub(self, split: str) -> Sequence[dict[str, Any]]:
        return load_from_hub(self.name, "openai/gsm8k", "main", split=split)

    def as_row(self, split: str, index: int, raw: dict[str, Any]) -> Row:
        _, marker, gold = raw["answer"].rpartition("####")
        if not marker:
            raise BadInput(f"task gsm8k, {split} row {index + 1}: the answer has no '####' before its result")
        return Row(f"{split}/{index}", raw["question"], gold.strip().replace(",", ""), "all")
