"""Differences to the baseline along one axis of a grid: a dot per seed, the mean and its t interval, lines between."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import few, style
from reports.figures.rows import MEAN, SEED
from reports.names import estimator_name
from reports.statistics import t_interval
from reports.verdict import interval, points


def draw_sweep(table: pd.DataFrame, columns: style.Columns, xlabel: str, *, named: bool = False) -> Figure:
    """Columns of the table: panel, x, estimator, against, seed, difference. ``named``: the values of x stand evenly
    spaced, each with its label; otherwise where the number puts them."""
    panels = list(dict.fromkeys(table.panel))
    table = few.drawn(table)
    looks = style.looks(table.estimator)
    across = 1 if columns == 1 else min(len(panels), 3)
    figure, axes = style.panels(-(-len(panels) // across), across, columns, 2.1, sharey=True)
    flat = [ax for row in axes for ax in row]
    for ax, panel in zip(flat, panels, strict=False):
        _panel(ax, table[table.panel == panel], sorted(set(table.x)), looks, named=named)
        style.title(ax, panel)
        ax.set_xlabel(xlabel)
    for ax in flat[len(panels) :]:
        ax.set_visible(False)
    base = estimator_name(str(table.against.iloc[0]))
    for row in axes:
        row[0].set_ylabel(textwrap.fill(f"difference to {base}, points", 28))  # no longer than a panel is high
    handles = [style.line_handle(look, marker=True) for look in looks.values()]
    style.legend(figure, handles, [estimator_name(arm) for arm in looks], columns)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, values: list[float], looks: dict[str, style.Look], *, named: bool) -> None:
    place = {x: float(i) if named else x for i, x in enumerate(values)}
    width = (len(values) - 1.0 if named else float(part.x.max())) or 1.0
    for i, (arm, (colour, dashes, marker)) in enumerate(looks.items()):
        shift = (i - (len(looks) - 1) / 2) * 0.025 * width
        means = []
        for value, group in part[part.estimator == arm].groupby("x"):
            d_S = group.difference.to_numpy(dtype=float)
            x = place[float(value)] + shift
            ax.plot(np.full(d_S.size, x - 0.008 * width), d_S, marker=marker, markeredgecolor=colour, **SEED)
            mean = float(d_S.mean())
            low, high = t_interval(d_S)[1:3] if d_S.size > 1 else (np.nan, np.nan)
            ax.errorbar(x, mean, [[mean - low], [high - mean]], color=colour, marker=marker, **MEAN)
            means.append((x, mean))
        if means:
            ax.plot(*zip(*means, strict=True), color=colour, linestyle=dashes, linewidth=1)
    if named:
        ax.set_xticks(list(place.values()), [f"{value:g}" for value in place])
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.points_axis(ax.yaxis)


def told(table: pd.DataFrame) -> str:
    """Every mean with its interval, for the alternative text."""
    parts = []
    for (panel, arm, x), group in table.groupby(["panel", "estimator", "x"], sort=False):
        d_S = group.difference.to_numpy(dtype=float)
        where = f"{panel} {x:g}, {estimator_name(str(arm))}: {points(d_S.mean(), sign=True)}"
        parts.append(where + (f" ({interval(*t_interval(d_S)[1:3])})" if d_S.size > 1 else ""))
    return "; ".join(parts)
