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

from krpo.config import Named, set_dotted, to_plain
from krpo.errors import BadInput

FORMAT = 1
"""Raised by a developer when the same specification would give other numbers than before."""


def option(default: Any, text: str) -> Any:
    """A field with its default and the text that `--help` shows for it."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class RunSpec:
    """One training run. Each field's text is its `--help`."""

    policy: str = option("tiny", "the model: `tiny` (built in), a Hugging Face name, or a local folder")
    task: Named = option(Named("sums"), "questions and their verifier: sums, arithmetic, gsm8k, math, reasoning_gym")
    estimator: Named = option(Named("krpo"), "advantage estimator; its parameters by --set estimator.NAME=VALUE")
    noise: Named = option(Named("none"), "noise on the training reward, never on evaluation: none, gaussian, flip, ...")
    seed: int = option(0, "the one seed; data order, rollouts and noise are derived from it")
    steps: int = option(100, "rollout batches")
    prompts_per_step: int = option(8, "P: prompts in a rollout batch")
    group_size: int = option(12, "G: answers sampled per prompt")
    minibatches: int = option(1, "optimizer steps per rollout batch; 1 is exactly on-policy")
    reward: Literal["accuracy", "shaped"] = option(
        "accuracy", "accuracy: 1 or 0; shaped: 1 / 0.5 / 0.01 / 0 as published"
    )
    learning_rate: float = option(1e-4, "Adam's learning rate")
    lr_schedule: Literal["constant", "linear", "cosine"] = option("constant", "constant, linear or cosine")
    warmup_steps: int = option(0, "optimizer steps of linear warm-up")
    kl_weight: float = option(0.0, "weight of the KL penalty against the initial policy (TRL's beta)")
    clip: float = option(0.2, "clip range of the probability ratio")
    max_grad_norm: float = option(1.0, "gradient clipping by norm; 0 switches it off")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = option(
        "grpo", "how token losses are averaged (TRL's loss_type)"
    )
    temperature: float = option(1.0, "sampling temperature of the rollouts; sampling is never truncated in training")
    max_completion_length: int = option(64, "tokens an answer may have")
    mask_truncated: bool = option(False, "leave answers that ran out of tokens out of the loss")
    rollout: Literal["generate", "vllm", "vllm_server"] = option(
        "generate", "who samples: transformers, vLLM in this process, or a vLLM server (TRL's `trl vllm-serve`)"
    )
    dtype: Literal["float32", "bfloat16"] = option("float32", "of the policy's weights and of the updates")
    gradient_checkpointing: bool = option(False, "trade time for memory in the update")
    lora_rank: int = option(0, "train a LoRA adapter of this rank on all linear layers; 0 trains all weights")

    def __post_init__(self) -> None:
        at_least = {
            "steps": 1,
            "prompts_per_step": 1,
            "group_size": 2,
            "minibatches": 1,
            "max_completion_length": 1,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                why = " (an advantage compares an answer with the others of its group)" if name == "group_size" else ""
                raise BadInput(f"{name} is {getattr(self, name)}; it must be at least {least}{why}")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be above 0")
        for name in ("kl_weight", "clip", "max_grad_norm", "warmup_steps", "seed", "lora_rank"):
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
    """The run's key: a hash of the specification, of the base weights and of the data. 16 hexadecimal digits.

    Settings at their defaults are left out, so that a new setting does not give old runs other keys; whoever changes a
    default raises `FORMAT` (a test holds them to it).
    """
    changed = {name: to_plain(value) for name in field_names() if (value := getattr(spec, name)) != _DEFAULTS[name]}
    if isinstance(task := changed.get("task"), dict):  # where data lies changes nothing; ``data`` says what it is
        changed["task"] = {name: value for name, value in task.items() if name != "data_dir"}
    content = {"format": FORMAT, "spec": canonical(changed), "base_weights": base_weights, "data": data}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def canonical(value: Any) -> Any:
    """Numbers that are equal hash equally: 1 and 1.0 are both 1.0; true stays true."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**1000 else value
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items()}
    if isinstance(value, list):
        return [canonical(v) for v in value]
    return value


def set_option(data: dict[str, Any], assignment: str) -> None:
    """Apply one `--set key=value` to a run's options, in place; `estimator.x=1` refers to the default estimator."""
    key, dot, _ = assignment.partition("=")[0].partition(".")
    default = getattr(RunSpec(), key, None)
    if dot and key not in data and isinstance(default, Named):
        data[key] = default.to_plain()
    set_dotted(data, assignment)


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(RunSpec)}


def field_names() -> tuple[str, ...]:
    return tuple(_DEFAULTS)
