"""`--plan`: every run and how it stands, what the missing ones cost, and what the grid can show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ablations import power
from ablations.plan import Cell, Plan
from ablations.standing import Standing
from ablations.status import counts


def lines(
    plan: Plan, cells: Sequence[Cell], workers: int, *, measure: bool = True, retry_failed: bool = False
) -> Iterator[str]:
    """What `--plan` prints. ``measure``: run a short calibration where no times are stored."""
    found = [(cell, cell.standing()) for cell in cells]
    for cell, stands in found:
        detail = f": {stands.detail}" if stands.detail else ""
        yield f"{stands.state:<8} {cell.run.path}  {cell.label}{detail}"
    yield f"{plan.grid.name}: {counts(stands for _, stands in found)}"
    done = [(cell, stands) for cell, stands in found if stands.state == "done"]
    yield from power_lines(plan, done)
    to_do = ("missing", "stale", "failed") if retry_failed else ("missing", "stale")
    todo = [(cell, stands) for cell, stands in found if stands.state in to_do]
    failed = sum(stands.state == "failed" for _, stands in found)
    if failed and not retry_failed:
        yield f"{failed} failed: no part of the cost; --retry-failed runs them again"
    if todo:
        yield from _cost_lines(plan, todo, done, workers, measure)


def power_lines(plan: Plan, done: Sequence[tuple[Cell, Standing]]) -> list[str]:
    """The power of the grid's own comparison, on the first task of its evaluation."""
    from ablations.cost import question_count

    evaluation, report = plan.grid.evaluation, plan.grid.file.report
    task = evaluation.tasks[0]
    scores = [(cell.spec, stands.scores[task]) for cell, stands in done if task in stands.scores]
    seen = power.variation(scores, report.baseline, report.treatment)
    questions = question_count(evaluation) if seen is None else None
    answers = power.answers_of(evaluation, questions)
    return power.sentences(len(plan.grid.file.seeds), seen, plan.grid.file.effect, answers)


def _cost_lines(
    plan: Plan,
    todo: Sequence[tuple[Cell, Standing]],
    done: Sequence[tuple[Cell, Standing]],
    workers: int,
    measure: bool,
) -> Iterator[str]:
    from ablations.cost import MOST_KINDS, STEPS, estimate, untimed

    if measure and (unknown := untimed(todo, done)):
        kinds = f"{len(unknown)} kinds of runs" if len(unknown) > 1 else "this kind of run"
        yield (
            f"cost: no stored time for {kinds}; calibrating by {STEPS} steps of {min(len(unknown), MOST_KINDS)} "
            "(for the tiny policy some ten seconds a kind; Ctrl-C stops it, nothing is kept) ..."
        )
    cost = estimate(plan, todo, done, workers, measure=measure)
    if cost is None:
        yield f"cost: {len(todo)} runs to do; no finished run yet that tells how long one takes on this executor"
        return
    free = shutil.disk_usage(_existing(plan.root)).free
    yield (
        f"cost: {len(todo)} runs to do, about {duration(cost.seconds)} with {workers} at a time, "
        f"{size(cost.bytes)} of disk ({cost.source}; {size(free)} free)"
    )
    if cost.bytes > free:
        yield f"  NOT ENOUGH DISK: {size(cost.bytes)} needed, {size(free)} free in {plan.root}"


def duration(seconds: float) -> str:
    """`0.45 hours (27 minutes)`."""
    return f"{seconds / 3600:.2f} hours ({seconds / 60:.1f} minutes)"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
