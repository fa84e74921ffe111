"""Figures: a pure function of the table saved beside them, byte for byte, readable without colour."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_runs import write_grid

from reports import figures
from reports.build import draw, drawing, read_table
from reports.compare import POOLED, endpoint
from reports.figures import curves, font, style
from reports.results import aggregate_table
from reports.tables import Study, read_study

NEED_AXES = ("axis_sweep", "heat_map")  # grids of another shape: they have tests of their own below
ALL = tuple(name for name in (*figures.NAMES, *figures.DIAGNOSTICS) if name not in NEED_AXES)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("figures") / "grid"
    noises = ["none", {"name": "flip", "rate": 0.2}, {"name": "flip", "rate": 0.4}]
    return read_study([write_grid(root, steps=8, seeds=range(8), noises=noises, samples=4)])


@pytest.mark.parametrize("name", ALL)
def test_the_same_table_gives_the_same_bytes(name: str, study: Study) -> None:
    table = figures.load(name).table(study, endpoint(study))
    text = table.to_csv(index=False)
    first, (width, height) = draw(name, read_table(text), 2)
    again = read_table(text).to_csv(index=False)
    assert draw(name, read_table(again), 2)[0] == first
    assert first["pdf"].startswith(b"%PDF")
    assert first["png"].startswith(b"\x89PNG")
    assert width == round(96 * 6.9)
    assert height < 96 * 9  # fits a page


@pytest.mark.parametrize("name", ALL)
def test_captions_and_alternative_texts(name: str, study: Study) -> None:
    module = figures.load(name)
    table = module.table(study, endpoint(study))
    caption = module.caption(table)
    assert "seed" in caption
    if name not in ("noise_floor", "spread_over_steps"):  # these show single runs and no interval
        assert "8 seeds" in caption
        wilson = name in ("performance_profile", "improvement")
        assert ("95% Wilson" if wilson else "95% Student t") in caption
    assert "KRPO" in module.alt(table)
    assert any(character.isdigit() for character in module.alt(table))


def test_the_noise_floor_holds_every_pair_of_the_baselines_seeds_both_ways(study: Study) -> None:
    table = figures.load("noise_floor").table(study, endpoint(study))
    floor = table[(table.kind == "A/A") & (table.condition == "clean")].difference
    assert len(floor) == 8 * 7
    assert floor.sum() == pytest.approx(0)
    scores = study.scores.query("metric == 'accuracy' and level == 'all' and noise == 'none' and estimator == 'grpo'")
    assert floor.max() == pytest.approx(scores.value.max() - scores.value.min())


def test_the_spread_is_the_standard_deviation_over_seeds(study: Study) -> None:
    table = figures.load("spread_over_steps").table(study, endpoint(study))
    at = study.steps.query("estimator == 'krpo' and noise == 'none' and step == 4").accuracy
    row = table.query("estimator == 'krpo' and condition == 'clean' and step == 4").iloc[0]
    assert row.value == pytest.approx(at.std())
    assert row.seeds == 8


@pytest.mark.parametrize("name", ALL)
def test_one_seed_and_one_arm_can_be_drawn(name: str, tmp_path: Path) -> None:
    small = read_study([write_grid(tmp_path / "g", steps=3, seeds=[0], estimators=["grpo", "krpo"], noises=["none"])])
    table = figures.load(name).table(small, endpoint(small))
    needs_more = ("spread_over_steps", "noise_floor", "noise_sweep", "pass_at_k", "performance_profile", "aggregates")
    assert table.empty == (name in needs_more)  # one seed has no spread, one condition is no sweep
    assert table.empty or draw(name, read_table(table.to_csv(index=False)), 1)


@pytest.mark.parametrize("name", figures.NAMES + figures.DIAGNOSTICS)
def test_no_caption_promises_an_interval_over_one_seed(name: str, tmp_path: Path) -> None:
    noises = ["none", {"name": "flip", "rate": 0.2}, {"name": "flip", "rate": 0.4}]
    filters = [
        {"name": "krpo", "process_variance": q, "measurement_variance": r} for q in (1e-4, 1e-3) for r in (0.1, 0.2)
    ]
    report = {"baseline": "grpo", "treatment": "krpo"}
    arms = ["grpo", "krpo", *filters] if name == "heat_map" else ["grpo", "krpo"]
    root = write_grid(
        tmp_path / "g", steps=6, seeds=[0], estimators=arms, noises=noises, samples=4, grid={"report": report}
    )
    study = read_study([root])
    table = figures.load(name).table(study, endpoint(study))
    caption = "" if table.empty else figures.load(name).caption(table)
    for promise in ("Student", "by itself", "not corrected", "bins of 1", "1 seeds", "Top row"):
        assert promise not in caption
    assert table.empty == (
        name in ("axis_sweep", "aggregates", "performance_profile", "noise_floor", "spread_over_steps")
    )


def test_the_return_is_the_sum_over_the_answers_of_a_step(study: Study) -> None:
    table = figures.load("krpo_return").table(study, endpoint(study))
    at = study.steps.query("estimator == 'krpo' and noise == 'none' and seed == 3 and step == 4").iloc[0]
    row = table.query("estimator == 'krpo' and condition == 'clean' and seed == 3 and step == 4").iloc[0]
    spec = study.specs[at.run]
    assert row.answers == spec["prompts_per_step"] * spec["group_size"] == 96
    assert row.value == pytest.approx(96 * at.reward_shaped)


def test_the_held_out_curve_keeps_every_point(study: Study) -> None:
    table = figures.load("held_out_curves").table(study, endpoint(study))
    one = table.query("estimator == 'grpo' and condition == 'clean' and seed == 0").sort_values("step")
    assert one.step.tolist() == [2, 4, 6, 8]
    assert np.diff(one.value) == pytest.approx(np.full(3, (one.value.iloc[0] - 0.29)))


def test_accuracy_stands_at_the_tokens_generated_so_far(study: Study) -> None:
    table = figures.load("accuracy_by_tokens").table(study, endpoint(study))
    assert table.x.to_numpy() == pytest.approx(table.step.to_numpy() * 96 * 20 / 1000)


def test_how_often_an_arm_is_better_by_hand() -> None:
    module = figures.load("improvement")
    pairs = pd.DataFrame({"condition": "clean", "estimator": "krpo", "against": "grpo", "seed": range(4)})
    pairs = pairs.assign(treatment=[0.6, 0.7, 0.5, 0.4], baseline=[0.5, 0.5, 0.5, 0.5])
    row = module.shares(pairs).iloc[0]
    assert (row["all"], row.n) == (pytest.approx((2 + 0.5) / 4), 3)  # one of four is a tie
    known = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert (row.paired, row.low, row.high) == pytest.approx((2 / 3, known.low, known.high))


def test_aggregates_are_those_of_the_table_and_of_scipy(study: Study) -> None:
    end = endpoint(study)
    module = figures.load("aggregates")
    found = module.found(module.table(study, end)).set_index(["condition", "estimator", "panel"])
    scores = study.scores.query("metric == 'accuracy' and level != 'all' and noise == 'none' and estimator == 'krpo'")
    one = found.loc[("clean", "krpo")]
    assert one.value["mean"] == pytest.approx(scores.value.mean())
    assert one.value["iqm"] == pytest.approx(stats.trim_mean(scores.value, 0.25))
    assert one.value["gap"] == pytest.approx(1 - scores.value.mean())
    of_run = scores.groupby("run").value.mean()
    half = stats.t.ppf(0.975, 7) * of_run.std() / 8**0.5
    assert one.high["mean"] - one.value["mean"] == pytest.approx(half)
    assert one.value["gap"] - one.low["gap"] == pytest.approx(half)
    row = aggregate_table(study, end).frame.query("condition == 'clean' and estimator == 'krpo'").iloc[0]
    assert (row.iqm, row.low, row.high, row.gap) == (*one.loc["iqm"], pytest.approx(one.value["gap"]))


def test_aggregates_need_five_runs_scored_on_every_level(study: Study) -> None:
    from dataclasses import replace

    module, end, scores = figures.load("aggregates"), endpoint(study), study.scores
    lost = scores[~((scores.estimator == "krpo") & (scores.seed < 3) & (scores.level == "hard"))]
    kept = module.table(replace(study, scores=lost), end).query("estimator == 'krpo'")
    assert sorted(set(kept.seed)) == [3, 4, 5, 6, 7]
    assert module.table(replace(study, scores=lost[lost.seed > 0]), end).estimator.nunique() == 2
    assert module.table(replace(study, scores=lost[(lost.seed != 4) | (lost.estimator != "krpo")]), end).empty


def axis(root: Path, key: str, values: list[float]) -> Study:
    """A grid with one run setting as its axis, made of one grid for each value."""
    grids = [write_grid(root / f"{v}", noises=["none"], steps=3, base={key: v}, pair_spread=0.0,
                        effects={"krpo": 0.01 * i}) for i, v in enumerate(values)]  # fmt: skip
    return read_study(grids)


def test_the_sweep_along_a_setting_finds_the_known_effects(tmp_path: Path) -> None:
    study = axis(tmp_path, "group_size", [4, 2, 16])
    assert study.conditions == ["group size 2", "group size 4", "group size 16"]
    table = figures.load("axis_sweep").table(study, endpoint(study))
    assert table.groupby("x").difference.mean().to_dict() == pytest.approx({4.0: 0.0, 2.0: 0.01, 16.0: 0.02})
    assert draw("axis_sweep", read_table(table.to_csv(index=False)), 1)
    assert "95% Student t" in figures.load("axis_sweep").caption(table)
    assert "group size" in figures.load("axis_sweep").alt(table)


def test_the_heat_map_puts_the_published_filter_at_its_variances(tmp_path: Path) -> None:
    from krpo.advantages.kalman import Model

    module = figures.load("heat_map")
    assert module.DEFAULTS.items() <= vars(Model()).items()
    other = {"name": "krpo", "process_variance": 0.1, "measurement_variance": 0.25}
    label = "krpo(measurement_variance=0.25, process_variance=0.1)"
    grid = write_grid(tmp_path / "g", estimators=["krpo", other, "grpo"], noises=["none"], steps=3, pair_spread=0.0,
                      effects={"krpo": 0.02, label: -0.03})  # fmt: skip
    study = read_study([grid])
    arm = next(arm for arm in study.estimators if "0.25" in arm)
    table = module.table(study, endpoint(study))
    found = table.groupby(["process_variance", "measurement_variance"]).difference.mean()
    expected = {(1e-5, 1e-2): 0.02, (0.1, 0.25): -0.03 if arm == label else 0.0}
    assert found.to_dict() == pytest.approx(expected)
    assert draw("heat_map", read_table(table.to_csv(index=False)), 2)
    assert "95% Student t" in module.caption(table)


def test_a_difference_drawn_by_hand(study: Study) -> None:
    table = figures.load("paired_difference").table(study, endpoint(study))
    scores = study.scores.query("metric == 'accuracy' and level == 'hard' and noise == 'none' and seed == 1")
    value = scores.set_index("estimator").value
    row = table.query("level == 'hard' and condition == 'clean' and seed == 1").iloc[0]
    assert row.difference == pytest.approx(value["krpo"] - value["grpo"])


def test_the_sweep_puts_clean_rewards_at_strength_zero(study: Study) -> None:
    table = figures.load("noise_sweep").table(study, endpoint(study))
    assert table.groupby("strength").condition.unique().map(list).to_dict() == {
        0.0: ["clean"], 0.2: ["flip 0.2"], 0.4: ["flip 0.4"],
    }  # fmt: skip
    paired = figures.load("paired_difference").table(study, endpoint(study)).query("level == 'all'")
    assert sorted(table.difference) == pytest.approx(sorted(paired[paired.condition != POOLED].difference))


def test_pass_at_k_reads_the_scores_over_samples(study: Study) -> None:
    table = figures.load("pass_at_k").table(study, endpoint(study))
    one = table.query("estimator == 'grpo' and condition == 'clean' and seed == 0").set_index("k").value
    assert one.index.tolist() == [1, 2, 3, 4]
    assert one[4] == pytest.approx(1 - (1 - one[1]) ** 4)
    assert table[table.k == 1].base.unique() == pytest.approx([0.29])


def test_curves_are_averaged_over_bins_and_say_so(tmp_path: Path) -> None:
    study = read_study([write_grid(tmp_path / "g", steps=100, seeds=[0], noises=["none"])])
    table = curves.curve_table(study, ["accuracy"])
    arm = table[table.estimator == "grpo"]
    assert set(table.bin) == {3}  # 100 steps in about 40 bins
    raw = study.steps[study.steps.estimator == "grpo"].accuracy.to_numpy()
    assert arm.value.to_numpy()[:2] == pytest.approx([raw[:3].mean(), raw[3:6].mean()])
    assert arm.step.to_numpy()[[0, -1]] == pytest.approx([2.0, 100.0])
    assert "bins of 3 steps" in curves.curve_caption(table)


def test_arms_differ_without_colour() -> None:
    looks = style.looks(["grpo", "krpo", "rloo", "krpo_unit_rms", "dr_grpo", "mine", "mine(scale=2)"])
    assert len({(str(dashes), marker) for _, dashes, marker in looks.values()}) == 7
    assert style.looks(["krpo"])["krpo"] == looks["krpo"]


def test_nothing_of_the_users_matplotlib_settings_leaks_in(study: Study) -> None:
    import matplotlib as mpl

    table = figures.load("advantage_rms").table(study, endpoint(study))
    text = table.to_csv(index=False)
    first = draw("advantage_rms", read_table(text), 1)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        assert draw("advantage_rms", read_table(text), 1) == first


def test_both_widths_of_each_figure_are_saved(study: Study) -> None:
    table = figures.load("final_accuracy").table(study, endpoint(study))
    with drawing({"final_accuracy": lambda: table, "learning_curves": lambda: table.iloc[:0]}) as drawn:
        files, pictures = drawn()
    ends = [".csv", ".pdf", ".svg", ".png", "-narrow.pdf", "-narrow.svg"]
    assert set(files) == {f"figures/final_accuracy{end}" for end in ends}
    assert pictures[0].narrow_size[0] == round(96 * 3.35)


def test_nothing_to_show_is_an_empty_table(study: Study) -> None:
    from dataclasses import replace

    bare = replace(study, steps=study.steps[["run", "condition", "estimator", "seed", "step"]])
    assert figures.load("advantage_rms").table(bare, None).empty
    assert figures.load("final_accuracy").table(bare, None).empty


def test_a_label_that_looks_like_a_missing_value_stays_a_label() -> None:
    text = "condition,estimator,level,value\nnone,nan,null,1.5\n"
    assert read_table(text).iloc[0].tolist() == ["none", "nan", "null", 1.5]
    assert np.isnan(read_table("condition,base\nclean,\n").base[0])


def test_a_png_is_sharp_enough_for_a_paper():
    """6.9 inches at 220 dots: the formats before it must not leave their own resolution behind."""
    import struct

    with style.look():
        figure, _ = style.panels(1, 1, 2, 1.5)
        saved = style.save(figure)
    width, _height = struct.unpack(">II", saved["png"][16:24])
    assert width == round(6.9 * 220)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_cutting_the_font_leaves_no_file_open() -> None:
    """A file that the collector closes is told as a warning in whatever runs then."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        font.families.__wrapped__()
        gc.collect()
    assert [str(warning.message) for warning in said if "DejaVu" in str(warning.message)] == []


