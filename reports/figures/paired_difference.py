"""Arm - baseline on the same seeds: a dot per seed, the mean difference and its t interval, per condition and level."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.compare import POOLED, Endpoint, final_scores, paired_differences, pooled
from reports.figures import rows, style
from reports.figures.curves import means_told, no_interval_told
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
    base = estimator_name(str(table.against.iloc[0]))
    arms = [estimator_name(arm) for arm in looks]
    left = arms[0] if len(arms) == 1 else "arm"
    label = f"{left} \N{MINUS SIGN} {base}, percentage points of held-out accuracy"
    if rows.by_arm(table):
        figure = rows.draw_rows(table, columns, "difference", _parts(table), style.points_axis, label)
        for ax in figure.axes:
            ax.axvline(0, color=style.INK, linewidth=0.8)
        return figure
    rows_high = max(0.32, 0.26 * len(looks)) * len(conditions) + 0.45
    across = 1 if columns == 1 else min(len(levels), 4)
    down = -(-len(levels) // across)
    figure, axes = style.panels(down, across, columns, rows_high, sharex=True, sharey=True)
    flat = [ax for row in axes for ax in row]
    for ax, level in zip(flat, levels, strict=False):
        _forest(ax, table[table.level == level], conditions, looks)
        ax.set_yticks(range(len(conditions)), rows.beside(map(_shown, conditions), columns))
        style.title(ax, "all questions" if level == "all" else level)
    for ax in flat[len(levels) :]:
        ax.set_visible(False)
    style.below(figure, label, columns)
    if len(looks) > 1:
        style.legend(
            figure, [style.line_handle((look[0], "", look[2]), marker=True) for look in looks.values()], arms, columns
        )
    return figure


def _parts(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A panel for each level, and for each condition where there are several."""
    several = table.condition.nunique() > 1
    found = []
    for (level, condition), part in table.groupby(["level", "condition"], sort=False):
        title = "all questions" if level == "all" else str(level)
        found.append((f"{title}, {_shown(str(condition))}" if several else title, part))
    return found


def _shown(condition: str) -> str:
    return "mean" if condition == POOLED else condition


def _forest(ax: Axes, part: pd.DataFrame, conditions: list[str], looks: dict[str, style.Look]) -> None:
    step = min(0.6, 0.85 / len(looks))
    for i, (arm, (colour, _, marker)) in enumerate(looks.items()):
        for row, condition in enumerate(conditions):
            of_arm = part[(part.condition == condition) & (part.estimator == arm)].sort_values("seed")
            d_S = of_arm.difference.to_numpy(dtype=float)
            y = row + (i - (len(looks) - 1) / 2) * step
            rows.draw_row(ax, y, d_S, colour, marker, step)
    ax.axvline(0, color=style.INK, linewidth=0.8)
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
        f"Difference to {base} in final held-out accuracy, on the same seeds. "
        f"{means_told(table, ', not corrected for the number of rows')}; the line marks no difference.{pooled_row}"
        + no_interval_told(table, "difference")
    )


def alt(table: pd.DataFrame) -> str:
    told = []
    for (condition, arm), group in table[table.level == "all"].groupby(["condition", "estimator"], sort=False):
        d_S = group.difference.to_numpy(dtype=float)
        where = f"{estimator_name(str(arm))}, {condition}: {points(d_S.mean(), sign=True)} points"
        told.append(where + (f" ({interval(*t_interval(d_S)[1:3])})" if d_S.size > 1 else " (one seed)"))
    return "Forest plot of differences paired by seed. All questions: " + "; ".join(told) + "."
