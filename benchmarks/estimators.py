"""What the advantage estimators cost: KRPO against the loop it replaces, and every estimator against a training step.

    python benchmarks/estimators.py [--groups 4096] [--group-size 16] [--steps 8]

One process, one thread. Exit status 1 if a claim does not hold: KRPO on the whole batch is at least 10,000 times faster
than one answer at a time on tensors, and no estimator takes more than 1 % of a training step of the tiny policy.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from krpo.advantages import available_estimators, make_estimator

FASTER, SHARE = 10_000, 0.01


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Best of five means over ``repeats`` calls: what the call costs where nothing else runs."""
    call()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


def loop_on_tensors(rewards_PG: torch.Tensor) -> torch.Tensor:
    """The filter as it is written in a paper: one answer at a time, on tensors."""
    advantages_PG = torch.empty_like(rewards_PG)
    for p in range(rewards_PG.shape[0]):
        x, variance = torch.tensor(0.0), torch.tensor(1.0)
        for g in range(rewards_PG.shape[1]):
            variance = variance + 1e-5
            gain = variance / (variance + 1e-2)
            x = x + gain * (rewards_PG[p, g] - x)
            variance = (1 - gain) * variance
            advantages_PG[p, g] = (rewards_PG[p, g] - x) / (torch.sqrt(variance) + 1e-8)
    return advantages_PG


def loop_on_floats(rewards_PG: torch.Tensor) -> torch.Tensor:
    """The same on Python's own numbers."""
    rows = []
    for row in rewards_PG.tolist():
        x, variance, advantages = 0.0, 1.0, []
        for r in row:
            variance += 1e-5
            gain = variance / (variance + 1e-2)
            x += gain * (r - x)
            variance *= 1 - gain
            advantages.append((r - x) / (variance**0.5 + 1e-8))
        rows.append(advantages)
    return torch.tensor(rows)


def training_step(prompts: int, group_size: int, steps: int) -> float:
    """Median seconds of a training step of the tiny policy, as `krpo-train` runs it."""
    from krpo.rundir import read_jsonl
    from krpo.spec import RunSpec
    from krpo.train import train

    with tempfile.TemporaryDirectory() as folder:
        spec = RunSpec(steps=steps, prompts_per_step=prompts, group_size=group_size)
        rows = read_jsonl(train(spec, Path(folder) / "run").metrics_file)
    took = sorted(row["wall"]["step_seconds"] for row in rows[1:])
    return took[len(took) // 2]


def estimator_seconds(name: str, prompts: int, group_size: int) -> float:
    """Seconds of one call on a batch of binary rewards with a hole, the slower case."""
    random = torch.Generator().manual_seed(0)
    rewards_PG = (torch.rand(prompts, group_size, generator=random) < 0.4).float()
    mask_PG = torch.ones(prompts, group_size, dtype=torch.bool)
    mask_PG[0, 3] = False
    extras = {
        "lengths_PG": torch.randint(5, 60, (prompts, group_size), generator=random),
        "prompt_ids_P": [str(p) for p in range(prompts)],
        "partial_credit_PG": torch.rand(prompts, group_size, generator=random),
        "greedy_rewards_P": torch.ones(prompts),
        "seed": 0,
        "step": 1,
    }
    estimator = make_estimator(name)
    wanted = {k: v for k, v in extras.items() if k in estimator.extras}
    return seconds(lambda: estimator(rewards_PG, mask_PG=mask_PG, **wanted), 50)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", type=int, default=4096)
    parser.add_argument("--group-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8, help="training steps to time")
    options = parser.parse_args()
    torch.set_num_threads(1)

    shape = (options.groups, options.group_size)
    rewards_PG = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    krpo = make_estimator("krpo")
    whole = seconds(lambda: krpo(rewards_PG), 100)
    start = time.perf_counter()
    looped_PG = loop_on_tensors(rewards_PG)
    on_tensors = time.perf_counter() - start
    on_floats = seconds(lambda: loop_on_floats(rewards_PG), 1)
    difference = (krpo(rewards_PG) - looped_PG).abs().max().item() / looped_PG.abs().max().item()
    print(f"krpo on {shape[0]} groups of {shape[1]}, one thread; largest relative difference {difference:.1e}")
    print(f"  whole batch             {1e6 * whole:12.1f} us")
    print(f"  one answer at a time    {1e6 * on_tensors:12.1f} us on tensors       {on_tensors / whole:10,.0f} x")
    print(f"                          {1e6 * on_floats:12.1f} us on Python floats {on_floats / whole:10,.0f} x")

    prompts, group_size = 8, 12
    step = training_step(prompts, group_size, options.steps)
    print(f"\na training step of the tiny policy, {prompts} prompts x {group_size} answers: {step:.3f} s")
    shares = {name: estimator_seconds(name, prompts, group_size) / step for name in available_estimators()}
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"  {name:24}{1e6 * share * step:9.0f} us {100 * share:8.3f} %")

    failed = []
    if on_tensors / whole < FASTER:
        failed.append(f"krpo is only {on_tensors / whole:,.0f} times faster than the loop on tensors")
    failed += [f"{name} takes {100 * share:.2f} % of a step" for name, share in shares.items() if share > SHARE]
    for claim in failed:
        print(f"FAILED: {claim}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
