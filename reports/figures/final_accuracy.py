"""Final held-out accuracy: a dot per seed, the mean with its interval, and the untrained policy as a reference line."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint, base_scores, final_scores
from reports.figures import style
from reports.figures.curves import means_told, no_interval_told
from reports.figures.dots import draw_dots
from reports.names import estimator_name
from reports.tables import Study

NAME = "final_accuracy"
TITLE = "Final held-out accuracy"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns level, condition, estimator, seed, value, questions, base (the untrained policy's value; NaN if
    unknown)."""
    columns = ["level", "condition", "estimator", "seed", "value", "questions", "base"]
    if end is None:
        return pd.DataFrame(columns=columns)
    scores = final_scores(study, end.task, end.metric).rename(columns={"n": "questions"})
    return scores.assign(base=scores.level.map(base_scores(study, end.task, end.metric)).astype(float))[columns]


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    label = "held-out accuracy"
    return draw_dots(table, columns, "level", {"all": "all questions"}, label, style.percent_axis, share_y=True)


def caption(table: pd.DataFrame) -> str:
    questions = table[table.level == "all"].questions.max()
    asked = f" on {int(questions)} held-out questions" if questions == questions else ""
    base = " Dashed: the policy before training." if table.base.notna().any() else ""
    return (
        f"True accuracy of the final checkpoint{asked}; training noise never touches evaluation. "
        f"{means_told(table)}.{base}" + no_interval_told(table, "value")
    )


def alt(table: pd.DataFrame) -> str:
    means = table[table.level == "all"].groupby(["condition", "estimator"], sort=False).value.mean().reset_index()
    told = [f"{estimator_name(r.estimator)}, {r.condition}: {r.value:.1%}" for r in means.itertuples()]
    base = table[table.level == "all"].base.dropna()
    reference = f" The untrained policy: {base.iloc[0]:.1%}." if not base.empty else ""
    return (
        "Dot plot of final held-out accuracy per seed with means. All questions: " + "; ".join(told) + "." + reference
    )
