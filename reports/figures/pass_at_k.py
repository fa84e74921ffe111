"""pass@k, the share of questions with a right answer among k samples, against k (F9): does training only sharpen?"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.compare import Endpoint
from reports.figures import few, style
from reports.figures.curves import seeds_phrase, single
from reports.names import estimator_name
from reports.statistics import t_band
from reports.tables import Study

NAME = "pass_at_k"
TITLE = "pass@k"


def table(study: Study, end: Endpoint | None) -> pd.DataFrame:
    """Columns condition, estimator, seed, k, value, base (the untrained policy's pass@k; NaN if unknown)."""
    columns = ["condition", "estimator", "seed", "k", "value", "base"]
    if end is None:
        return pd.DataFrame(columns=columns)
    scores = study.scores[(study.scores.task == end.task) & study.scores.metric.str.match(r"pass@\d+$")]
    base = study.base[(study.base.task == end.task) & study.base.metric.str.match(r"pass@\d+$")]
    known = base.drop_duplicates("metric").set_index("metric").value
    frame = scores.assign(k=scores.metric.str.removeprefix("pass@").astype(int), base=scores.metric.map(known))
    frame = frame.sort_values("k", kind="stable")[columns]
    return frame if frame.k.nunique() > 1 else frame.iloc[:0]


def draw(table: pd.DataFrame, columns: style.Columns = 2) -> Figure:
    conditions = list(dict.fromkeys(table.condition))
    table = few.drawn(table)
    looks = style.looks(table.estimator)
    across = 1 if columns == 1 else min(len(conditions), 4)
    figure, axes = style.panels(-(-len(conditions) // across), across, columns, 2.0, sharey=True)
    flat = [ax for row in axes for ax in row]
    for ax, condition in zip(flat, conditions, strict=False):
        for arm, (colour, dashes, marker) in looks.items():
            part = table[(table.condition == condition) & (table.estimator == arm)]
            if part.empty:
                continue
            wide = part.pivot_table(index="seed", columns="k", values="value")
            band = t_band(wide.to_numpy(dtype=float))
            ks = wide.columns.to_numpy(dtype=float)
            ax.fill_between(ks, band.low_T, band.high_T, color=colour, alpha=0.16, linewidth=0)
            ax.plot(ks, band.mean_T, color=colour, linestyle=dashes, marker=marker, markersize=3.5)
        base = table[table.condition == condition].dropna(subset="base").drop_duplicates("k")
        if not base.empty:
            ax.plot(base.k, base.base, color=style.FAINT, linestyle=(0, (4, 3)), linewidth=1)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator([2.0**i for i in range(11)]))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(table.k.min() * 0.95, table.k.max() * 1.05)
        style.title(ax, condition)
        ax.set_xlabel("k")
        style.percent_axis(ax.yaxis)
    for ax in flat[len(conditions) :]:
        ax.set_visible(False)
    for row in axes:
        row[0].set_ylabel("pass@k")
    handles = [style.line_handle(look, marker=True) for look in looks.values()]
    labels = [estimator_name(arm) for arm in looks]
    if table.base.notna().any():
        handles.append(style.line_handle((style.FAINT, (0, (4, 3)), "")))
        labels.append("untrained policy")
    style.legend(figure, handles, labels, columns)
    return figure


def caption(table: pd.DataFrame) -> str:
    base = " Dashed: the policy before training." if table.base.notna().any() else ""
    shown = f"Mean over {seeds_phrase(table)} with a pointwise 95% Student t band."
    return (
        "Share of held-out questions with at least one right answer among k samples (unbiased estimate). "
        f"{'One seed an arm: no band.' if single(table) else shown}{base} A gain at k = 1 that is gone at large k is "
        f"sharpening, not new ability.{few.told(table)}"
    )


def alt(table: pd.DataFrame) -> str:
    ends = table[table.k.isin([table.k.min(), table.k.max()])]
    means = ends.groupby(["condition", "estimator", "k"], sort=False).value.mean().reset_index()
    told = [f"{estimator_name(r.estimator)}, {r.condition}, k = {r.k}: {r.value:.1%}" for r in means.itertuples()]
    return "Line chart of pass@k against k. " + "; ".join(told) + "."
