"""Run directories, or exported studies, -> tidy frames: `runs` (a row per run), `steps` (a row per run and step),
`scores` (a row per run, task, metric and level).

    study = read_study(["runs/noise"])
    study.scores.query("level == 'all'").groupby(["estimator", "condition"]).value.mean()

Torn lines, missing and unknown columns, failed and running runs, different step counts are expected. What is
left out is counted in `study.notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from krpo.config import to_plain
from krpo.errors import BadInput
from krpo.spec import canonical
from reports.base import base_scores_of, once_each
from reports.compact import write_compact
from reports.evaluations import EVALUATIONS, QUESTIONS, SCORES, Columns
from reports.names import condition_name, named
from reports.plan import (
    Plan,
    asked_for,
    asked_specs,
    axis_order,
    not_understood,
    once,
    planned_runs,
    read_plan,
    stored_runs,
)
from reports.rundirs import DESCRIPTION, STEPS, StoredRun, stacked
from reports.selection import Selection
from reports.stored import Note, distinct

EVERYTHING = Selection()

ARM = ("estimator", "seed")
"""What is compared, and over what: every other field that varies makes a condition."""


@dataclass(frozen=True)
class Study:
    """One grid, or several merged, as frames."""

    names: tuple[str, ...]
    roots: tuple[Path, ...]
    plan: Mapping[str, Any]  # the (first) grid file as it stands; empty where there is none
    runs: pd.DataFrame  # DESCRIPTION, grid, status, reason, steps, rows, policy, task
    steps: (
        pd.DataFrame
    )  # DESCRIPTION, step, and every numeric column of metrics.jsonl ("wall/..." flattened); done runs
    held_out: pd.DataFrame  # DESCRIPTION, step, and what was measured on held-out questions on the way; may be empty
    scores: pd.DataFrame  # DESCRIPTION, task, metric, primary, level, value, stderr, n; done runs
    evaluations: pd.DataFrame  # DESCRIPTION, task, settings, and what was cut, not extracted, timed out; done runs
    questions: pd.DataFrame  # DESCRIPTION, task, question, right: right answers among its samples; done runs
    base: pd.DataFrame  # policy, task, metric, primary, level, value, stderr, n: the untrained policy
    specs: Mapping[str, Mapping[str, Any]]  # run -> specification
    arm_settings: Mapping[str, Mapping[str, Any]]  # setting -> estimator -> value: what else the grid gives its arms
    manifests: Mapping[str, Mapping[str, Any]]  # run -> manifest, keys dotted
    planned: int | None  # runs that the grid files ask for
    planned_conditions: tuple[str, ...]  # those of the runs that they ask for; none for a selection
    selection: str  # which runs were asked for; empty for all
    notes: tuple[Note, ...]

    @property
    def conditions(self) -> list[str]:
        """In the order of the grid file, clean first."""
        return list(dict.fromkeys(self.runs.condition))

    @property
    def estimators(self) -> list[str]:
        return list(dict.fromkeys(self.runs.estimator))


def read_study(roots: Sequence[str | Path], selection: Selection = EVERYTHING) -> Study:
    """Read one grid directory or several, or a selection of their runs.

    Raises `BadInput` where there is nothing to report on.
    """
    paths = distinct(Path(root) for root in roots)
    notes: list[Note] = []
    plans = [read_plan(path) for path in paths]
    stored, bases = list[StoredRun](), list[pd.DataFrame]()
    for path, plan in zip(paths, plans, strict=True):
        own = stored_runs(path, plan, notes)
        stored += own
        bases.append(base_scores_of(path, own, notes))
        not_understood(path, plan, notes)
    stored = selection.apply(once(stored, notes))
    notes += [note for one in stored for note in one.notes]
    arm_settings = settings_of_arms([one.spec for one in stored], plans)
    asked = [] if selection.words else asked_specs(plans, [one.spec for one in stored])
    runs, planned_conditions = _describe(stored, asked, plans, arm_settings, notes)
    done = [one for one in stored if one.status == "done"]
    if not done:
        counts = ", ".join(f"{n} {status}" for status, n in runs.status.value_counts().items())
        raise BadInput(f"{paths[0]}: none of {len(runs)} runs has finished ({counts}); there is nothing to report yet")
    evaluations = _joined(runs, {one.key: one.evaluations for one in done}, EVALUATIONS)
    scores = _joined(runs, {one.key: one.scores for one in done}, SCORES)
    scores, evaluations = _comparable(scores, evaluations, notes)
    return Study(
        names=tuple(str(plan.get("name") or path.resolve().name) for path, plan in zip(paths, plans, strict=True)),
        roots=tuple(paths),
        plan=plans[0],
        runs=runs,
        steps=_curves(runs, {one.key: one.steps for one in done}),
        held_out=_curves(runs, {one.key: one.held_out for one in done}),
        scores=scores,
        evaluations=evaluations,
        questions=_of_these(evaluations, _joined(runs, {one.key: one.questions for one in done}, QUESTIONS)),
        base=once_each(bases, notes),
        specs={one.key: one.spec for one in stored},
        arm_settings=arm_settings,
        manifests={one.key: one.manifest for one in stored},
        planned=None if selection.words else planned_runs(plans),
        planned_conditions=tuple(planned_conditions),
        selection=selection.words,
        notes=tuple(notes),
    )


def export(root: str | Path, folder: str | Path) -> Path:
    """Write a grid's results as one small folder of tables (`reports.compact`) and return it.

    Raises `BadInput` where there is no run, or where the folder cannot be written.
    """
    path, notes = Path(root), list[Note]()
    runs = stored_runs(path, read_plan(path), notes)
    write_compact(Path(folder), path, runs, base_scores_of(path, runs, notes), notes)
    return Path(folder)


def _describe(
    stored: Sequence[StoredRun],
    asked: Sequence[Mapping[str, Any]],
    plans: Sequence[Plan],
    own: Collection[str],
    notes: list[Note],
) -> tuple[pd.DataFrame, list[str]]:
    """A row per run: what it is called, where it stands; in the order in which the grid file names arms and noise. And
    the conditions of the runs that were ``asked`` for, under the same names."""
    fields = [one.spec for one in stored]
    everything = [*fields, *asked]
    varying = varying_settings(everything, own)
    for key in varying:
        if lacking := [one.key for one in stored if key not in one.spec]:
            told = f"{key} is a setting of another version, not set in {len(lacking)} of {len(stored)} runs"
            notes.append(Note(stored[0].grid, f"{told}; these make a condition of their own"))
    noisy = len({named(spec.get("noise")).label for spec in everything}) > 1 or not varying
    names = _conditions(everything, varying, noisy=noisy)
    rows = []
    for one, condition in zip(stored, names[: len(stored)], strict=True):
        spec, noise = one.spec, named(one.spec.get("noise"))
        rows.append(
            {
                "run": one.key,
                "estimator": named(spec.get("estimator")).label,
                "condition": condition,
                "noise": noise.label,
                "seed": spec["seed"],
                "grid": one.grid,
                "status": one.status,
                "reason": one.reason,
                "steps": spec["steps"],
                "rows": len(one.steps["step"]),
                "policy": str(spec.get("policy", "")),
                "task": named(spec.get("task")).label,
            }
        )
    runs = pd.DataFrame(rows)
    order = {axis: runs[axis].map(axis_order(axis, plans)).fillna(99) for axis in ("noise", "estimator")}
    runs = runs.assign(a=order["noise"], b=order["estimator"])
    settings = [f"s{i}" for i, _ in enumerate(varying)]
    for name, key in zip(settings, varying, strict=True):
        runs[name] = _ranks([spec.get(key) for spec in fields])
    runs = runs.sort_values(["a", *settings, "b", "estimator", "seed", "run"], kind="stable")
    return runs.drop(columns=["a", *settings, "b"]).reset_index(drop=True), list(dict.fromkeys(names[len(stored) :]))


def _conditions(specs: Sequence[Mapping[str, Any]], varying: Sequence[str], *, noisy: bool) -> list[str]:
    """What each run's condition is called; in full where a short name would stand for two."""
    names, stands_for = [], dict[str, set[str]]()
    for spec in specs:
        noise, others = named(spec.get("noise")), {key: spec.get(key) for key in varying}
        short = condition_name(noise if noisy else None, others)
        settings = [f"{key.replace('_', ' ')} {canonical(value)}" for key, value in others.items()]
        names.append((short, full := ", ".join([noise.label, *settings])))
        stands_for.setdefault(short, set()).add(full)
    return [full if len(stands_for[short]) > 1 else short for short, full in names]


