"""Difference to the baseline against the strength of the noise, one panel per kind of noise (F15)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores, paired_differences
from reports.figures import style
from reports.figures.curves import seeds_phrase
from reports.figures.dots import MEAN, SEED
from reports.names import estimator_name, named
from reports.statistics import t_interval
from reports.tables import Study
from reports.verdict import interval, points

NAME = "noise_sweep"
TITLE = "Difference against noise"
LEAST_LEVELS = 3
"""Fewer strengths of one kind, clean rewards included, make no curve."""


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns kind, strength, condition, estimator, against, seed, difference; kinds with at least three strengths.

    The strength is the one numeric parameter of the noise; clean rewards have strength 0 in every kind.
    """
    columns = ["kind", "strength", "condition", "estimator", "against", "seed", "difference"]
    noises = study.runs.drop_duplicates("condition").set_index("condition").noise
    stored = {named(spec.get("noise")).label: named(spec.get("noise")) for spec in study.specs.values()}
    strengths: dict[str, dict[str, float]] = {}
    for condition, label in noises.items():
        numbers = [v for v in stored[label].params.values() if isinstance(v, (int, float))]
        if len(numbers) == len(stored[label].params) == 1:
            strengths.setdefault(stored[label].name, {})[str(condition)] = float(numbers[0])
    if end is None or noises.duplicated().any():  # something else varies too: no single curve per kind
        return pd.DataFrame(columns=columns)
    clean = [str(condition) for condition, label in noises.items() if label == "none"]
    scores = final_scores(study, end.task, end.metric)
    pairs = paired_differences(scores[scores.level == end.level], end.baseline)
    parts = []
    for kind, levels in strengths.items():
        levels = dict.fromkeys(clean, 0.0) | levels
        if len(levels) >= LEAST_LEVELS:
            here = pairs[pairs.condition.isin(list(levels))]
            parts.append(here.assign(kind=kind, strength=here.condition.map(levels), against=end.baseline))
    frame = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return frame.sort_values(["kind", "strength"], kind="stable")[columns].reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    kinds = list(dict.fromkeys(table.kind))
    looks = style.looks(table.estimator)
    across = 1 if columns == 1 else min(len(kinds), 3)
    figure, axes = style.panels(-(-len(kinds) // across), across, columns, 2.1, sharey=True)
    flat = [ax for row in axes for ax in row]
    for ax, kind in zip(flat, kinds, strict=False):
        part = table[table.kind == kind]
        width = float(part.strength.max()) or 1.0
        for i, (arm, (colour, dashes, marker)) in enumerate(looks.items()):
            shift = (i - (len(looks) - 1) / 2) * 0.025 * width
            means = []
            for strength, group in part[part.estimator == arm].groupby("strength"):
                d_S = group.difference.to_numpy(dtype=float)
                x = float(strength) + shift
                ax.plot(np.full(d_S.size, x - 0.008 * width), d_S, marker=marker, markeredgecolor=colour, **SEED)
                mean = float(d_S.mean())
                low, high = t_interval(d_S)[1:3] if d_S.size > 1 else (mean, mean)
                ax.errorbar(x, mean, [[mean - low], [high - mean]], color=colour, marker=marker, **MEAN)
                means.append((x, mean))
            if means:
                ax.plot(*zip(*means, strict=True), color=colour, linestyle=dashes, linewidth=1)
        ax.axhline(0, color=style.INK, linewidth=0.8)
        ax.set_title(kind)
        ax.set_xlabel("strength of the noise")
        style.points_axis(ax.yaxis)
    for ax in flat[len(kinds) :]:
        ax.set_visible(False)
    base = estimator_name(str(table.against.iloc[0]))
    for row in axes:
        row[0].set_ylabel(f"difference to {base}, points")
    handles = [style.line_handle(look, marker=True) for look in looks.values()]
    style.legend(figure, handles, [estimator_name(arm) for arm in looks], columns)
    return figure


def caption(table: pd.DataFrame) -> str:
    base = estimator_name(str(table.against.iloc[0]))
    return (
        f"Difference to {base} in held-out accuracy, paired by seed, against the parameter of the noise; 0 is clean. "
        f"Open markers: single seeds. Filled: mean over {seeds_phrase(table)} with a 95% Student t interval, "
        "each by itself."
    )


def alt(table: pd.DataFrame) -> str:
    told = []
    for (kind, arm, strength), group in table.groupby(["kind", "estimator", "strength"], sort=False):
        d_S = group.difference.to_numpy(dtype=float)
        where = f"{kind} {strength:g}, {estimator_name(str(arm))}: {points(d_S.mean(), sign=True)}"
        told.append(where + (f" ({interval(*t_interval(d_S)[1:3])})" if d_S.size > 1 else ""))
    return "Line chart of the difference to the baseline against noise, points. " + "; ".join(told) + "."
