"""One run directory -> a `StoredRun`: all that a report needs of it, forgivingly read.

What was torn, missing or no number is left out and counted in the run's notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from krpo import spec as run_spec
from krpo.errors import BadInput
from krpo.rundir import RunDir
from reports.evaluations import Columns, no_evaluations, read_evaluations, read_questions
from reports.specs import plain, settled
from reports.stored import HUGE, Note, check_format, flatten, number, read_object, read_rows

WALL_DIGITS = 4
"""Significant digits of what depends on the machine: seconds, megabytes. More would only be noise to store."""

STEPS = {"step": int}
"""What each table of a run has at least, with its type; any further column is a number."""

DESCRIPTION = ["run", "estimator", "condition", "noise", "seed"]
"""The columns that every frame of a study carries in front of its own."""

LOGGED = ("accuracy", "reward", "reward_observed", "loss")
"""What the trainer logs at every step."""


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
    found = read_evaluations(run.eval, notes, run.key) if status == "done" else no_evaluations()
    return StoredRun(
        grid=grid,
        key=run.key,
        status=status,
        reason=str(failure.get("reason", "")),
        spec=spec,
        manifest=plain(flatten(read_object(run.manifest_file, notes, run.key))),
        steps=steps,
        held_out=_curve(run.held_out_file, notes, run.key, spec["steps"]),
        scores=found.scores,
        evaluations=found.evaluations,
        questions=read_questions(found, notes, run.key),
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
