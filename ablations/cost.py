"""Hours and disk that a plan's missing runs will take: from the times that finished runs stored, else from a short
calibration on this machine.

Runs that take alike are those that agree in everything but estimator, noise, seed, learning rate and steps.
"""

from __future__ import annotations

import functools
import heapq
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from ablations.executors.base import Job, Send
from ablations.executors.local import LocalExecutor
from ablations.options import Options
from ablations.plan import Cell, Plan
from ablations.standing import Standing
from eval.gpus import visible_gpus
from eval.spec import EvalSpec
from krpo.config import Named
from krpo.errors import KrpoError
from krpo.rundir import RunDir
from krpo.spec import RunSpec

STEPS = 6  # of a calibration run; its first is slower than the rest
MOST_KINDS = 6  # calibrated; what is left is scaled from the nearest


@dataclass(frozen=True)
class Cost:
    """What one kind of run takes."""

    step_seconds: float
    other_seconds: float  # loading, saving, evaluating
    evaluation_seconds: float  # the part of it that an untrained policy takes as well
    bytes: float

    def seconds(self, steps: int) -> float:
        return self.other_seconds + steps * self.step_seconds


@dataclass(frozen=True)
class Estimate:
    seconds: float  # from start to end
    bytes: float
    source: str


def estimate(
    plan: Plan,
    todo: Sequence[tuple[Cell, Standing]],
    done: Sequence[tuple[Cell, Standing]],
    workers: int,
    *,
    measure: bool,
) -> Estimate | None:
    """Time and disk of the cells of ``todo``, ``workers`` at a time.

    ``measure``: calibrate on this machine the kinds of runs that no stored time tells of. Returns None where nothing is
    known. Raises `KrpoError` where a calibration run fails.
    """
    stored, unknown = _stored(done), untimed(todo, done)
    kinds = {kind(cell.spec) for cell, _ in todo}
    started = time.monotonic()
    costs, start_up = dict(stored), 0.0
    if unknown and measure:
        first = dict(list(unknown.items())[:MOST_KINDS])
        calibrated, start_up = calibrate(first, plan.grid.evaluation, workers)
        costs |= calibrated
    if not costs:
        return None
    took = time.monotonic() - started
    each = [_scaled(costs, cell.spec).seconds(cell.spec.steps) for cell, _ in todo]
    untrained = [] if _base_done(plan) else [max(c.evaluation_seconds for c in costs.values())]
    seconds = start_up + _makespan(untrained + each, workers)
    size = sum(_scaled(costs, cell.spec).bytes for cell, _ in todo)
    n = sum(1 for cell, _ in done if kind(cell.spec) in kinds)
    source = (
        f"times of {n} finished runs"
        if not (unknown and measure)
        else f"a calibration of {took:.0f} seconds on this machine"
    )
    return Estimate(seconds, size, source)


def untimed(todo: Sequence[tuple[Cell, Standing]], done: Sequence[tuple[Cell, Standing]]) -> dict[RunSpec, Cell]:
    """The kinds of runs that no finished run tells the time of, each with its first cell."""
    stored = _stored(done)
    return {k: cell for cell, _ in reversed(todo) if (k := kind(cell.spec)) not in stored}


def kind(spec: RunSpec) -> RunSpec:
    """The specification without what hardly changes the time of a step."""
    any_ = Named("any")
    return replace(spec, seed=0, estimator=any_, noise=any_, learning_rate=1.0, steps=1)


def _stored(done: Sequence[tuple[Cell, Standing]]) -> dict[RunSpec, Cost]:
    """A finished run's whole time, spread over its steps."""
    found: dict[RunSpec, list[tuple[float, float]]] = defaultdict(list)
    for cell, stands in done:
        if stands.seconds:
            found[kind(cell.spec)].append((stands.seconds / cell.spec.steps, float(stands.bytes or 0)))
    return {k: Cost(fmean(s for s, _ in v), 0.0, 0.0, fmean(b for _, b in v)) for k, v in found.items()}


