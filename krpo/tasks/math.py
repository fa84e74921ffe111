"""MATH: competition problems with answers in LaTeX (Hendrycks et al. 2021, arXiv 2103.03874), evaluated on MATH-500.

A row of the data: problem `Convert the point $(0,3)$ in rectangular coordinates to polar coordinates. ...`, solution
`... \\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}`, level 1 to 5. The gold answer is the column `answer` where there is
one, else the content of the solution's last `\\boxed{}`. MATH-500 is the test split of Lightman et al. 2023 (arXiv
2305.20050); training rows that are in it are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from krpo.answers import boxed_answer
from krpo.errors import BadInput
from krpo.tasks.base import Row
from krpo.tasks.registry import register_task
from krpo.tasks.word_problems import WordProblems, load_from_hub

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)


@register_task("math")
@dataclass(frozen=True)
class Math(WordProblems):
    """``data_dir``: a folder with `math_train.jsonl` and `math500_test.jsonl`; None takes them from the hub."""

    name: ClassVar[str] = "math"
    levels: ClassVar[tuple[str, ...]] = tuple(f"level{n}" for n in range(1, 6))  # type: ignore[misc]
    files: ClassVar[dict[str, str]] = {"train": "math_train.jsonl", "test": "math500_test.jsonl"}
    columns: ClassVar[dict[str, type]] = {"problem": str, "solution": str}
    data_dir: str | None = None

    def from_hub(self, split: str) -> Sequence[dict[str, Any]]:
        if split == "test":
            return load_from_hub(self.name, "HuggingFaceH4/MATH-500", split="test")
        return [
            row
            for subject in SUBJECTS
            for part in ("train", "test")
            for row in load_from_hub(self.name, "EleutherAI/hendrycks_math", subject, split=part)
        ]

    def split(self, split: str) -> tuple[Row, ...]:
        rows = super().split(split)
        if split == "test":
            return rows
        held_out = {row.prompt for row in super().split("test")}
        return tuple(row for row in rows if row.prompt not in held_out)

    def as_row(self, split: str, index: int, raw: dict[str, Any]) -> Row:
        gold = raw.get("answer") or boxed_answer(raw["solution"])
        if not gold:
            raise BadInput(f"task math, {split} row {index + 1}: no answer, and no \\boxed{{}} in the solution")
        digits = "".join(c for c in str(raw.get("level", "")) if c.isdigit())
        return Row(f"{split}/{index}", raw["problem"], gold, f"level{digits or '?'}")
