"""The evaluation summaries of a run, and the records beside them -> columns, forgivingly read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reports.stored import FORMAT, Note, check_format, flatten, number, read_object, read_rows

Columns = Mapping[str, Sequence[Any] | np.ndarray]
"""A table as columns of equal length. A frame is made once for all runs (`stacked`): one for each would cost more than
reading it."""

COUNTS = ("answers", "answers_cut", "not_extracted", "timed_out", "prompts_cut", "mean_tokens")
"""What an evaluation counts on the way, as its summary calls it."""

SCORES = {"task": str, "metric": str, "primary": bool, "level": str, "value": float, "stderr": float, "n": float}
EVALUATIONS = {"task": str, "settings": str} | dict.fromkeys(("questions", "samples", *COUNTS), float)
QUESTIONS = {"task": str, "question": str, "right": float}

DISAGREE = "disagree: "
"""In front of a pair of metrics: the share of answers on which the two differ."""


class Evaluations(NamedTuple):
    """What the summaries of a folder hold: ``scores`` (SCORES; level `all` is the whole task), ``evaluations`` (a row
    per task), the file of each task's ``records`` and the hash of the ``weights`` that were scored, if it is told."""

    scores: Columns
    evaluations: Columns
    records: Mapping[str, Path]
    weights: Mapping[str, str]


def read_evaluations(folder: Path, notes: list[Note], where: str) -> Evaluations:
    """The scores and the counts of the evaluation summaries in a folder, if there is one.

    Scores over k samples are metrics of their own: `pass@4`, `all@4`, `maj@4`.
    """
    scores, evaluations = list[dict[str, Any]](), list[dict[str, Any]]()
    records, weights = dict[str, Path](), dict[str, str]()
    for file in sorted(folder.glob("*.json")):
        summary = read_object(file, notes, where)
        if not summary:
            continue
        check_format(summary, file, FORMAT)
        primary, task = summary.get("primary"), str(summary.get("task", file.stem))
        if task in records:
            notes.append(Note(where, f"{file.name} is another summary of {task} and was not used"))
            continue
        records[task], weights[task] = file.with_suffix(".jsonl"), str(summary.get("weights") or "")
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
    return Evaluations(_columns(scores, SCORES), _columns(evaluations, EVALUATIONS), records, weights)


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


def no_evaluations() -> Evaluations:
    return Evaluations(_columns([], SCORES), _columns([], EVALUATIONS), {}, {})


def read_questions(of: Evaluations, notes: list[Note], where: str) -> Columns:
    """How often each question was answered rightly, from the records beside the summaries; empty without records."""
    scores = of.scores
    primary = {
        task: metric
        for task, metric, yes in zip(*(scores[k] for k in ("task", "metric", "primary")), strict=True)
        if yes
    }
    tasks, questions, right = [], [], []
    for task, file in of.records.items():
        sums: dict[str, float] = {}
        for row in read_rows(file, notes, where):
            verdicts = row.get("verdicts")
            verdict = number(verdicts.get(primary.get(task))) if isinstance(verdicts, dict) else math.nan
            if math.isfinite(verdict):
                question = str(row.get("question_id"))
                sums[question] = sums.get(question, 0.0) + verdict
        tasks += [task] * len(sums)
        questions += list(sums)
        right += list(sums.values())
    return {"task": tasks, "question": questions, "right": np.asarray(right, dtype=np.float64)}
