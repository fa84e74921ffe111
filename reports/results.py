"""What was found: the tables of results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from eval.comparison import paired_difference
from krpo.streams import generator
from reports import formats, statistics
from reports.compare import Endpoint, base_scores, final_scores, summarise
from reports.evaluations import DISAGREE
from reports.formats import Column, Table
from reports.names import estimator_name
from reports.tables import Study

ARM = Column("estimator", "estimator", estimator_name, number=False)
CONDITION = Column("condition", "condition", str, number=False)
LEVEL = Column("level", "level", str, number=False)
REACH = 0.5
"""The training accuracy whose first reaching is counted; fixed in advance."""


def main_table(study: Study, end: Endpoint) -> Table:
    """T1: held-out accuracy per arm, condition and level."""
    frame = summarise(final_scores(study, end.task, end.metric), base_scores(study, end.task, end.metric))
    columns = [
        CONDITION,
        ARM,
        LEVEL,
        Column("seeds", "seeds", formats.whole),
        Column("mean", "accuracy", formats.percent),
        Column(("low", "high"), "95% interval", formats.interval_of(formats.percent)),
        Column("sd", "SD seeds", formats.plain_points),
        Column("stderr_questions", "SE questions", formats.plain_points),
        Column("questions", "questions", formats.whole),
    ]
    if frame.gain.notna().any():
        columns += [Column("gain", "gain", formats.signed_points)]
    note = (
        f"Per cent of {end.task} questions, metric {end.metric}. Interval: Student t over seeds. SD seeds: standard "
        "deviation over seeds, points. SE questions: mean standard error of one run over questions, points. Gain: over "
        "the untrained policy, points."
    )
    return Table("accuracy", "Final held-out accuracy", frame, columns, note)


def difference_table(end: Endpoint, compared: pd.DataFrame) -> Table:
    """The paired comparisons, with everything that is needed to judge them."""
    columns = [
        CONDITION,
        ARM,
        LEVEL,
        Column("n", "pairs", formats.whole),
        Column("mean", "difference", formats.signed_points),
        Column(("low", "high"), "95% interval", formats.interval_of(formats.signed_points)),
        Column("sd", "SD", formats.plain_points),
        Column("p_t", "p (t)", formats.p_value),
        Column("p_holm", "p (Holm)", formats.p_value),
        Column("p_sign_flip", "p (sign flip)", formats.p_value),
        Column("effect_size", "effect size", formats.number),
        Column("detectable", "detectable", formats.plain_points),
    ]
    note = (
        f"Arm minus {estimator_name(end.baseline)} on the same seeds, percentage points. Interval: Student t, each row "
        "by itself. Holm: corrected over the arms and conditions of one level. Effect size: mean over standard "
        "deviation of the differences. Detectable: the true difference that this many seeds with this spread find with "
        "80% power."
    )
    return Table("differences", "Differences, paired by seed", compared, columns, note)


def aggregate_table(study: Study, end: Endpoint) -> Table:
    """Interquartile mean, optimality gap and probability of improvement, over the levels of the task if it has any."""
    scores = final_scores(study, end.task, end.metric)
    levels = [level for level in dict.fromkeys(scores.level) if level != "all"] or ["all"]
    scores = scores[scores.level.isin(levels)]
    rows = []
    for condition, of_condition in scores.groupby("condition", sort=False):
        wide = {str(arm): _complete(group, levels) for arm, group in of_condition.groupby("estimator", sort=False)}
        for arm, x_SM in wide.items():
            row: dict[str, Any] = {"condition": condition, "estimator": arm, "runs": x_SM.shape[0]}
            row |= dict.fromkeys(["iqm", "low", "high", "gap", "improvement"], math.nan)
            if x_SM.size:
                row["gap"] = statistics.optimality_gap(x_SM)
                if arm != end.baseline and wide.get(end.baseline, np.empty(0)).size:
                    row["improvement"] = statistics.improvement(x_SM, wide[end.baseline])
            if x_SM.shape[0] >= 5 and x_SM.shape[1] >= 2:
                found = statistics.interquartile_mean(x_SM, rng=generator(0, "iqm", str(condition), arm))
                row |= {"iqm": found.estimate, "low": found.low, "high": found.high}
            rows.append(row)
    columns = [
        CONDITION,
        ARM,
        Column("runs", "runs", formats.whole),
        Column("iqm", "IQM", formats.percent),
        Column(("low", "high"), "95% interval", formats.interval_of(formats.percent)),
        Column("gap", "optimality gap", formats.percent),
        Column("improvement", f"P(> {estimator_name(end.baseline)})", formats.number),
    ]
    note = (
        f"Over the levels {', '.join(levels)} of {end.task}. IQM: interquartile mean; its interval: t on the whole-run "
        "bootstrap's standard error, from 5 runs and 2 levels on. P: probability that a run scores above a run of the "
        "baseline; without an interval, since none that was tried covers 93 to 97% with ten seeds or fewer."
    )
    return Table(
        "aggregates",
        "Aggregates over levels",
        pd.DataFrame(rows, columns=[key for column in columns for key in column.keys]),
        columns,
        note,
    )


def _complete(scores: pd.DataFrame, levels: Sequence[str]) -> np.ndarray:
    """Runs x levels, of the runs that have a score on every level."""
    wide = scores.pivot_table(index="seed", columns="level", values="value").reindex(columns=levels)
    return wide.dropna().to_numpy(dtype=float)


def learning_table(study: Study) -> Table:
    """How far, how fast, how steadily each arm learned, and how often it collapsed; of a reward that may be no share
    only how far and how steadily."""
    metric = "accuracy" if "accuracy" in study.steps else "reward"
    rows = []
    curves_of = dict(list(study.steps.groupby(["condition", "estimator"], sort=False))) if metric in study.steps else {}
    for (condition, estimator), own in study.runs.groupby(["condition", "estimator"], sort=False):
        group, failed = curves_of.get((condition, estimator)), int((own.status == "failed").sum())
        parts = [run for _, run in group.groupby("run", sort=False)] if group is not None else []
        runs = [run for run in parts if np.isfinite(run[metric]).sum() >= 3]
        if not runs:
            if parts or failed:
                rows.append({"condition": condition, "estimator": estimator, "runs": 0, "failed": failed})
            continue
        curves = [run[metric][np.isfinite(run[metric])].to_numpy(dtype=float) for run in runs]
        best = [statistics.smooth(y_T, statistics.COLLAPSE.window) for y_T in curves]
        row = {"condition": condition, "estimator": estimator, "runs": len(runs), "failed": failed}
        row["area"] = float(np.mean([statistics.normalised_area(y_T) for y_T in curves]))
        row["forgetting"] = float(np.mean([y.max() - y[-1] for y in best]))
        rows.append(row | (_reached(runs, curves) if metric == "accuracy" else {}))
    share = metric == "accuracy"
    columns = [
        CONDITION,
        ARM,
        Column("runs", "runs", formats.whole),
        Column("failed", "failed", formats.whole),
        Column("area", f"mean {metric}", formats.percent if share else formats.number),
        Column("reached", f"reached {REACH:.0%}", formats.words),
        Column("steps", "at step (median)", formats.whole),
        Column("forgetting", "best \N{MINUS SIGN} final", formats.plain_points if share else formats.number),
        Column("collapsed", "collapsed", formats.whole),
        Column(("rate_low", "rate_high"), "95% interval", formats.interval_of(formats.percent)),
    ]
    note = f"Training {metric}, mean over its steps. Failed runs are counted, and are in no other column."
    if share:
        note += (
            f" Reached: the mean of 5 steps is at least {REACH:.0%}; the median step only where all runs got there. "
            "Collapsed: final below half of the best (means of 10 steps), or a last loss that is no number, of runs "
            "that log losses; the interval of the rate is Wilson's. A mean is over all steps where a run has fewer."
        )
    else:
        columns = [column for column in columns if not {"reached", "steps", "collapsed", "rate_low"} & set(column.keys)]
        note += " The runs log no accuracy, and a reward need not be a share: collapse is not judged."
    keys = [key for column in columns for key in column.keys]
    return Table("learning", "Learning and collapse", pd.DataFrame(rows, columns=keys), columns, note)


def _reached(runs: Sequence[pd.DataFrame], curves: Sequence[np.ndarray]) -> dict[str, Any]:
    """How many runs got to the level `REACH`, and when; how many collapsed."""
    steps = [
        int(run.step[np.isfinite(run.accuracy)].iloc[found - 1])
        for run, y_T in zip(runs, curves, strict=True)
        if (found := statistics.steps_to_level(y_T, REACH)) is not None
    ]
    fallen = sum(statistics.collapsed(y_T, finite=_last_loss(run)) for run, y_T in zip(runs, curves, strict=True))
    rate = statistics.wilson(fallen, len(runs))
    return {
        "reached": f"{len(steps)} of {len(runs)}",
        "steps": float(np.median(steps)) if len(steps) == len(runs) else math.nan,
        "collapsed": fallen, "rate_low": rate.low, "rate_high": rate.high,
    }  # fmt: skip


def _last_loss(run: pd.DataFrame) -> bool:
    """Whether the last loss is a number; also where a run has no loss to go by."""
    return "loss" not in run or not run.loss.notna().any() or bool(np.isfinite(run.loss.iloc[-1]))


def metric_table(study: Study, end: Endpoint) -> Table:
    """T2: every metric of every task: a gain that lives in one extractor only is format learning."""
    scores = study.scores[study.scores.level == "all"]
    keys = ["task", "metric", "condition", "estimator"]
    frame = scores.groupby(keys, sort=False).value.agg(["size", "mean", "std"]).reset_index()
    columns = [
        Column("task", "task", str, number=False),
        Column("metric", "metric", str, number=False),
        CONDITION,
        ARM,
        Column("size", "seeds", formats.whole),
        Column("mean", "mean", formats.percent),
        Column("std", "SD seeds", formats.plain_points),
    ]
    note = "Per cent, all questions of the task, mean and standard deviation over seeds."
    return Table("metrics", "All tasks and metrics", frame, columns, note, fold=True)


def extraction_table(study: Study) -> Table:
    """T2: what could not be read, was cut, or timed out, and how often two ways of scoring disagree."""
    frame = study.evaluations
    pairs = [column for column in frame if column.startswith(DISAGREE)]
    rates = {key: frame[key] / frame.answers for key in ("not_extracted", "answers_cut", "timed_out")}
    frame = frame.assign(**rates)[frame.answers.notna()]
    shown = [*rates, *pairs, "mean_tokens"]
    grouped = frame.groupby(["task", "condition", "estimator"], sort=False)
    means = grouped[shown].mean().assign(size=grouped.size(), answers=grouped.answers.max()).reset_index()
    columns = [
        Column("task", "task", str, number=False),
        CONDITION,
        ARM,
        Column("size", "seeds", formats.whole),
        Column("answers", "answers", formats.whole),
        Column("not_extracted", "no answer found", formats.percent),
        Column("answers_cut", "cut", formats.percent),
        Column("timed_out", "timed out", formats.percent),
        *(Column(pair, _unequal(pair), formats.percent) for pair in pairs),
        Column("mean_tokens", "tokens an answer", formats.number),
    ]
    note = "Per cent of the held-out answers of a run, mean over seeds. Cut: at the longest allowed length."
    if pairs:
        note += " Columns with an inequality: the share of answers on which the two ways of scoring disagree."
    return Table("extraction", "Answers that could not be read", means, columns, note, fold=True)


def _unequal(pair: str) -> str:
    return pair.removeprefix(DISAGREE).replace(" / ", " \N{NOT EQUAL TO} ")


def flip_table(study: Study, end: Endpoint) -> Table:
    """T7: question by question, on the same seed: where the arm is better, where the baseline is."""
    own = study.questions[study.questions.task == end.task]
    of_task = study.evaluations[study.evaluations.task == end.task].set_index("run").samples
    keys = ["condition", "seed", "question"]
    pairs = own[own.estimator != end.baseline].merge(
        own[own.estimator == end.baseline][[*keys, "right"]], on=keys, suffixes=("_a", "_b")
    )
    rows = []
    for (condition, arm), of_arm in pairs.groupby(["condition", "estimator"], sort=False):
        found = []
        for _, both in of_arm.groupby("seed"):
            samples = float(of_task.get(both.run.iloc[0], np.nan))
            if len(both) > 1 and samples >= 1:
                found.append(paired_difference(both.right_a / samples, both.right_b / samples))
        if found:
            rows.append(
                {
                    "condition": condition, "estimator": arm, "pairs": len(found), "questions": found[0].n,
                    "both": np.mean([d.both for d in found]), "higher": np.mean([d.only_a for d in found]),
                    "lower": np.mean([d.only_b for d in found]), "same": np.mean([d.same for d in found]),
                    "stderr": np.mean([d.stderr for d in found]),
                    "rejected": f"{sum(d.p_value < 0.05 for d in found)} of {len(found)}",
                    "method": found[0].method,
                }
            )  # fmt: skip
    columns = [
        CONDITION,
        ARM,
        Column("pairs", "pairs", formats.whole),
        Column("questions", "questions", formats.whole),
        Column("both", "both right", formats.number),
        Column("higher", "arm higher", formats.number),
        Column("lower", "baseline higher", formats.number),
        Column("same", "equal, not right", formats.number),
        Column("stderr", "SE questions", formats.plain_points),
        Column("rejected", "p < 0.05 by questions"),
    ]
    frame = pd.DataFrame(rows, columns=[*(key for column in columns for key in column.keys), "method"])
    test = "exact McNemar" if frame.method.astype(str).str.contains("McNemar").any() else "paired t over questions"
    note = (
        f"Number of questions, mean over seeds; both arms trained with the same seed. Baseline: "
        f"{estimator_name(end.baseline)}. Last column: pairs of runs that differ by {test}, which speaks about these "
        "two checkpoints and not about the estimators: what training does by chance is only in the spread over seeds."
    )
    return Table("flips", "Question by question", frame.drop(columns="method"), columns, note, fold=True)
