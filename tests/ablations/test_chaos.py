"""Kill the driver or a worker at random moments, again and again: the grid ends with an undisturbed one's bytes."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from grids import ablate, command, results, times_trained

from krpo.rundir import find_runs

GRID = """\
question: does it survive?
primary_endpoint: none
base: {steps: 60, prompts_per_step: 4, group_size: 4, max_completion_length: 40}
axes:
  estimator: [grpo, krpo]
  noise: [none, {name: flip, rate: 0.2}]
seeds: [0, 1, 2]
evaluation: {tasks: [sums], limit: 60, samples: 2, temperature: 1.0}
"""
KILLS = 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thirty_kills_change_nothing(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(GRID)
    undisturbed = subprocess.run(command(file, output=tmp_path / "undisturbed"), capture_output=True, text=True)
    assert undisturbed.returncode == 0, undisturbed.stderr

    rng, kills, statuses = random.Random(0), {"driver": 0, "worker": 0}, []
    log = (tmp_path / "driver.log").open("w")
    while sum(kills.values()) < KILLS:
        driver = subprocess.Popen(command(file, "--save-every", "5"), stdout=log, stderr=log)
        while driver.poll() is None and sum(kills.values()) < KILLS:
            time.sleep(rng.uniform(0.2, 12))
            kind = rng.choice(["driver", "worker"])
            try:
                victims = [psutil.Process(driver.pid)]
                if kind == "worker":
                    victims = victims[0].children()
                if victims and driver.poll() is None:
                    rng.choice(victims).send_signal(signal.SIGKILL)
                    kills[kind] += 1
            except psutil.NoSuchProcess:
                continue
        driver.kill() if sum(kills.values()) >= KILLS else None
        statuses.append(driver.wait())
        root = tmp_path / "runs" / "study"
        if all_done(root) and sum(kills.values()) < KILLS:
            pytest.fail(f"the grid was done after {kills}; make its runs longer")
    finished = ablate(file, "--save-every", "5")
    print(f"kills: {kills}; drivers that ended by themselves: {sum(s >= 0 for s in statuses)} of {len(statuses)}")
    assert finished.returncode == 0, finished.stderr
    assert all_done(root)
    assert max(times_trained(root).values()) == 1
    assert all([row["step"] for row in run.metrics()] == list(range(1, 61)) for run in find_runs(root))
    assert results(root) == results(tmp_path / "undisturbed" / "study")
    assert tables(root) == tables(tmp_path / "undisturbed" / "study")


def all_done(root: Path) -> bool:
    runs = list(find_runs(root))
    return len(runs) == 12 and all(run.status() == "done" and run.evals() for run in runs)


def tables(root: Path) -> dict[str, bytes]:
    """Every table of the report, but for those about time and machines."""
    from reports import render

    folder = render(root).parent / "tables"
    return {p.name: p.read_bytes() for p in folder.glob("*") if not any(w in p.name for w in ("cost", "environment"))}
