"""The harness: checkpoints -> records, one per question and sample -> scores with intervals.

    from eval import EvalSpec, evaluate

    evaluate([Path("runs/a/checkpoint")], EvalSpec(tasks=("sums",), samples=4, temperature=1.0))

Names are imported when first used: `import eval` loads neither torch nor lm-eval nor vLLM.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.runner import Progress, default_out_dir, evaluate, prepare
    from eval.spec import EvalSpec

_HOMES = {
    "EvalSpec": "eval.spec",
    "Progress": "eval.runner",
    "default_out_dir": "eval.runner",
    "evaluate": "eval.runner",
    "prepare": "eval.runner",
}

__all__ = ["EvalSpec", "Progress", "default_out_dir", "evaluate", "prepare"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'eval' has no attribute {name!r}")
