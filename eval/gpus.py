"""Which GPUs there are, and whether a call's workers and tensor-parallel groups fit on them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from eval.checkpoints import Checkpoint
from eval.spec import EvalSpec
from krpo.errors import BadInput


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, without starting CUDA: a process that has
    started it cannot be forked."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


def how_many_workers(asked: int | None, spec: EvalSpec) -> int:
    """The number of worker processes: as asked, or one per group of `tensor_parallel` GPUs; 1 on a CPU.

    Raises `BadInput` where there are not as many GPUs.
    """
    gpus, each = len(visible_gpus()), spec.tensor_parallel
    if asked is not None and asked < 1:
        raise BadInput(f"workers is {asked}; it must be at least 1")
    if not gpus:
        return asked or 1
    if each > gpus:
        raise BadInput(f"tensor_parallel is {each}, but {gpus} GPU{'s are' if gpus > 1 else ' is'} visible")
    if asked is not None and asked * each > gpus:
        wanted = f"{asked} workers" if each == 1 else f"{asked} workers of {each} GPUs each"
        raise BadInput(f"{wanted} need {asked * each} GPUs, but {gpus} {'are' if gpus > 1 else 'is'} visible")
    return asked or gpus // each


def check_tensor_parallel(checkpoints: Sequence[Checkpoint], spec: EvalSpec, backend_name: str) -> None:
    """Raises `BadInput` where N devices cannot hold a model together."""
    each = spec.tensor_parallel
    if each == 1:
        return
    if backend_name != "vllm":
        raise BadInput(f"tensor_parallel is {each}, which the backend {backend_name} has not; use --backend vllm")
    for checkpoint in checkpoints:
        for what, heads in checkpoint.heads().items():
            if heads % each and each % heads:
                possible = [str(n) for n in range(1, heads + 1) if heads % n == 0]
                raise BadInput(
                    f"tensor_parallel is {each}, but {checkpoint.name} has {heads} {what}, which cannot be shared out "
                    f"evenly; possible: {', '.join(possible)}"
                )
