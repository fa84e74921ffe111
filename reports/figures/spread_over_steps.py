"""How far apart the seeds of an arm are while they learn: standard deviation over seeds, step by step (F4)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, few, style
from reports.names import estimator_name
from reports.statistics import spread_over_steps
from reports.tables import Study
from reports.verdict import points

NAME = "spread_over_steps"
TITLE = "Spread over seeds"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric (`sd`), condition, estimator, seed (empty), step, value, iqr, seeds, bin."""
    long = curves.curve_table(study, ["accuracy"])
    rows = []
    for (condition, estimator), group in long.groupby(["condition", "estimator"], sort=False):
        steps, y_ST = curves.by_seed(group, "value")
        spread = spread_over_steps(y_ST)
        rows.append(
            pd.DataFrame(
                {
                    "metric": "sd", "condition": condition, "estimator": estimator, "seed": 0,
                    "step": steps, "value": spread.sd_T, "iqr": spread.iqr_T,
                    "seeds": spread.n_T, "bin": int(group.bin.iloc[0]),
                }
            )
        )  # fmt: skip
    frame = pd.concat(rows, ignore_index=True) if rows else long
    return frame[np.isfinite(frame.value)].reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    figure = curves.draw_curves(table, columns, {"sd": "SD over seeds, points"}, shares=False)
    for ax in figure.axes:
        ax.set_ylim(bottom=0)
        style.plain_points_axis(ax.yaxis)
    return figure


def caption(table: pd.DataFrame) -> str:
    low, high = int(table.seeds.min()), int(table.seeds.max())
    seeds = f"{high} seeds" if low == high else f"{low} to {high} seeds"
    width = int(table.bin.iloc[0])
    binned = f"; averages over bins of {width} steps" if width > 1 else ""
    return (
        f"Standard deviation of training accuracy over {seeds}, percentage points{binned}. "
        f"No interval: the standard error of a deviation from {low} seeds is about {1 / math.sqrt(2 * (low - 1)):.0%} "
        "of it." + few.told(table)
    )


def alt(table: pd.DataFrame) -> str:
    means = table.groupby(["condition", "estimator"], sort=False).value.mean().reset_index()
    told = [f"{estimator_name(r.estimator)}, {r.condition}: {points(r.value)} points" for r in means.itertuples()]
    return "Line chart of the standard deviation over seeds. Mean over steps: " + "; ".join(told) + "."
