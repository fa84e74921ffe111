"""Executors: where the runs of a plan are carried out. `local` forks them here; `ray` and `slurm` are extras.

`make_executor` imports the one that is asked for, and nothing of the others.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from krpo.errors import BadInput

if TYPE_CHECKING:
    from ablations.executors.base import Executor
    from eval.spec import EvalSpec


def make_executor(
    name: str,
    *,
    evaluation: EvalSpec,
    workers: int | None = None,
    slots_per_gpu: int = 1,
    threads: int = 1,
    memory_gb: float | None = None,
    hang_minutes: float | None = None,
    address: str | None = None,
    options: Sequence[str] = (),
    scratch: Path = Path("slurm"),
) -> Executor:
    """The executor of that name.

    Args:
        name: `local`, `ray` or `slurm`.
        evaluation: what to import before the first run.
        workers: runs at a time; default: as many as there are cores or GPU slots; what the cluster gives (Ray); 32
            (Slurm).
        slots_per_gpu: runs that share a GPU.
        threads, memory_gb, hang_minutes: limits of one run.
        address: of a Ray cluster.
        options: `key=value` for the cluster.
        scratch: where submitit keeps its files.

    Raises:
        BadInput: an option that the executor does not have, or an extra that is not installed.
    """
    if name == "local":
        if options:
            raise BadInput(f"--option {options[0]}: the local executor has no options")
        from ablations.executors.local import LocalExecutor
        from eval.gpus import visible_gpus

        gpus = visible_gpus()
        return LocalExecutor(
            workers or local_workers(slots_per_gpu),
            preload=functools.partial(_preload, evaluation),
            gpus=gpus,
            threads=threads,
            memory_gb=memory_gb,
            hang_minutes=hang_minutes,
        )
    given = dict(_option(text) for text in options)
    if name == "ray":
        from ablations.executors.ray import RayExecutor

        return RayExecutor(workers, address=address, threads=threads, memory_gb=memory_gb, options=given)
    from ablations.executors.slurm import SlurmExecutor

    return SlurmExecutor(
        workers or 32, folder=scratch, threads=threads, memory_gb=memory_gb, cluster="slurm", options=given
    )


def local_workers(slots_per_gpu: int = 1) -> int:
    """Runs at a time on this machine: one per GPU slot, or one per core."""
    from eval.gpus import visible_gpus

    return len(visible_gpus()) * slots_per_gpu or len(os.sched_getaffinity(0))


def _preload(evaluation: EvalSpec) -> None:
    from ablations.worker import preload

    preload(evaluation)


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"--option {text}: expected KEY=VALUE")
    return key, yaml.safe_load(value)
