"""The Ray executor: runs on a Ray cluster whose nodes share a file system and have this package installed.

A task whose node or process dies is started again by Ray, elsewhere if need be, and goes on from its last saved state:
the run directory and the resume logic are those of every executor. Needs the extra `ray`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ablations.executors.base import Event, Job
from ablations.executors.remote import carry_out, event_of
from ablations.executors.watch import Watch
from krpo.errors import BadInput

RETRIES = 5


class RayExecutor:
    """Tasks on a Ray cluster.

    Args:
        workers: most runs at a time; default: as many as the cluster has room for.
        address: of a running cluster; None starts one on this machine.
        threads: torch threads, and CPUs, of one run.
        memory_gb: memory that Ray sets aside for one run.
        options: for the task, as in `ray.remote`: `num_gpus: 0.5`, `resources: {...}`, `max_retries: 10`.

    Raises:
        BadInput: Ray is not installed, or cannot be reached at the address.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        threads: int = 1,
        memory_gb: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise BadInput("--executor ray: Ray is not installed; pip install 'krpo[ray]'") from None
        self.threads = threads
        self.options: dict[str, Any] = {"num_cpus": threads, "max_retries": RETRIES, **(options or {})}
        if memory_gb is not None:
            self.options["memory"] = int(memory_gb * 1e9)
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
            except ConnectionError as error:
                raise BadInput(f"--address {address}: no Ray cluster answers there ({error})") from None
        self.workers = workers or self._room(ray.cluster_resources())

    def _room(self, resources: Mapping[str, float]) -> int:
        """How many tasks fit into the cluster as it is now."""
        rooms = [resources.get("CPU", 1) / (self.options["num_cpus"] or 1)]
        if gpus := self.options.get("num_gpus"):
            rooms.append(resources.get("GPU", 0) / gpus)
        if min(rooms) < 1:
            raise BadInput(f"the Ray cluster has no room for one run ({self.options}); it has {dict(resources)}")
        return int(min(rooms))

    def execute(self, jobs: Sequence[Job]) -> Iterator[Event | None]:
        import ray
        from ray.exceptions import RayError

        task = ray.remote(carry_out).options(**self.options)
        waiting, watch = deque(jobs), Watch()
        running: dict[Any, Job] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    job = waiting.popleft()
                    running[task.remote(job, self.threads)] = job
                ready, _ = ray.wait(list(running), timeout=1.0)
                yield from watch.look(list(running.values()))
                yield None
                for reference in ready:
                    job = running.pop(reference)
                    try:
                        yield event_of(job, ray.get(reference))
                    except RayError as error:
                        yield Event(job, "died", {"reason": _first_line(error), "retry": True})
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
