"""The return that the public KRPO code logs: the sum of shaped rewards over all answers of a step (F2)."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from reports.compare import Endpoint
from reports.figures import curves, style
from reports.names import estimator_name
from reports.tables import Study

NAME = "krpo_return"
TITLE = "Return as the public KRPO code logs it"
PUBLISHED = 384
"""32 prompts with 12 answers each: the largest return of the published recipe."""


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns metric (`return`), condition, estimator, seed, step, value, bin, answers (a step's)."""
    if "reward_shaped" not in study.steps:
        return curves.curve_table(study, []).assign(answers=0)
    answers = {
        run: int(spec.get("prompts_per_step") or 0) * int(spec.get("group_size") or 0)
        for run, spec in study.specs.items()
    }
    of_step = study.steps.run.map(answers)
    steps = study.steps.assign(**{"return": study.steps.reward_shaped * of_step})
    return curves.curve_table(replace(study, steps=steps), ["return"]).assign(answers=int(of_step.max()))


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    return curves.draw_curves(table, columns, {"return": "sum of rewards"}, shares=False, height=1.7)


def caption(table: pd.DataFrame) -> str:
    most = int(table.answers.iloc[0])
    scale = "as published" if most == PUBLISHED else f"published: {PUBLISHED}"
    return (
        "Sum of the clean shaped rewards (1 right, 0.5 if the right answer is inside a wrong one, 0.01 for any other "
        f"tagged answer) over the answers of a step; at most {most} here ({scale}). It also counts what is not right: "
        f"read it beside accuracy. {curves.curve_caption(table)}"
    )


def alt(table: pd.DataFrame) -> str:
    told = [
        f"{estimator_name(r.estimator)}, {r.condition}: {r.start:.0f} to {r.end:.0f}"
        for r in curves.ends(table).itertuples()
    ]
    return "Line chart of the summed reward per step, first to last. " + "; ".join(told) + "."
