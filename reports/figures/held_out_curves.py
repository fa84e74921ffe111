"""Accuracy on held-out questions while training goes on (F3)."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "held_out_curves"
TITLE = "Held-out accuracy during training"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step, value, bin (1: every point that was measured)."""
    return curves.curve_table(replace(study, steps=study.held_out), ["accuracy"], width=1)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return curves.draw_curves(table, columns, {"accuracy": "held-out accuracy"}, shares=True, height=1.7)


def caption(table: pd.DataFrame) -> str:
    return (
        "True accuracy on a small fixed set of held-out questions, the same at every point and for every arm; the "
        f"final scores come from the questions of the evaluation. {curves.curve_caption(table)}"
    )


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{estimator_name(r.estimator)}, {r.condition}: from {r.start:.0%} to {r.end:.0%}"
        for r in curves.ends(table).itertuples()
    ]
    return "Line chart of held-out accuracy during training. " + "; ".join(told) + "."
