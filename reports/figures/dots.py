"""A dot per seed with the mean and its 95% Student t interval beside it: arms side by side within each condition."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import rows, style
from reports.figures.rows import MEAN, SEED
from reports.names import estimator_name
from reports.statistics import t_interval

READABLE, LETTER = 1.4, 0.057
"""Inches below a dot that a longer name of a condition asks for; of a letter there."""


def draw_dots(
    table: pd.DataFrame,
    columns: style.Columns,
    panel: str,
    titles: Mapping[str, str],
    ylabel: str,
    axis: Callable[[Any], None] | None,
    *,
    share_y: bool,
) -> Figure:
    """One panel for each value of the column ``panel``; a column `base`, where there is one, gives a reference line."""
    names, conditions = list(dict.fromkeys(table[panel])), list(dict.fromkeys(table.condition))
    if table.estimator.nunique() > style.MOST:
        return _rows(table, columns, panel, titles, ylabel, axis, share=share_y)
    looks = style.looks(table.estimator)
    across = 1 if columns == 1 or len(conditions) > 5 else min(len(names), 4 if len(conditions) <= 2 else 2)
    while across > 1 and _room(across, columns, conditions) < min(READABLE, LETTER * max(map(len, conditions))):
        across -= 1
    below = [style.wrapped(text, _room(across, columns, conditions) * style.LETTER / LETTER) for text in conditions]
    height = (1.9 if columns == 2 else 1.6) + style.LINE * max(text.count("\n") for text in below)
    figure, axes = style.panels(math.ceil(len(names) / across), across, columns, height, sharey=share_y)
    flat = [ax for row in axes for ax in row]
    for ax, name in zip(flat, names, strict=False):
        _panel(ax, table[table[panel] == name], conditions, looks)
        ax.set_xticks(range(len(conditions)), below)
        style.title(ax, titles.get(name, name))
        if axis is not None:
            axis(ax.yaxis)
    for ax in flat[len(names) :]:
        ax.set_visible(False)
    for row in axes:
        row[0].set_ylabel(ylabel)
    handles = [style.line_handle((look[0], "", look[2]), marker=True) for look in looks.values()]
    labels = [estimator_name(arm) for arm in looks]
    if "base" in table and table.base.notna().any():
        handles.append(style.line_handle((style.FAINT, (0, (4, 3)), "")))
        labels.append("untrained policy")
    style.legend(figure, handles, labels, columns)
    return figure


def _room(across: int, columns: style.Columns, conditions: Sequence[str]) -> float:
    """Inches below each condition with so many panels side by side."""
    return (style.WIDTH[columns] / across - 0.55) / len(conditions)


def _rows(
    table: pd.DataFrame,
    columns: style.Columns,
    panel: str,
    titles: Mapping[str, str],
    label: str,
    axis: Callable[[Any], None] | None,
    *,
    share: bool,
) -> Figure:
    """Many arms: turned by a quarter, so that each arm's name stands beside its row."""
    several = table.condition.nunique() > 1
    parts = [
        (f"{titles.get(name, name)}, {condition}" if several else titles.get(name, name), part)
        for (name, condition), part in table.groupby([panel, "condition"], sort=False)
    ]
    figure = rows.draw_rows(table, columns, "value", parts, axis, label, share_x=share)
    for ax, (_, part) in zip(figure.axes, parts, strict=False):
        if "base" in part and not (base := part.base.dropna()).empty:
            ax.axvline(float(base.iloc[0]), color=style.FAINT, linestyle=(0, (4, 3)), linewidth=1)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, conditions: list[str], looks: dict[str, style.Look]) -> None:
    step = min(0.3, 0.8 / len(looks))
    for i, (arm, (colour, _, marker)) in enumerate(looks.items()):
        for x, condition in enumerate(conditions):
            of_arm = part[(part.condition == condition) & (part.estimator == arm)].sort_values("seed")
            y_S = of_arm.value.to_numpy(dtype=float)
            if not y_S.size:
                continue
            centre = x + (i - (len(looks) - 1) / 2) * step
            ax.plot(centre + _aside(y_S.size, step), y_S, marker=marker, markeredgecolor=colour, **SEED)
            if y_S.size > 1:
                mean, low, high = t_interval(y_S)[:3]
                ax.errorbar(
                    centre + 0.17 * step, mean, [[mean - low], [high - mean]], color=colour, marker=marker, **MEAN
                )
    if "base" in part and not (base := part.base.dropna()).empty:
        ax.axhline(float(base.iloc[0]), color=style.FAINT, linestyle=(0, (4, 3)), linewidth=1)
    ax.set_xlim(-0.5, len(conditions) - 0.5)
    ax.grid(visible=False, axis="x")


def _aside(n: int, step: float) -> np.ndarray:
    """Where the seeds of an arm stand: a narrow column left of the mean, so that neither hides the other."""
    return -0.2 * step + (np.linspace(-0.12, 0.12, n) * step if n > 1 else np.zeros(1))
