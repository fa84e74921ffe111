"""A grid end to end on the tiny policy: done runs are skipped, a failed one stops nobody, a kill loses nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from grids import GRID, ablate, command, processes, results, times_trained, wait_for

from ablations.cli import main
from ablations.grid import load_grid
from ablations.plan import make_plan
from krpo.policies import policy_path
from krpo.rundir import RunDir, find_runs, write_yaml


@pytest.fixture
def grid_file(tmp_path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(GRID)
    return file


def test_two_drivers_share_a_grid_and_the_next_finds_it_done(grid_file):
    both = [subprocess.Popen(command(grid_file), stdout=-1, stderr=-1, text=True) for _ in range(2)]
    said = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("4 of 4 runs are done" in out for out, _ in said)
    root = grid_file.parent / "runs" / "study"
    runs = list(find_runs(root))
    assert {run.status() for run in runs} == {"done"}
    assert times_trained(root) == {run.key: 1 for run in runs}
    assert len(runs) == 4
    assert all(set(run.evals()) == {"sums"} for run in runs)
    assert (root / "base" / "tiny" / "eval" / "sums.json").exists()

    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    second = ablate(grid_file)
    assert second.returncode == 0
    assert "4 of 4 runs are done (4 found done)" in second.stdout
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before

    other = ablate(grid_file, "--set", "evaluation.limit=9", "--only", "seed=1", "--limit", "1")
    assert other.returncode == 0
    assert "1 of 2 runs are done (1 not started, beyond --limit)" in other.stdout
    assert sorted(run.evals()["sums"]["n_questions"] for run in runs) == [6, 6, 6, 9]
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
    """A small version of the chaos test: Ctrl-C, a killed worker, a killed driver."""
    longer = ("--set", "steps=12", "seeds=[0]", "--save-every", "3", "--workers", "1")
    undisturbed = ablate(grid_file, *longer, output=tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    root = tmp_path / "runs" / "study"

    def start(condition) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(grid_file, *longer),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            # a test run that was started in the background ignores Ctrl-C, and so would what it starts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        wait_for(condition, process)
        return process

    first = start(lambda: any(root.glob("*/resume/*/COMPLETE")))
    first.send_signal(signal.SIGINT)
    _, message = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "interrupted" in message
    assert "Traceback" not in message

    second = start(lambda: any(root.glob("*/DONE")))  # one run trained, perhaps not yet evaluated
    for worker in psutil.Process(second.pid).children():
        worker.send_signal(signal.SIGKILL)
    _, message = second.communicate(timeout=200)
    assert second.returncode == 1
    assert message.count("killed by SIGKILL") == 1

    third = start(lambda: any("/resume" in str(p) for p in root.glob("*/resume/*/COMPLETE")) or len(done(root)) == 2)
    third.send_signal(signal.SIGKILL)
    third.communicate(timeout=60)
    wait_for_end = psutil.wait_procs([psutil.Process(p) for p, c in processes().items() if str(grid_file) in c], 10)
    assert not wait_for_end[1], "a worker outlived its driver"

    finished = ablate(grid_file, *longer)
    assert finished.returncode == 0, finished.stderr
    assert results(root) == results(tmp_path / "undisturbed" / "study")
    logs = "".join(run.log_file.read_text() for run in find_runs(root))
    assert "training from checkpoint-" in logs  # it went on, it did not start again


def done(root: Path) -> list[Path]:
    return list(root.glob("*/DONE"))


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
    undisturbed = ablate(grid_file)
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert results(small_disk / "study") == results(grid_file.parent / "runs" / "study")


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
        (["--only", "estimator=kpro"], ["--only estimator=kpro", "did you mean krpo"]),
        (["--hang-minutes", "0"], ["--hang-minutes", "above 0"]),
        (["--address", "auto"], ["--address is for --executor ray"]),
        (["--option", "num_gpus=1"], ["local executor has no options"]),
        (["--set", "seeds=[3, 3]"], ["--set seeds=[3, 3]", "seed 3 is given twice"]),
        (["--set", "include=[{estimator: grpo}]"], ["stands twice", "include[0]"]),
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


def test_a_policy_that_changed_half_way_is_told_and_nothing_starts(grid_file, capsys):
    policy = grid_file.parent / "policy"
    shutil.copytree(policy_path("tiny"), policy)
    options = ["--grid", str(grid_file), "--output", str(grid_file.parent / "runs"), "--set", f"policy={policy}"]
    plan = make_plan(load_grid(grid_file, [f"policy={policy}"]), grid_file.parent / "runs")
    plan.write()
    write_yaml(plan.cells[0].run.spec_file, {"key": plan.cells[0].run.key})
    before = sorted(plan.root.rglob("*"))
    config = policy / "config.json"
    config.write_text(config.read_text().replace("{", '{"changed": 1,', 1))
    assert main(options) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert f"the policy '{policy}' has changed since runs in {plan.root} were made" in error
    assert sorted(plan.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("[grpo, krpo]", "[grpo, kpro]"), ["study.yaml, line", "axes.estimator", "kpro", "did you mean krpo"]),
        (("base: {", "base: {task: smus, "), ["study.yaml, line", "base.task", "smus", "did you mean sums"]),
        (("base: {", "base: {policy: ./nowhere, "), ["study.yaml, line", "base.policy", "./nowhere"]),
        (("base: {", "base: {noise: {name: flip, rat: 0.1}, "), ["study.yaml, line", "base.noise", "rat", "rate"]),
    ],
)
def test_an_unknown_name_in_a_file_is_told_with_its_place(grid_file, capsys, change, parts):
    assert change[0] in grid_file.read_text()
    grid_file.write_text(grid_file.read_text().replace(*change))
    assert main(["--grid", str(grid_file), "--output", str(grid_file.parent / "runs")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    for part in parts:
        assert part in lines[0]
    assert not (grid_file.parent / "runs").exists()
