"""Carry out a plan: skip what is done, run the rest, keep going when a run fails, share the work with other drivers."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ablations.executors.base import Event, Executor, Job, Send
from ablations.lock import RunLock, holder
from ablations.options import Options
from ablations.plan import Cell, Plan
from eval.spec import EvalSpec
from krpo.errors import KrpoError
from krpo.rundir import RunDir


class Display(Protocol):
    """What shows the progress of a plan (`ablations.display`)."""

    def begin(self, plan: Plan, todo: list[Cell], workers: int, before: int) -> None: ...
    def event(self, event: Event | None) -> None: ...
    def end(self) -> None: ...


@dataclass
class Outcome:
    """How a plan ended, by run."""

    done_before: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    by_others: list[str] = field(default_factory=list)  # finished by another driver meanwhile
    left: list[str] = field(default_factory=list)  # not started: beyond --limit
    failed: dict[str, str] = field(default_factory=dict)  # run directory -> reason


def run_plan(
    plan: Plan,
    executor: Executor,
    options: Options,
    display: Display,
    *,
    cells: Sequence[Cell] | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
) -> Outcome:
    """Train and evaluate every cell that is not done.

    A run that failed is not tried again unless ``retry_failed``, except where the machine was at fault (a full disk, no
    memory, a kill). What another driver works on is waited for, and taken over if that driver goes away.

    Args:
        plan: the grid in its directory.
        executor: where the jobs run.
        options: how they run.
        display: is told what happens.
        cells: those to look after; default: all of the plan.
        limit: start at most so many.
        retry_failed: also run again what failed.

    Raises:
        KrpoError: the untrained policy cannot be scored.
    """
    outcome = Outcome()
    todo = _todo(plan.cells if cells is None else cells, retry_failed, outcome)
    if limit is not None:
        outcome.left = [cell.run.key for cell in todo[limit:]]
        todo = todo[:limit]
    plan.write()
    if not todo:
        return outcome
    by_name = {cell.run.key: cell for cell in todo}
    jobs = [*_base_jobs(plan), *(_cell_job(cell, options) for cell in todo)]
    display.begin(plan, todo, executor.workers, len(outcome.done_before))
    try:
        while jobs:
            busy = [e.job for e in _ends(executor, jobs, display) if _settle(e, by_name, outcome) == "busy"]
            jobs = _wait(busy, by_name, outcome, display) if busy else []
    finally:
        display.end()
    return outcome


def _todo(cells: Sequence[Cell], retry_failed: bool, outcome: Outcome) -> list[Cell]:
    todo = []
    for cell in cells:
        found = cell.standing()
        if found.state == "done":
            outcome.done_before.append(cell.run.key)
        elif found.state == "failed" and not retry_failed:
            outcome.failed[cell.run.key] = f"{found.detail} (failed before; --retry-failed runs it again)"
        else:
            todo.append(cell)
    return todo


def _ends(executor: Executor, jobs: Sequence[Job], display: Display) -> list[Event]:
    """Execute the jobs to their ends."""
    ends = []
    for event in executor.execute(jobs):
        display.event(event)
        if event is not None and event.is_end:
            ends.append(event)
            if event.job.name.startswith(_BASE) and event.kind in ("failed", "died"):
                reason = event.data["reason"]
                raise KrpoError(f"the untrained policy could not be scored ({reason}); see {event.job.log}")
            if event.kind == "died":
                _mark_dead(event)
    return ends


def _mark_dead(event: Event) -> None:
    """A process that was killed could not write its own FAILED."""
    folder = event.job.log.parent
    with contextlib.suppress(OSError), RunLock(folder) as held:
        if held and not RunDir(folder).done_file.exists():
            RunDir(folder).mark_failed(event.data["reason"], retry=event.data["retry"])


def _settle(event: Event, cells: dict[str, Cell], outcome: Outcome) -> str:
    """Enter the end of a job into the outcome."""
    name = event.job.name
    if name in cells:
        if event.kind == "done":
            outcome.finished.append(name)
        elif event.kind in ("failed", "died"):
            outcome.failed[name] = event.data["reason"]
    return event.kind


def _wait(busy: list[Job], cells: dict[str, Cell], outcome: Outcome, display: Display) -> list[Job]:
    """Wait until others let go of at least one of the jobs. Returns those that they left undone."""
    while True:
        free = [job for job in busy if holder(job.log.parent) is None]
        again = [job for job in busy if job not in free]
        for job in free:
            found = cells[job.name].standing() if job.name in cells else None
            if found is not None and found.state == "done":
                outcome.by_others.append(job.name)
                display.event(Event(job, "done", {}))
            elif found is not None and found.state == "failed":
                outcome.failed[job.name] = f"{found.detail} (in another driver)"
                display.event(Event(job, "failed", {"reason": found.detail}))
            else:
                again.append(job)
        if free:
            return again
        display.event(None)
        time.sleep(1)


_BASE = "base "


def _cell_job(cell: Cell, options: Options) -> Job:
    return Job(cell.run.key, functools.partial(_work_on_cell, cell, options), cell.run.log_file)


def _base_jobs(plan: Plan) -> list[Job]:
    jobs = []
    for policy in dict.fromkeys(cell.spec.policy for cell in plan.cells):
        out = plan.base_dir(policy)
        work = functools.partial(_work_on_base, policy, plan.grid.evaluation, out)
        jobs.append(Job(f"{_BASE}{policy}", work, out / "log.txt"))
    return jobs


def _work_on_cell(cell: Cell, options: Options, send: Send) -> None:
    from ablations.worker import run_cell

    run_cell(cell, options, send)


def _work_on_base(policy: str, evaluation: EvalSpec, out: Path, send: Send) -> None:
    from ablations.worker import evaluate_base

    evaluate_base(policy, evaluation, out, send)
