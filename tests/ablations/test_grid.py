"""Grid files: what they expand to, and what a mistake in one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.grid import load_grid
from krpo.config import Named
from krpo.errors import BadInput

GRID = """\
base:
  steps: 5
axes:
  estimator: [grpo, krpo]
  noise: [none, {name: flip, rate: 0.2}]
seeds: [0, 1, 2]
"""


def grid_from(tmp_path: Path, text: str, *assignments: str):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return load_grid(file, assignments)


def test_the_product_has_seeds_outermost(tmp_path):
    grid = grid_from(tmp_path, GRID)
    assert grid.name == "study"
    assert len(grid.specs) == 12
    assert [s.seed for s in grid.specs[:4]] == [0, 0, 0, 0]
    assert {(s.estimator.name, s.noise.label) for s in grid.specs[:4]} == {
        (e, n) for e in ("grpo", "krpo") for n in ("none", "flip(rate=0.2)")
    }
    assert {s.steps for s in grid.specs} == {5}


def test_set_changes_runs_and_the_grid(tmp_path):
    grid = grid_from(
        tmp_path, GRID, "steps=2", "seeds=[7]", "axes.noise=[none]", "evaluation.limit=10", "evaluation.tasks=[sums]"
    )
    assert [(s.steps, s.seed, s.noise) for s in grid.specs] == [(2, 7, Named("none"))] * 2
    assert grid.evaluation.limit == 10


def test_a_cosmetic_change_changes_no_specification(tmp_path):
    other = """\
# a comment
question: why?
seeds:  [2, 0, 1]
axes: {noise: [{rate: 2.0e-1, name: flip}, 'none'], estimator: [krpo, {name: grpo}]}
base: {steps: 5}
"""
    first, second = grid_from(tmp_path, GRID), grid_from(tmp_path, other)
    assert {repr(s.to_plain()) for s in first.specs} == {repr(s.to_plain()) for s in second.specs}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("seeds: [0, 1, 2]", "seeds: []"), ["line 6", "seeds", "empty"]),
        (("seeds: [0, 1, 2]", "seeds: [0, 1, 0]"), ["line 6", "stands twice", "seeds[0]", "seeds[2]"]),
        (("[grpo, krpo]", "[grpo, krpo, {name: grpo}]"), ["line 4", "stands twice", "estimator[0]", "estimator[2]"]),
        (("[grpo, krpo]", "[]"), ["line 4", "axes.estimator", "at least one"]),
        (("steps: 5", "stpes: 5"), ["line 2", "base.stpes", "steps"]),
        (("  noise:", "  nosie:"), ["line 5", "axes.nosie", "noise"]),
        (("steps: 5", "steps: five"), ["line 2", "steps", "whole number"]),
        (("steps: 5", "group_size: 1"), ["line 2", "group_size", "at least 2"]),
        (("base:\n  steps: 5", "base:\n  seed: 5"), ["line 2", "seeds"]),
        (("axes:", "axis:"), ["line 3", "axis", "axes"]),
        (("{name: flip, rate: 0.2}", "{nam: flip}"), ["line 5", "noise", "needs a name"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path, change, parts):
    assert change[0] in GRID
    with pytest.raises(BadInput) as error:
        grid_from(tmp_path, GRID.replace(*change))
    for part in ["study.yaml", *parts]:
        assert part in str(error.value)


def test_an_empty_file_says_what_is_missing(tmp_path):
    with pytest.raises(BadInput, match=r"study\.yaml: key 'base' is missing"):
        grid_from(tmp_path, "")


def test_the_shipped_grids_are_sound():
    folder = Path(__file__).resolve().parents[2] / "ablations"
    files = sorted(folder.glob("*.yaml"))
    assert files
    for file in files:
        grid = load_grid(file)
        assert grid.file.question
        assert grid.file.primary_endpoint
        labels = {s.estimator.label for s in grid.specs}
        assert {grid.file.report.baseline, grid.file.report.treatment} <= labels
