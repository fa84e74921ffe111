"""The gradient of each answer's log-probability, and the random projection in which it is kept.

Every gradient estimate here is sum_i w_i A_i u_i: u_i is the gradient of an answer's summed token log-probabilities,
A_i its advantage, w_i how the loss averages tokens. The u_i do not depend on the estimator, so they are computed once,
one backward pass an answer, and kept as a count sketch: each coordinate is added, with a random sign, to one of k
numbers. Inner products of sketches are unbiased for those of the gradients, with a relative standard deviation of at
most sqrt(2 / k) (Charikar, Chen and Farach-Colton 2002). Where k is at least the number of parameters the gradients
are kept as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from krpo.streams import generator

REMEMBERED = 4096
"""Sketches kept in memory: a small policy often gives the same answer again."""


class Sketch:
    """R^D -> R^k for the parameters of a model, the same for one seed on every machine."""

    def __init__(self, parameters: Sequence[torch.Tensor], k: int, seed: int) -> None:
        total = sum(p.numel() for p in parameters)
        self.exact = k >= total
        self.size = total if self.exact else k
        self._places: list[torch.Tensor] = []  # a coordinate's place, or -1 - place where its sign is negative
        for i, p in enumerate([] if self.exact else parameters):
            signed = generator(seed, "probe", "sketch", i).integers(-k, k, p.numel(), dtype="int32")
            self._places.append(torch.as_tensor(signed).to(p.device))

    def __call__(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Gradients of all parameters -> [k], float32 on the CPU."""
        if self.exact:
            return torch.cat([g.detach().reshape(-1).float() for g in gradients]).cpu()
        kept_k = torch.zeros(self.size, dtype=torch.float32, device=gradients[0].device)
        for places, g in zip(self._places, gradients, strict=True):
            negative = places < 0
            flat = g.detach().reshape(-1).float()
            kept_k.index_add_(0, torch.where(negative, -1 - places, places), torch.where(negative, -flat, flat))
        return kept_k.cpu()


class AnswerGradients:
    """Sketched gradients of answers under the frozen policy of a trainer."""

    def __init__(self, trainer: Any, k: int, seed: int) -> None:
        self.trainer = trainer
        self.parameters = [p for p in trainer.model.parameters() if p.requires_grad]
        self.sketch = Sketch(self.parameters, k, seed)
        self._seen: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The sketches of the different answers of a batch, [U, k], and which of them each answer has, [B]."""
        ids_BT = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask_BT = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1).bool()
        lengths_B = batch["completion_mask"].sum(dim=1).tolist()
        places: dict[tuple[int, ...], int] = {}
        index_B: list[int] = []
        sketches: list[torch.Tensor] = []
        for ids_T, mask_T, length in zip(ids_BT, mask_BT, lengths_B, strict=True):
            kept_T = ids_T[mask_T]
            answer = (length, *kept_T.tolist())
            if answer not in places:
                places[answer] = len(sketches)
                sketches.append(self._sketch_of(answer, kept_T, length))
            index_B.append(places[answer])
        return torch.stack(sketches), torch.tensor(index_B)

    def _sketch_of(self, answer: tuple[int, ...], ids_T: torch.Tensor, length: int) -> torch.Tensor:
        if answer not in self._seen:
            if len(self._seen) >= REMEMBERED:
                self._seen.pop(next(iter(self._seen)))
            self._seen[answer] = self.sketch(self.of_answer(ids_T, length))
        return self._seen[answer]

    def of_answer(self, ids_T: torch.Tensor, length: int) -> Sequence[torch.Tensor]:
        """The gradient of the summed log-probabilities of the last ``length`` tokens, by parameter."""
        ids_1T = ids_T.unsqueeze(0)
        with self.trainer.compute_loss_context_manager():
            log_probs_1T = self.trainer._get_per_token_logps_and_entropies(
                self.trainer.model, ids_1T, torch.ones_like(ids_1T), length
            )[0]
        return torch.autograd.grad(log_probs_1T.sum(), self.parameters, materialize_grads=True)


def token_weights(lengths_PG: torch.Tensor, loss_type: str, max_completion_length: int) -> torch.Tensor:
    """w_i of TRL's losses for a batch of answers: how much of an answer's u_i enters per unit of advantage."""
    answers, tokens_PG = lengths_PG.numel(), lengths_PG.double()
    if loss_type == "grpo":
        return 1 / (answers * tokens_PG.clamp(min=1))
    if loss_type == "dr_grpo":
        return torch.full_like(tokens_PG, 1 / (answers * max_completion_length))
    return torch.full_like(tokens_PG, 1 / max(tokens_PG.sum().item(), 1.0))  # bnpo; dapo is the same on one process
