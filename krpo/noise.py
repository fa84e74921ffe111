"""Models of reward noise: what the estimator sees instead of the reward. Never used in evaluation.

Every draw is a function of (run seed, step, prompt, occurrence of the prompt in the batch, place in the group), so
it depends neither on the estimator nor on which other prompts are in the batch, and a resumed run sees what it
would have seen. Each answer has one uniform number and all models are functions of it: at one seed a flip at rate
0.1 is also a flip at rate 0.2, and two Gaussian levels differ by a factor.

    none, random                                      the reward itself; a coin
    flip, false_positive, false_negative,             1 - r at a rate, for each answer;
    asymmetric_flip, question_flip                    for all answers of a prompt at once
    gaussian, uniform, student_t                      r plus independent noise; student_t has heavy tails
    group_offset, ar1                                 r plus noise shared by a group, or correlated along its answers

Youden's J of a binary reward is (true-positive rate) - (false-positive rate) of what is observed; a model that is
not about binary rewards has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri, stdtrit

from krpo.config import Named
from krpo.errors import BadInput
from krpo.registry import Registry
from krpo.streams import generator, prompt_generators


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

    def uniform_P(self, *, persistent: bool = False) -> np.ndarray:
        """One number in (0, 1) for each prompt, shared by its answers; the same in every step where ``persistent``."""
        if persistent:
            streams = [generator(self.seed, "noise of a prompt", str(prompt_id)) for prompt_id in self.prompt_ids_P]
        else:
            streams = prompt_generators(self.seed, "noise of a group", self.step, self.prompt_ids_P)
        return _open_interval(np.array([stream.random() for stream in streams]))


def _open_interval(uniform: np.ndarray) -> np.ndarray:
    return np.maximum(uniform, 2.0**-54)


NOISES: Registry[RewardNoise] = Registry("noise", RewardNoise)
register_noise = NOISES.register


def make_noise(named: str | Named, /, **params: Any) -> RewardNoise:
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


@register_noise("random")
@dataclass(frozen=True)
class RandomReward(RewardNoise):
    """1 with a probability that does not depend on the answer, else 0: the control of arXiv 2506.10947. J = 0."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        _probability("probability", self.probability)

    @property
    def youden_j(self) -> float:
        return 0.0

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        drawn_PG = (draws.uniform_PG() < self.probability).astype(rewards_PG.dtype)
        return np.where(np.isnan(rewards_PG), rewards_PG, drawn_PG)


@dataclass(frozen=True)
class Flip(RewardNoise):
    """1 - r with a probability that depends on what the reward says, independently for each answer.

    A reward below 1/2 is mirrored at the rate ``false_positive``, another at ``false_negative``: on binary rewards
    these are the rates of a verifier's errors. J = 1 - false_positive - false_negative.
    """

    false_positive: float
    false_negative: float

    def __post_init__(self) -> None:
        _probability("false_positive", self.false_positive)
        _probability("false_negative", self.false_negative)

    @property
    def youden_j(self) -> float:
        return 1 - self.false_positive - self.false_negative

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        rate_PG = np.where(rewards_PG < 0.5, self.false_positive, self.false_negative)
        return np.where(draws.uniform_PG() < rate_PG, 1 - rewards_PG, rewards_PG)


register_noise("asymmetric_flip")(Flip)


@register_noise("flip")
def flip(*, rate: float) -> RewardNoise:
    """Both errors at one rate. J = 1 - 2 rate."""
    _probability("rate", rate)
    return Flip(rate, rate)


@register_noise("false_positive")
def false_positive(*, rate: float) -> RewardNoise:
    """Wrong answers rewarded, right ones never denied. J = 1 - rate."""
    _probability("rate", rate)
    return Flip(rate, 0.0)


@register_noise("false_negative")
def false_negative(*, rate: float) -> RewardNoise:
    """Right answers denied, wrong ones never rewarded. J = 1 - rate."""
    _probability("rate", rate)
    return Flip(0.0, rate)


@register_noise("question_flip")
@dataclass(frozen=True)
class QuestionFlip(RewardNoise):
    """1 - r for all answers of a prompt at once, with probability ``rate``. J = 1 - 2 rate over prompts.

    ``persistent``: the same prompts are flipped in every step of a run, as by a wrong annotation; otherwise they are
    drawn anew in each step, as in arXiv 2505.22653.
    """

    rate: float
    persistent: bool = False

    def __post_init__(self) -> None:
        _probability("rate", self.rate)

    @property
    def youden_j(self) -> float:
        return 1 - 2 * self.rate

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        flipped_P = draws.uniform_P(persistent=self.persistent) < self.rate
        return np.where(flipped_P[:, None], 1 - rewards_PG, rewards_PG)


@dataclass(frozen=True)
class _Additive(RewardNoise):
    """r + sigma z with z of mean 0 and variance 1."""

    sigma: float

    def __post_init__(self) -> None:
        _not_negative("sigma", self.sigma)

    def standard_PG(self, draws: Draws) -> np.ndarray:
        """z, of a shape that broadcasts to [P, G]."""
        raise NotImplementedError

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        return rewards_PG + self.sigma * self.standard_PG(draws)


@register_noise("gaussian")
@dataclass(frozen=True)
class Gaussian(_Additive):
    """z standard normal, independent for each answer."""

    def standard_PG(self, draws: Draws) -> np.ndarray:
        return ndtri(draws.uniform_PG())


@register_noise("uniform")
@dataclass(frozen=True)
class Uniform(RewardNoise):
    """r + u with u uniform on [-width, width], independent for each answer: the dithering of arXiv 2506.18631."""

    width: float

    def __post_init__(self) -> None:
        _not_negative("width", self.width)

    def observe(self, rewards_PG: np.ndarray, draws: Draws) -> np.ndarray:
        return rewards_PG + self.width * (2 * draws.uniform_PG() - 1)


@register_noise("student_t")
@dataclass(frozen=True)
class StudentT(_Additive):
    """Heavy tails: z is Student's t, divided by its standard deviation, independent for each answer."""

    degrees_of_freedom: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 < self.degrees_of_freedom < float("inf"):
            raise BadInput(
                f"degrees_of_freedom is {self.degrees_of_freedom}; it must be above 2, or there is no variance"
            )

    def standard_PG(self, draws: Draws) -> np.ndarray:
        nu = self.degrees_of_freedom
        return stdtrit(nu, draws.uniform_PG()) * np.sqrt((nu - 2) / nu)


@register_noise("group_offset")
@dataclass(frozen=True)
class GroupOffset(_Additive):
    """One standard normal z for all answers of a prompt: estimators that are shift invariant do not see it."""

    def standard_PG(self, draws: Draws) -> np.ndarray:
        return ndtri(draws.uniform_P())[:, None]


@register_noise("ar1")
@dataclass(frozen=True)
class AR1(_Additive):
    """z_1 normal, z_i = correlation z_{i-1} + sqrt(1 - correlation^2) e_i along the order of the answers.

    The one model in which a filter along the answers has something to track.
    """

    correlation: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 < self.correlation < 1:
            raise BadInput(f"correlation is {self.correlation}; it must be between -1 and 1")

    def standard_PG(self, draws: Draws) -> np.ndarray:
        z_PG = ndtri(draws.uniform_PG())
        for i in range(1, z_PG.shape[1]):
            z_PG[:, i] = self.correlation * z_PG[:, i - 1] + np.sqrt(1 - self.correlation**2) * z_PG[:, i]
        return z_PG
