"""Which of many arms have a curve: those of the primary comparison, then the others in the order of the grid."""

from __future__ import annotations

import pandas as pd

from reports.compare import Endpoint
from reports.figures import style
from reports.names import estimator_name

CURVES = 5
"""Arms with a curve where there are too many for all: more bands than this hide each other."""


def marked(table: pd.DataFrame, end: Endpoint | None) -> pd.DataFrame:
    """The table; with more arms than can be told apart, with a column `drawn` (1 or 0) that curves obey."""
    if "estimator" not in table or table.estimator.nunique() <= style.MOST:
        return table
    arms = list(dict.fromkeys(table.estimator))
    first = [arm for arm in (end.baseline, end.treatment) if arm in arms] if end is not None else []
    chosen = [*first, *(arm for arm in arms if arm not in first)][:CURVES]
    return table.assign(drawn=table.estimator.isin(chosen).astype(int))


def drawn(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.drawn == 1] if "drawn" in table else table


def told(table: pd.DataFrame) -> str:
    """A sentence for the caption; empty where every arm is drawn."""
    if "drawn" not in table:
        return ""
    names = [estimator_name(str(arm)) for arm in dict.fromkeys(drawn(table).estimator)]
    return (
        f" Drawn: {len(names)} of {table.estimator.nunique()} arms: the compared pair, and others in the order of the "
        f"grid ({', '.join(names)}); all are in the figure's CSV."
    )
