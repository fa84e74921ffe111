"""Stored files in which anything may stand anywhere: a report comes out, or one clear message."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_runs import write_grid

from krpo.errors import BadInput
from reports import figures, formats
from reports.build import record_tables, result_tables, shown
from reports.compare import comparisons, endpoint, not_scored
from reports.figures import paired_difference
from reports.page import findings, render_page
from reports.report import render_report
from reports.tables import export, read_study

VALUES: list[Any] = [
    None, True, 0, -1, 1e30, 0.5, math.nan, math.inf, 10**400, "", "many", "a$\\bad{$b", "<b>&", "\u03bb \u5b57",
    [], [1, "x"], {}, {"name": "krpo"}, {"value": "x"}, {"a": {"b": [None]}},
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("hostile") / "grid", steps=4, seeds=range(3), samples=2)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container inside a value, with each of its keys."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def spoil(value: Any, rng: random.Random) -> None:
    """Replace, remove or add something somewhere inside a mapping."""
    if not (inside := list(places(value))):
        return
    where, key = rng.choice(inside)
    kind = rng.random()
    if kind < 0.6:
        where[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind < 0.8:
        del where[key]
    elif isinstance(where, dict):
        where[rng.choice(["run", "estimator", "step", "x", "value", "a$b"])] = copy.deepcopy(rng.choice(VALUES))


def spoil_file(file: Path, rng: random.Random) -> None:
    if file.suffix == ".yaml":
        value = yaml.safe_load(file.read_text())
        spoil(value, rng)
        file.write_text(yaml.safe_dump(value))
    elif file.suffix == ".json":
        value = json.loads(file.read_text())
        spoil(value, rng)
        file.write_text(json.dumps(value))
    elif file.suffix == ".jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        if rng.random() < 0.5 and rows and all(isinstance(row, dict) and row for row in rows):  # a whole column
            key, value = rng.choice(list(rows[0])), rng.choice(VALUES)
            for row in rows:
                row[key] = copy.deepcopy(value)
        for _ in range(3):
            spoil(rows, rng)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def report(grid: Path) -> str:
    """All of a report but the drawings, or the message."""
    try:
        study = read_study([grid])
        end = endpoint(study)
        differences = paired_difference.table(study, end)
        compared = comparisons(differences)
        found = findings(study, end, differences, compared)
        tables, records = result_tables(study, end, compared), record_tables(study)
        for table in [*tables, *records]:
            formats.to_latex(table), formats.to_markdown(table)
        for name in (*figures.NAMES, *figures.DIAGNOSTICS):
            if not (table := shown(name, study, end)).empty:
                figures.load(name).caption(table), figures.load(name).alt(table)
        not_scored(study, end)
        return render_page(study, end, found, [], tables, records)
    except BadInput as error:
        return str(error)


@pytest.mark.filterwarnings("error", "ignore:.*float_precision")
@pytest.mark.parametrize("seed", range(30))
def test_anything_anywhere(whole: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    grid = tmp_path / "grid"
    shutil.copytree(whole, grid)
    files = sorted(file for file in grid.rglob("*") if file.suffix in (".yaml", ".json", ".jsonl"))
    for file in [*rng.sample(files, 20), grid / "grid.yaml"][: 20 + seed % 2]:
        spoil_file(file, rng)
    told = report(grid)
    if told.startswith("<!doctype"):  # the exported study tells the same
        folder = export(grid, tmp_path / "stored" / "grid")
        assert report(folder).replace(str(folder), str(grid)) == told
    else:
        assert told.startswith(str(grid))


TABLES = ("runs.jsonl", "scores.csv", "evaluations.csv", "held_out.csv", "base.csv", "notes.csv", "study.json")


@pytest.mark.parametrize("name", TABLES)
def test_an_exported_study_that_was_edited(whole: Path, tmp_path: Path, name: str) -> None:
    folder = export(whole, tmp_path / "grid")
    marker = json.loads((folder / "study.json").read_text())
    assert name in (*marker.pop("sha256"), "study.json")
    (folder / "study.json").write_text(json.dumps(marker))  # as before there were hashes, which refuse any edit
    file = folder / name
    text = file.read_text()
    edits = [
        "",
        "{}",
        "[1]",
        text[: len(text) // 2],
        text.replace("run", "ran").replace("where", "there").replace("policy", "polity").replace("grid", "gird"),
        text.replace("0", "x"),
    ]
    for edited in edits:
        file.write_text(edited)
        told = report(folder)
        assert told.startswith(("<!doctype", str(folder))), told[:200]


def test_names_with_signs_of_their_own(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    arms = ["grpo", "krpo", {"name": "krpo", "\u03bb": 0.5}, {"name": "a$\\bad{$b", "\u5b57": 1}]
    grid = write_grid(tmp_path / "cost $5$", estimators=arms, noises=["none"], steps=4, seeds=range(3))
    page = render_report(grid).page
    assert "the font of the figures lacks \u5b57: drawn as a box there" in page.read_text()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    shown = (page.parent / "tables" / "accuracy.tex").read_text()
    assert r"a\$\textbackslash{}bad\{\$b" in shown
