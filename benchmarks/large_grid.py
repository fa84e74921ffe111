"""Planning and status of a grid directory with 10,000 finished runs: seconds and peak memory of each command.

    python benchmarks/large_grid.py [--runs 10000] [--folder DIR]

Makes the directory by itself (one DONE and one spec.yaml per run), then calls `krpo-ablate --plan` and
`krpo-ablate --status` as fresh processes. Must stay under 5 seconds and 500 MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

GRID = """\
question: does planning scale?
primary_endpoint: none
effect: 0.03
base: {{steps: 60}}
axes:
  estimator: [grpo, krpo]
  noise: [none, {{name: random}}, {{name: flip, rate: 0.1}}, {{name: flip, rate: 0.2}}, {{name: flip, rate: 0.4}}]
seeds: {seeds}
evaluation: {{tasks: [sums], samples: 4, temperature: 1.0}}
"""
SECONDS, MEGABYTES = 5.0, 500.0


def make(folder: Path, runs: int) -> Path:
    """A grid file and the directory of its finished runs. Returns the grid file."""
    from ablations.grid import load_grid
    from ablations.plan import evaluation_key, make_plan
    from krpo.streams import generator

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "large.yaml"
    file.write_text(GRID.format(seeds=list(range(runs // 10))))
    plan = make_plan(load_grid(file), folder / "runs")
    plan.write()
    drawn = generator(0, "scores").normal(0.6, 0.02, size=len(plan.cells))
    for cell, score in zip(plan.cells, drawn, strict=True):
        cell.run.path.mkdir(exist_ok=True)
        done = {
            "steps": 60,
            "evaluation": evaluation_key(cell.evaluation),
            "scores": {"sums": float(score)},
            "wall": {"seconds": 15.0, "bytes": 2_300_000},
        }
        cell.run.done_file.write_text(json.dumps(done))
        cell.run.spec_file.write_text(yaml.safe_dump({"key": cell.run.key, **cell.spec.to_plain()}))
    return file


def measure(*command: str) -> tuple[float, float, float, str]:
    """Seconds, seconds of the processor, peak megabytes and the last lines of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "ablations.cli", *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    # the largest of this process's children so far: later commands are only told apart if they are larger
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, busy, after.ru_maxrss / 1024, "\n".join(done.stdout.splitlines()[-4:])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--folder", type=Path, help="keep the directory here (default: a temporary one)")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        file = make(folder, args.runs)
        within = True
        root = folder / "runs" / "large"
        for name, command in {
            "--status": ("--status", str(root)),
            "--plan": ("--grid", str(file), "--output", str(folder / "runs"), "--plan"),
            "the driver, all done": ("--grid", str(file), "--output", str(folder / "runs")),
        }.items():
            seconds, busy, peak, said = measure(*command)
            within &= seconds < SECONDS and peak < MEGABYTES
            print(
                f"{name}: {seconds:.2f} s ({busy:.2f} s of processor), {peak:.0f} MB, {args.runs} runs\n{said}\n",
                flush=True,
            )
        print("within" if within else "NOT within", f"{SECONDS:g} s and {MEGABYTES:g} MB")
        return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
