"""Rollouts by vLLM inside the trainer's process: seeded requests, and a CPU build whose weights can be synchronised.

TRL seeds its colocated engine with the process rank, so two runs with two seeds would sample the same answers, and a
resumed run others than an undisturbed one. Here every request carries a seed derived from (run seed, step, position).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from krpo.streams import derive_seed

CPU_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def prepare_cpu() -> None:
    """Make vLLM's CPU backend usable for training.

    It repacks the weights of linear layers into a layout of its own, after which new weights cannot be loaded:
    synchronising raises, and `reload_weights` reports success and then generates from wrong weights. Kept in their
    place, the weights are synchronised like on a GPU. Must be called before the engine is made.
    """
    for name, value in CPU_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import torch
    from vllm.model_executor.layers import utils

    def in_place(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = in_place
    with contextlib.suppress(ImportError, AttributeError):  # who imported the name before looks it up in its own module
        from vllm.model_executor.layers import linear

        linear.dispatch_cpu_unquantized_gemm = in_place


def seed_requests(engine: Any, stream: Callable[[int], int]) -> None:
    """Give every request of a vLLM engine a seed of its own.

    Args:
        engine: a `vllm.LLM`; its `generate` is replaced.
        stream: position of a request in the batch -> seed.
    """
    generate = engine.generate

    def seeded(prompts: Any, sampling_params: Any = None, **options: Any) -> Any:
        params = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        each = [p.clone() for p in params]
        for position, one in enumerate(each):
            one.seed = stream(position)
        return generate(prompts, sampling_params=each, **options)

    engine.generate = seeded


def rollout_seed(seed: int, step: int, *place: int | str) -> int:
    """The seed of one rollout stream: of a process with `generate`, of one request with vLLM."""
    return derive_seed(seed, "rollout", step, *place)


@contextlib.contextmanager
def quiet_engine() -> Iterator[None]:
    """Start an engine without what its C++ side writes to standard error; it is shown if the start fails."""
    logging.getLogger("vllm").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    failed = True
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if failed:
                said.seek(0)
                sys.stderr.write(said.read().decode(errors="replace")[-4000:])
