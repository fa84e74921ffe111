"""Aggregates over the levels of the task (F6): mean, interquartile mean and optimality gap, with intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from krpo.streams import generator
from reports.compare import Endpoint, final_scores
from reports.figures import rows, style
from reports.figures.curves import seeds_phrase
from reports.names import estimator_name
from reports.statistics import interquartile_mean, optimality_gap, t_interval
from reports.tables import Study

NAME = "aggregates"
TITLE = "Aggregates over levels"
LEAST_RUNS, LEAST_LEVELS = 5, 2
"""What the interval of an interquartile mean needs."""
PANELS = {"mean": "mean", "iqm": "interquartile mean", "gap": "optimality gap"}


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns condition, estimator, seed, level, value: runs scored on every level; empty unless every arm and
    condition has at least five of them, on two levels or more."""
    columns = ["condition", "estimator", "seed", "level", "value"]
    if end is None:
        return pd.DataFrame(columns=columns)
    scores = final_scores(study, end.task, end.metric)
    scores = scores[scores.level != "all"]
    levels = scores.level.nunique()
    scores = scores[scores.groupby("run")["level"].transform("nunique") == levels]
    runs = scores.groupby(["condition", "estimator"]).run.nunique()
    enough = levels >= LEAST_LEVELS and len(runs) and runs.min() >= LEAST_RUNS
    return scores[columns].reset_index(drop=True) if enough else pd.DataFrame(columns=columns)


def found(table: pd.DataFrame) -> pd.DataFrame:
    """A row per condition, arm and aggregate: panel, value, low, high."""
    told = []
    for (condition, arm), group in table.groupby(["condition", "estimator"], sort=False):
        x_SM = group.pivot_table(index="seed", columns="level", values="value").to_numpy(dtype=float)
        gap_S = [optimality_gap(x_M[None, :]) for x_M in x_SM]
        iqm = interquartile_mean(x_SM, rng=generator(0, "iqm", str(condition), str(arm)))  # as in the table
        for panel, of in (("mean", t_interval(x_SM.mean(axis=1))), ("iqm", iqm), ("gap", t_interval(gap_S))):
            told.append((condition, arm, panel, of.estimate, of.low, of.high))
    return pd.DataFrame(told, columns=["condition", "estimator", "panel", "value", "low", "high"])


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    """A panel for each aggregate, the conditions as rows with the arms in each; one condition: a row for each arm."""
    shown, conditions, looks = found(table), list(dict.fromkeys(table.condition)), style.looks(table.estimator)
    by_arm, names = rows.by_arm(table), [estimator_name(arm) for arm in looks]
    several = [f"{name}, {condition}" if len(conditions) > 1 else name for condition in conditions for name in names]
    beside = rows.beside(several if by_arm else conditions, columns)
    across = 1 if columns == 1 else len(PANELS)
    height = (rows.height(beside) * len(looks) if by_arm else max(0.3, 0.16 * len(looks))) * len(conditions) + 0.4
    figure, axes = style.panels(math.ceil(len(PANELS) / across), across, columns, height, sharey=True)
    middle, step = (len(looks) - 1) / 2, 0.8 / len(looks)
    for ax, (panel, title) in zip([ax for row in axes for ax in row], PANELS.items(), strict=True):
        part = shown[shown.panel == panel]
        for c, condition in enumerate(conditions):
            of_condition = part[part.condition == condition].set_index("estimator")
            for i, (arm, look) in enumerate(looks.items()):
                y = c * len(looks) + i if by_arm else c + (i - middle) * step
                if arm in of_condition.index:
                    _mark(ax, y, of_condition.loc[arm], look)
        style.title(ax, title)
        ax.grid(visible=False, axis="y")
        style.percent_axis(ax.xaxis)
        ax.locator_params(axis="x", nbins=4)
        ax.set_yticks(range(len(beside)), beside)
        ax.set_ylim(len(beside) - 0.5, -0.5)
    if not by_arm:
        handles = [style.line_handle((look[0], "", look[2]), marker=True) for look in looks.values()]
        style.legend(figure, handles, names, columns)
    return figure


def _mark(ax: Axes, y: float, row: pd.Series, look: style.Look) -> None:
    colour, _, marker = look
    ends = np.array([[row.value - row.low], [row.high - row.value]])
    ax.errorbar(row.value, y, xerr=ends, color=colour, marker=marker, **rows.MEAN)


def caption(table: pd.DataFrame) -> str:
    levels = ", ".join(dict.fromkeys(map(str, table.level)))
    return (
        f"Held-out accuracy over the levels {levels}, {seeds_phrase(table)}. Mean, and optimality gap (how far scores "
        "fall short of 100% on average): 95% Student t interval over runs. Interquartile mean, of the middle half of "
        "all scores: 95% Student t interval on the whole-run bootstrap's standard error. Each interval by itself."
    )


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{PANELS[r.panel]}, {estimator_name(r.estimator)}, {r.condition}: {r.value:.1%} "
        + (f"({r.low:.1%} to {r.high:.1%})" if math.isfinite(r.low) else "(no interval)")
        for r in found(table).itertuples()
    ]
    return "Dot plots of aggregates over levels. " + "; ".join(told) + "."
