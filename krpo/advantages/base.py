"""What an advantage estimator is, and how one is put together from a baseline and a scale.

Shapes: P prompts, G answers per prompt in generation order. An answer that could not be scored has ``mask_PG``
False: its advantage is 0 and it does not move the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from krpo.errors import BadInput, nearest

EXTRAS = (
    "lengths_PG",
    "prompt_ids_P",
    "partial_credit_PG",
    "correct_PG",
    "greedy_rewards_P",
    "seed",
    "step",
)
"""What an estimator may ask for beside the rewards and the mask."""


@dataclass(frozen=True)
class Batch:
    """One batch of checked rewards.

    Attributes:
        rewards_PG: floating point, finite where ``mask_PG`` is True and NaN where it is False.
        mask_PG: bool, True where the answer could be scored.
        complete: whether ``mask_PG`` is True everywhere.
        extras: what was passed beside them, by name (see `EXTRAS`).
    """

    rewards_PG: torch.Tensor
    mask_PG: torch.Tensor
    complete: bool
    extras: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rewards_PG.shape[0], self.rewards_PG.shape[1]

    @property
    def filled_PG(self) -> torch.Tensor:
        """The rewards with 0 in place of what could not be scored."""
        return self.rewards_PG if self.complete else self.rewards_PG.nan_to_num(nan=0.0)

    @property
    def counts_P(self) -> torch.Tensor:
        """How many answers of each prompt could be scored."""
        return self.mask_PG.sum(dim=1)

    def column_PG(self, name: str) -> torch.Tensor:
        """An extra of shape [P, G] in the rewards' dtype. Raises `BadInput` where it has another shape or is
        not finite.
        """
        column_PG = torch.as_tensor(self.extras[name], dtype=self.rewards_PG.dtype, device=self.rewards_PG.device)
        if column_PG.shape != self.rewards_PG.shape:
            raise BadInput(f"{name} has shape {list(column_PG.shape)}; the rewards have {list(self.rewards_PG.shape)}")
        if not bool((column_PG.isfinite() | ~self.mask_PG).all()):
            raise BadInput(f"{name} holds NaN or infinity for an answer that could be scored")
        return column_PG

    def column_P(self, name: str) -> torch.Tensor:
        """An extra of shape [P] in the rewards' dtype. Raises `BadInput` where it has another shape or is not
        finite.
        """
        column_P = torch.as_tensor(self.extras[name], dtype=self.rewards_PG.dtype, device=self.rewards_PG.device)
        if column_P.shape != self.rewards_PG.shape[:1]:
            raise BadInput(f"{name} has shape {list(column_P.shape)}; there are {self.shape[0]} prompts")
        if not bool(column_P.isfinite().all()):
            raise BadInput(f"{name} holds NaN or infinity")
        return column_P

    def prompt_ids_P(self) -> list[str]:
        """The prompts' identities. Raises `BadInput` where their number is not P."""
        ids_P = [str(prompt_id) for prompt_id in self.extras["prompt_ids_P"]]
        if len(ids_P) != self.shape[0]:
            raise BadInput(f"prompt_ids_P has {len(ids_P)} names; there are {self.shape[0]} prompts")
        return ids_P


def check_batch(
    rewards_PG: torch.Tensor, mask_PG: torch.Tensor | None = None, extras: Mapping[str, Any] | None = None
) -> Batch:
    """A `Batch` of what an estimator was called with.

    Raises `BadInput` for anything but a floating-point tensor [P, G] with P >= 1 and G >= 2, for a mask of
    another shape, and for a reward that is NaN or infinite while its mask is True.
    """
    if not isinstance(rewards_PG, torch.Tensor) or not rewards_PG.is_floating_point():
        kind = rewards_PG.dtype if isinstance(rewards_PG, torch.Tensor) else type(rewards_PG).__name__
        raise BadInput(f"rewards must be a floating-point tensor [prompts, answers], found {kind}")
    if rewards_PG.dim() != 2 or rewards_PG.shape[0] < 1:
        raise BadInput(f"rewards must have shape [prompts, answers] and hold something, found {list(rewards_PG.shape)}")
    if rewards_PG.shape[1] < 2:
        raise BadInput(
            f"a group has {rewards_PG.shape[1]} answer(s); an advantage compares an answer with the others of "
            "its group, so there must be at least 2"
        )
    if mask_PG is None:
        mask_PG = torch.ones((), dtype=torch.bool, device=rewards_PG.device).expand(rewards_PG.shape)
        complete = True
    else:
        if mask_PG.dtype != torch.bool or mask_PG.shape != rewards_PG.shape:
            raise BadInput(
                f"the mask must be bool of shape {list(rewards_PG.shape)}, found {mask_PG.dtype} {list(mask_PG.shape)}"
            )
        complete = bool(mask_PG.all())
    # a finite sum has finite terms, and costs a tenth of looking at each
    bad_PG = None if complete and math.isfinite(rewards_PG.sum().item()) else ~rewards_PG.isfinite() & mask_PG
    if bad_PG is not None and bool(bad_PG.any()):
        first = bad_PG.nonzero()[0].tolist()
        raise BadInput(
            f"the reward of prompt {first[0]}, answer {first[1]} is {rewards_PG[first[0], first[1]].item()}; "
            "pass mask_PG=False for an answer that could not be scored"
        )
    if not complete:
        rewards_PG = rewards_PG.masked_fill(~mask_PG, torch.nan)
    return Batch(rewards_PG, mask_PG, complete, extras or {})


