"""One run by hand: torn and missing files, what is kept, and what its files say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from grids import results

from ablations.executors.base import Busy
from ablations.grid import load_grid
from ablations.options import Options
from ablations.plan import Cell, make_plan
from krpo.rundir import RunDir

GRID = """\
base: {steps: 4, prompts_per_step: 2, group_size: 4, max_completion_length: 40}
axes: {estimator: [krpo]}
seeds: [0]
evaluation: {tasks: [sums], limit: 6, temperature: 1.0}
"""


def run(cell: Cell, options: Options | None = None, *, stop_after: int | None = None) -> list[dict]:
    """The cell in this process; ``stop_after`` raises KeyboardInterrupt after so many steps, as a kill would."""
    from ablations.worker import run_cell

    said: list[dict] = []

    def send(message: dict) -> None:
        said.append(dict(message))
        if message["kind"] == "step" and message["step"] == stop_after:
            raise KeyboardInterrupt

    run_cell(cell, options or Options(save_every=2), send)
    return said


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Cell:
    """A finished run; tests work on copies of it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "study.yaml").write_text(GRID)
    (cell,) = make_plan(load_grid(folder / "study.yaml"), folder / "runs").cells
    said = run(cell)
    assert [m["step"] for m in said if m["kind"] == "step"] == [1, 2, 3, 4]
    return cell


@pytest.fixture
def copy(whole, tmp_path) -> Cell:
    shutil.copytree(whole.run.path, tmp_path / "study" / whole.run.key)
    return replace(whole, run=RunDir(tmp_path / "study" / whole.run.key))


def test_a_finished_run_knows_its_time_size_and_score(whole):
    stands = whole.standing()
    assert stands.state == "done"
    assert stands.seconds > sum(row["wall"]["step_seconds"] for row in whole.run.metrics())
    assert stands.scores == {"sums": whole.run.evals()["sums"]["scores"]["accuracy"]["value"]}
    files = [p for p in whole.run.path.rglob("*") if p.is_file()]
    assert stands.bytes == pytest.approx(sum(p.stat().st_size for p in files), rel=0.02)  # DONE itself is not in it
    assert run(whole) == []  # done: nothing happens


def tear(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: max(1, file.stat().st_size // 2)])


def stopped(cell: Cell) -> None:
    """As if killed in step 3, with a state saved after step 2."""
    cell.run.clear()
    with pytest.raises(KeyboardInterrupt):
        run(cell, stop_after=3)
    assert [row["step"] for row in cell.run.metrics()] == [1, 2, 3]


def unevaluated(cell: Cell) -> None:
    cell.run.mark_done(steps=4)


@pytest.mark.parametrize(
    ("prepare", "damage"),
    [
        (stopped, lambda run: None),
        (stopped, lambda run: run.metrics_file.write_bytes(run.metrics_file.read_bytes()[:-7])),
        (stopped, lambda run: tear(run.metrics_file)),  # fewer rows than the saved state has steps
        (stopped, lambda run: run.metrics_file.unlink()),
        (stopped, lambda run: run.metrics_file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')),
        (stopped, lambda run: tear(next(run.resume.glob("*/model.safetensors")))),
        (stopped, lambda run: tear(next(run.resume.glob("*/trainer_state.json")))),
        (stopped, lambda run: tear(run.spec_file)),
        (stopped, lambda run: run.failed_file.write_text('{"reas')),
        (unevaluated, lambda run: run.done_file.write_text('{"st')),
        (unevaluated, lambda run: tear(run.checkpoint / "model.safetensors")),
        (unevaluated, lambda run: tear(run.metrics_file)),
        (unevaluated, lambda run: tear(run.eval / "sums.json")),
        (unevaluated, lambda run: tear(run.eval / "sums.jsonl")),
        (unevaluated, lambda run: run.spec_file.write_text("torn: [")),
    ],
)
def test_torn_files_change_no_number(whole, copy, prepare: Callable, damage: Callable):
    prepare(copy)
    damage(copy.run)
    assert copy.standing().state == "stale"
    run(copy)
    assert copy.standing().state == "done"
    assert results(copy.run.path) == results(whole.run.path)


def test_a_run_that_another_process_holds_is_left_alone(copy, monkeypatch):
    copy.run.done_file.unlink()
    monkeypatch.setattr("ablations.worker.RunLock.__enter__", lambda self: False)
    with pytest.raises(Busy):
        run(copy)
    assert copy.standing().state == "stale"


def test_checkpoints_are_kept_as_asked(whole, copy):
    copy.run.clear()
    run(copy, Options(save_every=1, keep="all"))
    kept = sorted(p.name for p in (copy.run.path / "checkpoints").iterdir())
    assert kept == ["step-1", "step-2", "step-3"]
    assert {p.name for p in (copy.run.path / "checkpoints" / "step-1").iterdir()} >= {
        "config.json",
        "model.safetensors",
    }
    run(replace(copy, evaluation=replace(copy.evaluation, limit=7)), Options(keep="none"))
    assert not copy.run.checkpoint.exists()
    run(copy)  # another evaluation, and no checkpoint left: trained again
    assert results(copy.run.path) == results(whole.run.path)
