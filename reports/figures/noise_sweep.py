"""Difference to the baseline against the strength of the noise, one panel per kind of noise (F15)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, final_scores, paired_differences
from reports.figures import few, style, sweep
from reports.figures.curves import means_told, no_interval_told
from reports.names import estimator_name, named
from reports.tables import Study

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
    return sweep.draw_sweep(_turned(table), columns, "strength of the noise")


def _turned(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"kind": "panel", "strength": "x"})


def caption(table: pd.DataFrame) -> str:
    base = estimator_name(str(table.against.iloc[0]))
    return (
        f"Difference to {base} in held-out accuracy, paired by seed, against the parameter of the noise; 0 is clean. "
        f"{means_told(table, ', each by itself')}." + no_interval_told(table, "difference") + few.told(table)
    )


def alt(table: pd.DataFrame) -> str:
    return f"Line chart of the difference to the baseline against noise, points. {sweep.told(_turned(table))}."
