"""Run directories -> frames, also when something went wrong in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_runs import edit_json, run_of, tear, unfinish, write_grid

from krpo.errors import BadInput
from krpo.rundir import write_yaml
from reports.compare import comparisons, endpoint, final_scores, paired_differences, pooled
from reports.tables import read_study


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path / "grid", steps=12, effects={"krpo": 0.03})


def noted(grid: Path) -> str:
    return "\n".join(note.what for note in read_study([grid]).notes)


def test_frames(grid: Path) -> None:
    study = read_study([grid])
    assert len(study.runs) == study.planned == 20
    assert study.conditions == ["clean", "flip 0.2"]
    assert study.estimators == ["grpo", "krpo"]
    assert len(study.steps) == 20 * 12
    assert {"accuracy", "accuracy/hard", "wall/step_seconds"} <= set(study.steps)
    assert set(study.scores.level) == {"all", "easy", "normal", "hard"}
    assert study.base.set_index(["metric", "level"]).value["accuracy", "hard"] == pytest.approx(0.15)
    assert study.notes == ()


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


def test_paired_differences_find_the_true_effect(tmp_path: Path) -> None:
    # no deviation of a run's own: each per-seed difference is the effect itself
    study = read_study([write_grid(tmp_path / "g", steps=2, effects={"krpo": 0.03}, pair_spread=0.0)])
    pairs = paired_differences(final_scores(study, "sums", "accuracy"), "grpo")
    assert pairs.difference.to_numpy() == pytest.approx(np.full(len(pairs), 0.03))
    assert len(pairs) == 2 * 5 * 4  # conditions x seeds x levels


def test_comparisons_by_hand() -> None:
    pairs = pd.DataFrame(
        {"estimator": "krpo", "condition": "clean", "level": "all", "seed": [0, 1, 2], "difference": [0.01, 0.02, 0.03]}
    )
    row = comparisons(pairs).iloc[0]
    assert (row.n, row["mean"], row.sd) == pytest.approx((3, 0.02, 0.01))
    assert (row.low, row.high) == pytest.approx((0.02 - 0.024841377, 0.02 + 0.024841377), abs=1e-8)
    assert row.p_sign_flip == row.least_p == 0.25
    assert row.effect_size == pytest.approx(2.0)


def test_pooled_takes_only_seeds_with_every_condition() -> None:
    pairs = pd.DataFrame(
        {"estimator": "krpo", "level": "all", "condition": ["a", "b", "a"], "seed": [0, 0, 1],
         "treatment": 1.0, "baseline": 0.0, "difference": [0.1, 0.3, 0.5]}
    )  # fmt: skip
    assert pooled(pairs, 2)[["seed", "difference"]].values.tolist() == [[0, pytest.approx(0.2)]]


def test_a_torn_last_line_is_dropped_and_counted(grid: Path) -> None:
    run = run_of(grid, "krpo", "none", 3)
    tear(run.metrics_file)
    study = read_study([grid])
    assert (study.steps.run == run.key).sum() == 11
    assert [note.what for note in study.notes if note.where == run.key] == [
        "metrics.jsonl: 1 torn line of 12 dropped",
        "has metrics of 11 steps of 12",
    ]


def test_failed_and_running_runs_are_counted_and_kept_out(grid: Path) -> None:
    unfinish(run_of(grid, "krpo", "none", 0), failed="loss is NaN")
    unfinish(run_of(grid, "grpo", "none", 1))
    study = read_study([grid])
    assert study.runs.status.value_counts().to_dict() == {"done": 18, "failed": 1, "running": 1}
    assert study.runs.set_index("status").reason["failed"] == "loss is NaN"
    assert study.scores.run.nunique() == 18
    pairs = paired_differences(final_scores(study, "sums", "accuracy"), "grpo")
    assert set(pairs[pairs.condition == "clean"].seed) == {2, 3, 4}


def test_nan_null_unknown_and_missing_columns(grid: Path) -> None:
    run = run_of(grid, "grpo", "none", 0)
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    rows[3]["reward"] = None
    rows[4] |= {"loss": float("nan"), "from_the_future": {"nested": [1]}, "a_new_number": 3}
    del rows[5]["advantage_rms"]
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = read_study([grid])
    assert "reward is missing or not a number at 1 of 12 steps" in noted(grid)
    assert "loss is missing or not a number at 1 of 12 steps" in noted(grid)
    assert study.steps.a_new_number.count() == 1
    assert "from_the_future" not in study.steps
    assert study.steps[study.steps.run == run.key].advantage_rms.isna().sum() == 1


def test_a_step_written_twice_counts_once(grid: Path) -> None:
    run = run_of(grid, "grpo", "none", 0)
    with run.metrics_file.open("a") as stream:
        stream.write(json.dumps({"step": 12, "accuracy": 0.123}) + "\n")
    study = read_study([grid])
    of_run = study.steps[study.steps.run == run.key]
    assert len(of_run) == 12
    assert of_run.accuracy.iloc[-1] == 0.123
    assert "1 steps twice" in noted(grid)


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


def test_scores_of_other_settings_are_not_compared(grid: Path) -> None:
    run = run_of(grid, "krpo", "none", 0)
    edit_json(run.eval / "sums.json", settings__temperature=0.0)
    study = read_study([grid])
    assert run.key not in set(study.scores.run)
    assert "was evaluated on sums with other settings" in noted(grid)


def test_a_score_that_is_no_number_is_left_out(grid: Path) -> None:
    run = run_of(grid, "krpo", "none", 0)
    edit_json(run.eval / "sums.json", scores__accuracy__value=None)
    assert "accuracy on level all is not a number" in noted(grid)


def test_a_broken_spec_manifest_or_summary_does_not_stop_the_rest(grid: Path) -> None:
    first, second, third = (run_of(grid, "krpo", "none", seed) for seed in (0, 1, 2))
    first.spec_file.write_text("{")
    second.manifest_file.write_text("{")
    (third.eval / "sums.json").write_text("{")
    study = read_study([grid])
    assert len(study.runs) == 19
    assert study.scores.run.nunique() == 18


def test_merged_grids(tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", steps=2)
    b = write_grid(tmp_path / "b", estimators=["grpo", "rloo"], noises=["none"], steps=2)
    study = read_study([a, b])
    assert len(study.runs) == 25  # the five runs of grpo on clean rewards are in both
    assert study.estimators == ["grpo", "krpo", "rloo"]


def test_a_field_that_varies_makes_a_condition(tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", noises=["none"], steps=2)
    b = write_grid(tmp_path / "b", noises=["none"], steps=2, base={"group_size": 4})
    assert read_study([a, b]).conditions == ["group size 4", "group size 12"]


def test_the_declared_endpoint(grid: Path) -> None:
    end = endpoint(read_study([grid]))
    assert end is not None
    assert (end.task, end.metric, end.baseline, end.treatment) == ("sums", "accuracy", "grpo", "krpo")
    assert end.conditions == ("clean", "flip 0.2")


@pytest.mark.parametrize(
    ("section", "told"),
    [({"treatment": "kpro"}, "report.treatment is 'kpro'.*did you mean krpo"), ({"condition": "flop 0.2"}, "flip 0.2")],
)
def test_a_misspelt_endpoint(tmp_path: Path, section: dict, told: str) -> None:
    grid = write_grid(tmp_path / "g", steps=2, grid={"report": section})
    with pytest.raises(BadInput, match=told):
        endpoint(read_study([grid]))
