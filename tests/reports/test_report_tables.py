"""Run directories -> frames, also when something went wrong in them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import edit_json, edit_spec, run_of, tear, unfinish, write_grid

from krpo.errors import BadInput
from krpo.rundir import RunDir
from reports.caveats import caveats
from reports.compare import (
    comparisons,
    endpoint,
    final_scores,
    not_scored,
    nothing_paired,
    paired_differences,
    pooled,
)
from reports.results import learning_table
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


def test_a_planned_condition_without_runs_can_be_the_endpoint(tmp_path: Path) -> None:
    noises = ["none", {"name": "flip", "rate": 0.2}]
    section = {"axes": {"estimator": ["grpo", "krpo"], "noise": noises}, "report": {"condition": noises[1]}}
    study = read_study([write_grid(tmp_path / "g", noises=["none"], steps=2, grid=section)])
    end = endpoint(study)
    assert end is not None
    assert end.conditions == ("flip 0.2",)
    assert nothing_paired(study, end) == (
        "there is no finished run of KRPO or GRPO with a score to compare under flip 0.2"
    )


def test_a_noise_as_the_endpoint_is_all_conditions_with_it(tmp_path: Path) -> None:
    noises = ["none", {"name": "flip", "rate": 0.2}]
    a = write_grid(tmp_path / "a", noises=noises, steps=2, grid={"report": {"condition": noises[1]}})
    b = write_grid(tmp_path / "b", noises=noises, steps=2, base={"group_size": 4})
    end = endpoint(read_study([a, b]))
    assert end is not None
    assert end.conditions == ("flip 0.2, group size 4", "flip 0.2, group size 12")


def test_a_finished_run_without_a_score_is_left_out_and_said(grid: Path) -> None:
    missing, torn, other = (run_of(grid, "krpo", "none", seed) for seed in (0, 1, 2))
    (missing.eval / "sums.json").unlink()
    (torn.eval / "sums.json").write_text("{")
    edit_json(other.eval / "sums.json", task="gsm8k")
    study = read_study([grid])
    told = not_scored(study, endpoint(study))
    assert {note.where for note in told} == {missing.key, torn.key, other.key}
    assert all(note.excludes for note in told)
    assert {note.what for note in told} == {"is done but has no score on sums (accuracy) to compare"}


def test_a_setting_that_a_specification_lacks_has_its_default(grid: Path) -> None:
    edit_spec(run_of(grid, "krpo", "none", 0), dtype=None, lora_rank=None)
    study = read_study([grid])
    assert study.conditions == ["clean", "flip 0.2"]
    assert study.notes == ()


def test_a_setting_of_another_version_is_not_set_elsewhere(grid: Path) -> None:
    for arm in ("grpo", "krpo"):
        edit_spec(run_of(grid, arm, "none", 0), made=datetime.date(2026, 1, 1))
    study = read_study([grid])
    assert study.conditions == ["clean, made 2026-01-01", "clean, made not set", "flip 0.2, made not set"]
    assert "made is a setting of another version, not set in 18 of 20 runs" in noted(grid)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steps": "many"}, "its spec.yaml cannot be used: steps is many"),
        ({"seed": "abc"}, "its spec.yaml cannot be used: seed is abc"),
        ({"learning_rate": {"a": 1}}, "its spec.yaml cannot be used: learning_rate is {'a': 1}"),
        ({"seed": 10**400}, "its spec.yaml cannot be used: seed is 1000"),
    ],
)
def test_a_specification_that_cannot_be_used(grid: Path, changes: dict[str, Any], told: str) -> None:
    edit_spec(run_of(grid, "krpo", "none", 0), **changes)
    assert len(read_study([grid]).runs) == 19
    assert told in noted(grid)


def test_a_word_of_another_version_is_kept_as_text(grid: Path) -> None:
    for file in grid.glob("*/spec.yaml"):
        edit_spec(RunDir(file.parent), loss_type="cispo")
    assert read_study([grid]).conditions == ["clean", "flip 0.2"]
    assert "loss_type in spec.yaml is no value of this version; it is kept as text" in noted(grid)


def test_arms_without_a_common_condition(tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", estimators=["grpo"], noises=["none"], steps=2)
    b = write_grid(tmp_path / "b", estimators=["krpo"], noises=[{"name": "flip", "rate": 0.2}], steps=2)
    study = read_study([a, b])
    end = endpoint(study)
    assert end is not None
    assert nothing_paired(study, end) == ("KRPO and GRPO have no condition in common (KRPO: flip 0.2; GRPO: clean)")


def rewrite(run: RunDir, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change every row of a run's metrics; a row for which ``change`` returns False is left out."""
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    run.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows if change(row) is not False))


def test_rows_of_no_step_of_the_run_are_not_used(grid: Path) -> None:
    run = run_of(grid, "krpo", "none", 0)
    with run.metrics_file.open("a") as stream:
        for step in (13, 1e30, 3.5, -1, None):
            stream.write(json.dumps({"step": step, "accuracy": 1.0}) + "\n")
    study = read_study([grid])
    assert study.steps.step.max() == 12
    assert "metrics.jsonl: 5 of 17 rows are of no step from 0 to 12; not used" in noted(grid)


