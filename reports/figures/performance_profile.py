"""Performance profile: share of runs whose final accuracy lies above each threshold (F8)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores
from reports.figures import few, style
from reports.figures.curves import seeds_phrase
from reports.names import estimator_name
from reports.statistics import performance_profile
from reports.tables import Study

NAME = "performance_profile"
TITLE = "Performance profile"
LEAST_SEEDS = 8
"""With fewer runs an arm the bands fill the panel."""


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns condition, estimator, seed, value; empty unless every arm and condition has at least eight seeds."""
    columns = ["condition", "estimator", "seed", "value"]
    if end is None:
        return pd.DataFrame(columns=columns)
    scores = final_scores(study, end.task, end.metric)
    scores = scores[scores.level == end.level]
    enough = scores.groupby(["condition", "estimator"]).seed.nunique().min() >= LEAST_SEEDS
    return scores[columns].reset_index(drop=True) if enough else pd.DataFrame(columns=columns)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    conditions = list(dict.fromkeys(table.condition))
    table = few.drawn(table)
    looks = style.looks(table.estimator)
    across = 1 if columns == 1 else min(len(conditions), 4)
    figure, axes = style.panels(-(-len(conditions) // across), across, columns, 1.8, sharey=True)
    flat = [ax for row in axes for ax in row]
    margin = 0.1 * (table.value.max() - table.value.min()) or 0.01
    tau = np.linspace(table.value.min() - margin, table.value.max() + margin, 201)
    for ax, condition in zip(flat, conditions, strict=False):
        for arm, (colour, dashes, _) in looks.items():
            x_S = table[(table.condition == condition) & (table.estimator == arm)].value.to_numpy(dtype=float)
            if x_S.size:
                profile = performance_profile(x_S, tau)
                ax.fill_between(tau, profile.low, profile.high, color=colour, alpha=0.14, linewidth=0)
                ax.plot(tau, profile.share, color=colour, linestyle=dashes)
        style.title(ax, condition)
        ax.set_xlabel("held-out accuracy above")
        style.percent_axis(ax.xaxis)
        style.percent_axis(ax.yaxis)
        ax.locator_params(axis="x", nbins=4)
    for ax in flat[len(conditions) :]:
        ax.set_visible(False)
    for row in axes:
        row[0].set_ylabel("share of runs")
    style.legend(
        figure, [style.line_handle(look) for look in looks.values()], [estimator_name(a) for a in looks], columns
    )
    return figure


def caption(table: pd.DataFrame) -> str:
    return (
        f"Share of {seeds_phrase(table)} that end above each accuracy, with a pointwise 95% Wilson band. A curve "
        "further right is better at every demand; curves that cross are better for different runs." + few.told(table)
    )


def alt(table: pd.DataFrame) -> str:
    medians = table.groupby(["condition", "estimator"], sort=False).value.median().reset_index()
    told = [f"{estimator_name(r.estimator)}, {r.condition}: {r.value:.1%}" for r in medians.itertuples()]
    return "Performance profiles; half of the runs end above: " + "; ".join(told) + "."
