"""Stability of single runs: drawdown, worst steps, roughness and the unrest of the end (F10, T3)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import style
from reports.figures.curves import means_told, no_interval_told
from reports.figures.dots import draw_dots
from reports.names import estimator_name
from reports.statistics import stability
from reports.tables import Study
from reports.verdict import points

NAME = "stability"
TITLE = "Stability within runs"
LABELS = {
    "drawdown": "largest drawdown",
    "cvar": "worst 5% of steps",
    "roughness": "roughness",
    "final_sd": "SD of the last tenth",
}


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns measure, condition, estimator, seed, value: one row per run and measure of the accuracy curve."""
    metric = "accuracy"
    columns = ["measure", "condition", "estimator", "seed", "value"]
    rows = []
    if metric in study.steps:
        keys = ["condition", "estimator", "seed", "run"]
        for (condition, estimator, seed, _), group in study.steps.groupby(keys, sort=False):
            y_T = group[metric].to_numpy(dtype=float)
            if np.isfinite(y_T).sum() >= 3:
                measures = stability(y_T)._asdict()
                rows += [(name, condition, estimator, seed, measures[name]) for name in LABELS]
    frame = pd.DataFrame(rows, columns=columns)
    order = frame.measure.map(list(LABELS).index).argsort(kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return draw_dots(table, columns, "measure", LABELS, "points", style.plain_points_axis, share_y=False)


def caption(table: pd.DataFrame) -> str:
    return (
        "Of each run's training accuracy, percentage points. Largest drawdown: the deepest fall from an earlier value. "
        "Worst 5% of steps: mean of the lowest twentieth of the step-to-step changes. Roughness: standard deviation of "
        "those changes. Batches are small, so much of this is sampling. "
        f"{means_told(table)}." + no_interval_told(table, "value")
    )


def alt(table: pd.DataFrame) -> str:
    means = table.groupby(["measure", "condition", "estimator"], sort=False).value.mean().reset_index()
    told = [
        f"{LABELS[r.measure]}, {estimator_name(r.estimator)}, {r.condition}: {points(r.value)}"
        for r in means.itertuples()
    ]
    return "Dot plots of stability, mean over seeds in points. " + "; ".join(told) + "."