def varying_settings(specs: Sequence[Mapping[str, Any]], own: Collection[str]) -> list[str]:
    """The settings in which runs differ, besides estimator, noise, seed and the arms' ``own``; of those that vary
    together, the first."""
    return _independent([key for key in _differing(specs) if key not in own], specs)


def settings_of_arms(specs: Sequence[Mapping[str, Any]], plans: Sequence[Plan]) -> dict[str, dict[str, Any]]:
    """The settings that a grid file pairs with the arms, one value for each, as learning rates that were tuned one by
    one: key -> estimator -> value. They belong to the arm and make no condition: else no two arms would share one.

    A setting that merely happens to differ so among the runs at hand (a merged, unfinished or selected grid) is none.
    """
    found = _paired(specs)
    if not found:
        return {}
    paired = {key for plan in plans for key in _paired([to_plain(spec) for spec in asked_for(plan)])}
    return {key: of_arm for key, of_arm in found.items() if key in paired}


def _paired(specs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings in which arms differ and the runs of each do not."""
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for spec in specs:
        by_arm.setdefault(named(spec.get("estimator")).label, []).append(spec)
    inside = {key for of_arm in by_arm.values() for key in _differing(of_arm)}
    between = [key for key in _differing(specs) if key not in inside]
    return {key: {arm: of_arm[0].get(key) for arm, of_arm in by_arm.items()} for key in between}


def _differing(specs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted({key for spec in specs for key in spec} - {*ARM, "noise"})
    return [key for key in keys if len({repr(canonical(spec.get(key))) for spec in specs}) > 1]


def _independent(keys: Sequence[str], fields: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of settings that vary together, one for one (a `zip`), only the first: it says which of the others it is."""
    kept: list[str] = []
    for key in keys:
        values = [repr(canonical(spec.get(key))) for spec in fields]
        for other in kept:
            pairs = set(zip([repr(canonical(spec.get(other))) for spec in fields], values, strict=True))
            if len(pairs) == len(set(values)) == len({first for first, _ in pairs}):
                break
        else:
            kept.append(key)
    return kept


def _ranks(values: Sequence[Any]) -> list[int]:
    """The place of each value: numbers by size, everything else by its text."""
    different = {repr(canonical(value)): value for value in values}
    number = all(isinstance(value, (int, float)) for value in different.values())
    ordered = sorted(different, key=lambda text: different[text] if number else text)
    place = {text: i for i, text in enumerate(ordered)}
    return [place[repr(canonical(value))] for value in values]


def _curves(runs: pd.DataFrame, curves: Mapping[str, Columns]) -> pd.DataFrame:
    """All curves below each other, `step` and then the other columns by name."""
    frame = _joined(runs, curves, STEPS)
    front = [*DESCRIPTION, "step"]
    return frame[[*front, *sorted(column for column in frame if column not in front)]]


def _joined(runs: pd.DataFrame, parts: Mapping[str, Columns], kinds: Mapping[str, type]) -> pd.DataFrame:
    """The tables of the runs below each other, in the order of ``runs``, each with its run's description in front."""
    own = stacked({run: parts[run] for run in runs.run if run in parts}, kinds)
    described = runs[DESCRIPTION].set_index("run", drop=False).loc[own.run].reset_index(drop=True)
    return pd.concat([described, own.drop(columns="run")], axis=1)


def _comparable(
    scores: pd.DataFrame, evaluations: pd.DataFrame, notes: list[Note]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Only scores that were made with the same questions and settings are compared: per task, the most common ones."""
    keep = pd.Series(data=False, index=evaluations.index)
    for task, of_task in evaluations.groupby("task", sort=False):
        common = Counter(of_task.settings).most_common(1)[0][0]
        for run in of_task[of_task.settings != common].run:
            told = f"was evaluated on {task} with other settings or questions than the rest; that score was left out"
            notes.append(Note(run, told, excludes=True))
        keep |= (evaluations.task == task) & (evaluations.settings == common)
    kept = evaluations[keep].reset_index(drop=True)
    return _of_these(kept, scores), kept


def _of_these(evaluations: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that come from these evaluations."""
    pairs = pd.MultiIndex.from_frame(evaluations[["run", "task"]])
    return rows[pd.MultiIndex.from_frame(rows[["run", "task"]]).isin(pairs)].reset_index(drop=True)
