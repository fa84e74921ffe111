"""`ProbeSpec`: everything that decides a probe's numbers. This module needs no torch."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from krpo.config import Named, to_plain
from krpo.errors import BadInput
from krpo.spec import RunSpec, option, run_key

FORMAT = 1
"""Raised by a developer when the same specification would give other numbers than before."""

ESTIMATORS = ("grpo", "krpo", "krpo_unit_rms", "krpo_uniform", "krpo_permavg", "rloo", "dr_grpo", "grpo_batch_std")
ORACLE = "oracle"
"""The name of the control r - p_q in every file; it is always measured."""


@dataclass(frozen=True)
class ProbeSpec:
    """One probe. Each field's text is its `--help`."""

    policy: str = option("tiny", "the checkpoint: `tiny` (built in), a Hugging Face name, or a local folder")
    task: Named = option(Named("sums"), "questions and their verifier, as in krpo-train")
    estimators: tuple[Named, ...] = option(
        tuple(map(Named, ESTIMATORS)), "what is measured; all see the same answers, and the first is compared with"
    )
    group_sizes: tuple[int, ...] = option((2, 4, 8, 12, 16), "G: answers in a group")
    noise: tuple[Named, ...] = option((Named("none"),), "reward noise that the estimators see; each is measured")
    prompts: int = option(8, "P: the first P training questions; every batch answers all of them")
    batches: int = option(32, "rollout batches, each of P x (largest G) answers")
    reference: int = option(256, "answers per prompt, beside the batches, for pass rates and the reference gradient")
    orders: int = option(8, "orders of each group in which an order-dependent estimator is tried")
    visits: int = option(1, "how often a stateful estimator meets the prompts: visits - 1 times before it is measured")
    seed: int = option(0, "the one seed; questions, rollouts, noise and orders are derived from it")
    reward: Literal["accuracy", "shaped"] = option("accuracy", "as in krpo-train")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = option("grpo", "how token losses are averaged")
    temperature: float = option(1.0, "sampling temperature of the rollouts")
    max_completion_length: int = option(64, "tokens an answer may have")
    dtype: Literal["float32", "bfloat16"] = option("float32", "of the policy's weights and gradients")
    sketch: int = option(8192, "numbers in which the gradient of an answer is kept (a random projection)")

    def __post_init__(self) -> None:
        at_least = {
            "prompts": 1,
            "batches": 16,
            "reference": 16,
            "orders": 2,
            "visits": 1,
            "sketch": 64,
            "max_completion_length": 1,
            "seed": 0,
        }
        why = {"batches": " (a variance over fewer batches has no useful interval)"}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be at least {least}{why.get(name, '')}")
        if not self.temperature > 0:
            raise BadInput(f"temperature is {self.temperature}; it must be above 0")
        for name in ("estimators", "group_sizes", "noise"):
            values = getattr(self, name)
            if not values:
                raise BadInput(f"{name} is empty")
            labels = [getattr(value, "label", value) for value in values]
            if twice := [label for label in labels if labels.count(label) > 1]:
                raise BadInput(f"{name} holds {twice[0]} twice")
        if min(self.group_sizes) < 2:
            raise BadInput(
                f"group_sizes holds {min(self.group_sizes)}; a group has at least 2 answers (an advantage compares an "
                "answer with the others of its group)"
            )
        if any(named.name == ORACLE for named in self.estimators):
            raise BadInput(f"estimators holds '{ORACLE}', which is always measured")
        if (self.visits - 1) * max(self.group_sizes) > self.reference:
            raise BadInput(
                f"visits is {self.visits}: earlier visits are taken from the reference, which must hold at least "
                f"{(self.visits - 1) * max(self.group_sizes)} answers per prompt (reference is {self.reference})"
            )

    @property
    def answers(self) -> int:
        """Answers per prompt in a rollout batch."""
        return max(self.group_sizes)

    @property
    def reference_batches(self) -> int:
        return -(-self.reference // self.answers)

    def rollout_spec(self) -> RunSpec:
        """The training run whose rollouts are drawn."""
        return RunSpec(
            policy=self.policy,
            task=self.task,
            seed=self.seed,
            prompts_per_step=self.prompts,
            group_size=self.answers,
            reward=self.reward,
            temperature=self.temperature,
            max_completion_length=self.max_completion_length,
            dtype=self.dtype,
        )

    def rollout_key(self, base_weights: str, data: str) -> str:
        """What two probes must share for one to use the other's rollouts: not estimators, noise, or how many."""
        run = run_key(self.rollout_spec(), base_weights=base_weights, data=data)
        return _hash({"format": FORMAT, "run": run, "sketch": self.sketch})

    def key(self, base_weights: str, data: str) -> str:
        """A hash of everything that changes the numbers."""
        content = {**to_plain(self), "policy": base_weights}
        return _hash({"rollouts": self.rollout_key(base_weights, data), "spec": content})


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def parse_names(text: str, option: str) -> list[Any]:
    """`grpo,krpo(process_variance=1e-4)`: names with parameters, as tables write them. Raises `BadInput`."""
    import yaml

    found: list[Any] = []
    for item in re.split(r",(?![^(]*\))", text):
        match = re.fullmatch(r"\s*([^\s()]+)\s*(?:\((.*)\))?\s*", item)
        if match is None:
            raise BadInput(f"{option} {text}: '{item.strip()}' is no name; write grpo,krpo(process_variance=1e-4)")
        name, inside = match.groups()
        params: dict[str, Any] = {}
        for assignment in filter(None, (part.strip() for part in (inside or "").split(","))):
            key, equals, value = assignment.partition("=")
            if not equals:
                raise BadInput(f"{option} {text}: '{assignment}' is no parameter; write {name}(parameter=value)")
            params[key.strip()] = yaml.safe_load(value)
        found.append({"name": name, **params} if params else name)
    return found
