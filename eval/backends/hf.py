"""Transformers: any causal language model, batched generation with a random stream of its own for every sample.

Written for many small evaluations in a row: rows that are finished leave the batch, prompts of one length are
generated together, and a sample's draw depends on its seed and nothing else in the batch.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from eval.backends.base import Answer, Backend, Prompt, device, expect_long_prompts
from eval.backends.cache import roomy_cache
from krpo.errors import KrpoError, is_out_of_memory
from krpo.streams import generator

CPU_TOKENS = 1 << 16  # positions in one batch's cache: rows x (prompt + answer)
GPU_TOKENS = 1 << 20
STOP_CHECK_EVERY = 8  # steps between two looks for stop strings


class HFBackend(Backend):
    name: ClassVar[str] = "hf"

    def __init__(self, checkpoint: str | Path, *, dtype: str = "float32", batch_size: int = 256) -> None:
        from krpo.policies import load_policy

        with _quiet():
            try:
                model, tokenizer = load_policy(str(checkpoint), dtype=dtype)
                self.lm = _lm_of(model.to(device()).eval(), tokenizer, batch_size)
            except (KrpoError, RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                where = "on the GPU" if device() == "cuda" else "in memory"
                raise KrpoError(f"{checkpoint}: out of memory; the model does not fit {where} in {dtype}") from None
        expect_long_prompts(tokenizer)
        self.batch_size = batch_size
        self.device = torch.device(device())
        self.model = model
        self.end_ids = _end_ids(self.model, tokenizer)

    def batches(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Long prompts first, so that memory runs out at once or never. All prompts have one temperature."""
        budget = CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS
        lengths = _by_text(prompts, lambda p: len(self.encode(p)[0]))
        order = sorted(range(len(prompts)), key=lambda i: (-lengths[i], i))
        batches: list[list[int]] = []
        for i in order:
            head = batches[-1][0] if batches else i
            rows = min(self.batch_size, max(1, budget // (lengths[head] + self.max_tokens(prompts[head]))))
            if batches and len(batches[-1]) < rows:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def generate(self, prompts: Sequence[Prompt]) -> list[Answer]:
        try:
            return self._generate(prompts)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if len(prompts) == 1:
                raise KrpoError(
                    "out of memory for a single answer; lower --max-tokens or take a smaller model"
                ) from None
            half = len(prompts) // 2
        return self.generate(prompts[:half]) + self.generate(prompts[half:])

    def _generate(self, prompts: Sequence[Prompt]) -> list[Answer]:
        encoded = [self.encode(p) for p in prompts]
        tokens_B = self._tokens([tokens for tokens, _ in encoded], prompts)
        answers = []
        for prompt, (_, cut), tokens in zip(prompts, encoded, tokens_B, strict=True):
            ended = bool(tokens) and tokens[-1] in self.end_ids
            length = self.answer_length(tokens, prompt.until)
            if length is not None:
                tokens, ended = tokens[:length], True
            text = self.decode(tokens, prompt.until)
            answers.append(Answer(text, len(tokens), "stop" if ended else "length", cut))
        return answers

    @torch.inference_mode()
    def _tokens(self, inputs: list[list[int]], prompts: Sequence[Prompt]) -> list[list[int]]:
        """Generated tokens of each row, up to and with its end token. Rows are padded on the left."""
        limits = [self.max_tokens(p) for p in prompts]
        steps = max(limits)
        uniforms_BT = _uniforms(prompts, steps)
        ids_BT, mask_BT = _left_padded(inputs, self.device)
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        cache = roomy_cache(self.model, ids_BT.shape[1] + steps)
        rows = list(range(len(prompts)))  # which prompt each row of the batch belongs to
        out: list[list[int]] = [[] for _ in prompts]
        for step in range(steps):
            result = self.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            next_B = _choose(result.logits[:, -1].float(), prompts[0].temperature, uniforms_BT, rows, step)
            chosen = next_B.tolist()
            for row, token in zip(rows, chosen, strict=True):
                out[row].append(token)
            look = (step + 1) % STOP_CHECK_EVERY == 0
            going = [i for i, r in enumerate(rows) if not self._done(out[r], prompts[r], limits[r], look)]
            if not going:
                break
            ids_BT, positions_BT = next_B[:, None], positions_BT[:, -1:] + 1
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=1)
            if len(going) <= 0.75 * len(rows):
                keep = torch.tensor(going, device=self.device)
                cache.batch_select_indices(keep)
                ids_BT, positions_BT, mask_BT = ids_BT[keep], positions_BT[keep], mask_BT[keep]
                rows = [rows[i] for i in going]
        return [_until_end(tokens[:limit], self.end_ids) for tokens, limit in zip(out, limits, strict=True)]

    def _done(self, tokens: list[int], prompt: Prompt, limit: int, look: bool) -> bool:
        if tokens[-1] in self.end_ids or len(tokens) >= limit:
            return True
        if look and any(prompt.until):
            tail = self.lm.tokenizer.decode(tokens[-(STOP_CHECK_EVERY + 16) :])
            return any(stop in tail for stop in prompt.until if stop)
        return False


def _choose(
    logits_BV: torch.Tensor, temperature: float, uniforms_BT: torch.Tensor | None, rows: list[int], step: int
) -> torch.Tensor:
    """The next token of each row: the likeliest, or the cumulative distribution's inverse at the row's own draw."""
    if uniforms_BT is None:
        return logits_BV.argmax(-1)
    cumulative_BV = (logits_BV / temperature).softmax(-1).double().cumsum(-1)
    draw_B = uniforms_BT[rows, step].to(logits_BV.device) * cumulative_BV[:, -1]
    return (cumulative_BV <= draw_B[:, None]).sum(-1).clamp(max=logits_BV.shape[1] - 1)


def _uniforms(prompts: Sequence[Prompt], steps: int) -> torch.Tensor | None:
    """One uniform draw per row and step from the row's own stream; None where decoding is greedy."""
    if prompts[0].temperature == 0:
        return None
    return torch.from_numpy(np.stack([generator(p.seed or 0, "answer").random(steps) for p in prompts]))


def _left_padded(inputs: list[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(tokens) for tokens in inputs)
    ids = [[0] * (longest - len(tokens)) + tokens for tokens in inputs]
    mask = [[0] * (longest - len(tokens)) + [1] * len(tokens) for tokens in inputs]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _until_end(tokens: list[int], end_ids: frozenset[int]) -> list[int]:
    for i, token in enumerate(tokens):
        if token in end_ids:
            return tokens[: i + 1]
    return tokens


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, and those of the model's generation settings."""
    ids: set[int] = set() if tokenizer.eos_token_id is None else {tokenizer.eos_token_id}
    more = getattr(model.generation_config, "eos_token_id", None)
    ids |= set(more if isinstance(more, (list, tuple)) else [] if more is None else [more])
    return frozenset(ids)


def _by_text(prompts: Sequence[Prompt], measure: Any) -> list[int]:
    """``measure`` of each prompt, computed once per distinct text."""
    known: dict[tuple[str, int | None], int] = {}
    for p in prompts:
        if (p.text, p.max_tokens) not in known:
            known[p.text, p.max_tokens] = measure(p)
    return [known[p.text, p.max_tokens] for p in prompts]


def _lm_of(model: Any, tokenizer: Any, batch_size: int) -> Any:
    """lm-eval's model object over a loaded model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, backend="causal")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without lm-eval's warnings and Transformers' progress bars."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("lm_eval")
    level, bars = logger.level, transformers_logging.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
