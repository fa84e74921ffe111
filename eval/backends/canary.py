"""Are these the right weights? A canary prompt's log-probabilities, in the engine and from the checkpoint itself.

An engine may say that it has loaded new weights and go on with the old ones, or with garbage (vLLM's CPU backend does).
In low precision, rounding hides from it one tensor that stayed old where two checkpoints are neighbours: that is seen
by `eval.backends.bits`, to which numbers in the wrong place are hidden.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from krpo.streams import generator

LENGTH = 48  # tokens
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.25, "float16": 0.05}  # mean difference of a token's log-probability


def canary_tokens(vocabulary: int) -> list[int]:
    """A fixed prompt of random tokens: it touches every layer, and no two checkpoints agree on it by chance."""
    tokens: list[int] = generator(0, "canary", vocabulary).integers(0, vocabulary, size=LENGTH).tolist()
    return tokens


def own_logprobs(checkpoint: str | Path, tokens: list[int]) -> NDArray[np.float64]:
    """Log-probabilities of ``tokens[1:]`` by the checkpoint itself, computed by Transformers in float32 on the CPU."""
    import torch

    from krpo.policies import load_policy

    model, _ = load_policy(str(checkpoint), dtype="float32")
    with torch.inference_mode():
        logprobs_TV = model(input_ids=torch.tensor([tokens])).logits[0, :-1].float().log_softmax(-1)
    chosen: NDArray[np.float64] = logprobs_TV[range(len(tokens) - 1), tokens[1:]].double().numpy()
    return chosen


def agree(engine: NDArray[np.float64], own: NDArray[np.float64], dtype: str) -> bool:
    """Whether log-probabilities are off by no more than the precision explains."""
    return bool(np.isfinite(engine).all() and np.abs(engine - own).mean() <= TOLERANCE[dtype])
