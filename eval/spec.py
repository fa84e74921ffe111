"""`EvalSpec`: everything a user decides about an evaluation. It needs no torch and no lm-eval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from krpo.config import to_plain
from krpo.errors import BadInput

FORMAT = 1
"""Raised by a developer when the same specification would give other records than before."""


@dataclass(frozen=True)
class EvalSpec:
    """One evaluation, to be applied to any number of checkpoints.

    A field's comment is its `--help`.
    """

    tasks: tuple[str, ...]  # sums, arithmetic, gsm8k, ... or any lm-eval task
    limit: int | None = None  # only the first N questions of each task
    samples: int = 1  # K: answers per question
    temperature: float = 0.0  # 0: greedy
    backend: Literal["auto", "hf", "vllm"] = "auto"  # auto: vLLM where there is a GPU and vLLM is installed, else hf
    data_dir: str | None = None  # folder with local data files, such as gsm8k_test.jsonl; else the hub
    max_tokens: int | None = None  # tokens an answer may have; else as the task says
    batch_size: int = 256  # most answers generated at once; it does not change a float32 result
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: float32 on a CPU, bfloat16 on a GPU
    tensor_parallel: int = 1  # devices that hold one model together, with vllm
    seed: int = 0  # the one seed; every sample's own is derived from it
    chat_template: bool = False  # render prompts with the tokenizer's chat template

    def __post_init__(self) -> None:
        if not self.tasks:
            raise BadInput("tasks is empty; name at least one, as in --tasks sums,gsm8k")
        if len(set(self.tasks)) < len(self.tasks):
            twice = next(t for t in self.tasks if self.tasks.count(t) > 1)
            raise BadInput(f"tasks names '{twice}' twice")
        bounds = {"limit": 1, "samples": 1, "max_tokens": 1, "batch_size": 1, "tensor_parallel": 1, "seed": 0}
        for name, least in bounds.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"{name} is {value}; it must be at least {least}")
        if not 0 <= self.temperature < float("inf"):
            raise BadInput(f"temperature is {self.temperature}; it must be 0 (greedy) or above")
        if self.samples > 1 and self.temperature == 0:
            raise BadInput(
                f"samples is {self.samples} at temperature 0: greedy decoding gives the same answer every time; "
                "use --samples 1, or a temperature above 0 such as --temperature 1"
            )

    def to_plain(self) -> dict[str, Any]:
        return to_plain(self)
