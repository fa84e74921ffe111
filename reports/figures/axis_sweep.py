"""Difference to the baseline along a numeric setting of the grid: group size, KL weight, clipping, learning rate."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores, paired_differences
from reports.figures import few, style, sweep
from reports.figures.curves import means_told, no_interval_told
from reports.names import condition_name, estimator_name, named
from reports.tables import Study, varying_settings

NAME = "axis_sweep"
TITLE = "Difference along the grid's axis"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns axis, panel, x, condition, estimator, against, seed, difference; empty where no numeric setting varies.

    The axis is the setting with the most values; what else varies makes the panels.
    """
    columns = ["axis", "panel", "x", "condition", "estimator", "against", "seed", "difference"]
    settings = varying_settings(list(study.specs.values()), study.arm_settings)
    values = {key: [spec.get(key) for spec in study.specs.values()] for key in settings}
    numeric = {key: set(v) for key, v in values.items() if all(isinstance(x, (int, float)) for x in v)}
    if end is None or not numeric:
        return pd.DataFrame(columns=columns)
    axis = max(numeric, key=lambda key: len(numeric[key]))
    others = [key for key in settings if key != axis]
    noisy = study.runs.noise.nunique() > 1
    places, panels = {}, {}
    for run, condition in zip(study.runs.run, study.runs.condition, strict=True):
        spec = study.specs[run]
        noise = named(spec.get("noise")) if noisy else None
        places[condition] = float(spec[axis])
        panels[condition] = condition_name(noise, {key: spec.get(key) for key in others})
    scores = final_scores(study, end.task, end.metric)
    pairs = paired_differences(scores[scores.level == end.level], end.baseline)
    frame = pairs.assign(
        axis=axis, panel=pairs.condition.map(panels), x=pairs.condition.map(places), against=end.baseline
    )
    return frame.sort_values(["x"], kind="stable")[columns].reset_index(drop=True)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return sweep.draw_sweep(table.fillna({"panel": ""}), columns, _axis(table), named=True)


def _axis(table: pd.DataFrame) -> str:
    return str(table.axis.iloc[0]).replace("_", " ")


def caption(table: pd.DataFrame) -> str:
    base = estimator_name(str(table.against.iloc[0]))
    return (
        f"Difference to {base} in final held-out accuracy, paired by seed, against {_axis(table)}. "
        f"{means_told(table, ', each by itself')}." + no_interval_told(table, "difference") + few.told(table)
    )


def alt(table: pd.DataFrame) -> str:
    shown = table.assign(panel=table.panel.fillna("").map(lambda panel: f"{panel}, {_axis(table)}".lstrip(", ")))
    return f"Line chart of the difference to the baseline against {_axis(table)}, points. {sweep.told(shown)}."
