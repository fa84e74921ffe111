"""One run directory -> a `StoredRun`: all that a report needs of it, forgivingly read.

What was torn, missing or no number is left out and counted in the run's notes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from krpo import spec as run_spec
from krpo.errors import BadInput
from krpo.rundir import RunDir
from reports.specs import plain, settled
from reports.stored import FORMAT, HUGE, Note, check_format, flatten, number, read_object, read_rows

WALL_DIGITS = 4
"""Significant digits of what depends on the machine: seconds, megabytes. More would only be noise to store."""

COUNTS = ("answers", "answers_cut", "not_extracted", "timed_out", "prompts_cut", "mean_tokens")
"""What an evaluation counts on the way, as its summary calls it."""

SCORES = {"task": str, "metric": str, "primary": bool, "level": str, "value": float, "stderr": float, "n": float}
EVALUATIONS = {"task": str, "settings": str} | dict.fromkeys(("questions", "samples", *COUNTS), float)
QUESTIONS = {"task": str, "question": str, "right": float}
STEPS = {"step": int}
"""What each table of a run has at least, with its type; any further column is a number."""

DESCRIPTION = ["run", "estimator", "condition", "noise", "seed"]
"""The columns that every frame of a study carries in front of its own."""

LOGGED = ("accuracy", "reward", "reward_observed", "loss")
"""What the trainer logs at every step."""

DISAGREE = "disagree: "
"""In front of a pair of metrics: the share of answers on which the two differ."""


Columns = Mapping[str, Sequence[Any] | np.ndarray]
"""A table as columns of equal length. A frame is made once for all runs (`stacked`): one for each would cost more than
reading it."""


@dataclass(frozen=True)
class StoredRun:
    """A run as a report sees it, wherever it was read from."""

    grid: str  # the name of its grid's directory
    key: str
    status: str
    reason: str  # of a failure
    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]  # keys dotted
    steps: Columns  # step, and every numeric column of metrics.jsonl ("wall/..." flattened)
    held_out: Columns  # the same of heldout.jsonl
    scores: Columns  # SCORES; level `all` is the whole task
    evaluations: Columns  # EVALUATIONS and shares of disagreement; a row per task
    questions: Columns  # task, question, right: the primary metric summed over the question's samples
    notes: tuple[Note, ...]


def stacked(parts: Mapping[str, Columns], kinds: Mapping[str, type], front: str = "run") -> pd.DataFrame:
    """The tables below each other as one frame, the key of each in front; a number that one of them lacks is NaN.

    ``kinds``: the columns that are always there, with their types.
    """
    sizes = {key: len(next(iter(columns.values()), ())) for key, columns in parts.items()}
    whole = {front: pd.Series([key for key, size in sizes.items() for _ in range(size)], dtype=str)}
    for name in dict.fromkeys([*kinds, *chain.from_iterable(parts.values())]):
        cells = [columns.get(name, np.full(sizes[key], np.nan)) for key, columns in parts.items()]
        kind = kinds.get(name, float)
        joined: Any = list(chain.from_iterable(cells)) if kind is str else np.concatenate([*cells, []]).astype(kind)
        whole[name] = pd.Series(joined, dtype=kind)
    return pd.DataFrame(whole)


def read_run(run: RunDir, grid: str) -> StoredRun | Note:
    """Everything of one run; a note instead where its specification cannot be used. Raises `BadInput` for a newer
    format."""
    notes: list[Note] = []
    try:
        data = run.spec()
    except (BadInput, ValueError, RecursionError, OSError):  # YAML may also hold a date that is none
        return Note(run.key, "its spec.yaml cannot be read", excludes=True)
    check_format(data, run.spec_file, run_spec.FORMAT)
    try:
        spec, unread = settled({key: value for key, value in data.items() if key not in ("key", "format")})
    except BadInput as error:
        return Note(run.key, f"its spec.yaml cannot be used: {error}", excludes=True)
    notes += [Note(run.key, f"{key} in spec.yaml is no value of this version; it is kept as text") for key in unread]
    status = run.status()
    failure = read_object(run.failed_file, notes, run.key) if status == "failed" else {}
    steps = _curve(run.metrics_file, notes, run.key, spec["steps"])
    rows = len(steps["step"])
    for key in LOGGED:
        if rows and (missing := int((~np.isfinite(steps[key])).sum()) if key in steps else rows):
            told = f"{key} is missing or not a number at {missing} of {rows} steps"
            notes.append(Note(run.key, told + ("; the means leave these out" if missing < rows else "")))
    if status == "done" and rows < spec["steps"]:
        notes.append(Note(run.key, f"has metrics of {rows} steps of {spec['steps']}"))
    done = status == "done"
    scores, evaluations = read_evaluations(run.eval, notes, run.key) if done else read_evaluations(Path(), [], "")
    return StoredRun(
        grid=grid,
        key=run.key,
        status=status,
        reason=str(failure.get("reason", "")),
        spec=spec,
        manifest=plain(flatten(read_object(run.manifest_file, notes, run.key))),
        steps=steps,
        held_out=_curve(run.held_out_file, notes, run.key, spec["steps"]),
        scores=scores,
        evaluations=evaluations,
        questions=_questions(run.eval, evaluations, scores, notes, run.key),
        notes=tuple(notes),
    )


def _curve(file: Path, notes: list[Note], where: str, most: int) -> Columns:
    """A value per step; of a step written twice the later one; what is no number is no column, and what is no step of
    a run of ``most`` steps no row."""
    rows = read_rows(file, notes, where)
    for row in rows:
        if isinstance(wall := row.get("wall"), dict):
            row |= {f"wall/{key}": _shortened(value) for key, value in wall.items()}
    blank: dict[str, Any] = dict.fromkeys(chain.from_iterable(rows))
    columns = zip(blank, zip(*((blank | row).values() for row in rows), strict=True), strict=False)
    known = {key: numbers for key, values in columns if (numbers := _numbers(values)) is not None}
    if taken := [name for name in DESCRIPTION if known.pop(name, None) is not None]:
        told = f"{file.name} has a column {' and '.join(taken)}, a name of the report's own: not used"
        notes.append(Note(where, told))
    if "step" not in known:
        if rows:
            notes.append(Note(where, f"{file.name} has no step in any of its {len(rows)} rows and was not used"))
        return {"step": np.asarray([], dtype=np.int64)}
    step = known["step"]
    with np.errstate(invalid="ignore"):
        written = np.flatnonzero((step >= 0) & (step <= most) & (step % 1 == 0))
    if wrong := step.size - written.size:
        notes.append(Note(where, f"{file.name}: {wrong} of {step.size} rows are of no step from 0 to {most}; not used"))
    steps, last = np.unique(step[written][::-1], return_index=True)
    if twice := written.size - steps.size:
        notes.append(Note(where, f"{file.name} has {twice} steps twice (a resumed run); the later row counts"))
    chosen = written[::-1][last]
    return {key: values[chosen] for key, values in known.items()} | {"step": steps.astype(np.int64)}


def _numbers(values: Sequence[Any]) -> np.ndarray | None:
    """A column of numbers, NaN where there is none; None for a column without any, unless all it holds is nulls."""
    kinds = set(map(type, values))
    if not kinds <= {float, int, type(None)}:
        values = [value if type(value) in (float, int) else None for value in values]
        if not kinds & {float, int}:
            return None
    try:
        column = np.asarray(values, dtype=np.float64)
    except OverflowError:
        column = np.asarray([number(value) for value in values])
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(column) < HUGE, column, np.nan)


def _shortened(value: Any) -> Any:
    return float(f"{value:.{WALL_DIGITS}g}") if isinstance(value, float) else value


def read_evaluations(folder: Path, notes: list[Note], where: str) -> tuple[Columns, Columns]:
    """The scores and the counts of the evaluation summaries in a folder.

    Scores over k samples are metrics of their own: `pass@4`, `all@4`, `maj@4`.
    """
    scores, evaluations = list[dict[str, Any]](), list[dict[str, Any]]()
    for file in sorted(folder.glob("*.json")) if folder.name else ():
        summary = read_object(file, notes, where)
        if not summary:
            continue
        check_format(summary, file, FORMAT)
        primary, task = summary.get("primary"), str(summary.get("task", file.stem))
        if task in (one["task"] for one in evaluations):
            notes.append(Note(where, f"{file.name} is another summary of {task} and was not used"))
            continue
        told = _Reader(task, notes, where)
        settings = repr((summary.get("n_questions"), sorted(flatten(summary.get("settings") or {}).items())))
        counts, pairs = told.mapping(summary, "counts"), told.mapping(summary, "disagreement")
        evaluations.append(
            {"task": task, "settings": hashlib.sha256(settings.encode()).hexdigest()[:12]}
            | {"questions": told.number(summary, "n_questions"), "samples": told.number(summary, "samples")}
            | {key: told.number(counts, key) for key in COUNTS}
            | {f"{DISAGREE}{pair}": told.number(pairs, pair) for pair in pairs}
        )
        for level, metric, score in _scores_of(summary, told):
            facts = score if isinstance(score, dict) else {"value": score}
            value = number(facts.get("value"))
            if not np.isfinite(value):
                missing = f"{task}: {metric} on level {level} is not a number and was left out"
                notes.append(Note(where, missing, excludes=level == "all" and metric == primary))
                continue
            row = {"task": task, "metric": metric, "primary": metric == primary, "level": level, "value": value}
            scores.append(row | {key: told.number(facts, key, f"{key} of {metric}") for key in ("stderr", "n")})
    return _columns(scores, SCORES), _columns(evaluations, EVALUATIONS)


@dataclass(frozen=True)
class _Reader:
    """Reads the parts of one summary, and notes what is not what it should be."""

    task: str
    notes: list[Note]
    where: str

    def mapping(self, whole: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        value = whole.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self.notes.append(Note(self.where, f"{self.task}: {key} is not a mapping and was not used"))
        return {}

    def number(self, whole: Mapping[str, Any], key: str, called: str = "") -> float:
        value = whole.get(key)
        if value is not None and not np.isfinite(number(value)):
            self.notes.append(Note(self.where, f"{self.task}: {called or key} is not a number and was not used"))
        return number(value) if np.isfinite(number(value)) else math.nan


def _scores_of(summary: Mapping[str, Any], told: _Reader) -> Iterator[tuple[str, str, Any]]:
    """Level, metric and score of everything that a summary holds."""
    for metric, score in told.mapping(summary, "scores").items():
        yield "all", metric, score
    levels = told.mapping(summary, "by_level")
    for level in levels:
        for metric, score in told.mapping(levels, level).items():
            yield str(level), metric, score
    at_k = told.mapping(summary, "at_k")
    for kind in ("pass", "all", "maj"):
        for k, score in told.mapping(at_k, kind).items():
            yield "all", f"{kind}@{k}", score


def _columns(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, type]) -> Columns:
    return {
        name: [row.get(name) for row in rows]
        if kinds.get(name) is str
        else np.asarray([row.get(name) for row in rows], dtype=kinds.get(name, float))
        for name in dict.fromkeys([*kinds, *chain.from_iterable(rows)])
    }


def _questions(folder: Path, evaluations: Columns, scores: Columns, notes: list[Note], where: str) -> Columns:
    """How often each question was answered rightly, from the records beside the summaries; empty without records."""
    primary = {
        task: metric
        for task, metric, yes in zip(*(scores[k] for k in ("task", "metric", "primary")), strict=True)
        if yes
    }
    tasks, questions, right = [], [], []
    for task in evaluations["task"]:
        sums: dict[str, float] = {}
        for row in read_rows(folder / f"{task}.jsonl", notes, where):
            verdicts = row.get("verdicts")
            verdict = number(verdicts.get(primary.get(task))) if isinstance(verdicts, dict) else math.nan
            if math.isfinite(verdict):
                question = str(row.get("question_id"))
                sums[question] = sums.get(question, 0.0) + verdict
        tasks += [task] * len(sums)
        questions += list(sums)
        right += list(sums.values())
    return {"task": tasks, "question": questions, "right": np.asarray(right, dtype=np.float64)}
