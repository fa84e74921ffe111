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
    parts = {
        "accuracy": "share of the sampled answers that are truly correct",
        "reward": "mean reward without noise",
        "reward_observed": "mean reward as the estimator saw it, with the noise of the condition",
    }
    shown = [parts[metric] for metric in dict.fromkeys(table.metric)]
    told = f"Top: {shown[0]}. Bottom: {shown[1]}." if len(shown) > 1 else f"Shown: {shown[0]}."
    return f"Training, step by step. {told} {curves.curve_caption(table)}"


def alt(table: pd.DataFrame) -> str:
    metric = str(table.metric.iloc[0])
    digits = ".0%" if metric == "accuracy" else ".3g"
    told = [
        f"{estimator_name(r.estimator)}, {r.condition}: from {r.start:{digits}} to {r.end:{digits}}"
        for r in curves.ends(table[table.metric == metric]).itertuples()
    ]
    return f"Line chart of training {metric.replace('_', ' ')} over steps. " + "; ".join(told) + "."
