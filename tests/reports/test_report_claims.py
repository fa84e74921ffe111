"""No sentence that the data do not carry: runs that began or were scored otherwise, bare conditions, failures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from synthetic_runs import LEVELS, edit_json, run_of, unfinish, write_grid

from krpo.rundir import write_yaml
from reports import figures
from reports.build import build_files
from reports.caveats import caveats
from reports.compare import base_scores, endpoint, paired_seeds
from reports.figures import curves, improvement
from reports.limits import not_tested
from reports.results import flip_table, learning_table
from reports.selection import Selection
from reports.tables import Study, export, read_study


def small(root: Path, **changes: object) -> Path:
    return write_grid(root, **{"steps": 4, "seeds": range(6), "noises": ["none"]} | changes)  # type: ignore[arg-type]


def told(study: Study) -> str:
    return " ".join(caveats(study, endpoint(study)))


def noted(study: Study) -> list[tuple[str, str]]:
    return [(note.where, note.what) for note in study.notes]


def test_a_score_that_is_left_out_is_left_out_question_by_question(tmp_path: Path) -> None:
    grid = small(tmp_path / "g")
    other = run_of(grid, "grpo", "none", 2).eval
    edit_json(other / "sums.json", settings__temperature=0.0, samples=4)
    study = read_study([grid])
    table = flip_table(study, endpoint(study)).frame  # type: ignore[arg-type]
    assert table.pairs.tolist() == [5]
    assert set(study.questions[study.questions.estimator == "grpo"].seed) == {0, 1, 3, 4, 5}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"settings__temperature": 0.0}, "sums was scored with other settings or questions than the runs; not used"),
        ({"n_questions": 50}, "sums was scored with other settings or questions than the runs; not used"),
        ({"weights": "cd" * 32}, "sums was scored with other weights than the runs; not used"),
    ],
)
def test_an_untrained_policy_that_was_scored_otherwise_is_no_reference(
    change: dict[str, object], why: str, tmp_path: Path
) -> None:
    grid = small(tmp_path / "g")
    assert base_scores(read_study([grid]), "sums", "accuracy")["hard"] == LEVELS["hard"][0]
    edit_json(grid / "base" / "tiny" / "eval" / "sums.json", **change)
    for root in (grid, export(grid, tmp_path / "small")):
        study = read_study([root])
        assert base_scores(study, "sums", "accuracy") == {}
        assert ("base/tiny", why) in noted(study)


def test_of_two_scores_of_one_untrained_policy_none_is_used(tmp_path: Path) -> None:
    grids = [small(tmp_path / "a", seeds=[0]), small(tmp_path / "b", seeds=[1])]
    assert base_scores(read_study(grids), "sums", "accuracy")
    edit_json(grids[1] / "base" / "tiny" / "eval" / "sums.json", scores__accuracy__value=0.6)
    study = read_study(grids)
    assert base_scores(study, "sums", "accuracy") == {}
    assert ("base/tiny", "sums: the grids have different scores of it; none is used") in noted(study)


def test_arms_that_began_with_other_weights_are_named(tmp_path: Path) -> None:
    grid = small(tmp_path / "g")
    for seed in range(6):
        edit_json(run_of(grid, "krpo", "none", seed).manifest_file, base_weights="cd" * 32)
    assert (
        "The arms did not begin alike: the weights of tiny differ (GRPO abababababab, KRPO cdcdcdcdcdcd). A difference "
        "may come from that."
    ) in told(read_study([grid]))


def test_pairs_that_began_with_other_weights_are_counted(tmp_path: Path) -> None:
    grid = small(tmp_path / "g")
    for seed in (1, 4):
        edit_json(run_of(grid, "krpo", "none", seed).manifest_file, base_weights="cd" * 32)
    edit_json(run_of(grid, "grpo", "none", 4).manifest_file, base_weights="cd" * 32)
    assert "(2 hashes): see 'Environment'. 1 of 6 pairs of the comparison differ in that." in told(read_study([grid]))


def test_a_run_that_stands_for_one_with_other_weights_says_so(tmp_path: Path) -> None:
    grids = [small(tmp_path / name, seeds=[0]) for name in "ab"]
    edit_json(run_of(grids[1], "grpo", "none", 0).manifest_file, base_weights="cd" * 32)
    what = [what for _, what in noted(read_study(grids)) if what.startswith("stands for the same run")]
    assert [text.endswith("; the two began with different weights") for text in what] == [True, False]


@pytest.mark.parametrize("planned", ["none", "group_size"])
def test_a_planned_condition_without_a_run_is_part_of_the_finding(planned: str, tmp_path: Path) -> None:
    grid = small(tmp_path / "g", base={"group_size": 8})
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    if planned == "none":
        plan["axes"]["noise"] = ["none", {"name": "flip", "rate": 0.2}]
    else:
        del plan["base"]["group_size"]
        plan["axes"] = {"estimator": ["grpo", "krpo"], "group_size": [8, 16]}
    write_yaml(grid / "grid.yaml", plan)
    conditions, gap = {
        "none": (("clean", "flip 0.2"), "under flip 0.2"),
        "group_size": (("group size 8", "group size 16"), "at group size 16"),
    }[planned]
    study = read_study([grid])
    end = endpoint(study)
    assert end is not None
    assert end.conditions == conditions
    found = json.loads(build_files([grid], Selection())["results.json"])
    assert found["sentence"].endswith(f"No seed has a finished and evaluated run of both KRPO and GRPO {gap}.")


def test_what_the_plan_of_another_version_does_not_name_makes_no_condition(tmp_path: Path) -> None:
    grid = small(tmp_path / "g", base={"learning_rate": 3e-4})
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    del plan["base"]["learning_rate"]  # so that it is this version's default, which the runs do not have
    write_yaml(grid / "grid.yaml", plan)
    end = endpoint(read_study([grid]))
    assert end is not None
    assert end.conditions == ("clean",)


def test_failed_runs_are_counted_beside_collapse(tmp_path: Path) -> None:
    grid = small(tmp_path / "g", estimators=["grpo", "krpo", "rloo"])
    for seed in (0, 3):
        unfinish(run_of(grid, "krpo", "none", seed), failed="loss is NaN at step 3")
    for seed in range(6):
        unfinish(run_of(grid, "rloo", "none", seed), failed="loss is NaN at step 3")
    table = learning_table(read_study([grid]))
    assert dict(zip(table.frame.estimator, zip(table.frame.runs, table.frame.failed, strict=True), strict=True)) == {
        "grpo": (6, 0),
        "krpo": (4, 2),
        "rloo": (0, 6),
    }
    assert "Failed runs are counted, and are in no other column." in table.note


def test_the_scale_of_advantages_is_the_one_of_these_runs(tmp_path: Path) -> None:
    study = read_study([small(tmp_path / "g")])
    ratio = study.steps.groupby("estimator").advantage_rms.mean()
    said = next(text for text in not_tested(study, endpoint(study)) if text.startswith("Scale"))
    assert f"KRPO's advantages are {ratio.krpo / ratio.grpo:.2g} times as large as GRPO's here." in said
    alone = read_study([small(tmp_path / "alone", estimators=["krpo", "rloo"], grid={"report": {"baseline": "rloo"}})])
    said = next(text for text in not_tested(alone, endpoint(alone)) if text.startswith("Scale"))
    assert said.startswith("Scale: Without a scale control")


def test_too_few_pairs_are_said_whatever_the_number_of_seeds(tmp_path: Path) -> None:
    grid = small(tmp_path / "g", seeds=range(8))
    for seed in range(5):
        unfinish(run_of(grid, "krpo", "none", seed))
    study = read_study([grid])
    assert paired_seeds(study, endpoint(study)) == {"clean": 3}  # type: ignore[arg-type]
    assert not_tested(study, endpoint(study))[0].startswith("3 paired seeds: a sign-flip test cannot reject")


def test_holms_correction_over_the_declared_conditions_is_told(tmp_path: Path) -> None:
    noises = ["none", {"name": "flip", "rate": 0.2}]
    grid = small(tmp_path / "g", estimators=["grpo", "krpo", "rloo"], noises=noises, effects={"krpo": 0.05})
    page = build_files([grid], Selection())["index.html"].decode()
    assert page.count("Paired t test, Holm&#39;s correction over the 2 conditions: p ") == 2
    assert "in 2 conditions, jointly at 95% by Bonferroni&#39;s correction" in page


def test_a_curve_that_goes_on_with_fewer_seeds_says_so(tmp_path: Path) -> None:
    grid = small(tmp_path / "g", steps=8, seeds=range(3))
    module = figures.load("learning_curves")
    assert "Not every step" not in module.caption(module.table(read_study([grid]), None))
    file = run_of(grid, "krpo", "none", 1).metrics_file
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:5]))
    study = read_study([grid])
    caption = module.caption(module.table(study, endpoint(study)))
    assert "Not every step has all seeds: 2 at least, not all from about step 6." in caption


def test_a_noise_floor_without_another_arm_speaks_of_none(tmp_path: Path) -> None:
    study = read_study([small(tmp_path / "g", estimators=["grpo"])])
    module = figures.load("noise_floor")
    caption = module.caption(module.table(study, endpoint(study)))
    assert caption == "Top row: every difference between two runs of GRPO with different seeds. Bars: means."


def test_the_share_of_better_seeds_says_of_how_many(tmp_path: Path) -> None:
    study = read_study([small(tmp_path / "g")])
    table = improvement.table(study, endpoint(study))
    table.loc[table.seed < 2, "treatment"] = table.loc[table.seed < 2, "baseline"]
    assert "of 4 seeds that differ" in improvement.alt(table)


def test_scores_that_are_no_shares_are_said(tmp_path: Path) -> None:
    grid = small(tmp_path / "g")
    assert "hundredths" not in told(read_study([grid]))
    for file in grid.glob("*/eval/sums.json"):
        edit_json(file, scores__accuracy__value=250.0)
    assert "points and per cent are hundredths of their unit." in told(read_study([grid]))


def test_the_error_of_a_spread_is_that_of_its_seeds(tmp_path: Path) -> None:
    study = read_study([small(tmp_path / "g", seeds=range(9))])
    module = figures.load("spread_over_steps")
    caption = module.caption(module.table(study, endpoint(study)))
    assert "the standard error of a deviation from 9 seeds is about 25% of it" in caption
    sd_S = np.random.default_rng(0).standard_normal((20000, 9)).std(axis=1, ddof=1)
    assert sd_S.std() / sd_S.mean() == pytest.approx(0.25, abs=0.01)


def test_curves_of_unequal_arms_are_not_said_to_lack_seeds(tmp_path: Path) -> None:
    grid = small(tmp_path / "g", seeds=range(4))
    unfinish(run_of(grid, "krpo", "none", 0))
    study = read_study([grid])
    table = figures.load("learning_curves").table(study, endpoint(study))
    assert curves.seeds_phrase(table) == "3 to 4 seeds"
    assert "Not every step" not in curves.curve_caption(table)
