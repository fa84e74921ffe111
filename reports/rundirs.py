"""One run directory -> a `StoredRun`: all that a report needs of it, forgivingly read.

What was torn, missing or no number is left out and counted in the run's notes.
"""

from __future__ import annotations

import hashlib
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
from reports.stored import FORMAT, Note, check_format, flatten, read_object, read_rows

WALL_DIGITS = 4
"""Significant digits of what depends on the machine: seconds, megabytes. More would only be noise to store."""

COUNTS = ("answers", "answers_cut", "not_extracted", "timed_out", "prompts_cut", "mean_tokens")
"""What an evaluation counts on the way, as its summary calls it."""

SCORES = {"task": str, "metric": str, "primary": bool, "level": str, "value": float, "stderr": float, "n": float}
EVALUATIONS = {"task": str, "settings": str} | dict.fromkeys(("questions", "samples", *COUNTS), float)
QUESTIONS = {"task": str, "question": str, "right": float}
STEPS = {"step": int}
"""What each table of a run has at least, with its type; any further column is a number."""

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


def read_run(run: RunDir, grid: str) -> StoredRun | None:
    """Everything of one run; None where its specification cannot be read. Raises `BadInput` for a newer format."""
    notes: list[Note] = []
    try:
        data = run.spec()
    except BadInput:
        return None
    check_format(data, run.spec_file, run_spec.FORMAT)
    status = run.status()
    failure = read_object(run.failed_file, notes, run.key) if status == "failed" else {}
    steps = _curve(run.metrics_file, notes, run.key)
    rows = len(steps["step"])
    for key in ("reward", "reward_observed", "accuracy", "loss"):
        if missing := int((~np.isfinite(steps[key])).sum()) if key in steps else 0:
            told = f"{key} is missing or not a number at {missing} of {rows} steps; the means leave these out"
            notes.append(Note(run.key, told))
    asked = int(data.get("steps") or 0)
    if status == "done" and rows < asked:
        notes.append(Note(run.key, f"has metrics of {rows} steps of {asked}"))
    done = status == "done"
    scores, evaluations = read_evaluations(run.eval, notes, run.key) if done else read_evaluations(Path(), [], "")
    return StoredRun(
        grid=grid,
        key=run.key,
        status=status,
        reason=str(failure.get("reason", "")),
        spec={key: value for key, value in data.items() if key not in ("key", "format")},
        manifest=flatten(read_object(run.manifest_file, notes, run.key)),
        steps=steps,
        held_out=_curve(run.held_out_file, notes, run.key),
        scores=scores,
        evaluations=evaluations,
        questions=_questions(run.eval, evaluations, scores, notes, run.key),
        notes=tuple(notes),
    )


def _curve(file: Path, notes: list[Note], where: str) -> Columns:
    """A value per step; of a step written twice the later one; what is no number is no column."""
    rows = read_rows(file, notes, where)
    for row in rows:
        if isinstance(wall := row.get("wall"), dict):
            row |= {f"wall/{key}": _shortened(value) for key, value in wall.items()}
    blank: dict[str, Any] = dict.fromkeys(chain.from_iterable(rows))
    columns = zip(blank, zip(*((blank | row).values() for row in rows), strict=True), strict=False)
    known = {key: numbers for key, values in columns if (numbers := _numbers(values)) is not None}
    if "step" not in known:
        return {"step": np.asarray([], dtype=np.int64)}
    written = np.flatnonzero(np.isfinite(known["step"]))
    steps, last = np.unique(known["step"][written][::-1], return_index=True)
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
    return np.asarray(values, dtype=np.float64)


def _shortened(value: Any) -> Any:
    return float(f"{value:.{WALL_DIGITS}g}") if isinstance(value, float) else value


def read_evaluations(folder: Path, notes: list[Note], where: str) -> tuple[Columns, Columns]:
    """The scores and the counts of the evaluation summaries in a folder.

    Scores over k samples are metrics of their own: `pass@4`, `all@4`, `maj@4`.
    """
    scores, evaluations = [], []
    for file in sorted(folder.glob("*.json")) if folder.name else ():
        summary = read_object(file, notes, where)
        if not summary:
            continue
        check_format(summary, file, FORMAT)
        primary, task = summary.get("primary"), str(summary.get("task", file.stem))
        settings = repr((summary.get("n_questions"), sorted(flatten(summary.get("settings") or {}).items())))
        counts, pairs = summary.get("counts") or {}, summary.get("disagreement") or {}
        evaluations.append(
            {"task": task, "settings": hashlib.sha256(settings.encode()).hexdigest()[:12]}
            | {"questions": summary.get("n_questions"), "samples": summary.get("samples")}
            | {key: counts.get(key) for key in COUNTS}
            | {f"{DISAGREE}{pair}": share for pair, share in pairs.items()}
        )
        for level, metric, score in _scores_of(summary):
            facts = score if isinstance(score, dict) else {"value": score}
            value = facts.get("value")
            if not isinstance(value, (int, float)) or not np.isfinite(value):
                told = f"{task}: {metric} on level {level} is not a number and was left out"
                notes.append(Note(where, told, excludes=level == "all" and metric == primary))
                continue
            row = {"task": task, "metric": metric, "primary": metric == primary, "level": level, "value": float(value)}
            scores.append(row | {"stderr": facts.get("stderr"), "n": facts.get("n")})
    return _columns(scores, SCORES), _columns(evaluations, EVALUATIONS)


def _scores_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Level, metric and score of everything that a summary holds."""
    levels = {"all": summary.get("scores")} | (summary.get("by_level") or {})
    for level, scores in levels.items():
        for metric, score in (scores or {}).items():
            yield str(level), metric, score
    for kind in ("pass", "all", "maj"):
        for k, score in ((summary.get("at_k") or {}).get(kind) or {}).items():
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
            verdict = (row.get("verdicts") or {}).get(primary.get(task))
            if isinstance(verdict, (int, float)):
                question = str(row.get("question_id"))
                sums[question] = sums.get(question, 0.0) + verdict
        tasks += [task] * len(sums)
        questions += list(sums)
        right += list(sums.values())
    return {"task": tasks, "question": questions, "right": np.asarray(right, dtype=np.float64)}
