"""What a grid's runs say about its arms: final scores, differences paired by seed, and the primary endpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.grid import compared_by_default
from krpo.errors import BadInput, nearest
from krpo.streams import generator
from reports import statistics
from reports.names import circumstance, estimator_name, named, noise_name
from reports.plan import varied
from reports.stored import Note, number
from reports.tables import Study

SECTION = ("baseline", "treatment", "condition")
"""The keys of a grid file's `report`."""

POOLED = "mean over conditions"
"""The condition of a difference that was first averaged, seed by seed, over all conditions of the grid."""


@dataclass(frozen=True)
class Endpoint:
    """What was declared before the runs: one metric, one pair of arms, and the conditions in which they are
    compared."""

    task: str
    metric: str
    level: str
    baseline: str
    treatment: str | None
    conditions: tuple[str, ...]
    smallest_effect: float | None
    declared: str  # the grid file's own words; empty where it has none
    undeclared: str = ""  # the grid file's first task, where no run has a score on it and another is shown

    @property
    def measure(self) -> str:
        where = "" if self.level == "all" else f" ({self.level})"
        return f"held-out {self.task}{where} {self.metric.replace('_', ' ')}"


def endpoint(study: Study) -> Endpoint | None:
    """The primary endpoint: the primary metric of the grid file's first evaluation task, and the arms and the condition
    of its `report` section (`baseline`, `treatment`, `condition`); what matters at least is the file's `effect`.

    Defaults: `krpo` against `grpo`, in every condition. A condition that is planned and has no run yet stays. None
    where no finished run has been evaluated. Raises `BadInput` where the section names something that the grid does not
    have.
    """
    file = study.roots[0] / "grid.yaml"
    section = study.plan.get("report") or {}
    if not isinstance(section, dict):
        raise BadInput(f"{file}: 'report' must be a mapping, as in report: {{baseline: grpo, treatment: krpo}}")
    for key in section:
        if key not in SECTION:
            raise BadInput(f"{file}: unknown key 'report.{key}'; {nearest(key, SECTION)}")
    effect = study.plan.get("effect")
    if effect is not None and not number(effect) > 0:
        raise BadInput(f"{file}: effect is {str(effect)[:40]!r}; it must be a number above 0")
    if study.scores.empty:
        return None
    tasks = list(dict.fromkeys(study.scores.task))
    evaluation = study.plan.get("evaluation")
    wanted = evaluation.get("tasks") if isinstance(evaluation, dict) else ()
    task = next((task for task in wanted if task in tasks), tasks[0]) if isinstance(wanted, list) else tasks[0]
    of_task = study.scores[study.scores.task == task]
    metrics = [*of_task[of_task.primary].metric, *of_task.metric]
    settings = varied(study.plan) or {}
    planned = {key: [named(value) for value in settings.get(key, [])] for key in ("estimator", "noise")}
    arms = list(dict.fromkeys([*study.estimators, *(arm.label for arm in planned["estimator"])]))

    def chosen(key: str, default: str, known: Sequence[str]) -> str:
        if section.get(key) is None or (len(arms) == 1 and key != "condition"):  # of one arm nothing is compared
            return default
        label = named(section[key]).label
        if label not in known:
            here = f"no selected run has ({study.selection})" if study.selection else "this grid does not have"
            raise BadInput(f"{file}: report.{key} is '{label}', which {here}; {nearest(label, known)}")
        return label

    baseline = chosen("baseline", compared_by_default(study.estimators)[0], arms)
    by_default = compared_by_default(arms, baseline)[1]
    treatment = chosen("treatment", by_default, [arm for arm in arms if arm != baseline]) if by_default else None
    conditions = tuple(dict.fromkeys([*study.conditions, *study.planned_conditions]))
    if section.get("condition") is not None:
        one = chosen("condition", "", [*study.runs.noise, *conditions, *(noise.label for noise in planned["noise"])])
        of_noise = dict.fromkeys(study.runs[study.runs.noise == one].condition)
        conditions = tuple(of_noise) or (one if one in conditions else noise_name(named(section["condition"])),)
    return Endpoint(
        task=task,
        metric=metrics[0],
        level="all",
        baseline=baseline,
        treatment=treatment,
        conditions=conditions,
        smallest_effect=None if effect is None else number(effect),
        undeclared=str(wanted[0]) if isinstance(wanted, list) and wanted and task != wanted[0] else "",
        declared=str(study.plan.get("primary_endpoint") or "").strip(),
    )


