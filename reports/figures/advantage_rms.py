"""The scale of the advantages over training: the root mean square that the policy loss is multiplied with."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "advantage_rms"
TITLE = "Scale of the advantages"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric, condition, estimator, seed, step, value, bin."""
    return curves.curve_table(study, ["advantage_rms"])


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    positive = table.value[table.value > 0]
    wide = len(positive) == len(table) and positive.max() / positive.min() > 5
    return curves.draw_curves(
        table, columns, {"advantage_rms": "RMS of the advantages"}, shares=False, logarithmic=bool(wide)
    )


def caption(table: pd.DataFrame) -> str:
    return (
        "Root mean square of the advantages in each batch. Arms that differ here differ in step size, in the "
        "weight of a KL "
        "penalty and in how often gradients are clipped, so a difference in accuracy need not come from a "
        "better baseline. " + curves.curve_caption(table)
    )


def alt(table: pd.DataFrame) -> str:
    rows = curves.ends(table).itertuples()
    return "Line chart of the advantage root mean square over steps. " + "; ".join(
        f"{estimator_name(r.estimator)}, {r.condition}: from {r.start:.2g} to {r.end:.2g}" for r in rows
    ) + "."  # fmt: skip
