"""What the driver's tests share: a small grid, the command in a process of its own, and all that a grid computes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from krpo.rundir import find_runs

GRID = """\
question: does it run?
primary_endpoint: none
base: {steps: 2, prompts_per_step: 3, group_size: 4, max_completion_length: 40}
axes:
  estimator: [grpo, krpo]
seeds: [0, 1]
evaluation: {tasks: [sums], limit: 6, temperature: 1.0}
"""


def command(grid_file: Path, *options: str, output: Path | None = None) -> list[str]:
    output = output or grid_file.parent / "runs"
    return [sys.executable, "-m", "ablations.cli", "--grid", str(grid_file), "--output", str(output), *options]


def ablate(grid_file: Path, *options: str, output: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it: the driver forks, which a test process should not."""
    return subprocess.run(command(grid_file, *options, output=output), capture_output=True, text=True, timeout=280)


def results(root: Path) -> dict[str, Any]:
    """Everything that a grid computes, by file: metrics without wall times, evaluation records, weights."""
    found: dict[str, Any] = {}
    for run in find_runs(root):
        found[f"{run.key}/metrics"] = [{k: v for k, v in row.items() if k != "wall"} for row in run.metrics()]
        for task, summary in run.evals().items():
            found[f"{run.key}/{task}.json"] = {k: v for k, v in summary.items() if k != "wall"}
        for file in [run.checkpoint / "model.safetensors", *sorted(run.eval.glob("*.jsonl"))]:
            found[f"{run.key}/{file.name}"] = file.read_bytes()
    return found


def times_trained(root: Path) -> dict[str, int]:
    """How often each run was trained to its end, from its log."""
    return {run.key: run.log_file.read_text().count("trained to the end") for run in find_runs(root)}


def wait_for(condition, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def processes() -> dict[int, str]:
    """Process id -> command line, of those that are not zombies."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found
