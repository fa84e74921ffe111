"""Which runs a report is about: those that the grid file asks for, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic_runs import edit_json, edit_spec, run_of, write_grid

from krpo.errors import BadInput
from krpo.rundir import write_yaml
from reports.caveats import caveats
from reports.compare import (
    endpoint,
    final_scores,
    paired_differences,
)
from reports.tables import export, read_study


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path / "grid", steps=12, effects={"krpo": 0.03})


def noted(grid: Path) -> str:
    return "\n".join(note.what for note in read_study([grid]).notes)


def test_a_grid_that_is_no_product_of_its_axes(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "g", steps=2)  # two estimators, two noises, five seeds
    file = grid / "grid.yaml"
    plan = yaml.safe_load(file.read_text())
    sizes = {"group_size": [12, 6], "prompts_per_step": [8, 16]}
    file.write_text(yaml.safe_dump(plan | {"zip": [sizes], "exclude": [{"estimator": "krpo", "group_size": 6}]}))
    study = read_study([grid])
    assert (len(study.runs), study.planned) == (20, 2 * 2 * 2 * 5 - 2 * 5)
    file.write_text(yaml.safe_dump(plan | {"include": [{"estimator": "rloo", "noise": "none"}]}))
    study = read_study([grid])
    assert (len(study.runs), study.planned) == (20, 25)
    file.write_text(yaml.safe_dump(plan | {"zip": [sizes | {"group_size": [4, 6]}]}))
    with pytest.raises(BadInput, match="holds no run of its grid file"):
        read_study([grid])


def test_runs_of_an_earlier_grid_file_are_left_out(grid: Path) -> None:
    plan = read_study([grid]).plan
    write_yaml(grid / "grid.yaml", {**plan, "seeds": [0, 1, 2]})
    study = read_study([grid])
    assert len(study.runs) == 12
    assert sum(note.excludes for note in study.notes) == 8


def test_equal_settings_in_other_words_are_the_same_run(grid: Path) -> None:
    plan = dict(read_study([grid]).plan)
    axes = {"estimator": [{"name": "grpo"}, "krpo"], "noise": ["none", {"name": "flip", "rate": 0.2}]}
    write_yaml(grid / "grid.yaml", {**plan, "axes": axes, "base": {**plan["base"], "temperature": 1, "clip": 0.2}})
    assert len(read_study([grid]).runs) == 20


def test_the_same_run_made_again_counts_once(grid: Path) -> None:
    old = run_of(grid, "grpo", "none", 0)
    new = old.path.with_name("f" * 16)  # other base weights or a newer code format: another key, the same specification
    new.mkdir()
    for file in old.path.iterdir():
        if file.is_file():
            (new / file.name).write_text(file.read_text())
    edit_json(new / "manifest.json", wall__started=2.0)
    study = read_study([grid])
    assert len(study.runs) == 20
    assert new.name in set(study.runs.run)
    assert f"stands for the same run as {new.name}" in noted(grid)


def test_merged_grids(tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", steps=2)
    b = write_grid(tmp_path / "b", estimators=["grpo", "rloo"], noises=["none"], steps=2)
    study = read_study([a, b])
    assert len(study.runs) == 25  # the five runs of grpo on clean rewards are in both
    assert study.estimators == ["grpo", "krpo", "rloo"]


def test_runs_that_two_grids_ask_for_are_planned_once(tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", noises=["none"], seeds=range(4), steps=2)
    b = write_grid(tmp_path / "b", noises=["none"], seeds=range(2, 6), steps=2)
    study = read_study([a, b])
    assert (len(study.runs), study.planned) == (12, 12)
    assert {note.what.split(" of ", 1)[1] for note in study.notes} == {"a"}  # as old as those: the first stay
    assert not any("newer" in note.what for note in study.notes)
    twice = read_study([a, tmp_path / "b" / ".." / "a"])
    assert (len(twice.runs), twice.planned, twice.notes) == (8, 8, ())


def test_settings_tuned_for_each_arm_make_no_condition(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "g", noises=["none"], seeds=range(3), steps=2)
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    pairs = {"estimator": ["grpo", "krpo"], "learning_rate": [1e-3, 1e-4]}
    write_yaml(grid / "grid.yaml", plan | {"axes": {"noise": ["none"]}, "zip": [pairs]})
    for seed in range(3):
        edit_spec(run_of(grid, "grpo", "none", seed), learning_rate=1e-3)
    study = read_study([grid])
    assert (len(study.runs), study.conditions) == (6, ["clean"])
    assert study.arm_settings == {"learning_rate": {"grpo": 1e-3, "krpo": 1e-4}}
    assert len(paired_differences(final_scores(study, "sums", "accuracy"), "grpo").query("level == 'all'")) == 3
    told = "learning rate is 0.001 for GRPO, 0.0001 for KRPO. A difference may come from that."
    assert told in " ".join(caveats(study, endpoint(study)))


def test_of_values_that_are_zipped_only_the_pairs_are_asked_for(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "g", noises=["none"], steps=2, base={"group_size": 4, "prompts_per_step": 8})
    write_grid(tmp_path / "g", noises=["none"], steps=2, base={"group_size": 8, "prompts_per_step": 8})
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    pairs = {"group_size": [4, 8], "prompts_per_step": [8, 4]}
    base = {key: value for key, value in plan["base"].items() if key not in pairs}
    write_yaml(grid / "grid.yaml", plan | {"base": base, "zip": [pairs]})
    study = read_study([grid])
    assert {spec["group_size"] for spec in study.specs.values()} == {4}  # 8 and 8 is no pair
    assert (len(study.runs), study.planned) == (10, 20)
    assert sum(note.what == "is not part of the grid file as it stands now" for note in study.notes) == 10


def test_no_run_of_the_grid_file_says_why(grid: Path) -> None:
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    write_yaml(grid / "grid.yaml", plan | {"base": {**plan["base"], "steps": 13}})
    with pytest.raises(BadInput, match=r"of 20 runs there none is part of grid\.yaml as it stands now"):
        read_study([grid])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"report": {"baselin": "grpo"}}, "unknown key 'report.baselin'; did you mean baseline?"),
        ({"effect": "big"}, "effect is 'big'; it must be a number above 0"),
        ({"effect": -1}, "effect is '-1'; it must be a number above 0"),
    ],
)
def test_a_grid_file_that_is_not_understood(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        endpoint(read_study([write_grid(tmp_path / "g", steps=2, grid=changes)]))


def test_a_grid_file_that_cannot_be_understood_is_said(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "g", steps=2)
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    write_yaml(grid / "grid.yaml", plan | {"base": {**plan["base"], "novel": 1}})
    assert "cannot be understood as a whole, so runs are not checked against it: grid.yaml: " in noted(grid)


def test_runs_without_a_grid_file_are_said_to_have_none(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "g", steps=2)
    export(grid, tmp_path / "small")
    for root in (grid, tmp_path / "small"):
        (root / "grid.yaml").unlink()
        assert "what was planned and what was to be compared is not known" in noted(root)
