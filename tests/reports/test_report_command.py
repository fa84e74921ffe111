"""The command: what it prints and refuses, what it selects, and what it writes over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from synthetic_runs import run_of, tear, unfinish, write_grid

import reports
from krpo.rundir import write_yaml
from reports import figures
from reports.cli import main
from reports.report import render_report


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that render often and look at no figure."""
    monkeypatch.setattr(figures, "NAMES", ("final_accuracy",))
    monkeypatch.setattr(figures, "DIAGNOSTICS", ())


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("page") / "grid", steps=10, seeds=range(4), effects={"krpo": 0.05})


def test_nothing_is_done_twice_and_every_change_is_seen(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    assert render_report(grid).changed
    assert not render_report(grid).changed
    page = grid / "report" / "index.html"
    whole = page.read_bytes()
    page.write_bytes(whole[:100])  # a damaged page is made again
    assert render_report(grid).changed
    assert page.read_bytes() == whole
    run = run_of(grid, "krpo", "none", 1)
    tear(run.metrics_file)
    assert render_report(grid).changed
    unfinish(run, failed="out of memory")
    assert render_report(grid).changed
    assert "out of memory" in page.read_text()
    (grid / "base" / "tiny" / "eval" / "sums.json").unlink()
    assert render_report(grid).changed


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda root: None, "no such directory"),
        (lambda root: write_grid(root.parent / "roots", steps=1, seeds=[0]), "no such directory; did you mean roots?"),
        (lambda root: root.write_text(""), "is a file; name a grid's directory"),
        (lambda root: root.mkdir(), "no grid directory"),
        (lambda root: (root.mkdir(), write_yaml(root / "grid.yaml", {"name": "x"})), "no run has started yet"),
        (lambda root: write_grid(root / "inner", steps=1, seeds=[0]), "holds the grids inner"),
        (lambda root: write_grid(root, steps=1, seeds=[0], grid={"format": 99}), "written in format 99"),
        (lambda root: (root.mkdir(), (root / "grid.yaml").write_text("a: [")), "not valid YAML"),
        (
            lambda root: run_of(write_grid(root.parent / "g", steps=1, seeds=[0]), "krpo", "none", 0).path.rename(root),
            "is one run; name the directory of its grid",
        ),
    ],
)
def test_bad_input_is_one_message_and_exit_2(make, told: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "root"
    make(root)
    assert main([str(root)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert told in captured.err
    assert captured.err.count("\n") == 1


def test_output_that_cannot_be_written(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    for option in ("--output", "--export"):
        assert main([str(grid), option, str(tmp_path / "file" / "below")]) == 2
        assert "cannot be written" in capsys.readouterr().err


def test_the_command_prints_the_path_and_says_when_nothing_changed(
    one_figure: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    for told in ("", "nothing changed since this report was made\n"):
        assert main([str(grid)]) == 0
        captured = capsys.readouterr()
        assert captured.out == f"{grid / 'report' / 'index.html'}\n"
        assert captured.err == told


def test_the_command_says_what_was_left_out_or_mended(
    one_figure: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = write_grid(tmp_path / "grid", steps=4, seeds=range(3), noises=["none"])
    tear(run_of(grid, "grpo", "none", 0).metrics_file)  # two notes: a torn line, and a step too few
    unfinish(run_of(grid, "krpo", "none", 1), failed="loss is NaN, at step 2")
    for again in ("", "nothing changed since this report was made\n"):
        assert main([str(grid)]) == 0
        table = grid / "report" / "tables" / "exclusions.md"
        assert capsys.readouterr().err == f"{again}left out: 1, mended: 2; {table} says what\n"
    assert "1 torn line of 4 dropped" in table.read_text()


def test_a_selection_says_so(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1, 2])
    page = reports.render(grid, select=["noise=flip(rate=0.2)", "seed=0", "seed=1"], since="1969-01-01")
    text = page.read_text()
    assert "Only a selection of the runs is shown: noise = flip(rate=0.2); seed = 0 or 1" in text
    assert "4 of 4 done, 2 seeds" in text
    assert render_report(grid).changed  # another question, another report


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--select", "estimater=krpo"], "did you mean estimator"),
        (["--select", "estimator=kpro"], "did you mean krpo"),
        (["--select", "seed=0,1"], "for several, repeat --select seed=..."),
        (["--select", "krpo"], "expected key=value"),
        (["--since", "yesterday"], "expected a date"),
        (["--since", "2999-01-01"], "no run fits"),
    ],
)
def test_a_wrong_selection(options: list[str], told: str, grid: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(grid), *options]) == 2
    assert told in capsys.readouterr().err


def test_what_others_wrote_is_not_overwritten(one_figure: None, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    for name in ("index.html", "tables/exclusions.csv", "tables/accuracy.csv"):
        out = tmp_path / name.replace("/", "-")
        (out / name).parent.mkdir(parents=True)
        (out / name).write_text("a,b\n1,2\n")
        wanted = 0 if name == "tables/exclusions.csv" else 2  # nothing was left out: that file is not ours to write
        assert main([str(grid), "--output", str(out)]) == wanted
        told = capsys.readouterr().err
        assert told == ("" if wanted == 0 else f"error: {out / name}: exists and was not written by krpo-report; "
                        "choose another place with --output\n")  # fmt: skip
        assert (out / name).read_text() == "a,b\n1,2\n"


def test_a_report_whose_state_is_gone_is_still_ours(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    page = reports.render(grid)
    (page.parent / ".state.json").unlink()
    assert render_report(grid).changed


def test_a_selection_takes_numbers_in_any_form(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    assert "4 of 4 done" in reports.render(grid, select=["learning_rate=1e-4", "clip=.20"]).read_text()


def test_what_a_killed_report_left_is_removed(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    folder = grid / "report"
    left, other, fresh = (folder / name for name in (".index.html.abc.tmp", ".mine.tmp", ".index.html.def.tmp"))
    folder.mkdir()
    for file in (left, other, fresh):
        file.write_text("torn")
    os.utime(left, (1, 1))
    reports.render(grid)
    assert [file.exists() for file in (left, other, fresh)] == [False, True, True]  # fresh: perhaps still at work
