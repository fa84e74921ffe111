"""Arm - baseline on the same seeds: a dot per seed, the mean difference and its t interval, per condition and level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.compare import POOLED, Endpoint, final_scores, paired_differences, pooled
from reports.figures import style
from reports.figures.curves import seeds_phrase
from reports.figures.dots import MEAN, SEED
from reports.names import estimator_name
from reports.statistics import t_interval
from reports.tables import Study
from reports.verdict import interval, points

NAME = "paired_difference"
TITLE = "Difference, paired by seed"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns level, condition, estimator, against, seed, treatment, baseline, difference; with several conditions also
    each seed's mean over them."""
    columns = ["level", "condition", "estimator", "against", "seed", "treatment", "baseline", "difference"]
    if end is None:
        return pd.DataFrame(columns=columns)
    pairs = paired_differences(final_scores(study, end.task, end.metric), end.baseline)
    if pairs.empty:
        return pd.DataFrame(columns=columns)
    conditions = study.scores.condition.nunique()
    parts = [pairs, pooled(pairs, conditions)] if conditions > 1 else [pairs]
    return pd.concat(parts, ignore_index=True).assign(against=end.baseline)[columns]


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    levels, conditions = list(dict.fromkeys(table.level)), list(dict.fromkeys(table.condition))
    looks = style.looks(table.estimator)
    rows_high = max(0.32, 0.26 * len(looks)) * len(conditions) + 0.45
    across = 1 if columns == 1 else min(len(levels), 4)
    down = -(-len(levels) // across)
    figure, axes = style.panels(down, across, columns, rows_high, sharex=True, sharey=True)
    flat = [ax for row in axes for ax in row]
    for ax, level in zip(flat, levels, strict=False):
        _forest(ax, table[table.level == level], conditions, looks)
        ax.set_title("all questions" if level == "all" else level)
    for ax in flat[len(levels) :]:
        ax.set_visible(False)
    base = estimator_name(str(table.against.iloc[0]))
    arms = [estimator_name(arm) for arm in looks]
    figure.supxlabel(
        f"{arms[0] if len(arms) == 1 else 'arm'} \N{MINUS SIGN} {base}, percentage points of held-out accuracy",
        fontsize=8,
        color=style.INK,
    )
    if len(looks) > 1:
        style.legend(
            figure, [style.line_handle((look[0], "", look[2]), marker=True) for look in looks.values()], arms, columns
        )
    return figure


def _forest(ax: Axes, part: pd.DataFrame, conditions: list[str], looks: dict[str, style.Look]) -> None:
    step = min(0.6, 0.85 / len(looks))
    for i, (arm, (colour, _, marker)) in enumerate(looks.items()):
        for row, condition in enumerate(conditions):
            of_arm = part[(part.condition == condition) & (part.estimator == arm)].sort_values("seed")
            d_S = of_arm.difference.to_numpy(dtype=float)
            if not d_S.size:
                continue
            y = row + (i - (len(looks) - 1) / 2) * step
            ax.plot(d_S, np.full(d_S.size, y - 0.24 * step), marker=marker, markeredgecolor=colour, **SEED)
            if d_S.size > 1:
                mean, low, high = t_interval(d_S)[:3]
                below = y + 0.2 * step
                ax.errorbar(mean, below, xerr=[[mean - low], [high - mean]], color=colour, marker=marker, **MEAN)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    shown = ["mean" if condition == POOLED else condition for condition in conditions]
    ax.set_yticks(range(len(conditions)), shown)
    ax.set_ylim(len(conditions) - 0.5, -0.5)
    ax.grid(visible=False, axis="y")
    style.points_axis(ax.xaxis)
    ax.locator_params(axis="x", nbins=5)


def caption(table: pd.DataFrame) -> str:
    base = estimator_name(str(table.against.iloc[0]))
    pooled_row = (
        " The row 'mean' first averages each seed over the conditions." if POOLED in set(table.condition) else ""
    )
    return (
        f"Difference to {base} in final held-out accuracy, on the same seeds. Open markers: single seeds. "
        f"Filled: mean over "
        f"{seeds_phrase(table)} with a 95% Student t interval, not corrected for the number of rows; the line marks no "
        f"difference.{pooled_row}"
    )


def alt(table: pd.DataFrame) -> str:
    told = []
    for (condition, arm), group in table[table.level == "all"].groupby(["condition", "estimator"], sort=False):
        d_S = group.difference.to_numpy(dtype=float)
        where = f"{estimator_name(str(arm))}, {condition}: {points(d_S.mean(), sign=True)} points"
        told.append(where + (f" ({interval(*t_interval(d_S)[1:3])})" if d_S.size > 1 else " (one seed)"))
    return "Forest plot of differences paired by seed. All questions: " + "; ".join(told) + "."
