"""A row for each arm, named at its left: how many arms are shown, where colours and a legend would not be readable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import style
from reports.names import estimator_name
from reports.statistics import t_interval

SEED: dict[str, Any] = {
    "linestyle": "",
    "markersize": 2.8,
    "markeredgewidth": 0.6,
    "markerfacecolor": "white",
    "alpha": 0.9,
}
MEAN: dict[str, Any] = {"markersize": 5, "capsize": 2.5, "linewidth": 1.3}
NAMED = {1: 1.45, 2: 2.2}
"""Inches that a name may take beside the panels, for one column of a paper and for two."""


def beside(names: Iterable[str], columns: style.Columns) -> list[str]:
    """Names as they stand beside rows."""
    return [style.wrapped(name, NAMED[columns]) for name in names]


def height(texts: Sequence[str]) -> float:
    """Inches of a row with such a name beside it."""
    return max(0.21, 0.13 * max(text.count("\n") + 1 for text in texts) + 0.04)


def by_arm(table: pd.DataFrame) -> bool:
    """Whether arms are told apart by rows: with one condition, where rows would else be one, or with too many arms."""
    arms = table.estimator.nunique()
    return arms > style.MOST or (arms > 1 and table.condition.nunique() == 1)


def row_panels(
    arms: Sequence[str], titles: Sequence[str], columns: style.Columns, *, share_x: bool = True
) -> tuple[Figure, list[Axes]]:
    """A panel for each title, with the arms as rows from the top down; their names stand at the left ones."""
    across = 1 if columns == 1 else min(len(titles), 4)
    down = -(-len(titles) // across)
    shown = beside(map(estimator_name, arms), columns)
    figure, axes = style.panels(down, across, columns, height(shown) * len(arms) + 0.4, sharey=True, sharex=share_x)
    flat = [ax for row in axes for ax in row]
    for ax, title in zip(flat, titles, strict=False):
        style.title(ax, title)
        ax.set_yticks(range(len(arms)), shown)
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.tick_params(labelbottom=True)
    for ax in flat[len(titles) :]:
        ax.set_visible(False)
    return figure, flat[: len(titles)]


def draw_rows(
    table: pd.DataFrame,
    columns: style.Columns,
    value: str,
    parts: Sequence[tuple[str, pd.DataFrame]],
    axis: Callable[[Any], None] | None,
    xlabel: str,
    *,
    share_x: bool = True,
) -> Figure:
    """Seeds and mean with its interval of the column ``value``, a panel for each of ``parts`` (title, rows)."""
    looks = style.looks(table.estimator)
    figure, axes = row_panels(list(looks), [title for title, _ in parts], columns, share_x=share_x)
    for ax, (_, part) in zip(axes, parts, strict=True):
        for y, (arm, (colour, _, marker)) in enumerate(looks.items()):
            x_S = part[part.estimator == arm].sort_values("seed")[value].to_numpy(dtype=float)
            draw_row(ax, y, x_S, colour, marker)
        if axis is not None:
            axis(ax.xaxis)
        ax.locator_params(axis="x", nbins=5)
    style.below(figure, xlabel, columns)
    return figure


def draw_row(ax: Axes, y: float, x_S: np.ndarray, colour: str, marker: str, step: float = 1.0) -> None:
    """The seeds of one arm just above ``y``, their mean and interval just below it."""
    if not x_S.size:
        return
    ax.plot(x_S, np.full(x_S.size, y - 0.24 * step), marker=marker, markeredgecolor=colour, **SEED)
    if x_S.size > 1:
        mean, low, high = t_interval(x_S)[:3]
        ends = [[mean - low], [high - mean]]
        ax.errorbar(mean, y + 0.2 * step, xerr=ends, color=colour, marker=marker, **MEAN)
