"""A grid of 12 runs through the driver against the same runs one after the other as fresh `krpo-train` processes.

    python benchmarks/driver.py [--steps 20]

Both train and save; the driver's runs are not evaluated beyond six questions, which counts against it. The fresh
processes have default threads. On two cores the driver must be at least 2.5 times faster and stay under 6 GB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import yaml

from ablations.grid import load_grid

GRID = """\
question: how fast is the driver?
primary_endpoint: none
base: {{steps: {steps}, prompts_per_step: 8, group_size: 12}}
axes:
  estimator: [grpo, krpo]
  noise: [none, {{name: flip, rate: 0.2}}]
seeds: [0, 1, 2]
evaluation: {{tasks: [sums], limit: 6, temperature: 1.0}}
"""
RATIO, GIGABYTES = 2.5, 6.0


class PeakMemory:
    """The most that a process and its descendants held, each page shared among n processes counted 1/n times."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak, self._stop = pid, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            total = 0
            try:
                process = psutil.Process(self.pid)
                for one in [process, *process.children(recursive=True)]:
                    info = one.memory_full_info()
                    total += getattr(info, "pss", info.uss)
            except psutil.Error:
                continue
            self.peak = max(self.peak, total / 1e9)

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.peak


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and peak gigabytes of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    memory = PeakMemory(process.pid)
    _, errors = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: status {process.returncode}\n{errors}")
    return seconds, memory.stop()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--steps", type=int, default=20)
    args = options.parse_args()
    defaults = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = folder / "speed.yaml"
        file.write_text(GRID.format(steps=args.steps))
        driver, memory = timed(
            [sys.executable, "-m", "ablations.cli", "--grid", str(file), "--output", str(folder / "runs")], defaults
        )
        print(f"driver: 12 runs in {driver:.1f} s, peak {memory:.2f} GB", flush=True)
        fresh = 0.0
        for number, spec in enumerate(load_grid(file).specs):
            config = folder / f"{number}.yaml"
            config.write_text(yaml.safe_dump(spec.to_plain()))
            train = [sys.executable, "-m", "krpo.cli", "--config", str(config), "--output", str(folder / f"f{number}")]
            fresh += timed(train, defaults)[0]
        print(f"fresh krpo-train processes: 12 runs in {fresh:.1f} s", flush=True)
    print(f"ratio {fresh / driver:.2f} (at least {RATIO}); memory {memory:.2f} GB (under {GIGABYTES:g})")
    return 0 if fresh / driver >= RATIO and memory < GIGABYTES else 1


if __name__ == "__main__":
    raise SystemExit(main())
