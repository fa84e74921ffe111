"""Kill the driver or a worker at random moments, again and again, then tear files: the grid ends with an undisturbed
one's bytes."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from grids import command, results, times_trained

from krpo.rundir import find_runs

GRID = """\
question: does it survive?
primary_endpoint: none
base: {{steps: {steps}, prompts_per_step: 4, group_size: 4, max_completion_length: 40}}
axes:
  estimator: [grpo, krpo]
  noise: [none, {{name: flip, rate: 0.2}}]
seeds: [0, 1, 2]
evaluation: {{tasks: [sums], limit: 60, samples: 2, temperature: 1.0}}
"""
STEPS = 150  # long enough that the grid is not done before the last kill, also on an idle machine
SAVE = ("--save-every", "5")
KILLS = 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_change_nothing(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(GRID.format(steps=STEPS))
    undisturbed = subprocess.run(command(file, output=tmp_path / "undisturbed"), capture_output=True, text=True)
    assert undisturbed.returncode == 0, undisturbed.stderr
    print(disturb(file))
    finished = subprocess.run([*command(file), *SAVE], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    root = tmp_path / "runs" / "study"
    check(tmp_path)
    assert max(times_trained(root).values()) == 1

    tear(root)
    mended = subprocess.run([*command(file), *SAVE], capture_output=True, text=True)
    assert mended.returncode == 0, mended.stderr
    check(tmp_path)


def tear(root: Path) -> None:
    """Cut DONE and one more file of a run in the middle, as a crash of the machine may; another file in each run."""
    names = ("spec.yaml", "metrics.jsonl", "checkpoint/model.safetensors", "eval/sums.json", "eval/sums.jsonl")
    for name, run in zip(names, find_runs(root), strict=False):
        for file in (run.done_file, run.path / name):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def disturb(file: Path) -> str:
    """Start the driver again and again, and kill it or one of its workers, mostly while workers work."""
    rng, killed = random.Random(0), {"driver": 0, "worker": 0}
    root = file.parent / "runs" / "study"
    drivers = 0
    with (file.parent / "driver.log").open("w") as log:
        while sum(killed.values()) < KILLS:
            assert not all_done(root), f"the grid was done after {killed}; make its runs longer"
            driver = psutil.Popen([*command(file), *SAVE], stdout=log, stderr=log)
            drivers += 1
            while driver.poll() is None and sum(killed.values()) < KILLS:
                kind = rng.choices(["driver", "worker"], [1, 2])[0]
                early = kind == "driver" and rng.random() < 0.2  # at any moment of its start
                wait_until(lambda d=driver, e=early: d.poll() is not None or e or d.children())
                time.sleep(rng.uniform(0, 4))
                try:
                    victims = driver.children() if kind == "worker" else [driver]
                    if victims and driver.poll() is None:
                        rng.choice(victims).kill()
                        killed[kind] += 1
                except psutil.NoSuchProcess:
                    continue
            if driver.poll() is None:
                driver.kill()
            driver.wait()
    return f"killed {killed} of {drivers} drivers"


def wait_until(condition) -> None:
    while not condition():
        time.sleep(0.05)


def check(folder: Path) -> None:
    """All done, each step once, and every byte as in the undisturbed grid."""
    root, undisturbed = folder / "runs" / "study", folder / "undisturbed" / "study"
    assert all_done(root)
    assert all([row["step"] for row in run.metrics()] == list(range(1, STEPS + 1)) for run in find_runs(root))
    assert results(root) == results(undisturbed)
    assert tables(root) == tables(undisturbed)


def all_done(root: Path) -> bool:
    runs = list(find_runs(root))
    return len(runs) == 12 and all(run.status() == "done" and run.evals() for run in runs)


def tables(root: Path) -> dict[str, bytes]:
    """Every table of the report, but for those about time and machines."""
    from reports import render

    folder = render(root).parent / "tables"
    return {p.name: p.read_bytes() for p in folder.glob("*") if not any(w in p.name for w in ("cost", "environment"))}
