"""Run directories as the trainer and the harness write them, with effects that are known, and with faults on demand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from krpo.config import Named, set_dotted, to_plain
from krpo.rundir import RunDir, write_json, write_jsonl, write_text, write_yaml
from krpo.spec import RunSpec, run_key
from krpo.streams import generator

LEVELS = {"easy": (0.42, 0.40), "normal": (0.30, 0.38), "hard": (0.15, 0.33)}
"""Accuracy of the untrained policy and gain of GRPO on clean rewards, per level."""

NOISE_COST = {"none": 0.0, "flip(rate=0.2)": 0.12, "flip(rate=0.4)": 0.3, "gaussian(std=0.3)": 0.05}
RMS = {"grpo": 0.95, "krpo": 10.5, "rloo": 0.45, "krpo_unit_rms": 1.0}
QUESTIONS = 300
BEGAN = "ab" * 32
"""The hash of the untrained policy's weights."""


def seed_effect(seed: int, spread: float) -> float:
    """What the two arms of a seed share."""
    return float(spread * generator(seed, "seed effect").standard_normal())


def final_accuracy(spec: RunSpec, level: str, effects: Mapping[str, float], spread: float, pair_spread: float) -> float:
    """Level mean + noise cost + effect of the arm + seed effect (shared) + a run's own deviation."""
    start, gain = LEVELS[level]
    own = pair_spread * generator(spec.seed, "own", spec.estimator.label, spec.noise.label, level).standard_normal()
    cost = NOISE_COST.get(spec.noise.label, 0.1)
    value = start + gain - cost + effects.get(spec.estimator.label, 0.0) + seed_effect(spec.seed, spread) + own
    return float(np.clip(value, 0, 1))


def write_grid(
    root: Path,
    *,
    estimators: Sequence[Any] = ("grpo", "krpo"),
    noises: Sequence[Any] = ("none", {"name": "flip", "rate": 0.2}),
    seeds: Sequence[int] = range(5),
    steps: int = 60,
    effects: Mapping[str, float] | None = None,
    spread: float = 0.02,
    pair_spread: float = 0.01,
    samples: int = 1,
    base: Mapping[str, Any] | None = None,
    grid: Mapping[str, Any] | None = None,
) -> Path:
    """A finished grid. ``effects`` adds to an arm's final accuracy: the true difference that a report should find."""
    effects = effects or {}
    plan = {
        "name": root.name,
        "question": "Does KRPO learn better than GRPO when rewards are noisy?",
        "primary_endpoint": "Held-out accuracy on sums after the last step, KRPO - GRPO, mean over the noise levels.",
        "base": {"policy": "tiny", "task": "sums", "steps": steps} | dict(base or {}),
        "axes": {"estimator": list(estimators), "noise": list(noises)},
        "seeds": list(seeds),
        "evaluation": {"tasks": ["sums"], "limit": QUESTIONS},
        "report": {"baseline": "grpo", "treatment": "krpo"},
    } | dict(grid or {})
    write_yaml(root / "grid.yaml", plan)
    for noise in noises:
        for estimator in estimators:
            for seed in seeds:
                spec = RunSpec(
                    task=Named("sums"), estimator=_named(estimator), noise=_named(noise), seed=seed, steps=steps,
                    **{k: v for k, v in dict(base or {}).items() if k not in ("policy", "task", "steps")},
                )  # fmt: skip
                write_run(root, spec, effects, spread, pair_spread, samples)
    scores = {level: start for level, (start, _) in LEVELS.items()}
    write_json(root / "base" / "tiny" / "eval" / "sums.json", summary("base", scores, samples) | {"weights": BEGAN})
    return root


def _named(value: Any) -> Named:
    return (
        Named(value)
        if isinstance(value, str)
        else Named(value["name"], {k: v for k, v in value.items() if k != "name"})
    )


def write_run(
    root: Path, spec: RunSpec, effects: Mapping[str, float], spread: float, pair_spread: float, samples: int
) -> RunDir:
    run = RunDir(root / run_key(spec))
    write_yaml(run.spec_file, {**to_plain(spec), "key": run.key})
    write_json(run.manifest_file, manifest(spec))
    finals = {level: final_accuracy(spec, level, effects, spread, pair_spread) for level in LEVELS}
    write_jsonl(run.metrics_file, metrics(spec, finals))
    write_json(run.eval / "sums.json", summary(run.key, finals, samples))
    write_jsonl(run.held_out_file, held_out(spec, finals))
    write_jsonl(run.eval / "sums.jsonl", records(spec, finals, samples))
    write_text(run.log_file, "trained\n")
    run.mark_done(steps=spec.steps)
    return run


def metrics(spec: RunSpec, finals: Mapping[str, float]) -> list[dict[str, Any]]:
    rng = generator(spec.seed, "curve", spec.estimator.label, spec.noise.label)
    rms = RMS.get(spec.estimator.name, 1.0)
    rate = 0.2 if spec.noise.name == "flip" else 0.0
    rows = []
    for step in range(1, spec.steps + 1):
        grown = 1 - math.exp(-4 * step / spec.steps)
        row: dict[str, Any] = {"step": step}
        for level, final in finals.items():
            mean = LEVELS[level][0] + (final - LEVELS[level][0]) * grown
            row[f"accuracy/{level}"] = float(np.clip(rng.binomial(32, np.clip(mean, 0, 1)) / 32, 0, 1))
        row["accuracy"] = row["reward"] = float(np.mean([row[f"accuracy/{level}"] for level in finals]))
        row["reward_shaped"] = row["reward"] + 0.01 * (1 - row["reward"])
        row["reward_observed"] = row["reward"] * (1 - 2 * rate) + rate
        row |= {
            "advantage_rms": rms * (1 - 0.3 * grown) * float(rng.lognormal(0, 0.05)),
            "advantage_max": rms * 3,
            "zero_advantage_groups": 0.1 + 0.2 * grown,
            "sign_mismatch": 0.02 + rate,
            "loss": float(rng.normal(0, 0.01)),
            "grad_norm": float(rng.lognormal(0, 0.2)) * rms,
            "learning_rate": spec.learning_rate,
            "entropy": 1.0 - 0.5 * grown,
            "clip_ratio": 0.0,
            "completion_length": 20.0 + rng.normal(),
            "truncated": 0.0,
            "tokens": step * 96 * 20,
            "wall": {"step_seconds": 0.4 + 0.01 * rng.normal()},
        }
        rows.append(row)
    return rows


