"""What every executor offers to the driver: jobs in, events out. One run directory, one resume logic for all.

A new executor is a class with `workers` and `execute`; it is named in `ablations.executors.make_executor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Send = Callable[[dict[str, Any]], None]
Kind = Literal["started", "step", "evaluating", "done", "failed", "died", "busy"]


class Busy(Exception):
    """Another process works in this directory."""


@dataclass(frozen=True)
class Job:
    """Something to do in a process of its own, perhaps on another machine.

    ``work`` can be pickled; it is given a function to tell how it goes. Standard output and error go to ``log``, which
    stands in the directory that the job works in.
    """

    name: str
    work: Callable[[Send], None]
    log: Path


@dataclass(frozen=True)
class Event:
    """What happened to a job.

    `started`; `step` and `evaluating`, as the job itself told; and one of the ends: `done`, `failed` (its work raised),
    `busy` (another process works in its directory), `died` (killed, or stopped for its memory or for making no
    progress; ``data["retry"]`` says whether the same run may succeed when it is started again). `failed` and `died`
    have ``data["reason"]``.
    """

    job: Job
    kind: Kind
    data: dict[str, Any]

    @property
    def is_end(self) -> bool:
        return self.kind in ("done", "failed", "died", "busy")


class Executor(Protocol):
    """Carries out jobs, ``workers`` at a time, in order."""

    workers: int

    def execute(self, jobs: Sequence[Job]) -> Iterator[Event | None]:
        """Events as they happen, and None at least every few seconds when nothing does.

        When the consumer stops (an interrupt, an error) the jobs that run are ended; what they had finished stays.
        """
        ...
