"""What every backend shares: prompts in, answers out, in batches that depend on nothing but the prompts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from krpo.errors import BadInput

CHOICES = 512  # questions of a log-likelihood task that are scored together
Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Prompt:
    """One answer to generate."""

    text: str
    until: tuple[str, ...]  # the answer ends before the first of these
    max_tokens: int | None  # None: the backend's default
    temperature: float
    seed: int | None  # of this sample alone; None where greedy


@dataclass(frozen=True)
class Answer:
    """One generated answer."""

    text: str
    tokens: int  # generated, up to and with the one that ended the answer
    finish: Finish  # stop: ended by itself; length: cut at max_tokens
    prompt_cut: bool  # the prompt was too long for the model and lost its beginning


Asked = Prompt | tuple[Any, ...]  # an answer to generate, or lm-eval's log-likelihood requests of one question
Reply = Answer | tuple[Any, ...]  # to it: the answer, or one response a request


class Backend(ABC):
    """A model that answers prompts.

    ``lm`` is lm-eval's own model object over the same weights: it decides how a text becomes tokens, how long the
    model's context is and how a chat template is applied, and it scores log-likelihood tasks.
    """

    name: ClassVar[str]
    lm: Any

    default_max_tokens: ClassVar[int] = 256  # lm-eval's, where neither the task nor the user says

    def encode(self, prompt: Prompt) -> tuple[list[int], bool]:
        """The prompt's tokens, and whether its beginning was cut so that prompt and answer fit the model.

        Cut from the left to ``max_length - max_tokens`` tokens, as lm-eval does on every backend.
        """
        room = self.lm.max_length - self.max_tokens(prompt)
        if room < 1:
            raise BadInput(
                f"max_tokens is {self.max_tokens(prompt)}, but the model has {self.lm.max_length} positions "
                "for prompt and answer"
            )
        tokens = self.lm.tok_encode(prompt.text) or [self.lm.prefix_token_id]
        return tokens[-room:], len(tokens) > room

    def max_tokens(self, prompt: Prompt) -> int:
        return prompt.max_tokens or self.default_max_tokens

    def decode(self, tokens: list[int], until: Sequence[str]) -> str:
        """The answer's text: special tokens dropped, cut before the first stop string."""
        text: str = self.lm.tokenizer.decode(tokens, skip_special_tokens=True)
        for stop in until:
            if stop:
                text = text.split(stop)[0]
        return text

    def answer_length(self, tokens: list[int], until: Sequence[str]) -> int | None:
        """After how many tokens the first stop string is complete; None if there is none."""

        def stopped(length: int) -> bool:
            text = self.lm.tokenizer.decode(tokens[:length])
            return any(stop in text for stop in until if stop)

        if not stopped(len(tokens)):
            return None
        low, high = 0, len(tokens)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if stopped(middle) else (middle, high)
        return high

    def split(self, asked: Sequence[Asked]) -> list[list[int]]:
        """Indices of what is asked, grouped as it is to be handed to `reply`."""
        if prompts := [item for item in asked if isinstance(item, Prompt)]:
            return self.batches(prompts)
        return [list(range(i, min(i + CHOICES, len(asked)))) for i in range(0, len(asked), CHOICES)]

    def reply(self, asked: Sequence[Asked]) -> Sequence[Reply]:
        """The replies to one batch, in its order."""
        if prompts := [item for item in asked if isinstance(item, Prompt)]:
            return self.generate(prompts)
        return self.likelihoods([item for item in asked if isinstance(item, tuple)])

    def likelihoods(self, questions: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Log-likelihoods by lm-eval's own model object."""
        from eval.tasks.task import quiet

        requests = [request for each in questions for request in each]
        with quiet():
            flat = iter(getattr(self.lm, requests[0].request_type)(requests, disable_tqdm=True))
        return [tuple(next(flat) for _ in each) for each in questions]

    @abstractmethod
    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Indices of ``prompts``, grouped as they are to be generated together; the same prompts, the same groups."""

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """Answers to one batch, in its order."""

    def swap(self, checkpoint: str | Path) -> bool:
        """Put another checkpoint's weights into the running engine. False: it needs a fresh one."""
        return False

    def close(self) -> None:  # noqa: B027
        """Free what the model holds."""


def expect_long_prompts(tokenizer: Any) -> None:
    """Keep Transformers from warning of prompts that are too long: `Backend.encode` cuts and counts them."""
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True


def device() -> Literal["cuda", "cpu"]:
    """Where models run here."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
