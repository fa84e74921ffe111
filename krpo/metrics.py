"""What is logged at every step: TRL's log as rows of `metrics.jsonl` and `heldout.jsonl`.

What depends on the machine or the hour is under "wall", so that the rest can be compared byte by byte.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from krpo.errors import KrpoError
from krpo.provenance import peak_memory
from krpo.rundir import dumps

Progress = Callable[[dict[str, Any]], None]

RENAMED = {  # TRL's name in its log -> the name in a row
    "reward": "reward",
    "rewards/accuracy/mean": "accuracy",
    "rewards/shaped/mean": "reward_shaped",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated",
    "clip_ratio/region_mean": "clip_ratio",
    "clip_ratio/low_mean": "clip_ratio_negative",
    "clip_ratio/high_mean": "clip_ratio_positive",
    "num_tokens": "tokens",
    "sampling/sampling_logp_difference/mean": "sampler_difference",
    "sampling/importance_sampling_ratio/mean": "importance_ratio",
}
KEPT = (
    "loss",
    "grad_norm",
    "grad_clipped",
    "learning_rate",
    "reward_observed",
    "advantage_rms",
    "advantage_max",
    "zero_advantage_groups",
    "sign_mismatch",
    "kalman_gain",
    "innovation_rms",
    "kl",
    "entropy",
    "formatted",
    "verifier_timeouts",
)


class MetricsWriter(TrainerCallback):
    """One line of metrics.jsonl per rollout batch, by the first process; stops the run when the loss is no number."""

    def __init__(self, metrics_file: Path, held_out_file: Path, progress: Progress | None) -> None:
        self.metrics_file, self.held_out_file, self.progress = metrics_file, held_out_file, progress
        self.last, self.tokens = time.perf_counter(), 0.0

    def on_train_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        self.last, self.tokens = time.perf_counter(), float(state.num_input_tokens_seen)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        step = state.global_step // args.steps_per_generation
        writes = state.is_world_process_zero
        if logs and writes and "eval_reward" in logs:
            held_out = {name.removeprefix("eval_"): value for name, value in logs.items()}
            _append(self.held_out_file, {"step": step, **_selected(held_out, ("accuracy", "completion_length"))})
        if not logs or "loss" not in logs:  # the summary at the end of training
            return
        if writes:
            self._write(step, logs)
        if not math.isfinite(float(logs["loss"])) or not math.isfinite(float(logs.get("grad_norm", 0.0))):
            raise KrpoError(f"the loss or its gradient is not a number at step {step}; metrics up to there are kept")

    def _write(self, step: int, logs: dict[str, Any]) -> None:
        now = time.perf_counter()
        row = metrics_row(step, logs, now - self.last)
        row["wall"]["tokens_per_second"] = (row.get("tokens", 0.0) - self.tokens) / (now - self.last)
        self.last, self.tokens = now, row.get("tokens", 0.0)
        _append(self.metrics_file, row)
        if self.progress is not None:
            self.progress(row)

    def on_evaluate(self, *_: Any, **__: Any) -> None:
        self.last = time.perf_counter()  # the held-out curve's time is no step's


def metrics_row(step: int, logs: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One row of metrics.jsonl from TRL's log of one rollout batch that took ``seconds``."""
    row = {"step": step, **_selected(logs, tuple(RENAMED.values()))}
    row |= {name: logs[name] for name in KEPT if name in logs}
    wall = {f"{name.removeprefix('seconds/')}_seconds": v for name, v in logs.items() if name.startswith("seconds/")}
    update = max(0.0, seconds - sum(wall.values()))
    row["wall"] = {"step_seconds": seconds, **wall, "update_seconds": update, **peak_memory()}
    return row


def _selected(logs: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The renamed values of a log, and its accuracies by level."""
    row = {ours: logs[theirs] for theirs, ours in RENAMED.items() if theirs in logs and ours in names}
    return row | {name: value for name, value in sorted(logs.items()) if name.startswith("accuracy/")}


def _append(file: Path, row: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(dumps(row) + "\n")