def _scaled(costs: Mapping[RunSpec, Cost], spec: RunSpec) -> Cost:
    """The cost of its kind, or of the kind with the most similar number of answers, in proportion."""
    if (known := costs.get(kind(spec))) is not None:
        return known
    answers = _answers(spec)
    nearest = min(costs, key=lambda k: abs(_answers(k) - answers))
    cost = costs[nearest]
    return replace(cost, step_seconds=cost.step_seconds * answers / _answers(nearest))


def _answers(spec: RunSpec) -> int:
    return spec.prompts_per_step * spec.group_size


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of the jobs ends, each started in turn by the first worker that is free."""
    free = [0.0] * workers
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)


def _base_done(plan: Plan) -> bool:
    policies = {cell.spec.policy for cell in plan.cells}
    return all(any(plan.base_dir(p).glob("eval/*.json")) for p in policies)


def calibrate(kinds: Mapping[RunSpec, Cell], evaluation: EvalSpec, workers: int) -> tuple[dict[RunSpec, Cost], float]:
    """Run a few steps of each kind, as many at a time as the grid will. Returns the costs and the driver's start-up."""
    from ablations.worker import preload

    started = time.monotonic()
    preload(evaluation)
    start_up = time.monotonic() - started
    questions = question_count(evaluation)
    some = replace(evaluation, limit=min(questions, max(32, evaluation.batch_size // evaluation.samples)))
    folder = Path(tempfile.mkdtemp(prefix="krpo-calibration-"))
    try:
        jobs, runs = [], {}
        for copy in range(max(1, -(-workers // len(kinds)))):  # neighbours slow one another down: measure it so
            for number, (name, cell) in enumerate(kinds.items()):
                spec = replace(cell.spec, steps=min(STEPS, cell.spec.steps), seed=copy)
                run = RunDir(folder / f"{number}-{copy}")
                small = replace(cell, spec=spec, run=run, evaluation=some)
                jobs.append(Job(run.key, functools.partial(_work, small), run.log_file))
                runs[run.key] = (name, small)
        for event in LocalExecutor(workers, gpus=visible_gpus()).execute(jobs):
            if event is not None and event.kind in ("failed", "died"):
                raise KrpoError(f"a calibration run failed ({runs[event.job.name][1].label}): {event.data['reason']}")
        measured: dict[RunSpec, list[Cost]] = defaultdict(list)
        for name, small in runs.values():
            measured[name].append(_measured(small, questions))
        return {name: _mean(costs) for name, costs in measured.items()}, start_up
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _work(cell: Cell, send: Send) -> None:
    from ablations.worker import run_cell

    run_cell(cell, Options(), send)


def _measured(cell: Cell, questions: int) -> Cost:
    """From a short run to a whole one: more steps, more questions."""
    stands, rows = cell.standing(), cell.run.metrics()
    steps = [row["wall"]["step_seconds"] for row in rows]
    evaluated = sum(summary["wall"]["seconds"] for summary in cell.run.evals().values())
    factor = questions / (cell.evaluation.limit or questions)
    total = stands.seconds or sum(steps)
    usual = median(steps[1:] or steps)
    other = total - usual * len(steps) - evaluated
    records = sum(p.stat().st_size for p in cell.run.eval.glob("*"))
    rest = (stands.bytes or 0) - records
    return Cost(usual, max(0.0, other) + evaluated * factor, evaluated * factor, rest + records * factor)


def _mean(costs: Sequence[Cost]) -> Cost:
    return Cost(
        fmean(c.step_seconds for c in costs),
        fmean(c.other_seconds for c in costs),
        fmean(c.evaluation_seconds for c in costs),
        fmean(c.bytes for c in costs),
    )


def question_count(evaluation: EvalSpec) -> int:
    """Questions of all tasks of an evaluation. Loads them."""
    from eval.tasks.loading import load_tasks

    return sum(len(task.questions) for task in load_tasks(evaluation))
