"""Every bit of a model's weights as two sums: do an engine's memory and a checkpoint's files hold the same numbers?

A sum does not depend on how an engine orders or joins its tensors (q, k and v in one, for instance), nor on zeros that
pad them. One number that differs changes it; a number in the wrong place does not: that is the canary's part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

AT_ONCE = 1 << 22  # numbers: what is summed needs 16 bytes a number for a moment
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes

Sums = tuple[int, int]


def sums_of(tensors: Iterable[torch.Tensor]) -> Sums:
    """The bit patterns, taken as whole numbers: their sum and the sum of their squares, modulo 2^64."""
    first = second = 0
    for tensor in tensors:
        pattern = tensor.detach().contiguous().view(-1).view(INTEGERS[tensor.element_size()])
        for part in pattern.split(AT_ONCE):
            whole = part.to(torch.int64)
            first += int(whole.sum())
            second += int((whole * whole).sum())
    return first % 2**64, second % 2**64


def sums_of_module(module: torch.nn.Module) -> Sums:
    """Of a model in memory; weights that two layers share count once."""
    return sums_of(module.parameters())


def sums_of_files(folder: Path, dtype: str) -> Sums:
    """Of a checkpoint's safetensors, as they are in an engine of this precision."""
    return sums_of(tensor.to(getattr(torch, dtype)) for tensor in _tensors(folder))


def _tensors(folder: Path) -> Iterator[torch.Tensor]:
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as content:
            for name in content.keys():  # noqa: SIM118  it is no mapping
                yield content.get_tensor(name)
