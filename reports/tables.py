"""Run directories -> tidy pandas frames: `runs` (a row per run), `steps` (a row per run and step), `scores` (a row per
run, task, metric and level).

    study = read_study(["runs/noise"])
    study.scores.query("level == 'all'").groupby(["estimator", "condition"]).value.mean()

Torn lines, missing and unknown columns, failed and running runs, different step counts are expected. What is
left out is
counted in `study.notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from krpo.errors import BadInput
from krpo.rundir import RunDir
from krpo.spec import canonical
from reports.names import condition_name, named
from reports.plan import Plan, StoredRun, axis_order, once, planned_runs, read_plan, stored_runs
from reports.selection import Selection
from reports.stored import FORMAT, Note, check_format, flatten, read_object, read_rows

EVERYTHING = Selection()

ARM = ("estimator", "seed")
"""What is compared, and over what: every other field that varies makes a condition."""

DESCRIPTION = ["run", "estimator", "condition", "noise", "seed"]
"""The columns that every frame carries in front of its own."""


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
    scores: pd.DataFrame  # DESCRIPTION, task, metric, primary, level, value, stderr, n; done runs
    base: pd.DataFrame  # policy, task, metric, primary, level, value, stderr, n: the untrained policy
    specs: Mapping[str, Mapping[str, Any]]  # run -> specification
    manifests: Mapping[str, Mapping[str, Any]]  # run -> manifest, keys dotted
    planned: int | None  # runs that the grid files ask for
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
    paths = [Path(root) for root in roots]
    notes: list[Note] = []
    plans = [read_plan(path) for path in paths]
    stored = [run for path, plan in zip(paths, plans, strict=True) for run in stored_runs(path, plan, notes)]
    stored = selection.apply(once(stored, notes))
    curves = {one.run.key: _read_steps(one.run, notes) for one in stored}
    runs = _describe(stored, curves, plans, notes)
    done = [one.run for one in stored if one.run.status() == "done"]
    if not done:
        counts = ", ".join(f"{n} {status}" for status, n in runs.status.value_counts().items())
        raise BadInput(f"{paths[0]}: none of {len(runs)} runs has finished ({counts}); there is nothing to report yet")
    scores = [{"run": run.key, **row} for run in done for row in _read_scores(run.eval, notes, run.key)]
    for run, rows, asked in runs[runs.status == "done"][["run", "rows", "steps"]].itertuples(index=False):
        if rows < asked:
            notes.append(Note(run, f"has metrics of {rows} steps of {asked}"))
    return Study(
        names=tuple(str(plan.get("name") or path.resolve().name) for path, plan in zip(paths, plans, strict=True)),
        roots=tuple(paths),
        plan=plans[0],
        runs=runs,
        steps=_all_steps(runs, {run.key: curves[run.key] for run in done}),
        scores=_comparable(_join(runs, _score_frame(scores)), notes),
        base=_read_base(paths, notes),
        specs={one.run.key: one.spec for one in stored},
        manifests={one.run.key: one.manifest for one in stored},
        planned=None if selection.words else planned_runs(plans),
        selection=selection.words,
        notes=tuple(notes),
    )


def _describe(
    stored: Sequence[StoredRun], curves: Mapping[str, pd.DataFrame], plans: Sequence[Plan], notes: list[Note]
) -> pd.DataFrame:
    """A row per run: what it is called, where it stands; in the order in which the grid file names arms and noise."""
    fields = [one.spec for one in stored]
    varying = [
        key
        for key in sorted({key for spec in fields for key in spec} - {*ARM, "noise"})
        if len({repr(canonical(spec.get(key))) for spec in fields}) > 1
    ]
    rows = []
    for one in stored:
        spec, run, noise = one.spec, one.run, named(one.spec.get("noise"))
        status = run.status()
        failure = read_object(run.failed_file, notes, run.key) if status == "failed" else {}
        rows.append(
            {
                "run": run.key,
                "estimator": named(spec.get("estimator")).label,
                "condition": condition_name(noise, {key: spec.get(key) for key in varying}),
                "noise": noise.label,
                "seed": int(spec.get("seed") or 0),
                "grid": one.root.resolve().name,
                "status": status,
                "reason": str(failure.get("reason", "")),
                "steps": int(spec.get("steps") or 0),
                "rows": len(curves[run.key]),
                "policy": str(spec.get("policy", "")),
                "task": named(spec.get("task")).label,
            }
        )
    runs = pd.DataFrame(rows)
    order = {axis: runs[axis].map(axis_order(axis, plans)).fillna(99) for axis in ("noise", "estimator")}
    runs = runs.assign(a=order["noise"], b=order["estimator"])
    return (
        runs.sort_values(["a", "condition", "b", "estimator", "seed", "run"], kind="stable")
        .drop(columns=["a", "b"])
        .reset_index(drop=True)
    )


def _all_steps(runs: pd.DataFrame, curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    frames = [curves[run].assign(run=run) for run in runs.run if run in curves]
    steps = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"run": [], "step": []})
    return _join(runs, steps).drop(columns="position")


def _read_steps(run: RunDir, notes: list[Note]) -> pd.DataFrame:
    rows = read_rows(run.metrics_file, notes, run.key)
    columns: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        wall = row.get("wall")
        if isinstance(wall, dict):
            row = row | {f"wall/{k}": v for k, v in wall.items()}
        for key, value in row.items():
            if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
                if key not in columns:
                    columns[key] = [np.nan] * len(rows)
                columns[key][i] = np.nan if value is None else value
    frame = pd.DataFrame({key: np.asarray(values, dtype=np.float64) for key, values in columns.items()})
    if frame.empty or "step" not in frame:
        return pd.DataFrame({"step": np.asarray([], dtype=np.int64)})
    frame = frame[np.isfinite(frame["step"])]
    twice = int(frame["step"].duplicated().sum())
    if twice:
        notes.append(Note(run.key, f"metrics.jsonl has {twice} steps twice (a resumed run); the later row counts"))
        frame = frame.drop_duplicates("step", keep="last")
    for key in ("reward", "reward_observed", "accuracy", "loss"):
        missing = int((~np.isfinite(frame[key])).sum()) if key in frame else 0
        if missing:
            notes.append(
                Note(
                    run.key,
                    f"{key} is missing or not a number at {missing} of {len(frame)} steps; the means leave these out",
                )
            )
    return frame.astype({"step": np.int64}).sort_values("step", kind="stable").reset_index(drop=True)


def _read_scores(folder: Path, notes: list[Note], where: str) -> list[dict[str, Any]]:
    """One row per task, metric and level of the evaluation summaries in a folder; level `all` is the whole task.

    Scores over k samples are metrics of their own: `pass@4`, `all@4`, `maj@4`.
    """
    rows = []
    for file in sorted(folder.glob("*.json")):
        summary = read_object(file, notes, where)
        check_format(summary, file, FORMAT)
        primary, task = summary.get("primary"), str(summary.get("task", file.stem))
        settings = repr((summary.get("n_questions"), sorted(flatten(summary.get("settings") or {}).items())))
        for level, metric, score in _scores_of(summary):
            facts = score if isinstance(score, dict) else {"value": score}
            value = facts.get("value")
            if not isinstance(value, (int, float)) or not np.isfinite(value):
                told = f"{task}: {metric} on level {level} is not a number and was left out"
                notes.append(Note(where, told, excludes=level == "all" and metric == primary))
                continue
            row = {"task": task, "metric": metric, "primary": metric == primary, "level": level, "value": float(value)}
            rows.append(row | {"stderr": facts.get("stderr"), "n": facts.get("n"), "settings": settings})
    return rows


def _scores_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Level, metric and score of everything that a summary holds."""
    levels = {"all": summary.get("scores")} | (summary.get("by_level") or {})
    for level, scores in levels.items():
        for metric, score in (scores or {}).items():
            yield str(level), metric, score
    for kind in ("pass", "all", "maj"):
        for k, score in ((summary.get("at_k") or {}).get(kind) or {}).items():
            yield "all", f"{kind}@{k}", score


