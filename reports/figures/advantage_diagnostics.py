"""Advantages that carry nothing, and advantages that point the wrong way, over steps (F12)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "advantage_diagnostics"
TITLE = "Empty and misleading advantages"
LABELS = {"zero_advantage_groups": "groups all zero", "sign_mismatch": "wrong sign"}


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step, value, bin."""
    return curves.curve_table(study, list(LABELS))


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return curves.draw_curves(table, columns, LABELS, shares=True, height=1.3)


def caption(table: pd.DataFrame) -> str:
    return (
        "Top: share of groups whose advantages are all zero, so that their answers teach nothing. Bottom: share of "
        "answers whose advantage has another sign than clean reward minus the group's mean. "
        + curves.curve_caption(table)
    )


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{LABELS[r.metric]}, {estimator_name(r.estimator)}, {r.condition}: {r.start:.0%} to {r.end:.0%}"
        for r in curves.ends(table).itertuples()
    ]
    return "Line charts of advantage diagnostics, first to last step. " + "; ".join(told) + "."