def test_a_column_with_a_name_of_the_reports_own_is_not_used(grid: Path) -> None:
    rewrite(run_of(grid, "krpo", "none", 0), lambda row: row.update(run=1, seed=2, more=10**400))
    study = read_study([grid])
    assert not {"run", "seed"} & set(study.steps.columns[5:])
    assert "metrics.jsonl has a column run and seed, a name of the report's own: not used" in noted(grid)
    assert study.steps.more.isna().all()


def test_a_second_summary_of_a_task_is_not_used(grid: Path) -> None:
    run = run_of(grid, "krpo", "none", 0)
    (run.eval / "sums2.json").write_text((run.eval / "sums.json").read_text())
    assert not read_study([grid]).scores.duplicated(["run", "task", "metric", "level"]).any()
    assert "sums2.json is another summary of sums and was not used" in noted(grid)


def test_numbers_that_are_none_in_a_summary_are_said(grid: Path) -> None:
    run = run_of(grid, "krpo", "none", 0)
    edit_json(run.eval / "sums.json", scores__accuracy__stderr="x", counts__answers="x", n_questions=300, by_level="x")
    study = read_study([grid])
    row = study.scores[(study.scores.run == run.key) & (study.scores.metric == "accuracy")]
    assert row.stderr.isna().all()
    assert row.level.tolist() == ["all"]
    told = noted(grid)
    assert "sums: stderr of accuracy is not a number and was not used" in told
    assert "sums: answers is not a number and was not used" in told
    assert "sums: by_level is not a mapping and was not used" in told


def test_a_run_without_a_loss_has_not_collapsed(grid: Path) -> None:
    rewrite(run_of(grid, "krpo", "none", 0), lambda row: row.pop("loss") and None)
    table = learning_table(read_study([grid])).frame.set_index(["condition", "estimator"])
    assert table.collapsed.tolist() == [0, 0, 0, 0]
    assert "loss is missing or not a number at 12 of 12 steps" in noted(grid)


def test_a_reward_that_is_no_share_is_not_judged_as_one(grid: Path) -> None:
    for file in grid.glob("*/metrics.jsonl"):
        rewrite(RunDir(file.parent), lambda row: row.update(reward=-7.0 + row["step"] / 12) or row.pop("accuracy"))
    table = learning_table(read_study([grid]))
    assert table.head == ["condition", "estimator", "runs", "failed", "mean reward", "best \N{MINUS SIGN} final"]
    assert table.frame.area.tolist() == pytest.approx([-7 + 6.5 / 12] * 4)
    assert "a reward need not be a share" in table.note


def test_the_step_of_reaching_a_level_is_a_step_and_no_row(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "g", noises=["none"], seeds=[0], steps=40)
    for file in grid.glob("*/metrics.jsonl"):  # every second step from 2 on; half right from step 20 on
        rewrite(RunDir(file.parent), lambda row: row.update(accuracy=float(row["step"] >= 20)) or row["step"] % 2 == 0)
    table = learning_table(read_study([grid])).frame
    assert table.steps.tolist() == [24, 24]  # rows 10 to 12 are right, of the five up to row 12


def test_two_conditions_never_share_a_name(tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", steps=2, base={"learning_rate": 0.00012345678})
    b = write_grid(tmp_path / "b", steps=2, base={"learning_rate": 0.00012345679})
    conditions = read_study([a, b]).conditions
    assert conditions[:2] == ["none, learning rate 0.00012345678", "none, learning rate 0.00012345679"]
    assert len(conditions) == 4


def test_a_setting_that_differs_by_chance_makes_conditions(tmp_path: Path) -> None:
    sizes = {"axes": {"estimator": ["grpo", "krpo"], "group_size": [4, 8]}}
    grid = write_grid(tmp_path / "g", noises=["none"], steps=2, grid=sizes)  # so far GRPO at 4 and KRPO at 8
    for arm, size in (("grpo", 4), ("krpo", 8)):
        for seed in range(5):
            edit_spec(run_of(grid, arm, "none", seed), group_size=size)
    study = read_study([grid])
    assert (study.conditions, study.arm_settings) == (["group size 4", "group size 8"], {})
    a = write_grid(tmp_path / "a", estimators=["grpo"], noises=["none"], steps=2)
    b = write_grid(tmp_path / "b", estimators=["krpo"], noises=["none"], steps=2, base={"learning_rate": 1e-3})
    assert read_study([a, b]).conditions == ["learning rate 0.0001", "learning rate 0.001"]


def test_a_first_task_without_scores_is_said(tmp_path: Path) -> None:
    study = read_study([write_grid(tmp_path / "g", steps=2, grid={"evaluation": {"tasks": ["gsm8k", "sums"]}})])
    end = endpoint(study)
    assert end is not None
    assert end.task == "sums"
    assert caveats(study, end)[0].startswith(
        "No run has a score on gsm8k, the first task of the grid file's evaluation."
    )


def test_a_score_on_another_task_than_the_primary_takes_no_run_away(grid: Path) -> None:
    for file in grid.glob("*/eval/sums.json"):
        other = json.loads(file.read_text()) | {"task": "words"}
        (file.parent / "words.json").write_text(json.dumps(other))
    edit_json(run_of(grid, "krpo", "none", 0).eval / "words.json", settings__temperature=0.0)
    study = read_study([grid])
    assert any(note.excludes for note in study.notes)
    assert not_scored(study, endpoint(study)) == []
    assert "could not be compared" not in " ".join(caveats(study, endpoint(study)))