def final_scores(study: Study, task: str, metric: str) -> pd.DataFrame:
    """One row per finished run and level: DESCRIPTION, level, value, stderr, n."""
    of = study.scores[(study.scores.task == task) & (study.scores.metric == metric)]
    return of.drop(columns=["task", "metric", "primary"]).reset_index(drop=True)


def base_scores(study: Study, task: str, metric: str) -> dict[str, float]:
    """The untrained policy's score by level; empty where it was not evaluated or where the grid has several
    policies."""
    of = study.base[(study.base.task == task) & (study.base.metric == metric)]
    if of.policy.nunique() != 1 or study.runs.policy.nunique() > 1:
        return {}
    return dict(zip(of.level, of.value, strict=True))


def paired_differences(scores: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Every arm against the baseline, paired by seed within a condition and level.

    Columns: estimator, condition, level, seed, treatment, baseline, difference. A seed that one of the two arms lacks
    is left out; `unpaired_seeds` names those.
    """
    keys = ["condition", "level", "seed"]
    base = scores[scores.estimator == baseline][[*keys, "value"]].rename(columns={"value": "baseline"})
    rest = scores[scores.estimator != baseline][["estimator", *keys, "value"]].rename(columns={"value": "treatment"})
    pairs = rest.merge(base, on=keys, how="inner")
    return pairs.assign(difference=pairs.treatment - pairs.baseline)


def pooled(differences: pd.DataFrame, conditions: int) -> pd.DataFrame:
    """Each seed's difference averaged over all conditions; only seeds that have every condition."""
    grouped = differences.groupby(["estimator", "level", "seed"], sort=False)
    means = grouped[["treatment", "baseline", "difference"]].mean()
    complete = means[grouped.condition.nunique() == conditions]
    return complete.reset_index().assign(condition=POOLED)


def primary_scores(study: Study, end: Endpoint) -> pd.DataFrame:
    """The scores that the primary endpoint is about, of all arms and conditions: a row per run."""
    scores = final_scores(study, end.task, end.metric)
    return scores[scores.level == end.level]


def not_scored(study: Study, end: Endpoint | None) -> list[Note]:
    """A note on each finished run that has no part in the comparison for want of a score."""
    scored = set(primary_scores(study, end).run) if end is not None else set()
    what = f"score on {end.task} ({end.metric}) to compare" if end is not None else "evaluation"
    done = study.runs[study.runs.status == "done"].run
    return [Note(run, f"is done but has no {what}", excludes=True) for run in done if run not in scored]


def unpaired_seeds(study: Study, end: Endpoint) -> dict[str, list[int]]:
    """The seeds that only one of the two arms of the primary endpoint has, by condition; conditions without are left
    out."""
    scores = primary_scores(study, end)
    found = {}
    for condition in end.conditions:
        here = scores[scores.condition == condition]
        first, second = (set(here[here.estimator == arm].seed) for arm in (end.treatment, end.baseline))
        if first ^ second:
            found[condition] = sorted(map(int, first ^ second))
    return found


def paired_seeds(study: Study, end: Endpoint) -> dict[str, int]:
    """How many seeds both arms of the primary endpoint have, by condition."""
    scores = primary_scores(study, end)
    of = {key: set(part.seed) for key, part in scores.groupby(["estimator", "condition"], sort=False)}
    arms = (end.treatment, end.baseline)
    return {c: len(set.intersection(*(of.get((arm, c), set()) for arm in arms))) for c in end.conditions}


def nothing_paired(study: Study, end: Endpoint) -> str:
    """Why there is no pair of runs for the primary endpoint, as a clause."""
    scores = primary_scores(study, end)
    here = scores[scores.condition.isin(end.conditions)]
    where = f" {circumstance(end.conditions[0])}" if len(end.conditions) == 1 else ""
    of_arm = {arm: list(dict.fromkeys(here[here.estimator == arm].condition)) for arm in (end.treatment, end.baseline)}
    if bare := [estimator_name(str(arm)) for arm, conditions in of_arm.items() if not conditions]:
        return f"there is no finished run of {' or '.join(bare)} with a score to compare{where}"
    both = " and ".join(estimator_name(str(arm)) for arm in of_arm)
    if not set(of_arm[end.treatment]) & set(of_arm[end.baseline]):
        told = "; ".join(f"{estimator_name(str(arm))}: {', '.join(of)}" for arm, of in of_arm.items())
        return f"{both} have no condition in common ({told})"
    return f"no seed has a finished and evaluated run of both {both}{where}"


def comparisons(differences: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """One row per arm, condition and level: n, mean difference, t interval, spread, p-values, smallest
    detectable difference.

    With one seed there is a difference and nothing else (NaN); without any spread, no interval. `p_holm` corrects the
    t test's p over the rows of one level that are not pooled: the family of all arms and conditions shown.
    """
    rows = []
    for (estimator, condition, level), group in differences.groupby(["estimator", "condition", "level"], sort=False):
        d_S = group.sort_values("seed").difference.to_numpy()
        row = {"estimator": estimator, "condition": condition, "level": level, "n": d_S.size, "mean": d_S.mean()}
        row |= dict.fromkeys(
            ["low", "high", "sd", "p_t", "p_sign_flip", "least_p", "effect_size", "detectable"], math.nan
        )
        row["share_higher"] = float(((d_S > 0) + 0.5 * (d_S == 0)).mean())
        if d_S.size >= 2:
            t = statistics.paired_t(d_S, np.zeros_like(d_S), confidence)
            flips = statistics.sign_flip(d_S, rng=generator(0, "sign-flip", str(estimator), str(condition), str(level)))
            row |= {
                "low": t.low,
                "high": t.high,
                "sd": t.sd,
                "p_t": t.pvalue,
                "p_sign_flip": flips.pvalue,
                "least_p": flips.least,
            }
            if t.sd > 0:
                row |= {
                    "effect_size": t.mean / t.sd,
                    "detectable": statistics.detectable_difference(t.sd, t.n, alpha=1 - confidence),
                }
        rows.append(row)
    columns = [
        "estimator",
        "condition",
        "level",
        "n",
        "mean",
        "low",
        "high",
        "sd",
        "p_t",
        "p_holm",
        "p_sign_flip",
        "least_p",
    ]
    frame = pd.DataFrame(
        rows, columns=[c for c in [*columns, "effect_size", "detectable", "share_higher"] if c != "p_holm"]
    )
    frame["p_holm"] = math.nan
    for _, index in frame[frame.condition != POOLED].groupby("level").groups.items():
        frame.loc[index, "p_holm"] = statistics.holm(frame.loc[index, "p_t"].to_numpy())
    return frame[[*columns, "effect_size", "detectable", "share_higher"]]


def primary_comparisons(end: Endpoint, differences: pd.DataFrame) -> pd.DataFrame:
    """The rows of `comparisons` that the primary endpoint is about; the intervals, of those that have one, hold jointly
    at 95%."""
    family = differences[
        (differences.estimator == end.treatment)
        & (differences.level == end.level)
        & differences.condition.isin(end.conditions)
    ]
    rows = comparisons(family)
    several = int(rows.low.notna().sum())
    return comparisons(family, 1 - 0.05 / several) if several > 1 else rows


def summarise(scores: pd.DataFrame, base: dict[str, float], confidence: float = 0.95) -> pd.DataFrame:
    """One row per arm, condition and level: seeds, mean, t interval over seeds, standard error over questions,
    gain over
    the untrained policy with its interval."""
    rows = []
    for (estimator, condition, level), group in scores.groupby(["estimator", "condition", "level"], sort=False):
        y_S = group.value.to_numpy()
        low, high = statistics.t_interval(y_S, confidence)[1:3] if y_S.size >= 2 else (math.nan, math.nan)
        reference = base.get(str(level), math.nan)
        rows.append(
            {
                "estimator": estimator, "condition": condition, "level": level, "seeds": y_S.size,
                "mean": y_S.mean(), "low": low, "high": high, "sd": y_S.std(ddof=1) if y_S.size >= 2 else math.nan,
                "stderr_questions": group.stderr.mean(), "questions": group.n.max(),
                "gain": y_S.mean() - reference, "gain_low": low - reference, "gain_high": high - reference,
            }
        )  # fmt: skip
    columns = ["estimator", "condition", "level", "seeds", "mean", "low", "high", "sd", "stderr_questions", "questions"]
    return pd.DataFrame(rows, columns=[*columns, "gain", "gain_low", "gain_high"])


def contrast(treatment: str, baseline: str) -> str:
    return f"{estimator_name(treatment)} \N{MINUS SIGN} {estimator_name(baseline)}"
