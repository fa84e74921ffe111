"""Progress of jobs that run elsewhere, read from their run directories on the shared file system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ablations.executors.base import Event, Job
from ablations.standing import last_row
from krpo.rundir import RunDir


class Watch:
    """Turns what appears in run directories into events."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._started: set[str] = set()

    def look(self, jobs: Sequence[Job]) -> Iterator[Event]:
        """`started` once a job has written its log, and `step` for the newest step of each job, if it is a new one."""
        for job in jobs:
            if job.name not in self._started:
                if not job.log.exists():
                    continue
                self._started.add(job.name)
                yield Event(job, "started", {})
            row = last_row(RunDir(job.log.parent))
            if row and row["step"] != self._seen.get(job.name):
                self._seen[job.name] = row["step"]
                yield Event(job, "step", {"step": row["step"], "row": row})
