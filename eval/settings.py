"""How an evaluation was made, in words: what a table's caption says, and what sets two evaluations apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from eval.backends.base import Backend

Summary = Mapping[str, Any]

LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's aliases
SAMPLING = ("temperature", "samples", "seed", "max tokens")  # of generated answers only


def token_limit(asked: int | None, generation: Mapping[str, Any]) -> int | None:
    """Tokens an answer may have: as the user asked, else as the task says, else None (the backend's default)."""
    return asked or next((int(generation[name]) for name in LIMITS if generation.get(name)), None)


def of_run(summary: Summary) -> dict[str, str]:
    """What one call of `krpo-eval` has in common."""
    settings = summary["settings"]
    return {
        "backend": str(settings["backend"]),
        "device": str(settings["device"]),
        "dtype": str(settings["dtype"]),
        "tensor parallel": str(settings.get("tensor_parallel", 1)),
        "batch size": str(settings["batch_size"]),
        "chat template": "yes" if settings["chat_template"] else "no",
        "temperature": f"{settings['temperature']:g}",
        "samples": str(settings["samples"]),
        "seed": str(settings["seed"]),
    }


def of_task(summary: Summary) -> dict[str, str]:
    """What each task has for itself. Of the rest of its configuration, a hash."""
    config = summary["task_config"]
    generation = config.get("generation_kwargs") or {}
    limit = token_limit(summary["settings"].get("max_tokens"), generation)
    rest = {k: v for k, v in config.items() if k not in ("metadata", "num_fewshot", "generation_kwargs")}
    return {
        "task version": str((config.get("metadata") or {}).get("version", "-")),
        "shots": str(config.get("num_fewshot") or 0),
        "max tokens": str(limit or Backend.default_max_tokens),
        "task configuration": _short(rest | {"until": generation.get("until")}),
        "data fingerprint": str(summary["data"])[:8],
    }


def unlike(a: Summary, b: Summary) -> dict[str, tuple[str, str]]:
    """What two evaluations of one task did otherwise and bears on their numbers: name -> both values.

    Log-likelihoods have no sampling, and seeds count where both sides sample; the batch size changes nothing in
    float32. Of versions, those that both have.
    """
    words_a, words_b = ({**of_run(s), **of_task(s), **s["versions"]} for s in (a, b))
    idle: set[str] = set()
    if a["task_config"].get("output_type", "generate_until") != "generate_until":
        idle |= set(SAMPLING)
    if "0" in (words_a["temperature"], words_b["temperature"]):
        idle.add("seed")
    if words_a["dtype"] == words_b["dtype"] == "float32":
        idle.add("batch size")
    names = [name for name in words_a if name in words_b and name not in idle]
    return {name: (words_a[name], words_b[name]) for name in names if words_a[name] != words_b[name]}


def caption(summaries: Sequence[Summary]) -> list[str]:
    """Three lines for under a table: settings, tasks, versions. ``summaries`` are of one call of `krpo-eval`."""
    first = summaries[0]
    run = {name: text for name, text in of_run(first).items() if (name, text) not in QUIET}
    if run["temperature"] == "0":
        run["temperature"] = "0 (greedy)"
    tasks: dict[str, dict[str, str]] = {}
    for summary in summaries:
        tasks.setdefault(summary["task"], of_task(summary))
    of_each = [
        f"{task} version {words['task version']}, {words['shots']}-shot, max tokens {words['max tokens']}"
        for task, words in tasks.items()
    ]
    return [
        "Settings: " + ", ".join(f"{name} {text}" for name, text in run.items()),
        "Tasks: " + "; ".join(of_each),
        "Versions: " + ", ".join(f"{name} {version}" for name, version in first["versions"].items()),
    ]


QUIET = (("tensor parallel", "1"), ("chat template", "no"))
"""Said in a caption only where it is otherwise."""


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:8]
