"""More arms than colours: curves of a few that the caption names, and a named row for each arm elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_runs import write_grid

from reports import figures
from reports.build import draw
from reports.compare import endpoint
from reports.figures import few, style
from reports.names import estimator_name
from reports.tables import Study, read_study

ARMS = ("grpo", "rloo", "dr_grpo", "grpo_batch_std", "krpo_uniform", "krpo_loo", "krpo_batch", "krpo", "krpo_robust")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("many") / "grid"
    return read_study([write_grid(root, estimators=ARMS, noises=["none"], seeds=range(3), steps=6)])


def test_the_compared_pair_and_the_first_of_the_grid_have_curves(study: Study) -> None:
    end = endpoint(study)
    table = few.marked(figures.load("learning_curves").table(study, end), end)
    assert set(table.estimator) == set(ARMS)
    assert set(few.drawn(table).estimator) == {"grpo", "krpo", "rloo", "dr_grpo", "grpo_batch_std"}
    assert "Drawn: 5 of 9 arms" in figures.load("learning_curves").caption(table)
    assert end is not None
    other = few.marked(table.drop(columns="drawn"), replace(end, treatment="krpo_robust"))
    assert set(few.drawn(other).estimator) == {"grpo", "krpo_robust", "rloo", "dr_grpo", "grpo_batch_std"}


def test_as_many_arms_as_there_are_looks_are_all_drawn(study: Study) -> None:
    table = figures.load("learning_curves").table(study, endpoint(study))
    seven = table[table.estimator.isin(ARMS[: style.MOST])]
    assert few.marked(seven, endpoint(study)) is seven
    assert few.told(seven) == ""
    assert len(set(style.looks(ARMS[: style.MOST]).values())) == style.MOST


@pytest.mark.parametrize("name", ["paired_difference", "final_accuracy", "difficulty", "stability", "improvement"])
def test_every_arm_has_a_row_with_its_name(name: str, study: Study) -> None:
    module = figures.load(name)
    table = module.table(study, endpoint(study))
    with style.look():
        figure = module.draw(table, 2)
        figure.draw_without_rendering()
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    arms = list(dict.fromkeys(table.estimator))
    assert shown == [estimator_name(arm) for arm in arms]
    assert len(shown) == len(ARMS) - (name in ("paired_difference", "improvement"))
    assert not figure.legends
    left = min(label.get_window_extent().x0 for label in figure.axes[0].get_yticklabels())
    assert left > 0.03 * figure.dpi


def test_names_stay_inside_at_the_resolution_of_the_png(study: Study, tmp_path: Path) -> None:
    import matplotlib.image

    table = figures.load("improvement").table(study, endpoint(study))
    (tmp_path / "figure.png").write_bytes(draw("improvement", table, 2)[0]["png"])
    pixels = matplotlib.image.imread(tmp_path / "figure.png")
    assert (pixels[:, :4, :3] == 1).all()
