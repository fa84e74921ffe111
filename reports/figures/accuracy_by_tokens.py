"""Training accuracy against the tokens that were generated for it (F1): what an arm costs, not only how many steps."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "accuracy_by_tokens"
TITLE = "Accuracy against generated tokens"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step, value, bin, x (thousands of tokens up to the bin's middle)."""
    both = curves.curve_table(study, ["accuracy", "tokens"])
    if set(both.metric.unique()) != {"accuracy", "tokens"}:
        return both.iloc[:0].assign(x=[])
    keys = ["condition", "estimator", "seed", "step"]
    tokens = both[both.metric == "tokens"][[*keys, "value"]].rename(columns={"value": "x"})
    frame = both[both.metric == "accuracy"].merge(tokens, on=keys, how="inner")
    return frame.assign(x=frame.x / 1000)


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    figure = curves.draw_curves(table, columns, {"accuracy": "true accuracy"}, shares=True, height=1.7)
    for ax in figure.axes:
        if ax.get_xlabel():
            ax.set_xlabel("tokens generated, thousands")
    return figure


def caption(table: pd.DataFrame) -> str:
    return (
        "Share of the sampled answers that are truly correct, against all tokens sampled in training so far. The mean "
        f"stands at the mean number of tokens of its bin. {curves.curve_caption(table)}"
    )


def alt(table: pd.DataFrame) -> str:
    last = (
        table.groupby(["condition", "estimator", "seed"], sort=False).x.max().groupby(level=[0, 1], sort=False).mean()
    )
    told = [f"{estimator_name(str(arm))}, {condition}: {x:.0f}" for (condition, arm), x in last.items()]
    return "Line chart of training accuracy against tokens. Thousands of tokens at the end: " + "; ".join(told) + "."
