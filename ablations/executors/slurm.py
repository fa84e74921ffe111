"""The Slurm executor: a job array through submitit, on nodes that share a file system.

A job that Slurm preempts, or that reaches its time limit, is put back into the queue by submitit and goes on from its
last saved state. Needs the extra `slurm`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.executors.base import Event, Job
from ablations.executors.remote import End, carry_out, event_of
from ablations.executors.watch import Watch
from krpo.errors import BadInput

MINUTES = 240


class Requeued:
    """The function that a Slurm job calls. On a preemption submitit asks it what to submit instead: the same again."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __call__(self, job: Job) -> End:
        return carry_out(job, self.threads)

    def checkpoint(self, job: Job) -> Any:
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


class SlurmExecutor:
    """A Slurm job array.

    Args:
        workers: most runs at a time (the array's parallelism).
        folder: where submitit keeps its files; on the shared file system.
        threads: torch threads, and CPUs, of one run.
        memory_gb: memory of one run.
        cluster: `slurm`; `local` (processes on this machine) and `debug` (this process) are submitit's, for trying out.
        options: for submitit: `slurm_partition`, `timeout_min`, `gpus_per_node`, ...

    Raises:
        BadInput: submitit or Slurm is not installed, or an option is unknown.
    """

    def __init__(
        self,
        workers: int,
        *,
        folder: Path,
        threads: int = 1,
        memory_gb: float | None = None,
        cluster: str = "slurm",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise BadInput("--executor slurm: submitit is not installed; pip install 'krpo[slurm]'") from None
        self.workers, self.threads = workers, threads
        parameters: dict[str, Any] = {"timeout_min": MINUTES, "cpus_per_task": threads, "name": "krpo"}
        if memory_gb is not None:
            parameters["mem_gb"] = memory_gb
        if cluster == "slurm":
            parameters["slurm_array_parallelism"] = workers
        try:
            self.executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            self.executor.update_parameters(**(parameters | dict(options or {})))
        except RuntimeError as error:
            raise BadInput(f"--executor slurm: {error}") from None
        except (NameError, TypeError, ValueError) as error:
            raise BadInput(f"--option: {next(iter(str(error).splitlines()), error)}") from None

    def execute(self, jobs: Sequence[Job]) -> Iterator[Event | None]:
        submitted = self.executor.map_array(Requeued(self.threads), list(jobs))
        running = dict(zip(submitted, jobs, strict=True))
        watch = Watch()
        try:
            while running:
                yield from watch.look(list(running.values()))
                yield None
                for handle in [h for h in running if h.done()]:
                    yield _end(running.pop(handle), handle)
                if running:
                    time.sleep(1)
        finally:
            for handle in running:
                handle.cancel()


def _end(job: Job, handle: Any) -> Event:
    try:
        return event_of(job, handle.result())
    except Exception as error:  # submitit: the job never ran, was killed, or left no result
        line = next(iter(str(error).strip().splitlines()), "")
        return Event(job, "died", {"reason": f"{type(error).__name__}: {line} (state {handle.state})", "retry": True})