def _score_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = ["task", "metric", "primary", "level", "value", "stderr", "n", "settings"]
    frame = pd.DataFrame(rows, columns=[*(["run"] if rows and "run" in rows[0] else []), *columns])
    if "run" not in frame and not rows:
        frame.insert(0, "run", pd.Series(dtype=object))
    return frame.astype({"primary": bool, "value": float, "stderr": float, "n": float})


def _comparable(scores: pd.DataFrame, notes: list[Note]) -> pd.DataFrame:
    """Only scores that were made with the same questions and settings are compared: per task, the most common ones."""
    keep = []
    for task, of_task in scores.groupby("task", sort=False):
        common = Counter(of_task.drop_duplicates("run").settings).most_common(1)[0][0]
        others = of_task[of_task.settings != common]
        for run in dict.fromkeys(others.run):
            notes.append(
                Note(
                    run,
                    f"was evaluated on {task} with other settings or questions than the rest; that score was left out",
                    excludes=True,
                )
            )
        keep.append(of_task[of_task.settings == common])
    frame = pd.concat(keep) if keep else scores
    return frame.sort_values(["position"], kind="stable").drop(columns=["position", "settings"]).reset_index(drop=True)


def _read_base(roots: Sequence[Path], notes: list[Note]) -> pd.DataFrame:
    rows = []
    for root in roots:
        for folder in sorted(root.glob("base/*/eval")):
            policy = folder.parent.name
            rows += [{"policy": policy, **row} for row in _read_scores(folder, notes, f"base/{policy}")]
    columns = ["policy", "task", "metric", "primary", "level", "value", "stderr", "n"]
    return (
        pd.DataFrame(rows, columns=columns)
        .drop_duplicates(["policy", "task", "metric", "level"])
        .reset_index(drop=True)
    )


def _join(runs: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Put a run's description in front of its rows, in the order of ``runs``."""
    described = runs[DESCRIPTION].assign(position=range(len(runs)))
    return described.merge(frame, on="run", how="inner")
