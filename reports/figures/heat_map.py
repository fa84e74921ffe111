"""Difference to the baseline over the two variances of the Kalman filter (F14)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores, paired_differences
from reports.figures import style
from reports.figures.curves import seeds_phrase, single
from reports.names import estimator_name, named
from reports.statistics import t_interval
from reports.tables import Study
from reports.verdict import interval, points

NAME = "heat_map"
TITLE = "The two variances of the filter"
DEFAULTS = {"process_variance": 1e-5, "measurement_variance": 1e-2}
"""What KRPO takes where a grid names none (`krpo.advantages.kalman.Model`)."""
LEAST = 2
"""Values of each variance: fewer make no map."""


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns condition, estimator, against, seed, process_variance, measurement_variance, difference; `krpo` alone."""
    columns = ["condition", "estimator", "against", "seed", *DEFAULTS, "difference"]
    if end is None:
        return pd.DataFrame(columns=columns)
    arms = {named(spec.get("estimator")).label: named(spec.get("estimator")) for spec in study.specs.values()}
    filters = {label: DEFAULTS | dict(arm.params) for label, arm in arms.items() if arm.name == "krpo"}
    filters = {label: params for label, params in filters.items() if set(params) == set(DEFAULTS)}
    scores = final_scores(study, end.task, end.metric)
    pairs = paired_differences(scores[scores.level == end.level], end.baseline)
    pairs = pairs[pairs.estimator.isin(list(filters))]
    for key in DEFAULTS:
        pairs[key] = [float(filters[arm][key]) for arm in pairs.estimator]
        if pairs[key].nunique() < LEAST:
            return pd.DataFrame(columns=columns)
    return pairs.assign(against=end.baseline)[columns].reset_index(drop=True)


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """A row per condition and pair of variances: mean, low, high, n."""
    rows = []
    for (condition, q, r), group in table.groupby(["condition", *DEFAULTS], sort=True):
        d_S = group.difference.to_numpy(dtype=float)
        low, high = t_interval(d_S)[1:3] if d_S.size > 1 else (np.nan, np.nan)
        rows.append({"condition": condition, "q": q, "r": r, "mean": d_S.mean(), "low": low, "high": high})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    """Shades for the mean, its numbers written in each cell: legible without the shades."""
    cells, conditions = _cells(table), list(dict.fromkeys(table.condition))
    qs, rs = sorted(set(cells.q)), sorted(set(cells.r))
    across = 1 if columns == 1 else min(len(conditions), 2)
    figure, axes = style.panels(-(-len(conditions) // across), across, columns, 0.42 * len(rs) + 0.7)
    flat = [ax for row in axes for ax in row]
    most = float(cells["mean"].abs().max()) or 1.0
    for ax, condition in zip(flat, conditions, strict=False):
        part = cells[cells.condition == condition].set_index(["r", "q"])
        grid = part["mean"].unstack().reindex(index=rs, columns=qs).to_numpy()
        ax.imshow(grid, cmap="RdBu", vmin=-2 * most, vmax=2 * most, aspect="auto", origin="lower")
        for (r, q), row in part.iterrows():
            text = points(row["mean"], sign=True)
            text += f"\n({interval(row.low, row.high)})" if np.isfinite(row.low) else ""
            ax.text(qs.index(q), rs.index(r), text, ha="center", va="center", fontsize=6, color=style.INK)
        ax.set_xticks(range(len(qs)), [f"{q:g}" for q in qs])
        ax.set_yticks(range(len(rs)), [f"{r:g}" for r in rs])
        ax.set_xlabel("process variance Q")
        ax.set_ylabel("measurement variance R")
        style.title(ax, condition)
        ax.grid(visible=False)
    for ax in flat[len(conditions) :]:
        ax.set_visible(False)
    return figure


def caption(table: pd.DataFrame) -> str:
    base = estimator_name(str(table.against.iloc[0]))
    shown = f"mean over {seeds_phrase(table)} with a 95% Student t interval, each by itself"
    return (
        f"KRPO with other variances minus {base}: final held-out accuracy, percentage points, paired by seed; "
        f"{'one seed an arm, without an interval' if single(table) else shown}. Published: Q = 1e-05, R = 0.01."
    )


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{c.condition}, Q = {c.q:g}, R = {c.r:g}: {points(c.mean, sign=True)} ({interval(c.low, c.high)})"
        for c in _cells(table).itertuples()
    ]
    return "Heat map of KRPO's difference over its two variances, points. " + "; ".join(told) + "."
