"""KRPOTrainer with `krpo` against TRL's stock GRPOTrainer: time per step and peak memory, side by side.

    python benchmarks/training.py [--policy tiny] [--steps 60] [--pairs 5] [--tokens 16]

Two forked processes train the same policy on the same prompts with the same seed, settings and logging. They hold the
machine in turn, one step each, so that whatever else it does falls on both. Every answer has the same number of tokens
(`min_new_tokens` in both): the two learn differently, and would soon write answers of different length. On a CPU the
time is the process's own processor time, with one thread. Then the phases of a step of `krpo-train`, with tokens per
second, beside the time that the same matrix products take by themselves: their shapes are recorded in one run and
computed again on random numbers.

Exit status 1 if a step or the memory is more than 1.02 of stock TRL's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from datasets import Dataset
from torch.utils._python_dispatch import TorchDispatchMode

from krpo.policies import load_policy
from krpo.provenance import peak_memory_mb
from krpo.rewards import TaskReward, dataset_rows
from krpo.spec import RunSpec
from krpo.tasks import make_task
from krpo.train import quiet, train, trainer_config
from krpo.trainer import KRPOTrainer
from krpo.trl_import import GRPOConfig, GRPOTrainer

LIMIT = 1.02
WARM_UP = 3
PHASES = ("rollout", "reward", "advantage", "update", "step")
fork = multiprocessing.get_context("fork")


def on_gpu() -> bool:
    return torch.cuda.is_available()


def clock() -> float:
    """Seconds of processor time of this process; with a GPU, of time, once the GPU is done."""
    if not on_gpu():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak_memory() -> float:
    """MiB: of the GPU where there is one, else of the process."""
    return torch.cuda.max_memory_allocated() / 2**20 if on_gpu() else peak_memory_mb()


def in_forks(bodies: list[Callable[[], Any]]) -> list[Any]:
    """The results of bodies that run at the same time, each in a forked process, so that its peak memory is its own."""
    running = []
    for body in bodies:
        receiver, sender = fork.Pipe(duplex=False)

        def child(body: Callable[[], Any] = body, sender: Any = sender) -> None:
            torch.set_num_threads(1)
            sender.send(body())
            os._exit(0)

        process = fork.Process(target=child)
        process.start()
        sender.close()
        running.append((process, receiver))
    results = [receiver.recv() for _, receiver in running]
    for process, _ in running:
        process.join()
    return results


def train_in_turn(stock: bool, spec: RunSpec, mine: Any, other: Any) -> tuple[list[float], float]:
    """Train, one step for each turn. Returns the seconds of every step, and the peak memory in MiB."""
    from transformers import PrinterCallback, TrainerCallback

    times: list[float] = []

    class Turns(TrainerCallback):
        started = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            mine.acquire()
            self.started = clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(clock() - self.started)
            other.release()
            if len(times) < spec.steps:
                mine.acquire()
            self.started = clock()

    task = make_task(spec.task)
    reward = TaskReward(task)
    with tempfile.TemporaryDirectory() as folder, quiet():
        args: Any = trainer_config(spec, Path(folder))
        args.generation_kwargs = {"min_new_tokens": spec.max_completion_length}
        if stock:
            known = GRPOConfig.__dataclass_fields__
            plain = {k: v for k, v in args.to_dict().items() if k in known and known[k].init}
            plain.pop("generation_batch_size", None)  # follows from steps_per_generation
            args = GRPOConfig(**plain)
        model, tokenizer = load_policy(spec.policy, dtype=spec.dtype)
        rows = dataset_rows(task.train_rows(spec.seed, spec.steps * spec.prompts_per_step))
        trainer = (GRPOTrainer if stock else KRPOTrainer)(
            model=model, reward_funcs=reward.functions(), args=args, train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer, callbacks=[Turns()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        lengths = {row["completions/mean_length"] for row in trainer.state.log_history if "loss" in row}
    assert lengths == {spec.max_completion_length}, lengths
    return times[WARM_UP:], peak_memory()


def compare(spec: RunSpec, pairs: int) -> bool:
    """Print both trainers' time and memory and their ratios. Returns whether both are within the limit."""
    ratios: list[float] = []  # of the two steps that ran one after the other
    times: dict[bool, list[float]] = {False: [], True: []}
    memory: list[tuple[float, float]] = []
    of_pairs = []
    for pair in range(pairs):
        turns = [fork.Semaphore(0), fork.Semaphore(0)]  # krpo, stock
        turns[pair % 2].release()  # who is first changes
        ours, stock = in_forks(
            [lambda t=turns, s=s: train_in_turn(bool(s), spec, t[s], t[1 - s]) for s in (0, 1)]  # type: ignore[misc]
        )
        here = [a / b for a, b in zip(ours[0], stock[0], strict=True)]
        ratios += here
        of_pairs.append(statistics.median(here))
        times[False] += ours[0]
        times[True] += stock[0]
        memory.append((ours[1], stock[1]))
    low, ratio, high = statistics.quantiles(ratios, n=4)
    print(
        f"step: KRPOTrainer {statistics.median(times[False]) * 1000:.1f} ms, GRPOTrainer "
        f"{statistics.median(times[True]) * 1000:.1f} ms; ratio, median of {len(ratios)} pairs of steps: {ratio:.3f} "
        f"(quartiles {low:.3f} and {high:.3f}; medians of {pairs} runs {min(of_pairs):.3f} to {max(of_pairs):.3f}; "
        f"at most {LIMIT})",
        flush=True,
    )
    by_run = sorted(a / b for a, b in memory)
    needed = statistics.median(by_run)
    ours_, stock_ = (statistics.median(values) for values in zip(*memory, strict=True))
    print(
        f"memory: KRPOTrainer {ours_:.1f} MiB, GRPOTrainer {stock_:.1f} MiB; ratio, median of {pairs} runs: "
        f"{needed:.3f} ({by_run[0]:.3f} to {by_run[-1]:.3f}; at most {LIMIT})",
        flush=True,
    )
    return ratio <= LIMIT and needed <= LIMIT


