"""A grid end to end on the tiny policy: done runs are skipped, a failed one stops nobody, a kill loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ablations.cli import main
from ablations.grid import load_grid
from ablations.plan import make_plan
from krpo.rundir import RunDir, find_runs

GRID = """\
question: does it run?
primary_endpoint: none
base: {steps: 2, prompts_per_step: 3, group_size: 4, max_completion_length: 40}
axes:
  estimator: [grpo, krpo]
seeds: [0, 1]
evaluation: {tasks: [sums], limit: 6, temperature: 1.0}
"""


@pytest.fixture
def grid_file(tmp_path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(GRID)
    return file


def ablate(grid_file: Path, *options: str, output: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it: the driver forks, which a test process should not."""
    return subprocess.run(command(grid_file, *options, output=output), capture_output=True, text=True, timeout=280)


def command(grid_file: Path, *options: str, output: Path | None = None) -> list[str]:
    output = output or grid_file.parent / "runs"
    return [sys.executable, "-m", "ablations.cli", "--grid", str(grid_file), "--output", str(output), *options]


def results(root: Path) -> dict[str, Any]:
    """Everything that a grid computes, by file: metrics without wall times, evaluation records, weights."""
    found: dict[str, Any] = {}
    for run in find_runs(root):
        found[f"{run.key}/metrics"] = [{k: v for k, v in row.items() if k != "wall"} for row in run.metrics()]
        for file in [run.checkpoint / "model.safetensors", *sorted(run.eval.glob("*.jsonl"))]:
            found[f"{run.key}/{file.name}"] = file.read_bytes()
    return found


def test_a_grid_runs_and_the_second_time_nothing_is_trained(grid_file):
    first = ablate(grid_file)
    assert first.returncode == 0, first.stderr
    root = grid_file.parent / "runs" / "study"
    runs = list(find_runs(root))
    assert len(runs) == 4
    assert {run.status() for run in runs} == {"done"}
    assert all(set(run.evals()) == {"sums"} for run in runs)
    assert (root / "base" / "tiny" / "eval" / "sums.json").exists()
    assert (root / "grid.yaml").exists()

    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    second = ablate(grid_file)
    assert second.returncode == 0
    assert "4 of 4 runs are done (4 found done)" in second.stdout
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before

    other_evaluation = ablate(grid_file, "--set", "evaluation.limit=9")
    assert other_evaluation.returncode == 0
    assert {run.evals()["sums"]["n_questions"] for run in runs} == {9}
    trained = {p for p in before if p.name in ("metrics.jsonl", "model.safetensors")}
    assert all(p.stat().st_mtime_ns == before[p] for p in trained)  # evaluated again, not trained again


def test_a_failed_run_does_not_stop_the_others(grid_file):
    bad = ("--set", "axes.learning_rate=[1e-4, 1e30]", "--set", "max_grad_norm=0", "--set", "steps=6")
    done = ablate(grid_file, *bad, "--workers", "2")
    assert done.returncode == 1
    root = grid_file.parent / "runs" / "study"
    states = sorted(run.status() for run in find_runs(root))
    assert states == ["done"] * 4 + ["failed"] * 4
    assert "4 of 8 runs are done" in done.stdout
    assert done.stderr.count("failed: ") == 4
    assert done.stderr.count("not numbers after step") == 4
    assert "Traceback" not in done.stderr
    again = ablate(grid_file, *bad)
    assert again.returncode == 1
    assert "--retry-failed" in again.stderr


def test_interrupted_and_killed_it_goes_on_and_ends_with_the_same_bytes(grid_file, tmp_path):
    undisturbed = ablate(grid_file, output=tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    for number, sent in enumerate([signal.SIGINT, signal.SIGKILL]):
        process = subprocess.Popen(command(grid_file, "--workers", "1"), stderr=subprocess.PIPE, text=True)
        wait_for(lambda n=number: len(list((tmp_path / "runs").glob("study/*/DONE"))) > n, process)
        process.send_signal(sent)
        _, message = process.communicate(timeout=60)
        assert process.returncode == (1 if sent == signal.SIGINT else -signal.SIGKILL)
        if sent == signal.SIGINT:
            assert "interrupted" in message
            assert "Traceback" not in message
        assert not [line for line in processes() if str(grid_file) in line], "a worker outlived its driver"
    finished = ablate(grid_file)
    assert finished.returncode == 0, finished.stderr
    assert results(tmp_path / "runs" / "study") == results(tmp_path / "undisturbed" / "study")


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def processes() -> list[str]:
    time.sleep(0.5)
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                lines.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return lines


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small tmpfs here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_nothing_finished_is_lost(grid_file, small_disk):
    full = ablate(grid_file, "--workers", "1", output=small_disk)
    assert full.returncode == 1
    assert "disk is full" in full.stderr
    assert "Traceback" not in full.stderr
    done = [run for run in find_runs(small_disk / "study") if run.status() == "done"]
    kept = {run.key: run.metrics() for run in done}
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    more_room = ablate(grid_file, output=small_disk)
    assert more_room.returncode == 0, more_room.stderr
    assert all(RunDir(small_disk / "study" / key).metrics() == rows for key, rows in kept.items())


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--set", "axes.estimator=[kpro]"], ["kpro", "did you mean krpo"]),
        (["--set", "noise=flipp"], ["flipp", "did you mean flip"]),
        (["--set", "task=smus"], ["smus", "did you mean sums"]),
        (["--set", "policy=no/such/folder"], ["no/such/folder"]),
        (["--set", "axes.estimator=[{name: krpo, proces_variance: 1}]"], ["proces_variance", "process_variance"]),
        (["--set", "evaluation.samples=4", "--set", "evaluation.temperature=0"], ["temperature 0"]),
        (["--set", "seeds=[]"], ["seeds", "empty"]),
        (["--workers", "0"], ["--workers", "at least 1"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(grid_file, capsys, options, parts, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status = main(["--grid", str(grid_file), "--output", str(grid_file.parent / "runs"), *options])
    error = capsys.readouterr().err.strip()
    assert status == 2
    assert error.count("\n") == 0
    for part in parts:
        assert part in error
    assert not (grid_file.parent / "runs").exists()


def test_the_plan_names_every_run_and_its_state(grid_file, capsys):
    options = ["--grid", str(grid_file), "--output", str(grid_file.parent / "runs")]
    assert main([*options, "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("missing") for line in lines)
    plan = make_plan(load_grid(grid_file), grid_file.parent / "runs")
    run = plan.cells[0].run
    os.makedirs(run.path)
    run.spec_file.write_text("torn: [")
    run.done_file.write_text('{"evalu')  # a torn marker: the run is taken up again
    assert plan.cells[0].state() == "unfinished"
