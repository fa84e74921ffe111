"""Curves over training steps: each seed thin, the mean over seeds thick, and a pointwise 95% Student t band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from reports.figures import few, style
from reports.names import estimator_name
from reports.statistics import t_band, t_interval
from reports.tables import Study

POINTS = 40
"""Curves are averaged over bins of steps so that about this many points remain."""


def curve_table(study: Study, metrics: Sequence[str], width: int | None = None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step (a bin's middle), value (its mean), bin (steps in a
    full bin). ``width`` of a bin: by default what leaves about `POINTS` points."""
    shown = [metric for metric in metrics if metric in study.steps and study.steps[metric].notna().any()]
    columns = ["metric", "condition", "estimator", "seed", "step", "value", "bin"]
    if not shown:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(("seed", "step", "value", "bin"), float))
    last = int(study.steps.step.max())
    width = width or math.ceil(last / POINTS)
    bins = (study.steps.step - 1) // width
    keys = ["condition", "estimator", "seed", "run"]
    means = study.steps.assign(bin_number=bins).groupby([*keys, "bin_number"], sort=False)[shown].mean().reset_index()
    first = means.bin_number * width + 1
    means["step"] = (first + np.minimum(first + width - 1, last)) / 2
    long = means.melt([*keys, "step"], shown, var_name="metric", value_name="value").dropna(subset="value")
    return long.assign(bin=width)[columns].reset_index(drop=True)


def draw_curves(
    table: pd.DataFrame,
    columns: style.Columns,
    labels: Mapping[str, str],
    *,
    shares: bool,
    logarithmic: bool = False,
    height: float = 1.55,
) -> Figure:
    """Panels: metrics down, conditions across (one column: all below each other)."""
    metrics, conditions = list(table.metric.unique()), list(table.condition.unique())
    table = few.drawn(table)
    looks = style.looks(table.estimator.unique())
    across = 1 if columns == 1 else min(len(conditions), 4)
    blocks = math.ceil(len(conditions) / across)
    parts = dict(list(table.groupby(["metric", "condition", "estimator"], sort=False)))
    figure, axes = style.panels(len(metrics) * blocks, across, columns, height, sharex=True)
    for i, metric in enumerate(metrics):
        used: list[Axes] = []
        for j, condition in enumerate(conditions):
            row, column = i * blocks + j // across, j % across
            ax = axes[row][column]
            used.append(ax)
            for arm in looks:
                if (part := parts.get((metric, condition, arm))) is not None:
                    _arm(ax, part, looks[arm], faint=0.35 if len(looks) <= 2 else 0.18 if len(looks) <= 4 else 0.1)
            single = len(conditions) == 1 and condition == "clean"
            if row == 0 or columns == 1 or blocks > 1:
                style.title(ax, "" if single and len(metrics) == 1 else condition)
            if column == 0:
                ax.set_ylabel(labels.get(metric, metric))
            else:
                ax.tick_params(labelleft=False)
            if logarithmic:
                style.log_axis(ax)
            if shares:
                style.percent_axis(ax.yaxis)
        low, high = min(ax.get_ylim()[0] for ax in used), max(ax.get_ylim()[1] for ax in used)
        for ax in used:
            ax.set_ylim(low, high)
        for ax in [a for row_of in axes[i * blocks : (i + 1) * blocks] for a in row_of if a not in used]:
            ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("training step")
        ax.locator_params(axis="x", integer=True)
    style.legend(
        figure, [style.line_handle(look) for look in looks.values()], [estimator_name(arm) for arm in looks], columns
    )
    return figure


def _arm(ax: Axes, part: pd.DataFrame, look: style.Look, faint: float) -> None:
    colour, dashes, _ = look
    steps, y_ST = by_seed(part, "value")
    if "x" in part:  # the curve stands at another quantity than steps, and each seed has its own
        x_ST = by_seed(part, "x")[1]
        steps = np.nanmean(x_ST, axis=0)
    else:
        x_ST = np.broadcast_to(steps, y_ST.shape)
    lines = [np.column_stack([x_T, y_T]) for x_T, y_T in zip(x_ST, y_ST, strict=True)]
    ax.add_collection(LineCollection(lines, colors=colour, linewidths=0.5, alpha=faint))
    band = t_band(y_ST)
    ax.fill_between(steps, band.low_T, band.high_T, color=colour, alpha=0.16 if faint > 0.1 else 0.1, linewidth=0)
    ax.plot(steps, band.mean_T, color=colour, linestyle=dashes)
    ax.autoscale_view()


