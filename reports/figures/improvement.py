"""How often an arm beats the baseline (F7): over all pairs of runs, and over runs that share a seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores, paired_differences
from reports.figures import rows, style
from reports.figures.curves import seeds_phrase
from reports.names import estimator_name
from reports.statistics import improvement, wilson
from reports.tables import Study

NAME = "improvement"
TITLE = "How often an arm is better"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns condition, estimator, against, seed, treatment, baseline: the scores of runs that share a seed."""
    columns = ["condition", "estimator", "against", "seed", "treatment", "baseline"]
    if end is None:
        return pd.DataFrame(columns=columns)
    scores = final_scores(study, end.task, end.metric)
    pairs = paired_differences(scores[scores.level == end.level], end.baseline)
    return pairs.assign(against=end.baseline)[columns].reset_index(drop=True)


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """A row per condition and arm: over all pairs of runs, over shared seeds with Wilson's interval, n. Seeds on which
    both are equal are left out of the second."""
    rows = []
    for (condition, arm), group in table.groupby(["condition", "estimator"], sort=False):
        a_S, b_S = group.treatment.to_numpy(dtype=float), group.baseline.to_numpy(dtype=float)
        unequal = int((a_S != b_S).sum())
        row = {"condition": condition, "estimator": arm, "all": improvement(a_S[:, None], b_S[:, None]), "n": unequal}
        paired = wilson(int((a_S > b_S).sum()), unequal) if unequal else (np.nan,) * 3
        rows.append(row | {"paired": paired[0], "low": paired[1], "high": paired[2]})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    found, conditions = shares(table), list(dict.fromkeys(table.condition))
    looks = style.looks(table.estimator)
    label = f"share in which the arm is above {estimator_name(str(table.against.iloc[0]))}"
    if rows.by_arm(table):
        titles = conditions if len(conditions) > 1 else [""]
        figure, axes = rows.row_panels(list(looks), titles, columns)
        for ax, condition in zip(axes, conditions, strict=True):
            places = {(condition, arm): float(y) for y, arm in enumerate(looks)}
            _marks(ax, found[found.condition == condition], places, looks)
        style.below(figure, label, columns)
        return figure
    step = 0.8 / len(looks)
    figure, (row,) = style.panels(1, 1, columns, max(0.3, 0.16 * len(looks)) * len(conditions) + 0.4)
    ax = row[0]
    middle = (len(looks) - 1) / 2
    places = {(c, arm): y + (i - middle) * step for y, c in enumerate(conditions) for i, arm in enumerate(looks)}
    _marks(ax, found, places, looks)
    ax.set_yticks(range(len(conditions)), rows.beside(conditions, columns))
    ax.set_ylim(len(conditions) - 0.5, -0.5)
    style.below(figure, label, columns)
    handles = [style.line_handle((look[0], "", look[2]), marker=True) for look in looks.values()]
    style.legend(figure, handles, [estimator_name(arm) for arm in looks], columns)
    return figure


def _marks(ax: Axes, found: pd.DataFrame, places: dict[tuple[str, str], float], looks: dict[str, style.Look]) -> None:
    for row in found.itertuples():
        y, (colour, _, marker) = places[row.condition, row.estimator], looks[row.estimator]
        ends = [[max(0.0, row.paired - row.low)], [max(0.0, row.high - row.paired)]]
        ax.errorbar(row.paired, y, xerr=ends, color=colour, marker=marker, markersize=4.5, capsize=2)
        ax.plot(row.all, y, marker="|", color=style.INK, markersize=7, linestyle="")
    ax.axvline(0.5, color=style.INK, linewidth=0.8)
    ax.set_xlim(-0.02, 1.02)
    ax.grid(visible=False, axis="y")
    style.percent_axis(ax.xaxis)


def caption(table: pd.DataFrame) -> str:
    return (
        f"Markers: share of {seeds_phrase(table)} on which the arm ends above the baseline of the same seed, with a "
        "95% Wilson interval; equal seeds are left out. Upright strokes: probability of improvement, over all pairs of "
        "these runs, whatever their seeds; no interval for it holds what it says with ten seeds or fewer."
    )


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{r.condition}, {estimator_name(r.estimator)}: "
        + (
            f"{r.paired:.0%} of {r.n:g} seeds that differ ({r.low:.0%} to {r.high:.0%})"
            if r.n
            else "equal on every seed"
        )
        for r in shares(table).itertuples()
    ]
    return "Dot plot of how often an arm beats the baseline on the same seed. " + "; ".join(told) + "."