def held_out(spec: RunSpec, finals: Mapping[str, float]) -> list[dict[str, Any]]:
    """Every second step: the untrained accuracy, then a straight line to the final one."""
    last = float(np.mean(list(finals.values())))
    steps = range(2, spec.steps + 1, 2)
    return [{"step": step, "accuracy": 0.29 + (last - 0.29) * step / spec.steps} for step in steps]


def records(spec: RunSpec, finals: Mapping[str, float], samples: int) -> list[dict[str, Any]]:
    """Ten questions; every arm but GRPO also gets question `q0` right, seed s those up to `q<s>`."""
    rows = []
    for question in range(10):
        right = int(question <= spec.seed and (question > 0 or spec.estimator.name != "grpo"))
        for sample in range(samples):
            verdicts = {"accuracy": right, "format": 1}
            rows.append({"question_id": f"q{question}", "sample": sample, "verdicts": verdicts, "answer_text": "7"})
    return rows


AT_K = {"pass": lambda p, k: 1 - (1 - p) ** k, "all": lambda p, k: p**k}
"""As if every question were equally hard."""


def summary(key: str, scores: Mapping[str, float], samples: int = 1) -> dict[str, Any]:
    def interval(value: float, n: int) -> dict[str, float]:
        stderr = math.sqrt(max(value * (1 - value), 0) / (n - 1))
        return {"value": value, "stderr": stderr, "low": value - 1.96 * stderr, "high": value + 1.96 * stderr, "n": n}

    share = QUESTIONS // len(scores)
    mean = float(np.mean(list(scores.values())))
    at_k = {
        kind: {str(k): interval(rate(mean, k), QUESTIONS) for k in range(1, samples + 1)} for kind, rate in AT_K.items()
    }
    more = {"at_k": {"metric": "accuracy", **at_k}} if samples > 1 else {}
    return {
        **more,
        "format": 1,
        "key": key,
        "task": "sums",
        "primary": "accuracy",
        "n_questions": QUESTIONS,
        "samples": samples,
        "scores": {
            "accuracy": interval(mean, QUESTIONS),
            "format": interval(0.99, QUESTIONS),
        },
        "by_level": {level: {"accuracy": interval(value, share)} for level, value in scores.items()},
        "counts": {
            "answers": QUESTIONS * samples,
            "answers_cut": 3,
            "not_extracted": 6,
            "timed_out": 0,
            "prompts_cut": 0,
            "mean_tokens": 12.5,
        },
        "disagreement": {"accuracy / strict": 0.25},
        "settings": {"backend": "hf", "temperature": 1.0, "limit": QUESTIONS},
        "versions": {"lm_eval": "0.4.13"},
        "weights": "0" * 64,
        "wall": {"seconds": 1.5},
    }


def manifest(spec: RunSpec) -> dict[str, Any]:
    return {
        "format": 1,
        "git": {"commit": "0123456789abcdef", "dirty": False},
        "versions": {"python": "3.11.2", "torch": "2.13.0+cpu", "trl": "1.16.0", "transformers": "5.17.0"},
        "base_weights": BEGAN,
        "data": "cd" * 32,
        "wall": {
            "started": 1.0,
            "host": "laboratory",
            "cores": 2,
            "seconds": 30.0 + spec.seed,
            "peak_memory_mb": 812.0,
        },
    }


def run_of(root: Path, estimator: str, noise: str, seed: int) -> RunDir:
    """The run of an arm by its labels."""
    for file in sorted(root.glob("*/spec.yaml")):
        run = RunDir(file.parent)
        spec = run.spec()
        labels = [_named(spec[field]).label for field in ("estimator", "noise")]
        if labels == [estimator, noise] and spec["seed"] == seed:
            return run
    raise KeyError((estimator, noise, seed))


def tear(path: Path, keep: float = 0.5) -> None:
    """Cut the last line of a file, as a killed process leaves it."""
    text = path.read_text()
    last = text.rstrip("\n").rfind("\n") + 1
    path.write_text(text[: last + int((len(text) - last) * keep)])


def edit_json(path: Path, **dotted: Any) -> None:
    data = json.loads(path.read_text())
    for key, value in dotted.items():
        set_dotted(data, f"{key.replace('__', '.')}={json.dumps(value)}")
    path.write_text(json.dumps(data))


def edit_spec(run: RunDir, **changes: Any) -> None:
    """Changes a stored specification; None removes a key."""
    spec = {key: value for key, value in (run.spec() | changes).items() if value is not None}
    write_yaml(run.spec_file, spec)


def unfinish(run: RunDir, failed: str | None = None) -> None:
    """Make a run a running one, or one that failed for a reason."""
    run.done_file.unlink()
    for file in run.eval.glob("*"):
        file.unlink()
    if failed:
        run.mark_failed(failed)
