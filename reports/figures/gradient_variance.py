"""Variance of the gradient over the oracle baseline's against group size, and the share that order makes (F13)."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.figures import style
from reports.names import estimator_name

NAME = "gradient_variance"
TITLE = "Variance of the gradient by group size"
MEASURES = {"scaled_over_oracle": "variance over the oracle's", "order_share": "share due to order"}
MODEL = "variance_model"
CLOSE = 0.03
"""An estimator whose variance is within this of an earlier one's everywhere is named in the caption, not drawn."""


def table(probe: pd.DataFrame) -> pd.DataFrame:
    """Columns measure, condition, estimator, group_size, value, low, high, stands_for (an earlier estimator that is
    drawn in place of this one; else empty). ``probe``: `results.csv` of `krpo-probe`, with a column condition."""
    frame = probe[probe.measure.isin([*MEASURES, MODEL]) & (probe.estimator != "oracle")]
    wide = frame[frame.measure == "scaled_over_oracle"].pivot_table(
        index=["condition", "group_size"], columns="estimator", values="value", sort=False
    )
    stands: dict[str, str | None] = {}
    for arm in dict.fromkeys(frame.estimator):
        own = [other for other in stands if stands[other] is None]
        near = [o for o in own if {arm, o} <= set(wide) and bool((abs(wide[arm] / wide[o] - 1) <= CLOSE).all())]
        stands[str(arm)] = near[0] if near else None
    columns = ["measure", "condition", "estimator", "group_size", "value", "low", "high"]
    return frame[columns].assign(stands_for=frame.estimator.map(stands)).reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    """Panels: noises across, measures down; one column: all below each other."""
    drawn = table[table.stands_for.isna()]
    conditions = list(dict.fromkeys(drawn.condition))
    looks = style.looks(list(dict.fromkeys(drawn.estimator))[: style.MOST])
    across = 1 if columns == 1 else min(len(conditions), 3)
    blocks = -(-len(conditions) // across)
    figure, axes = style.panels(2 * blocks, across, columns, 1.9, sharex=True)
    for i, condition in enumerate(conditions):
        for j, measure in enumerate(MEASURES):
            ax = axes[2 * (i // across) + j][i % across]
            part = drawn[drawn.condition == condition]
            _panel(ax, part, measure, looks)
            style.title(ax, condition if j == 0 else "")
            if i % across == 0:
                ax.set_ylabel(MEASURES[measure])
    for i in range(len(conditions), blocks * across):
        for j in range(2):
            axes[2 * (i // across) + j][i % across].set_visible(False)
    _same_limits(axes, range(0, 2 * blocks, 2))
    _same_limits(axes, range(1, 2 * blocks, 2))
    for ax in axes[-1]:
        ax.set_xlabel("group size G")
    handles = [style.line_handle(look, marker=True) for look in looks.values()]
    labels = [estimator_name(arm) for arm in looks]
    if (drawn.measure == MODEL).any():
        handles.append(style.line_handle((style.INK, "", "_"), marker=True))
        labels.append("theory")
    style.legend(figure, handles, labels, columns)
    return figure


def _panel(ax: Axes, part: pd.DataFrame, measure: str, looks: dict[str, style.Look]) -> None:
    sizes = sorted(set(part.group_size))
    ax.set_xscale("log", base=2)
    for i, (arm, (colour, dashes, marker)) in enumerate(looks.items()):
        own = part[(part.estimator == arm) & (part.measure == measure)].sort_values("group_size")
        aside = 1.035 ** (i - (len(looks) - 1) / 2)  # so that intervals do not hide each other
        if own.empty or (measure == "order_share" and not own.value.any()):
            continue
        x = own.group_size.to_numpy(dtype=float) * aside
        ends = [np.maximum(own.value - own.low, 0), np.maximum(own.high - own.value, 0)]
        ax.plot(x, own.value, color=colour, linestyle=dashes, linewidth=0.9)
        ax.errorbar(
            x, own.value, ends, color=colour, marker=marker, markersize=3.6, capsize=1.8, linewidth=0, elinewidth=1
        )
        model = part[(part.estimator == arm) & (part.measure == MODEL)]
        if measure == "scaled_over_oracle":
            ax.plot(model.group_size * aside, model.value, marker="_", markersize=9, color=colour, linestyle="")
    if measure == "scaled_over_oracle":
        style.log_axis(ax)
        ax.axhline(1, color=style.INK, linewidth=0.8)
    else:
        style.percent_axis(ax.yaxis)
    ax.xaxis.set_major_locator(mpl.ticker.FixedLocator(sizes))
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    ax.set_xlim(min(sizes) * 0.85, max(sizes) / 0.85)


def _same_limits(axes: list[list[Axes]], rows: range) -> None:
    used = [ax for row in rows for ax in axes[row] if ax.get_visible()]
    low, high = min(ax.get_ylim()[0] for ax in used), max(ax.get_ylim()[1] for ax in used)
    for ax in used:
        ax.set_ylim(low, high)


def caption(table: pd.DataFrame) -> str:
    same = table[table.stands_for.notna()].drop_duplicates("estimator")
    lies = ", ".join(f"{estimator_name(r.estimator)} with {estimator_name(r.stands_for)}" for r in same.itertuples())
    left_out = f" Not drawn, since within {CLOSE:.0%} of another everywhere: {lies}." if lies else ""
    model = " Flat marks: what independent scores of the answers would give." if (table.measure == MODEL).any() else ""
    return (
        "Top: variance of the gradient over that of the oracle baseline (reward minus the prompt's pass rate) on the "
        f"same answers, both scaled to equal progress.{model} Bottom: share of the variance that is due to the order "
        "of answers in their group alone; estimators that ignore order have none. Intervals: 95% jackknife over "
        f"batches with Student's t, each by itself, for these prompts and this policy.{left_out}"
    )


def alt(table: pd.DataFrame) -> str:
    rows = table[table.measure == "scaled_over_oracle"]
    told = []
    for (condition, arm), own in rows.groupby(["condition", "estimator"], sort=False):
        points = own[own.value.notna()].sort_values("group_size")
        values = ", ".join(f"{r.value:.2f} at G = {r.group_size:g}" for r in points.itertuples()) or "no value"
        told.append(f"{estimator_name(str(arm))}, {condition}: {values}")
    return "Chart of gradient variance over the oracle's against group size. " + "; ".join(told) + "."
