"""The figures, one per file. Each module is a pure function of a stored table:

NAME, TITLE                      file name; heading on the page
table(study, end) -> DataFrame   what is shown, tidy; saved as CSV beside the figure; empty: nothing to show
draw(table, columns) -> Figure   for one or two columns of a paper, from the table read back from that CSV
caption(table) -> str            what is shown, with n, seeds, method and interval
alt(table) -> str                the same for those who cannot see it, with the numbers
"""

from __future__ import annotations

import importlib
from types import ModuleType

NAMES = ("paired_difference", "final_accuracy", "learning_curves", "advantage_rms")
"""What every report opens with, in the order of the page."""

DIAGNOSTICS = (
    "noise_sweep",
    "axis_sweep",
    "heat_map",
    "difficulty",
    "held_out_curves",
    "accuracy_by_tokens",
    "krpo_return",
    "pass_at_k",
    "aggregates",
    "improvement",
    "performance_profile",
    "noise_floor",
    "spread_over_steps",
    "stability",
    "advantage_diagnostics",
    "optimisation",
)
"""Further figures, below the tables of results; each only where the data exist."""


def load(name: str) -> ModuleType:
    return importlib.import_module(f"reports.figures.{name}")
