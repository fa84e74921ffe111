"""Carry out a plan: skip what is done, run the rest, keep going when a run fails."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ablations.executors.local import Event, Job, execute
from ablations.plan import Cell, Plan
from krpo.errors import KrpoError
from krpo.rundir import write_yaml


class Display(Protocol):
    """What shows the progress of a plan (`ablations.display`)."""

    def begin(self, plan: Plan, todo: list[Cell], workers: int) -> None: ...
    def event(self, event: Event | None) -> None: ...
    def end(self) -> None: ...


@dataclass
class Outcome:
    """How a plan ended, by run."""

    done_before: int = 0
    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # run directory -> reason


def run_plan(plan: Plan, *, workers: int, display: Display, retry_failed: bool = False) -> Outcome:
    """Train and evaluate every cell of the plan that is not done.

    A run that failed is not tried again unless ``retry_failed``, except where the machine was at fault (a full disk, no
    memory, a kill). Returns the outcome; raises `KrpoError` where the untrained policy cannot be scored.
    """
    states = {cell: cell.state() for cell in plan.cells}
    todo = [c for c, s in states.items() if s in ("missing", "unfinished") or (s == "failed" and retry_failed)]
    outcome = Outcome(done_before=sum(s == "done" for s in states.values()))
    for cell, state in states.items():
        if state == "failed" and not retry_failed:
            outcome.failed[cell.run.key] = f"{cell.reason()} (failed before; --retry-failed runs it again)"
    if not todo:
        return outcome

    from ablations.worker import preload

    preload(plan.grid.evaluation)
    write_yaml(plan.root / "grid.yaml", plan.grid.to_plain())
    jobs = [*_base_jobs(plan), *(_cell_job(cell) for cell in todo)]
    cells = {cell.run.key: cell for cell in todo}
    display.begin(plan, todo, workers)
    try:
        for event in execute(jobs, workers):
            display.event(event)
            if event is None or event.kind not in ("done", "failed", "died"):
                continue
            name = event.job.name
            if event.kind == "done":
                outcome.finished.append(name)
            elif name not in cells:
                raise KrpoError(
                    f"the untrained policy could not be scored ({event.data['reason']}); see {event.job.log}"
                )
            else:
                outcome.failed[name] = event.data["reason"]
                if event.kind == "died":
                    with contextlib.suppress(OSError):
                        cells[name].run.mark_failed(event.data["reason"], retry=True)
    finally:
        display.end()
    return outcome


def _cell_job(cell: Cell) -> Job:
    def work(send: Callable[[dict[str, Any]], None]) -> None:
        from ablations.worker import run_cell

        run_cell(cell, send)

    return Job(cell.run.key, work, cell.run.log_file)


def _base_jobs(plan: Plan) -> list[Job]:
    def work(policy: str, out: Path, send: Callable[[dict[str, Any]], None]) -> None:
        from ablations.worker import evaluate_base

        evaluate_base(policy, plan.grid.evaluation, out, send)

    folders = {policy: plan.base_dir(policy) for policy in plan.policies}
    return [Job(f"base {p}", functools.partial(work, p, out), out / "log.txt") for p, out in folders.items()]