def test_a_character_that_the_cut_font_lacks_comes_from_the_whole_one() -> None:
    """Drawn as before the font was cut: the same pixels, and no empty box for a letter of a user's own."""
    import matplotlib as mpl

    def drawn(families: list[str]) -> bytes:
        mpl.rcParams["font.family"] = families
        figure, axes = style.panels(1, 1, 2, 1.5)
        axes[0][0].set_title("AVATAWAYToYeLTPA \N{MINUS SIGN} \u0416\u03c3 of krpo")
        return style.save(figure, ["png"])["png"]

    with style.look():
        assert drawn(list(font.families())) == drawn([font.WHOLE])
        assert drawn([font.WHOLE]) != drawn([font.CUT])  # the Cyrillic letter is a box there


def test_the_words_of_a_pdf_can_be_searched_for():
    """A ligature would stand in a second font, as one glyph for two letters."""
    import re

    with style.look():
        figure, axes = style.panels(1, 1, 2, 1.5)
        axes[0][0].set_title("difference of final flips, efficient")
        pdf = style.save(figure, ["pdf"])["pdf"]
    assert len(set(re.findall(rb"/BaseFont /(\w+)\+DejaVuSans", pdf))) == 1


def test_long_names_leave_room_for_the_axes() -> None:
    import warnings

    from reports.figures import noise_floor

    kinds = ["A/A", "krpo", "krpo_unit_rms"]
    table = pd.DataFrame(
        {
            "kind": [kind for kind in kinds for _ in range(2)],
            "against": "grpo_scaled(factor=12)",
            "condition": "kl weight 0.1, max grad norm 1",
            "difference": [-0.02, 0.02, -0.01, 0.0, 0.01, 0.02],
        }
    )
    with style.look(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = noise_floor.draw(table, 1)
        style.save(figure, ["svg"])
    assert figure.axes[0].get_position().width > 0.5
