"""Learning curves: true accuracy of the sampled answers, and the reward that the estimator saw."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "learning_curves"
TITLE = "Learning curves"
LABELS = {"accuracy": "true accuracy", "reward_observed": "reward observed"}


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step, value, bin. `accuracy` falls back to the clean reward."""
    metrics = ["accuracy" if "accuracy" in study.steps else "reward", "reward_observed"]
    return curves.curve_table(study, metrics)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return curves.draw_curves(table, columns, LABELS, shares=bool(table.value.between(-0.5, 1.5).all()))


def caption(table: pd.DataFrame) -> str:
    return (
        "Training, step by step. Top: share of the sampled answers that are truly correct. Bottom: mean reward as the "
        f"estimator saw it, with the noise of the condition. {curves.curve_caption(table)}"
    )


def alt(table: pd.DataFrame) -> str:
    rows = curves.ends(table).query("metric != 'reward_observed'")
    told = [
        f"{estimator_name(r.estimator)}, {r.condition}: from {r.start:.0%} to {r.end:.0%}" for r in rows.itertuples()
    ]
    return "Line chart of training accuracy over steps. " + "; ".join(told) + "."
