"""Arms and conditions with names as long as users give them: nothing is cut off, no panel vanishes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from synthetic_runs import write_grid

from reports import figures
from reports.compare import endpoint
from reports.figures import few, rows, style
from reports.names import estimator_name, symbols_told
from reports.tables import Study, read_study

MINE = {"name": "my_package.my_estimators:kalman_of_ours", "smoothing_length": 12, "process_variance": 0.001}
NOISE = {"name": "flip_asymmetric", "false_positive": 0.123, "false_negative": 0.234}


@pytest.fixture(scope="module", params=[3, 9], ids=["few arms", "many arms"])
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("long") / "grid"
    arms = ["grpo", "krpo", *({**MINE, "smoothing_length": 10 + i} for i in range(request.param - 2))]
    return read_study([write_grid(root, estimators=arms, noises=["none", NOISE], seeds=range(5), steps=6, samples=4)])


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("name", [*figures.NAMES, *figures.DIAGNOSTICS])
def test_long_names_fit(name: str, columns: style.Columns, study: Study) -> None:
    end = endpoint(study)
    module = figures.load(name)
    table = few.marked(module.table(study, end), end)
    if table.empty:
        pytest.skip("nothing to show")
    with warnings.catch_warnings(), style.look():
        warnings.simplefilter("error", UserWarning)  # a layout that fails only warns
        figure = module.draw(table, columns)
        figure.draw_without_rendering()
        width, height = figure.get_size_inches() * figure.dpi
        texts = [text for legend in figure.legends for text in legend.get_texts()]
        texts += [text for ax in figure.axes if ax.get_visible() for text in (ax.title, *ax.get_yticklabels())]
        for box in (text.get_window_extent() for text in texts if text.get_visible() and text.get_text()):
            assert box.x0 >= 0
            assert box.x1 <= width
            assert box.y1 <= height + 1
        for ax in figure.axes:
            if ax.get_visible():
                assert ax.get_window_extent().width > 0.15 * width / (1 if columns == 1 else 4)


def test_names_beside_rows_are_wrapped_and_rows_grow() -> None:
    texts = rows.beside(["KRPO", "a name of more words than would fit beside the panels"], 1)
    assert texts[0] == "KRPO"
    assert texts[1].count("\n") == 2
    assert rows.height(texts) > rows.height(["KRPO"]) == pytest.approx(0.21)


def test_a_parameter_with_a_usual_symbol_is_shown_by_it() -> None:
    label = "krpo(measurement_variance=0.01, process_variance=0.1)"
    assert estimator_name(label) == "KRPO (R=0.01, Q=0.1)"
    assert symbols_told(["grpo", label]) == " Q: process variance, R: measurement variance."
    assert estimator_name("mine(my_process_variance=2)") == "mine (my_process_variance=2)"
    assert symbols_told(["grpo", "krpo"]) == ""


def test_figures_and_tables_say_what_a_symbol_is(tmp_path: Path) -> None:
    from reports.build import build_files
    from reports.selection import Selection

    arms = ["grpo", "krpo", {"name": "krpo", "process_variance": 0.1}]
    files = build_files([write_grid(tmp_path / "g", estimators=arms, seeds=range(3), steps=6)], Selection())
    page = files["index.html"].decode()
    assert "KRPO (Q=0.1)" in page
    assert page.count("Q: process variance.") > 5
    assert b"Q: process variance." in files["tables/accuracy.md"]
