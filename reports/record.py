"""What was run, on what, and what was left out: the tables of record."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports import formats
from reports.formats import Column, Table
from reports.names import estimator_name
from reports.results import ARM, CONDITION
from reports.tables import Study


def _text_column(key: str, title: str = "") -> Column:
    return Column(key, title or key, str, number=False)


def _yes_no(key: str, title: str = "") -> Column:
    return Column(key, title or key, lambda yes: "yes" if yes else "no", number=False)


def counts_table(study: Study) -> Table:
    """Crashed runs are counted, not dropped."""
    runs = study.runs
    evaluated = set(study.scores.run)
    rows = []
    for (condition, estimator), group in runs.groupby(["condition", "estimator"], sort=False):
        counts = Counter(group.status)
        used = int(group.run.isin(evaluated).sum())
        rows.append(
            {
                "condition": condition, "estimator": estimator, "runs": len(group), "done": counts["done"],
                "failed": counts["failed"], "running": counts["running"], "evaluated": used,
            }
        )  # fmt: skip
    columns = [
        CONDITION,
        ARM,
        *(Column(key, key, formats.whole) for key in ("runs", "done", "failed", "running", "evaluated")),
    ]
    note = "running: started and neither done nor failed. Only runs that are done and evaluated enter the results."
    return Table(
        "runs", "Runs", pd.DataFrame(rows, columns=[key for column in columns for key in column.keys]), columns, note
    )


def cost_table(study: Study) -> Table:
    """T4: what training took, per arm and condition."""
    steps = study.steps
    rows = []
    for (condition, estimator), group in steps.groupby(["condition", "estimator"], sort=False):
        last = group.groupby("run", sort=False).last(numeric_only=True)
        row: dict[str, Any] = {"condition": condition, "estimator": estimator, "runs": len(last)}
        row["tokens"] = last.tokens.mean() if "tokens" in last else math.nan
        key = "wall/step_seconds"
        row["step_seconds"] = group[key].median() if key in group else math.nan
        row["train_seconds"] = group.groupby("run")[key].sum().mean() if key in group else math.nan
        rows.append(row)
    columns = [
        CONDITION,
        ARM,
        Column("runs", "runs", formats.whole),
        Column("tokens", "tokens a run", formats.whole),
        Column("step_seconds", "s a step (median)", formats.number),
        Column("train_seconds", "s a run (steps only)", formats.number),
    ]
    whole = (study.runs.rows >= study.runs.steps).all()
    lacking = "" if whole else " Some runs have no metrics of some steps: only the others count."
    return Table(
        "cost",
        "Cost of training",
        pd.DataFrame(rows, columns=[key for column in columns for key in column.keys]),
        columns,
        f"Runs shared the machine, so times are indicative.{lacking}",
    )


def setting_table(study: Study) -> Table:
    """T5: the configuration; a value that differs over runs is listed with all it takes."""
    return _facts("configuration", "Configuration", study.specs, skip=("key",))


def machine_table(study: Study) -> Table:
    """What it ran on: versions, hosts, times, memory, hashes."""
    return _facts("environment", "Environment", study.manifests, skip=("format", "key", "seed", "spec", "wall.started"))


def _facts(name: str, title: str, of_runs: Mapping[str, Mapping[str, Any]], skip: tuple[str, ...]) -> Table:
    keys = list(dict.fromkeys(key for facts in of_runs.values() for key in facts if key not in skip))
    rows = [{"key": key, "value": _spread([facts[key] for facts in of_runs.values() if key in facts])} for key in keys]
    columns = [_text_column("key"), _text_column("value")]
    return Table(name, title, pd.DataFrame(rows, columns=["key", "value"]), columns, fold=True)


def _spread(values: list[Any]) -> str:
    """One value, a range of numbers, or a list of the different values."""
    different = list(dict.fromkeys(_text(value) for value in values))
    if len(different) == 1:
        return different[0]
    if len(different) > 4 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return f"{_text(min(values))} to {_text(max(values))}"
    more = f", and {len(different) - 6} more" if len(different) > 6 else ""
    return ", ".join(different[:6]) + more


def _text(value: Any) -> str:
    if value is None:
        return formats.DASH
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        inside = ", ".join(f"{k}={_text(v)}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')}({inside})" if inside else str(value.get("name", ""))
    return str(value)


def _label(run: Any) -> str:
    return f"{estimator_name(run.estimator)}, {run.condition}, seed {run.seed}"


def exclusion_table(study: Study) -> Table:
    """T9: what was left out or mended, run by run."""
    failed = [
        {
            "where": run.run,
            "what": f"{_label(run)} failed: {run.reason or 'no reason stored'}",
            "excludes": True,
        }
        for run in study.runs[study.runs.status == "failed"].itertuples()
    ]
    label = {run.run: _label(run) for run in study.runs.itertuples()}
    noted = [
        {
            "where": note.where,
            "what": f"{label[note.where]}: {note.what}" if note.where in label else note.what,
            "excludes": note.excludes,
        }
        for note in study.notes
    ]
    columns = [_text_column("where", "run"), _text_column("what"), _yes_no("excludes", "left out")]
    return Table(
        "exclusions",
        "Left out or mended",
        pd.DataFrame([*failed, *noted], columns=["where", "what", "excludes"]),
        columns,
    )


PUBLISHED: tuple[tuple[str, str, str, Any], ...] = (
    ("policy", "policy", "Llama-3.2-1B-Instruct, bf16", "meta-llama/Llama-3.2-1B-Instruct"),
    ("task", "task", "arithmetic, at most 5 terms of 5 digits", "arithmetic"),
    ("group_size", "answers per prompt", "12", 12),
    ("prompts_per_step", "prompts per step", "32", 32),
    ("minibatches", "optimizer steps per batch", "24", 24),
    ("reward", "reward", "shaped: 1 / 0.5 / 0.01 / 0", "shaped"),
    ("learning_rate", "learning rate (Adam)", "5e-06, constant", 5e-6),
    ("kl_weight", "KL weight", "0.01", 0.01),
    ("clip", "clip range", "0.2", 0.2),
    ("max_grad_norm", "gradient clipping", "1", 1.0),
    ("temperature", "sampling temperature", "1", 1.0),
)
"""The recipe of the only public KRPO code, as restated in the project's notes on arXiv 2505.07527."""


def deviation_table(study: Study) -> Table:
    """T8: where this grid departs from the published recipe."""
    rows = []
    for key, title, published, value in PUBLISHED:
        here = [spec[key] for spec in study.specs.values() if key in spec]
        if here:
            same = all((v.get("name") if isinstance(v, dict) else v) == value for v in here)
            rows.append({"setting": title, "published": published, "here": _spread(here), "same": same})
    seeds = sorted(set(study.runs.seed))
    rows.append({"setting": "seeds", "published": "1 (42)", "here": str(len(seeds)), "same": False})
    columns = [_text_column("setting"), _text_column("published"), _text_column("here"), _yes_no("same")]
    note = "Published: the public code of KRPO (arXiv 2505.07527) and its single training run."
    return Table(
        "deviations",
        "Deviations from the published recipe",
        pd.DataFrame(rows, columns=["setting", "published", "here", "same"]),
        columns,
        note,
        fold=True,
    )