class Part:
    """A baseline or a scale. Its dataclass fields are its parameters; it may keep a state across steps."""

    extras: ClassVar[tuple[str, ...]] = ()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        refuse_state(state, type(self).__name__)


class Baseline(Part):
    """Batch -> what is subtracted from the rewards, broadcastable to [P, G]."""

    def __call__(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError


class Scale(Part):
    """Centred rewards [P, G] (NaN where masked) and their batch -> advantages [P, G]."""

    def __call__(self, centred_PG: torch.Tensor, batch: Batch) -> torch.Tensor:
        raise NotImplementedError


class AdvantageEstimator:
    """Rewards of P prompts with G answers each -> advantages of the same shape, dtype and device.

    Subclasses write `compute`; what it returns for masked answers does not matter. `extras` names what
    `compute` reads from ``batch.extras``; a caller must pass it.
    """

    name: str = ""
    extras: tuple[str, ...] = ()

    def __call__(self, rewards_PG: torch.Tensor, *, mask_PG: torch.Tensor | None = None, **extras: Any) -> torch.Tensor:
        """Advantages [P, G]; 0 where ``mask_PG`` is False.

        Raises `BadInput` for rewards that `check_batch` refuses, for a missing extra and for one of an
        unknown name.
        """
        for key in extras:
            if key not in EXTRAS:
                raise BadInput(f"unknown extra '{key}'; {nearest(key, EXTRAS)}")
        for key in self.extras:
            if extras.get(key) is None:
                raise BadInput(f"estimator '{self.name or type(self).__name__}' needs {key}, and it was not passed")
        batch = check_batch(rewards_PG, mask_PG, extras)
        advantages_PG = self.compute(batch)
        return advantages_PG if batch.complete else advantages_PG.masked_fill(~batch.mask_PG, 0.0)

    def compute(self, batch: Batch) -> torch.Tensor:
        raise NotImplementedError

    def diagnostics(self, rewards_PG: torch.Tensor, *, mask_PG: torch.Tensor | None = None) -> dict[str, float]:
        """What the estimator can say of itself on a batch, for the training log; a filter gives its gain and
        innovation. Changes no state.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What must be saved with a checkpoint, as JSON can hold it; empty for a stateless estimator."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        refuse_state(state, self.name or type(self).__name__)


class Composed(AdvantageEstimator):
    """(reward - baseline), scaled: the advantage as two parts that can be exchanged one at a time."""

    def __init__(self, baseline: Baseline, scale: Scale) -> None:
        self.baseline = baseline
        self.scale = scale
        self.extras = tuple(dict.fromkeys((*baseline.extras, *scale.extras)))

    def compute(self, batch: Batch) -> torch.Tensor:
        return self.scale(batch.rewards_PG - self.baseline(batch), batch)

    def state_dict(self) -> dict[str, Any]:
        parts = {"baseline": self.baseline.state_dict(), "scale": self.scale.state_dict()}
        return {key: state for key, state in parts.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        refuse_state({k: v for k, v in state.items() if k not in ("baseline", "scale")}, self.name)
        self.baseline.load_state_dict(state.get("baseline", {}))
        self.scale.load_state_dict(state.get("scale", {}))


def refuse_state(state: Mapping[str, Any], owner: str) -> None:
    """Raise `BadInput` where a state is loaded into something that has none."""
    if state:
        raise BadInput(f"{owner or 'the estimator'} keeps no state called {', '.join(map(repr, state))}")


def require(condition: bool, message: str) -> None:
    """Raise `BadInput(message)` unless the condition holds: the ranges of parameters."""
    if not condition:
        raise BadInput(message)
