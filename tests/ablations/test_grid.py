"""Grid files: what they expand to, and what a mistake in one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

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


ZIP = "zip:\n  - {group_size: [2, 4], prompts_per_step: [8, 4]}\n"
INCLUDE = "include:\n  - {estimator: rloo, noise: [none, {name: gaussian, sigma: 0.3}]}\n"
EXCLUDE = "exclude:\n  - {estimator: krpo, noise: {name: flip, rate: 0.2}}\n"


@pytest.mark.parametrize("text", [GRID, GRID + ZIP, GRID + INCLUDE + EXCLUDE, GRID + ZIP + EXCLUDE])
def test_a_stored_grid_is_a_grid_file(tmp_path, text):
    grid = grid_from(tmp_path, text, "steps=7", "held_out_every=2")
    again = grid_from(tmp_path, yaml.safe_dump(grid.to_plain(), sort_keys=False))
    assert (again.specs, again.to_plain()) == (grid.specs, grid.to_plain())


def test_zip_moves_settings_together(tmp_path):
    text = GRID.replace("seeds:", "zip:\n  - {group_size: [2, 4], prompts_per_step: [8, 4]}\nseeds:")
    grid = grid_from(tmp_path, text)
    assert len(grid.specs) == 2 * 2 * 2 * 3
    assert {(s.group_size, s.prompts_per_step) for s in grid.specs} == {(2, 8), (4, 4)}


def test_include_adds_runs_and_exclude_takes_them_out(tmp_path):
    more = "include:\n  - {estimator: rloo, noise: [none, {name: gaussian, sigma: 0.3}]}\n"
    less = "exclude:\n  - {estimator: krpo, noise: {name: flip, rate: 0.2}}\n"
    grid = grid_from(tmp_path, GRID + more + less)
    arms = [(s.estimator.name, s.noise.label) for s in grid.specs if s.seed == 1]
    assert arms == [
        ("grpo", "none"),
        ("grpo", "flip(rate=0.2)"),
        ("krpo", "none"),
        ("rloo", "none"),
        ("rloo", "gaussian(sigma=0.3)"),
    ]
    assert all(s.steps == 5 for s in grid.specs)  # an included run has the base's settings


def test_includes_alone_make_a_grid(tmp_path):
    grid = grid_from(tmp_path, "base: {steps: 5}\nseeds: [0]\ninclude:\n  - {estimator: grpo}\n  - {estimator: krpo}\n")
    assert [s.estimator.name for s in grid.specs] == ["grpo", "krpo"]


@pytest.mark.parametrize(
    ("added", "parts"),
    [
        ("include:\n  - {estimator: grpo}\n", ["line 8", "stands twice", "axes.estimator[0]", "include[0]"]),
        ("include:\n  - {estimator: rloo}\nexclude:\n  - {estimator: rloo}\n",
         ["line 10", "'exclude.0' leaves out what 'include.0' adds", "rloo"]),
        ("exclude:\n  - {estimator: rloo}\n", ["line 8", "matches no run"]),
        ("exclude:\n  - {estimator: [grpo, krpo]}\n", ["leaves no run"]),
        ("include:\n  - {estimater: rloo}\n", ["line 8", "include.0.estimater", "estimator"]),
        ("zip:\n  - {group_size: [2, 4], prompts_per_step: [8]}\n",
         ["line 8", "equally long", "group_size 2", "prompts_per_step 1"]),
        ("zip:\n  - {noise: [none], group_size: [4]}\n", ["line 8", "'noise' is set twice", "axes.noise", "zip.0"]),
        ("zip:\n  - {steps: [2]}\n", ["line 8", "'steps' is set twice", "base.steps"]),
        ("effect: -1\n", ["line 7", "effect", "above 0"]),
    ],
)  # fmt: skip
def test_a_contradiction_is_named_with_its_place(tmp_path, added, parts):
    with pytest.raises(BadInput) as error:
        grid_from(tmp_path, GRID + added)
    for part in ["study.yaml", *parts]:
        assert part in str(error.value)


def test_a_grid_extends_another_key_by_key(tmp_path):
    (tmp_path / "parent.yaml").write_text(GRID + "question: why?\neffect: 0.1\nname: theirs\n")
    child = "extends: parent.yaml\nbase: {steps: 7, group_size: 4}\naxes: {noise: ~, kl_weight: [0, 0.1]}\nseeds: [5]\n"
    grid = grid_from(tmp_path, child)
    assert (grid.name, grid.file.question, grid.file.effect) == ("study", "why?", 0.1)
    assert [(s.estimator.name, s.kl_weight, s.steps, s.group_size, s.noise.name, s.seed) for s in grid.specs] == [
        (e, k, 7, 4, "none", 5) for e in ("grpo", "krpo") for k in (0.0, 0.1)
    ]


def test_a_mistake_is_placed_in_the_file_where_it_stands(tmp_path):
    (tmp_path / "parent.yaml").write_text(GRID.replace("steps: 5", "stpes: 5"))
    with pytest.raises(BadInput, match=r"parent\.yaml, line 2: unknown key 'base\.stpes'"):
        grid_from(tmp_path, "extends: parent.yaml\nseeds: [1]\n")
    with pytest.raises(
        BadInput, match=r"study\.yaml, line 1: extends .*parnet\.yaml: no such file; did you mean parent"
    ):
        grid_from(tmp_path, "extends: parnet.yaml\n")


def test_a_circle_of_files_is_told(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: study.yaml\n")
    with pytest.raises(BadInput, match=r"a\.yaml, line 1: .* circle: study\.yaml -> a\.yaml -> study\.yaml"):
        grid_from(tmp_path, "extends: a.yaml\n")


def test_set_fixes_an_axis_and_the_task_moves_its_evaluation(tmp_path):
    grid = grid_from(tmp_path, GRID, "estimator=rloo", "task=arithmetic", "policy=some/folder")
    assert {s.estimator.name for s in grid.specs} == {"rloo"}
    assert {(s.task.name, s.policy) for s in grid.specs} == {("arithmetic", "some/folder")}
    assert grid.evaluation.tasks == ("arithmetic",)
    kept = grid_from(tmp_path, GRID, "evaluation.tasks=[sums]", "task=arithmetic")
    assert kept.evaluation.tasks == ("sums",)
    with pytest.raises(BadInput, match="'noise' is an axis"):
        grid_from(tmp_path, GRID, "noise.rate=0.3")
    with pytest.raises(BadInput, match=r"--set steps=five: 'base\.steps' must be a whole number"):
        grid_from(tmp_path, GRID, "steps=five")


def test_one_noise_can_be_the_endpoint(tmp_path):
    alone = "report: {baseline: grpo, condition: {name: flip, rate: 0.2}}\n"
    noise = {"name": "flip", "rate": 0.2}
    assert grid_from(tmp_path, GRID + alone).to_plain()["report"] == {
        "baseline": "grpo", "treatment": "krpo", "condition": noise,
    }  # fmt: skip
    assert grid_from(tmp_path, GRID).to_plain()["report"] == {"baseline": "grpo", "treatment": "krpo"}


@pytest.mark.parametrize(
    ("arms", "section", "compared"),
    [
        ("[grpo, rloo]", "", ("grpo", "rloo")),
        ("[rloo, dr_grpo, krpo]", "", ("rloo", "krpo")),
        ("[rloo, grpo]", "report: {treatment: rloo}\n", ("grpo", "rloo")),
        ("[rloo]", "report: {treatment: krpo}\n", ("rloo", None)),
        ("[{name: krpo, process_variance: 1e-4}, rloo]", "report: {baseline: rloo}\n",
         ("rloo", "krpo(process_variance=0.0001)")),
    ],
)  # fmt: skip
def test_what_is_compared_is_what_the_grid_runs(tmp_path, arms, section, compared):
    grid = grid_from(tmp_path, GRID.replace("[grpo, krpo]", arms) + section)
    assert (grid.file.report.baseline, grid.file.report.treatment) == compared
    again = grid_from(tmp_path, yaml.safe_dump(grid.to_plain()))
    assert again.file.report == grid.file.report


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{treatment: kpro}", "report.treatment is 'kpro', which this grid does not run; did you mean krpo"),
        ("{baseline: rloo}", "report.baseline is 'rloo', which this grid does not run"),
        ("{treatment: grpo}", "report.treatment is 'grpo', which is the baseline too"),
        ("{condition: flip(rate=0.3)}", "report.condition is 'flip(rate=0.3)', which this grid does not run"),
        ("{condition: {name: flip, rate: 0.3}}", "report.condition is 'flip(rate=0.3)', which this grid does not run"),
        ("{condition: gaussian}", "report.condition is 'gaussian', which this grid does not run"),
    ],
)
def test_a_comparison_of_what_the_grid_does_not_run(tmp_path, section, said):
    with pytest.raises(BadInput) as error:
        grid_from(tmp_path, GRID + f"report: {section}\n")
    assert f"study.yaml, line 7: {said}" in str(error.value)


@pytest.mark.parametrize("condition", ["clean", "none", "flip 0.2", "flip(rate=0.2)", "flip 0.2, group size 8"])
def test_a_condition_by_the_name_that_a_report_gives_it(tmp_path, condition):
    grid = grid_from(tmp_path, GRID + f"report: {{condition: '{condition}'}}\n")
    assert grid.file.report.condition == condition
