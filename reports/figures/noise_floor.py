"""The A/A noise floor: how far two runs of the same arm are apart, beside what the arms differ by (F17)."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores, paired_differences
from reports.figures import rows, style
from reports.figures.rows import SEED
from reports.names import estimator_name
from reports.tables import Study
from reports.verdict import points

NAME = "noise_floor"
TITLE = "Noise floor"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns kind (`A/A` or an arm), against, condition, difference: all pairs of the baseline's own seeds, both ways,
    and each arm's differences paired by seed. Empty where no arm and condition has two seeds."""
    columns = ["kind", "against", "condition", "difference"]
    if end is None:
        return pd.DataFrame(columns=columns)
    scores = final_scores(study, end.task, end.metric)
    scores = scores[scores.level == end.level]
    rows = []
    for condition, group in scores[scores.estimator == end.baseline].groupby("condition", sort=False):
        rows += [
            {"kind": "A/A", "condition": condition, "difference": a - b}
            for a, b in itertools.permutations(group.sort_values("seed").value, 2)
        ]
    if not rows:
        return pd.DataFrame(columns=columns)
    pairs = paired_differences(scores, end.baseline)
    rows += pairs.rename(columns={"estimator": "kind"})[["kind", "condition", "difference"]].to_dict("records")
    return pd.DataFrame(rows).assign(against=end.baseline)[columns]


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    conditions, kinds = list(dict.fromkeys(table.condition)), list(dict.fromkeys(table.kind))
    looks = style.looks([str(table.against.iloc[0]), *(kind for kind in kinds if kind != "A/A")])
    across = min(len(conditions), 4) if columns == 2 else 1
    names = ["two seeds" if kind == "A/A" else estimator_name(str(kind)) for kind in kinds]
    beside = rows.beside(names, columns)
    height = max(0.35, rows.height(beside)) * len(kinds) + 0.4
    figure, axes = style.panels(-(-len(conditions) // across), across, columns, height, sharex=True, sharey=True)
    flat = [ax for row in axes for ax in row]
    for ax, condition in zip(flat, conditions, strict=False):
        for y, kind in enumerate(kinds):
            d = table[(table.condition == condition) & (table.kind == kind)].difference.to_numpy(dtype=float)
            colour, _, marker = looks[str(table.against.iloc[0]) if kind == "A/A" else kind]
            ax.plot(d, np.full(d.size, y), marker=marker, markeredgecolor=colour, **SEED)
            if d.size:
                ax.plot([d.mean()] * 2, [y - 0.28, y + 0.28], color=colour, linewidth=2)
        ax.axvline(0, color=style.INK, linewidth=0.8)
        style.title(ax, condition)
        ax.set_yticks(range(len(kinds)), beside)
        ax.set_ylim(len(kinds) - 0.5, -0.5)
        ax.grid(visible=False, axis="y")
        style.points_axis(ax.xaxis)
        ax.locator_params(axis="x", nbins=5)
    for ax in flat[len(conditions) :]:
        ax.set_visible(False)
    style.below(figure, "difference to the baseline, percentage points", columns)
    return figure


def caption(table: pd.DataFrame) -> str:
    base = estimator_name(str(table.against.iloc[0]))
    told = f"Top row: every difference between two runs of {base} with different seeds."
    if set(table.kind) == {"A/A"}:
        return f"{told} Bars: means."
    return (
        f"{told} Below: differences of the arms to {base} on the same seed. Bars: means. An arm's mean well inside the "
        "spread of the top row is no larger than what a change of seed does to a single run."
    )


def alt(table: pd.DataFrame) -> str:
    told = []
    for (condition, kind), group in table.groupby(["condition", "kind"], sort=False):
        d = group.difference
        if kind == "A/A":
            apart = points(d.abs().mean())
            told.append(f"{condition}: two seeds of the baseline are {apart} points apart on average")
        else:
            told.append(f"{condition}: {estimator_name(str(kind))} differs by {points(d.mean(), sign=True)} points")
    return "Dot plot of differences between runs. " + "; ".join(told) + "."
