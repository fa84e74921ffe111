"""A report over 200 runs x 500 steps: wall time, peak memory, growth with the runs, and the unchanged second call.

    python benchmarks/reports.py [--runs 200] [--steps 500]

Each rendering is a process of its own, imports included. Exit status 1 if a claim does not hold: under 20 s and 1.5 GB
for 200 runs, time at most linear in runs, an unchanged report in under 3 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "reports")]

RENDER = """
import json, resource, sys, time
start = time.perf_counter()
from reports.report import render_report
done = render_report(sys.argv[1])
usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"seconds": time.perf_counter() - start, "changed": done.changed,
                  "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in usage),
                  "peak_mb": max(u.ru_maxrss for u in usage) / 1024}))
"""


def rendered(grid: Path) -> dict[str, float]:
    command = [sys.executable, "-c", RENDER, str(grid)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def make(root: Path, runs: int, steps: int) -> Path:
    from synthetic_runs import write_grid

    estimators, noises = ["grpo", "krpo", "krpo_unit_rms", "rloo"], ["none", {"name": "flip", "rate": 0.2}]
    seeds = range(max(2, runs // (len(estimators) * len(noises))))
    return write_grid(root, estimators=estimators, noises=noises, seeds=seeds, steps=steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        half = make(Path(folder) / "half", options.runs // 2, options.steps)
        whole = make(Path(folder) / "whole", options.runs, options.steps)
        of_half, of_whole = rendered(half), rendered(whole)
        start = time.perf_counter()
        again = rendered(whole)
        second = time.perf_counter() - start
    growth = of_whole["cpu_seconds"] / of_half["cpu_seconds"]
    print(f"{options.runs // 2} runs x {options.steps} steps: {of_half['seconds']:.1f} s")
    size = f"{options.runs} runs x {options.steps} steps"
    print(f"{size}: {of_whole['seconds']:.1f} s, {of_whole['peak_mb']:.0f} MB at the peak")
    print(f"processor time for twice the runs: x {growth:.2f} (linear would be at most 2)")
    print(f"the same call again, process start included: {second:.2f} s")
    claims = {
        "under 20 s": of_whole["seconds"] < 20,
        "under 1.5 GB": of_whole["peak_mb"] < 1536,
        "at most linear": growth < 2.1,
        "second call under 3 s and nothing done": second < 3 and not again["changed"],
    }
    for claim, holds in claims.items():
        print(f"{'holds ' if holds else 'FAILS '} {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
