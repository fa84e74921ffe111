"""`RunSpec`: everything that decides a training run's numbers, and the key that names the run.

It is read from YAML (`krpo-train --config`, a grid's `base`), frozen, and hashed. Names, paths, worker counts and
logging are not part of it. This module needs no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from krpo.config import Named, to_plain
from krpo.errors import BadInput

FORMAT = 1
"""Raised by a developer when the same specification would give other numbers than before."""


@dataclass(frozen=True)
class RunSpec:
    """One training run.

    A field's comment is its `--help`.
    """

    policy: str = "tiny"  # the model: `tiny` (built in), a Hugging Face name, or a local folder
    task: Named = field(default_factory=lambda: Named("sums"))  # questions and their verifier: sums, arithmetic, ...
    estimator: Named = field(default_factory=lambda: Named("krpo"))  # advantage estimator, with its parameters
    noise: Named = field(default_factory=lambda: Named("none"))  # noise on the training reward, never on evaluation
    seed: int = 0  # the one seed; data order, rollouts and noise are derived from it
    steps: int = 100  # optimizer steps
    prompts_per_step: int = 8  # P: prompts in a rollout batch
    group_size: int = 12  # G: answers sampled per prompt
    minibatches: int = 1  # optimizer steps per rollout batch (1: exactly on-policy)
    reward: Literal["accuracy", "shaped"] = "accuracy"  # accuracy: 1 or 0; shaped: 1 / 0.5 / 0.01 / 0 as published
    learning_rate: float = 1e-4  # Adam's
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # learning-rate schedule
    warmup_steps: int = 0  # linear warm-up
    kl_weight: float = 0.0  # weight of the KL penalty against the initial policy (TRL's beta)
    clip: float = 0.2  # clip range of the probability ratio
    max_grad_norm: float = 1.0  # gradient clipping; 0 switches it off
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "grpo"  # how token losses are averaged (TRL's loss_type)
    temperature: float = 1.0  # of the rollouts; sampling is never truncated in training
    max_completion_length: int = 64  # tokens an answer may have

    def __post_init__(self) -> None:
        at_least = {"steps": 1, "prompts_per_step": 1, "group_size": 2, "minibatches": 1, "max_completion_length": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                why = " (an advantage compares an answer with the others of its group)" if name == "group_size" else ""
                raise BadInput(f"{name} is {getattr(self, name)}; it must be at least {least}{why}")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("kl_weight", "clip", "max_grad_norm", "warmup_steps", "seed"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} is {getattr(self, name)}; it must not be negative")
        if (self.prompts_per_step * self.group_size) % self.minibatches:
            raise BadInput(
                f"minibatches is {self.minibatches}; it must divide prompts_per_step x group_size = "
                f"{self.prompts_per_step} x {self.group_size}"
            )

    def to_plain(self) -> dict[str, Any]:
        return to_plain(self)

    def label(self) -> str:
        """How a log line calls the run: `krpo, flip(rate=0.2), seed 3`."""
        return f"{self.estimator.label}, {self.noise.label}, seed {self.seed}"


def run_key(spec: RunSpec, *, base_weights: str = "", data: str = "") -> str:
    """The run's key: a hash of the specification, of the base weights and of the data. 16 hexadecimal digits."""
    content = {"format": FORMAT, "spec": canonical(spec.to_plain()), "base_weights": base_weights, "data": data}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def canonical(value: Any) -> Any:
    """Numbers that are equal hash equally: 1 and 1.0 are both 1.0; true stays true."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items()}
    if isinstance(value, list):
        return [canonical(v) for v in value]
    return value


def field_names() -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(RunSpec))
