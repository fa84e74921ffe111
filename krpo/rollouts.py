"""Rollouts by vLLM inside the trainer's process: seeded requests, and a CPU build whose weights can be synchronised.

TRL seeds its colocated engine with the process rank, so two runs with two seeds would sample the same answers, and a
resumed run others than an undisturbed one. Here every request carries a seed derived from (run seed, step, position).
"""

from __future__ import annotations

import contextlib
import copy
import itertools
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
    """Give every request of a vLLM engine a seed of its own, and join the answers of one prompt in one request.

    TRL asks a colocated engine for one answer at a time. Equal prompts that follow each other become one request with
    that many answers, of which answer i is drawn with the request's seed + i; the outputs are taken apart again.

    Args:
        engine: a `vllm.LLM`; its `generate` is replaced.
        stream: position of a request's first answer in the batch -> seed.
    """
    generate = engine.generate

    def seeded(prompts: Any, sampling_params: Any = None, **options: Any) -> Any:
        params = sampling_params if isinstance(sampling_params, list) else [sampling_params] * len(prompts)
        asked = list(zip(prompts, params, strict=True))
        requests, joined = [], []
        for (prompt, one), group in itertools.groupby(range(len(asked)), key=asked.__getitem__):
            places = list(group)
            requests.append(prompt)
            joined.append(one.clone())
            joined[-1].n, joined[-1].seed = len(places), stream(places[0])
        outputs = generate(requests, sampling_params=joined, **options)
        return [single for output in outputs for single in _taken_apart(output)]

    engine.generate = seeded


def _taken_apart(output: Any) -> list[Any]:
    """A request's output as one output for each of its answers."""
    singles = [copy.copy(output) for _ in output.outputs]
    for single, answer in zip(singles, output.outputs, strict=True):
        single.outputs = [answer]
    return singles


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
