"""krpo: the method. Rewards -> advantages -> policy update.

    from krpo import KRPOConfig, KRPOTrainer, make_estimator

Names are imported when first used: `import krpo` loads neither torch nor vLLM, lm-eval, Ray or matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from krpo.advantages import available_estimators, make_estimator, register_estimator
    from krpo.noise import make_noise
    from krpo.spec import RunSpec
    from krpo.tasks import make_task
    from krpo.trainer import KRPOConfig, KRPOTrainer

__version__ = "0.1.0"

_HOMES = {
    "KRPOConfig": "krpo.trainer",
    "KRPOTrainer": "krpo.trainer",
    "RunSpec": "krpo.spec",
    "available_estimators": "krpo.advantages",
    "make_estimator": "krpo.advantages",
    "make_noise": "krpo.noise",
    "make_task": "krpo.tasks",
    "register_estimator": "krpo.advantages",
}

__all__ = [
    "KRPOConfig",
    "KRPOTrainer",
    "RunSpec",
    "available_estimators",
    "make_estimator",
    "make_noise",
    "make_task",
    "register_estimator",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'krpo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
