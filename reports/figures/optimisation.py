"""What the optimiser sees: gradient norm, entropy, KL, clipped ratios, length and truncation over steps (F11)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "optimisation"
TITLE = "Optimisation"
LABELS = {
    "grad_norm": "gradient norm",
    "grad_clipped": "steps clipped",
    "entropy": "entropy",
    "kl": "KL to the start",
    "clip_ratio": "clipped ratios",
    "completion_length": "answer length",
    "truncated": "answers cut",
}


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step, value, bin; a metric that is zero throughout is left out."""
    frame = curves.curve_table(study, list(LABELS))
    alive = frame.groupby("metric").value.transform(lambda values: values.abs().max()) > 0
    return frame[alive].reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return curves.draw_curves(table, columns, LABELS, shares=False, height=1.15)


def caption(table: pd.DataFrame) -> str:
    metrics = list(table.metric.unique())
    shown = ", ".join(LABELS[metric] for metric in metrics)
    zero = [name for metric, name in LABELS.items() if metric not in metrics]
    absent = f" Not recorded, or zero throughout: {', '.join(zero)}." if zero else ""
    return f"From top to bottom: {shown}. {curves.curve_caption(table)}{absent}"


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{LABELS[r.metric]}, {estimator_name(r.estimator)}, {r.condition}: {r.start:.3g} to {r.end:.3g}"
        for r in curves.ends(table).itertuples()
    ]
    return "Line charts of optimisation diagnostics, first to last step. " + "; ".join(told) + "."
