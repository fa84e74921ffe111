"""Final held-out accuracy by difficulty (F16): the levels of the task from easy to hard."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import final_accuracy, style
from reports.figures.curves import means_told, no_interval_told
from reports.figures.dots import draw_dots
from reports.names import estimator_name
from reports.tables import Study

NAME = "difficulty"
TITLE = "Final accuracy by difficulty"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns level, condition, estimator, seed, value, questions, base; empty for a task without levels."""
    frame = final_accuracy.table(study, end)
    return frame[frame.level != "all"].reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    """One panel a condition, the levels along the axis."""
    turned = table.rename(columns={"level": "condition", "condition": "level"}).drop(columns="base")
    label = "held-out accuracy"
    return draw_dots(turned, columns, "level", {}, label, style.percent_axis, share_y=True)


def caption(table: pd.DataFrame) -> str:
    asked = ", ".join(f"{level} {int(n)}" for level, n in table.groupby("level", sort=False).questions.max().items())
    before = table.groupby("level", sort=False).base.first().dropna()
    base = ", ".join(f"{level} {value:.1%}" for level, value in before.items())
    start = f" Before training: {base}." if base else ""
    return (
        f"True accuracy of the final checkpoint on each level of the task (held-out questions: {asked}). "
        f"{means_told(table)}.{start}" + no_interval_told(table, "value")
    )


def alt(table: pd.DataFrame) -> str:
    means = table.groupby(["condition", "level", "estimator"], sort=False).value.mean().reset_index()
    told = [f"{r.condition}, {r.level}, {estimator_name(r.estimator)}: {r.value:.1%}" for r in means.itertuples()]
    return "Dot plot of final accuracy by difficulty, mean over seeds. " + "; ".join(told) + "."