class Products(TorchDispatchMode):
    """Counts the matrix products that run inside it, by their shapes; those of the rollouts apart."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, Counter[Any]] = {"rollout": Counter(), "update": Counter()}
        self.phase = "update"

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        count = self.counts[self.phase]
        if name in ("mm", "bmm", "addmm", "baddbmm"):
            left, right = args[-2:]
            count[tuple(left.shape), tuple(right.shape), left.dtype, left.device] += 1
        elif name.startswith("_scaled_dot_product"):
            backward = name.endswith(("backward", "backward_for_cpu"))
            query, key = args[1:3] if name.endswith("_backward") or backward else args[:2]
            (B, H, T, D), S = query.shape, key.shape[-2]
            times = 2 if backward else 1
            count[(B * H, T, D), (B * H, D, S), query.dtype, query.device] += times  # scores
            count[(B * H, T, S), (B * H, S, D), query.dtype, query.device] += times  # answers
        return function(*args, **(kwargs or {}))

    def seconds(self, phase: str) -> float:
        """The time of the phase's products by themselves: the best of five for each shape, times how often it ran."""
        total = 0.0
        for (left_shape, right_shape, dtype, device), times in self.counts[phase].items():
            left = torch.randn(left_shape, dtype=dtype, device=device)
            right = torch.randn(right_shape, dtype=dtype, device=device)
            best = float("inf")
            for _ in range(5):
                started = clock()
                for _ in range(repeats := 4):
                    left @ right
                best = min(best, (clock() - started) / repeats)
            total += times * best
        return total


def products(spec: RunSpec) -> dict[str, float]:
    """Seconds per step of the matrix products alone, in the rollouts and in the update."""
    recorder = Products()
    generate = KRPOTrainer._generate

    def in_rollout(self: KRPOTrainer, prompts: list) -> Any:
        recorder.phase = "rollout"
        try:
            return generate(self, prompts)
        finally:
            recorder.phase = "update"

    KRPOTrainer._generate = in_rollout  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, recorder:
        train(spec, Path(folder) / "run")
    return {phase: recorder.seconds(phase) / spec.steps for phase in recorder.counts}


def phases(spec: RunSpec) -> dict[str, float]:
    """Means over the steps of one run of `krpo-train`, the first ones left out."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(spec, Path(folder) / "run", progress=rows.append)
    wall = [row["wall"] for row in rows[WARM_UP:]]
    tokens = rows[-1]["tokens"] - rows[WARM_UP - 1]["tokens"]
    means = {name: statistics.fmean(w[f"{name}_seconds"] for w in wall) for name in PHASES}
    return {**means, "tokens_per_second": tokens / sum(w["step_seconds"] for w in wall)}


def show_phases(spec: RunSpec) -> None:
    """Print the phases of a step of `krpo-train` beside the time of their matrix products."""
    (measured,) = in_forks([lambda: phases(spec)])
    (alone,) = in_forks([lambda: products(spec)])
    alone["step"] = sum(alone.values())
    print(f"\n{'phase':<12}{'ms a step':>12}{'share':>10}{'products alone, ms':>22}{'their share':>14}")
    for name in PHASES:
        line = f"{name:<12}{measured[name] * 1000:12.2f}{measured[name] / measured['step']:10.1%}"
        if name in alone:
            line += f"{alone[name] * 1000:22.2f}{alone[name] / measured[name]:14.1%}"
        print(line)
    print(f"tokens per second (prompts and answers): {measured['tokens_per_second']:,.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--steps", type=int, default=60, help="steps of each run")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each trainer")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of every answer in the comparison")
    args = parser.parse_args()
    within = compare(
        RunSpec(policy=args.policy, dtype=args.dtype, steps=args.steps, max_completion_length=args.tokens), args.pairs
    )
    show_phases(RunSpec(policy=args.policy, dtype=args.dtype, steps=20))
    return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
