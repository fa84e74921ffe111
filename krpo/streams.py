"""Random streams: one seed, and every stream derived from it by hashing with its purpose.

Nothing here keeps a state, so a resumed run draws what an undisturbed one would have drawn, and two estimators that
share a seed share their data order, their rollouts at equal weights, and their reward noise.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np


def derive_seed(seed: int, *purpose: str | int, bits: int = 63) -> int:
    """A seed for one purpose: ``derive_seed(7, "rollout", step)``.

    The purpose's parts are hashed with their types, so ``("a", 1)`` and ``("a1",)`` differ. Returns a non-negative
    integer below ``2**bits``.
    """
    digest = hashlib.blake2b(repr((int(seed), *purpose)).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big") & ((1 << bits) - 1)


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator (Philox, counter-based) of its own for this seed and purpose."""
    return np.random.Generator(np.random.Philox(key=derive_seed(seed, *purpose, bits=127)))


def prompt_generators(seed: int, purpose: str, step: int, prompt_ids_P: Sequence[str]) -> list[np.random.Generator]:
    """A generator for each prompt of a batch, keyed by what the prompt is and not by where it stands.

    A prompt that occurs twice in the batch gets two streams, told apart by their occurrence.
    """
    seen: Counter[str] = Counter()
    streams = []
    for prompt_id in map(str, prompt_ids_P):
        streams.append(generator(seed, purpose, step, prompt_id, seen[prompt_id]))
        seen[prompt_id] += 1
    return streams
