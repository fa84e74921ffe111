"""The ablation driver: grid file -> plan -> runs.

    from ablations import load_grid, make_plan, run_plan

Names are imported when first used: `import ablations` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.driver import run_plan
    from ablations.grid import Grid, load_grid
    from ablations.plan import make_plan

_HOMES = {
    "Grid": "ablations.grid",
    "load_grid": "ablations.grid",
    "make_plan": "ablations.plan",
    "run_plan": "ablations.driver",
}

__all__ = ["Grid", "load_grid", "make_plan", "run_plan"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ablations' has no attribute {name!r}")