def by_seed(part: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [T] and the column's values [S, T]: the mean where a seed has a step twice, NaN where it has none."""
    _, s = np.unique(part.seed, return_inverse=True)
    steps, t = np.unique(part.step, return_inverse=True)
    counts, sums = np.zeros((2, s.max() + 1, steps.size))
    np.add.at(counts, (s, t), 1.0)
    np.add.at(sums, (s, t), part[column].to_numpy(dtype=float))
    return steps.astype(float), np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def seeds_phrase(table: pd.DataFrame) -> str:
    """`5 seeds`, or `4 to 5 seeds` where arms differ."""
    counts = table.groupby(["condition", "estimator"]).seed.nunique()
    low, high = int(counts.min()), int(counts.max())
    return f"{high} {'seed' if high == 1 else 'seeds'}" if low == high else f"{low} to {high} seeds"


def single(table: pd.DataFrame) -> bool:
    """Whether no arm has two seeds anywhere, so that nothing has an interval."""
    return bool(table.groupby(["condition", "estimator"]).seed.nunique().max() < 2)


def means_told(table: pd.DataFrame, of_intervals: str = "") -> str:
    """`Open markers: single seeds. Filled: mean over 5 seeds with a 95% Student t interval`, then ``of_intervals``;
    from one seed there is none."""
    if single(table):
        return "Markers: single seeds, one an arm, without an interval"
    filled = f"mean over {seeds_phrase(table)} with a 95% Student t interval{of_intervals}"
    return f"Open markers: single seeds. Filled: {filled}"


_APART = ("level", "measure", "panel", "kind", "condition", "estimator", "x", "strength")


def no_interval_told(table: pd.DataFrame, value: str) -> str:
    """A sentence on the means that have no interval; empty where all have one."""
    groups = table.groupby([key for key in _APART if key in table], sort=False)[value]
    if all(x_S.size < 2 for _, x_S in groups):  # `means_told` says so
        return ""
    bare = sum(x_S.size < 2 or not math.isfinite(t_interval(x_S).low) for _, x_S in groups)
    means = "1 mean has" if bare == 1 else f"{bare} means have"
    return f" {means} no interval: a single seed, or no spread over seeds." if bare else ""


def curve_caption(table: pd.DataFrame) -> str:
    width = int(table.bin.iloc[0])
    binned = f" Curves are averages over bins of {width} steps." if width > 1 else ""
    if single(table):
        return f"One seed an arm: no band.{binned}{few.told(table)}"
    return (
        f"Thin: single seeds. Thick: mean over {seeds_phrase(table)}, with a pointwise 95% Student t band where they "
        f"differ.{_fewer_told(table)}{binned}{few.told(table)}"
    )


def _fewer_told(table: pd.DataFrame) -> str:
    """A sentence where a curve goes on with fewer seeds than its arm has; else empty."""
    arms = [key for key in ("metric", "condition", "estimator") if key in table]
    shown = table[table.value.notna()]
    at = shown.groupby([*arms, "step"], sort=False).seed.nunique().reset_index()
    fewer = at[at.seed < at.groupby(arms, sort=False).seed.transform("max")]
    if fewer.empty:
        return ""
    return (
        f" Not every step has all seeds: {fewer.seed.min()} at least, not all from about step {fewer.step.min():.0f}."
    )


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """First and last value of each arm's mean curve: metric, condition, estimator, start, end."""
    mean = table.groupby(["metric", "condition", "estimator", "step"], sort=False).value.mean().reset_index()
    grouped = mean.groupby(["metric", "condition", "estimator"], sort=False).value
    return grouped.agg(start="first", end="last").reset_index()
