"""KRPOTrainer with `krpo` against TRL's stock GRPOTrainer: processor time per step and peak memory, side by side.

    .venv/bin/python benchmarks/training.py [--policy tiny] [--steps 40] [--pairs 5]

Both train the same policy on the same prompts with the same seed and settings, each in a forked process of its own, in
turn (A B, B A, ...). Then the phases of a step of `krpo-train`, with tokens per second, and the share of a step that
the matrix products alone take (torch's profiler, self time of mm, addmm, bmm and attention).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from datasets import Dataset

from krpo.policies import load_policy
from krpo.provenance import peak_memory_mb
from krpo.rewards import TaskReward, dataset_rows
from krpo.spec import RunSpec
from krpo.tasks import make_task
from krpo.train import _quiet, train, trainer_config
from krpo.trainer import KRPOTrainer
from krpo.trl_import import GRPOConfig, GRPOTrainer

OURS = ("advantage_estimator", "advantage_params", "reward_noise", "reward_noise_params", "max_sampler_difference")
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::_scaled_dot_product_flash_attention_for_cpu")
fork = multiprocessing.get_context("fork")


def step_times(stock: bool, spec: RunSpec) -> dict[str, float]:
    """Train; return the median processor time of a step (the first three left out) and the peak memory."""
    from transformers import PrinterCallback, TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        last = 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            now = time.process_time()  # one thread: what the process computed, whatever else the machine does
            times.append(now - self.last)
            self.last = now

    task = make_task(spec.task)
    reward = TaskReward(task)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        args = trainer_config(spec, Path(folder))
        if stock:
            plain = {k: v for k, v in args.to_dict().items() if k in GRPOConfig.__dataclass_fields__ and k not in OURS}
            plain.pop("generation_batch_size", None)  # follows from steps_per_generation
            args = GRPOConfig(**plain)
        model, tokenizer = load_policy(spec.policy)
        rows = dataset_rows(task.train_rows(spec.seed, spec.steps * spec.prompts_per_step))
        trainer = (GRPOTrainer if stock else KRPOTrainer)(
            model=model, reward_funcs=reward.functions(), args=args, train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer, callbacks=[Clock()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {"step": statistics.median(times[3:]), "memory": peak_memory_mb()}


def in_a_fork(body: Callable[[], Any]) -> Any:
    """The result of ``body`` in a forked process, so that its peak memory is its own."""
    receiver, sender = fork.Pipe(duplex=False)

    def child() -> None:
        torch.set_num_threads(1)
        sender.send(body())
        os._exit(0)

    process = fork.Process(target=child)
    process.start()
    sender.close()
    result = receiver.recv()
    process.join()
    return result


def phases(spec: RunSpec) -> dict[str, float]:
    """Medians over the steps of one run of `krpo-train`."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(spec, Path(folder) / "run", progress=rows.append)
    wall = [row["wall"] for row in rows[3:]]
    names = (
        "rollout_seconds",
        "reward_seconds",
        "advantage_seconds",
        "update_seconds",
        "step_seconds",
        "tokens_per_second",
    )
    return {name: statistics.median(w[name] for w in wall) for name in names}


def products_share(spec: RunSpec) -> float:
    """Self time of the matrix products over the time of a run's steps."""
    with tempfile.TemporaryDirectory() as folder:
        rows: list[dict[str, Any]] = []
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            train(spec, Path(folder) / "run", progress=rows.append)
    products = sum(e.self_cpu_time_total for e in profile.key_averages() if e.key in PRODUCTS) / 1e6
    return products / sum(row["wall"]["step_seconds"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args()
    spec = RunSpec(policy=args.policy, steps=args.steps)
    measured: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for pair in range(args.pairs):
        for stock in (True, False) if pair % 2 == 0 else (False, True):
            measured[stock].append(in_a_fork(lambda stock=stock: step_times(stock, spec)))
    for what, unit, factor in (("step", "ms", 1000), ("memory", "MiB", 1)):
        ours, theirs = ([m[what] for m in measured[stock]] for stock in (False, True))
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        print(
            f"{what}: KRPOTrainer {statistics.median(ours) * factor:.1f} {unit}, GRPOTrainer "
            f"{statistics.median(theirs) * factor:.1f} {unit}; ratio, median of {args.pairs} pairs: "
            f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    for name, value in in_a_fork(lambda: phases(spec)).items():
        print(f"{name:<20}{value:12.4f}")
    share = in_a_fork(lambda: products_share(RunSpec(policy=args.policy, steps=10)))
    print(f"matrix products: {share:.0%} of the time of a step (under the profiler)")


if __name__ == "__main__":
    main()
