"""Final held-out accuracy: a dot per seed, the mean with its interval, and the untrained policy as a reference line."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.compare import Endpoint, base_scores, final_scores
from reports.figures import style
from reports.figures.curves import seeds_phrase
from reports.names import estimator_name
from reports.statistics import t_interval
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
    levels, conditions = list(dict.fromkeys(table.level)), list(dict.fromkeys(table.condition))
    looks = style.looks(table.estimator)
    across = 1 if columns == 1 or len(conditions) > 5 else min(len(levels), 4 if len(conditions) <= 2 else 2)
    figure, axes = style.panels(
        math.ceil(len(levels) / across), across, columns, 1.9 if columns == 2 else 1.6, sharey=True
    )
    flat = [ax for row in axes for ax in row]
    for ax, level in zip(flat, levels, strict=False):
        part = table[table.level == level]
        _level(ax, part, conditions, looks)
        ax.set_title("all questions" if level == "all" else level)
        style.percent_axis(ax.yaxis)
    for ax in flat[len(levels) :]:
        ax.set_visible(False)
    for row in axes:
        row[0].set_ylabel("held-out accuracy")
    handles = [style.line_handle((look[0], "", look[2]), marker=True) for look in looks.values()]
    labels = [estimator_name(arm) for arm in looks]
    if table.base.notna().any():
        handles.append(style.line_handle((style.FAINT, (0, (4, 3)), "")))
        labels.append("untrained policy")
    style.legend(figure, handles, labels, columns)
    return figure


def _level(ax: Axes, part: pd.DataFrame, conditions: list[str], looks: dict[str, style.Look]) -> None:
    step = min(0.3, 0.8 / len(looks))
    for i, (arm, (colour, _, marker)) in enumerate(looks.items()):
        for x, condition in enumerate(conditions):
            y_S = (
                part[(part.condition == condition) & (part.estimator == arm)]
                .sort_values("seed")
                .value.to_numpy(dtype=float)
            )
            if not y_S.size:
                continue
            centre = x + (i - (len(looks) - 1) / 2) * step
            ax.plot(
                centre + _aside(y_S.size, step),
                y_S,
                linestyle="",
                marker=marker,
                markersize=2.8,
                markeredgewidth=0.6,
                markerfacecolor="white",
                markeredgecolor=colour,
                alpha=0.9,
            )
            if y_S.size > 1:
                mean = t_interval(y_S)
                ax.errorbar(
                    centre + 0.17 * step,
                    mean.estimate,
                    [[mean.estimate - mean.low], [mean.high - mean.estimate]],
                    color=colour,
                    marker=marker,
                    markersize=5,
                    capsize=2.5,
                    linewidth=1.3,
                )
    base = part.base.dropna()
    if not base.empty:
        ax.axhline(float(base.iloc[0]), color=style.FAINT, linestyle=(0, (4, 3)), linewidth=1)
    ax.set_xticks(range(len(conditions)), conditions)
    if sum(map(len, conditions)) > 45:
        ax.tick_params(axis="x", rotation=20)
    ax.set_xlim(-0.5, len(conditions) - 0.5)
    ax.grid(visible=False, axis="x")


def _aside(n: int, step: float) -> np.ndarray:
    """Where the seeds of an arm stand: a narrow column left of the mean, so that neither hides the other."""
    return -0.2 * step + (np.linspace(-0.12, 0.12, n) * step if n > 1 else np.zeros(1))


def caption(table: pd.DataFrame) -> str:
    questions = table[table.level == "all"].questions.max()
    asked = f" on {int(questions)} held-out questions" if questions == questions else ""
    base = " Dashed: the policy before training." if table.base.notna().any() else ""
    return (
        f"True accuracy of the final checkpoint{asked}; training noise never touches evaluation. Open "
        f"markers: single seeds. "
        f"Filled: mean over {seeds_phrase(table)} with a 95% Student t interval.{base}"
    )


def alt(table: pd.DataFrame) -> str:
    means = table[table.level == "all"].groupby(["condition", "estimator"], sort=False).value.mean().reset_index()
    told = [f"{estimator_name(r.estimator)}, {r.condition}: {r.value:.1%}" for r in means.itertuples()]
    base = table[table.level == "all"].base.dropna()
    reference = f" The untrained policy: {base.iloc[0]:.1%}." if not base.empty else ""
    return (
        "Dot plot of final held-out accuracy per seed with means. All questions: " + "; ".join(told) + "." + reference
    )
