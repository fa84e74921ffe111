"""What a person is told while a grid runs: counts of what was asked for, not of what the grid holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from grids import GRID

from ablations.display import PlainDisplay
from ablations.driver import run_plan
from ablations.executors.base import Event, Job
from ablations.grid import load_grid
from ablations.options import Options
from ablations.plan import make_plan


class Scripted:
    """An executor that carries nothing out: each job ends as told, in turn."""

    workers = 1

    def __init__(self, *ends: str) -> None:
        self.ends = ends

    def execute(self, jobs: list[Job]):
        ends = iter(self.ends)
        for job in jobs:
            base = job.name.startswith("base ")
            yield Event(job, "started", {})
            yield Event(job, "done" if base else next(ends), {"reason": "told to"})


@pytest.fixture
def plan(tmp_path: Path):
    file = tmp_path / "small.yaml"
    file.write_text(GRID)
    return make_plan(load_grid(file), tmp_path / "runs")


def test_runs_beyond_the_limit_are_not_counted_as_done(plan, capsys):
    run_plan(plan, Scripted("done", "done"), Options(), PlainDisplay(), limit=2)
    told = capsys.readouterr().err
    assert "2 runs to do, 1 at a time" in told
    assert "found done" not in told
    assert "1/2 runs done" in told
    assert "2/2 runs done" in told


def test_a_failed_run_is_not_counted_as_done(plan, capsys):
    outcome = run_plan(plan, Scripted("failed", "done"), Options(), PlainDisplay(), limit=2)
    told = capsys.readouterr().err
    assert "0/2 runs done, 1 failed" in told
    assert "1/2 runs done, 1 failed" in told
    assert len(outcome.failed) == 1


def test_a_limit_that_an_executor_does_not_keep_is_refused(tmp_path, capsys):
    from ablations.cli import main

    file = tmp_path / "small.yaml"
    file.write_text(GRID)
    assert main(["--grid", str(file), "--executor", "slurm", "--hang-minutes", "5", "--output", str(tmp_path)]) == 2
    assert "--hang-minutes is for --executor local" in capsys.readouterr().err
