"""One run directory -> a `StoredRun`: all that a report needs of it, forgivingly read.

What was torn, missing or no number is left out and counted in the run's notes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

SCORES = ["task", "metric", "primary", "level", "value", "stderr", "n"]
EVALUATIONS = ["task", "settings", "questions", "samples", *COUNTS]
DISAGREE = "disagree: "
"""In front of a pair of metrics: the share of answers on which the two differ."""


@dataclass(frozen=True)
class StoredRun:
    """A run as a report sees it, wherever it was read from."""

    grid: str  # the name of its grid's directory
    key: str
    status: str
    reason: str  # of a failure
    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]  # keys dotted
    steps: pd.DataFrame  # step, and every numeric column of metrics.jsonl ("wall/..." flattened)
    held_out: pd.DataFrame  # the same of heldout.jsonl
    scores: pd.DataFrame  # SCORES; level `all` is the whole task
    evaluations: pd.DataFrame  # EVALUATIONS and shares of disagreement; a row per task
    questions: pd.DataFrame  # task, question, right: the primary metric summed over the question's samples
    notes: tuple[Note, ...]


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
    for key in ("reward", "reward_observed", "accuracy", "loss"):
        if missing := int((~np.isfinite(steps[key])).sum()) if key in steps else 0:
            told = f"{key} is missing or not a number at {missing} of {len(steps)} steps; the means leave these out"
            notes.append(Note(run.key, told))
    asked = int(data.get("steps") or 0)
    if status == "done" and len(steps) < asked:
        notes.append(Note(run.key, f"has metrics of {len(steps)} steps of {asked}"))
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


def _curve(file: Path, notes: list[Note], where: str) -> pd.DataFrame:
    """A row per step; of a step written twice the later row; what is no number is no column."""
    rows = read_rows(file, notes, where)
    columns: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        wall = row.get("wall")
        if isinstance(wall, dict):
            row = row | {f"wall/{key}": _shortened(value) for key, value in wall.items()}
        for key, value in row.items():
            if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
                if key not in columns:
                    columns[key] = [np.nan] * len(rows)
                columns[key][i] = np.nan if value is None else value
    frame = pd.DataFrame({key: np.asarray(values, dtype=np.float64) for key, values in columns.items()})
    if frame.empty or "step" not in frame:
        return pd.DataFrame({"step": np.asarray([], dtype=np.int64)})
    frame = frame[np.isfinite(frame["step"])]
    if twice := int(frame["step"].duplicated().sum()):
        notes.append(Note(where, f"{file.name} has {twice} steps twice (a resumed run); the later row counts"))
        frame = frame.drop_duplicates("step", keep="last")
    return frame.astype({"step": np.int64}).sort_values("step", kind="stable").reset_index(drop=True)


def _shortened(value: Any) -> Any:
    return float(f"{value:.{WALL_DIGITS}g}") if isinstance(value, float) else value


def read_evaluations(folder: Path, notes: list[Note], where: str) -> tuple[pd.DataFrame, pd.DataFrame]:
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
    return score_frame(pd.DataFrame(scores, columns=SCORES)), evaluation_frame(evaluations)


def _scores_of(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Level, metric and score of everything that a summary holds."""
    levels = {"all": summary.get("scores")} | (summary.get("by_level") or {})
    for level, scores in levels.items():
        for metric, score in (scores or {}).items():
            yield str(level), metric, score
    for kind in ("pass", "all", "maj"):
        for k, score in ((summary.get("at_k") or {}).get(kind) or {}).items():
            yield "all", f"{kind}@{k}", score


def score_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """SCORES with their types, however they were read."""
    return frame.astype({"primary": bool, "value": float, "stderr": float, "n": float})


def evaluation_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys([*EVALUATIONS, *(key for row in rows for key in row)])))
    return frame.astype({key: float for key in frame if key not in ("task", "settings")})


def _questions(
    folder: Path, evaluations: pd.DataFrame, scores: pd.DataFrame, notes: list[Note], where: str
) -> pd.DataFrame:
    """How often each question was answered rightly, from the records beside the summaries; empty without records."""
    parts = []
    primary = dict(zip(scores[scores.primary].task, scores[scores.primary].metric, strict=True))
    for task in evaluations.task:
        sums: dict[str, float] = {}
        for row in read_rows(folder / f"{task}.jsonl", notes, where):
            verdict = (row.get("verdicts") or {}).get(primary.get(task))
            if isinstance(verdict, (int, float)):
                question = str(row.get("question_id"))
                sums[question] = sums.get(question, 0.0) + verdict
        parts.append(pd.DataFrame({"task": task, "question": list(sums), "right": list(sums.values())}))
    empty = pd.DataFrame({"task": [], "question": [], "right": []})
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    return frame.astype({"task": str, "question": str, "right": float})
