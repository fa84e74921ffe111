"""The scores of the untrained policies, from which training set out: only those that are comparable with the runs'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reports.compact import read_base
from reports.evaluations import SCORES, Evaluations, read_evaluations
from reports.rundirs import StoredRun, stacked
from reports.stored import Note, is_compact


def base_scores_of(root: Path, runs: Sequence[StoredRun], notes: list[Note]) -> pd.DataFrame:
    """The scores of the untrained policies beside a grid's runs: policy, then `SCORES`. Of each task only where the
    runs were scored with the same settings and questions, and began with the same weights."""
    if is_compact(root):
        return read_base(root)
    settings = {pair for run in runs for pair in _settings(run)}
    began = {str(hashed) for run in runs if (hashed := run.manifest.get("base_weights"))}
    found = {}
    for folder in sorted(root.glob("base/*/eval")):
        where = f"base/{folder.parent.name}"
        read = read_evaluations(folder, notes, where)
        other_settings = {task for task, own in _settings(read) if (task, own) not in settings}
        unlike = dict.fromkeys(other_settings & {task for task, _ in settings}, "settings or questions")
        unlike |= {task: "weights" for task, hashed in read.weights.items() if began and hashed and hashed not in began}
        notes += [
            Note(where, f"{t} was scored with other {what} than the runs; not used") for t, what in unlike.items()
        ]
        keep = np.asarray([task not in unlike for task in read.scores["task"]], dtype=bool)
        found[folder.parent.name] = {key: np.asarray(of, dtype=object)[keep] for key, of in read.scores.items()}
    return stacked(found, SCORES, front="policy")


def _settings(of: StoredRun | Evaluations) -> list[tuple[str, str]]:
    """The task and the settings of each evaluation."""
    return list(zip(of.evaluations["task"], of.evaluations["settings"], strict=True))


def once_each(bases: Sequence[pd.DataFrame], notes: list[Note]) -> pd.DataFrame:
    """Each score of an untrained policy once; none where merged grids do not agree on it."""
    base = pd.concat(bases, ignore_index=True)
    keys = ["policy", "task", "metric", "level"]
    for (policy, task), of_task in base.groupby(["policy", "task"], sort=False):
        if of_task.groupby(keys[2:]).value.nunique().max() > 1:
            notes.append(Note(f"base/{policy}", f"{task}: the grids have different scores of it; none is used"))
            base = base[(base.policy != policy) | (base.task != task)]
    return base.drop_duplicates(keys).reset_index(drop=True)
