"""Several processes share an evaluation, on a GPU box each with GPUs of its own.

The parent hands out units (`eval.runner.Unit`) as workers ask for them; a worker keeps its engine from one unit to the
next and writes the records itself, so they are those of a single process. A worker that fails or dies ends the call;
what is finished stays, and the same call goes on from there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from eval.spec import EvalSpec
from krpo.errors import BadInput, KrpoError

if TYPE_CHECKING:
    from eval.runner import Progress, Summary, Unit


def how_many(workers: int | None, spec: EvalSpec, most: int) -> tuple[int, list[str]]:
    """How many processes, and the names of the GPUs that they share. Raises `BadInput` where these are too few."""
    import torch

    from eval.backends import pick

    if workers is not None and workers < 1:
        raise BadInput(f"workers is {workers}; it must be at least 1")
    each = spec.tensor_parallel
    if each > 1 and pick(spec.backend) != "vllm":
        raise BadInput(f"tensor_parallel is {each}, which only vLLM can do; add --backend vllm")
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(i) for i in range(torch.cuda.device_count())]
    if gpus and named:
        gpus = named.split(",")[: len(gpus)]
    wanted = workers or max(1, len(gpus) // each)
    if gpus and wanted * each > len(gpus):
        raise BadInput(
            f"{wanted} workers with {each} GPUs each need {wanted * each} GPUs; visible are {len(gpus)} "
            "(--workers, --tensor-parallel, CUDA_VISIBLE_DEVICES)"
        )
    return min(wanted, most), gpus


def share(
    units: Sequence[Unit],
    spec: EvalSpec,
    progress: Callable[[Progress], None] | None,
    workers: int,
    gpus: Sequence[str],
) -> Iterator[tuple[Unit, dict[str, Summary]]]:
    """Evaluate units in ``workers`` processes; yields them as they are done."""
    spawn = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
    threads = max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
    waiting = deque(units)
    at_work: dict[Connection, Unit | None] = {}
    processes: dict[Connection, Any] = {}
    try:
        for number in range(workers):
            mine = gpus[number * spec.tensor_parallel : (number + 1) * spec.tensor_parallel]
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(theirs, spec, list(mine), threads))
            process.start()
            theirs.close()
            processes[ours] = process
        while processes:
            for pipe in cast(list[Connection], wait(list(processes))):
                try:
                    kind, content = pipe.recv()
                except (EOFError, OSError):
                    _check(processes.pop(pipe), at_work.get(pipe))
                    continue
                if kind == "ready":
                    unit = at_work[pipe] = waiting.popleft() if waiting else None
                    pipe.send(unit)
                elif kind == "progress":
                    if progress:
                        progress(content)
                elif kind == "done":
                    yield content
                else:
                    raise content
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join(timeout=10)
            process.kill()


def _check(process: Any, unit: Unit | None) -> None:
    """Raise for a worker that has ended without being told to."""
    process.join()
    if process.exitcode == 0 and unit is None:
        return
    how = signal.Signals(-process.exitcode).name if process.exitcode < 0 else f"status {process.exitcode}"
    where = f" while it evaluated {unit.checkpoint} on {', '.join(unit.tasks)}" if unit else ""
    raise KrpoError(
        f"a worker ended with {how}{where}; what is finished is kept, and the same command goes on from there"
    )


def _work(pipe: Connection, spec: EvalSpec, gpus: list[str], threads: int) -> None:
    """A worker: asks for units until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    import torch

    from eval.runner import serve

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(threads)

    def asked() -> Iterator[Unit]:
        while True:
            pipe.send(("ready", None))
            unit = pipe.recv()
            if unit is None:
                return
            yield unit

    try:
        for done in serve(asked(), spec, lambda p: pipe.send(("progress", p))):
            pipe.send(("done", done))
    except (BrokenPipeError, EOFError):  # the parent is gone
        return
    except KrpoError as error:
        pipe.send(("failed", error))
    except Exception:
        pipe.send(("failed", RuntimeError(f"in a worker:\n{traceback.format_exc()}")))
