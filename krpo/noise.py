"""Models of reward noise: what the estimator sees instead of the reward. Never used in evaluation.

Every draw is a function of (run seed, step, prompt, occurrence of the prompt in the batch, place in the group), so
it depends neither on the estimator nor on which other prompts are in the batch, and a resumed run sees what it
would have seen. Each answer has one uniform number and all models are functions of it: at one seed a flip at rate
0.1 is also a flip at rate 0.2, and two Gaussian levels differ by a factor.

Youden's J of a binary reward is (true-positive rate) - (false-positive rate) of what is observed; a model that is
not about binary rewards has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from krpo.config import Named
from krpo.errors import BadInput
from krpo.registry import Registry
from krpo.streams import prompt_generators


class RewardNoise:
    """Rewards [P, G] -> observed rewards of the same shape, dtype and device; NaN (unscored) stays NaN."""

    @property
    def youden_j(self) -> float | None:
        """True-positive rate minus false-positive rate on binary rewards; None where the model has none."""
        return None

    def __call__(self, rewards_PG: torch.Tensor, *, seed: int, step: int, prompt_ids_P: Sequence[str]) -> torch.Tensor:
        """The observed rewards. Raises `BadInput` where the shapes do not belong together."""
        if rewards_PG.dim() != 2 or len(prompt_ids_P) != rewards_PG.shape[0]:
            raise BadInput(
                f"noise: {len(prompt_ids_P)} prompts for rewards of shape {list(rewards_PG.shape)}; "
                "expected [prompts, answers]"
            )
        rewards = rewards_PG.detach().to("cpu", torch.float64).numpy()
        observed = self.observe(rewards, Draws(seed, step, prompt_ids_P, rewards.shape[1]))
        return torch.as_tensor(observed).to(rewards_PG)

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class Draws:
    """The uniform numbers of one batch, each keyed by what it belongs to."""

    seed: int
    step: int
    prompt_ids_P: Sequence[str]
    group_size: int

    def uniform_PG(self) -> np.ndarray:
        """One number in (0, 1) for each answer; the first G of a group do not depend on G."""
        streams = prompt_generators(self.seed, "noise of an answer", self.step, self.prompt_ids_P)
        return _open_interval(np.stack([stream.random(self.group_size) for stream in streams]))

    def uniform_P(self) -> np.ndarray:
        """One number in (0, 1) for each prompt, shared by its answers."""
        streams = prompt_generators(self.seed, "noise of a group", self.step, self.prompt_ids_P)
        return _open_interval(np.array([stream.random() for stream in streams]))


def _open_interval(uniform: np.ndarray) -> np.ndarray:
    return np.maximum(uniform, 2.0**-54)


NOISES: Registry[RewardNoise] = Registry("noise", RewardNoise)
register_noise = NOISES.register


def make_noise(named: str | Named, **params: Any) -> RewardNoise:
    """The noise model of that name: ``make_noise("flip", rate=0.2)``. Raises `BadInput` for unknown names and
    parameters.
    """
    return NOISES.make(named, **params)


def available_noises() -> list[str]:
    """All registered names, sorted."""
    return NOISES.names()


def _probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadInput(f"{name} is {value}; it is a probability, between 0 and 1")


def _not_negative(name: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise BadInput(f"{name} is {value}; it must be a number that is not negative")


@register_noise("none")
@dataclass(frozen=True)
class NoNoise(RewardNoise):
    """The reward itself. J = 1."""

    @property
    def youden_j(self) -> float:
        return 1.0

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        return rewards_PG


@register_noise("gaussian")
@dataclass(frozen=True)
class Gaussian(RewardNoise):
    """r + sigma z, z standard normal, independent for each answer."""

    sigma: float

    def __post_init__(self) -> None:
        _not_negative("sigma", self.sigma)

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        return rewards_PG + self.sigma * ndtri(draws.uniform_PG())


@register_noise("flip")
@dataclass(frozen=True)
class Flip(RewardNoise):
    """1 - r with probability ``rate``, independently for each answer; a graded reward in [0, 1] is mirrored.
    J = 1 - 2 rate.
    """

    rate: float

    def __post_init__(self) -> None:
        _probability("rate", self.rate)

    @property
    def youden_j(self) -> float:
        return 1 - 2 * self.rate

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        return np.where(draws.uniform_PG() < self.rate, 1 - rewards_PG, rewards_PG)
