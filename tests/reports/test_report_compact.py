"""An exported study gives the same report as the runs it was made from, and the paper is made of exported studies."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal
from synthetic_runs import edit_json, run_of, tear, unfinish, write_grid

import reports
from krpo.errors import BadInput
from reports import figures
from reports.cli import main
from reports.compact import FILES
from reports.paper import PARTS, render_paper
from reports.tables import read_study

FRAMES = ("runs", "steps", "held_out", "scores", "evaluations", "questions", "base")


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "NAMES", ("paired_difference", "learning_curves"))
    monkeypatch.setattr(figures, "DIAGNOSTICS", ())


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A grid with every fault: torn, failed, unfinished, evaluated otherwise, unreadable, and with a new column."""
    grid = write_grid(tmp_path / "noise", steps=6, seeds=range(4), samples=2)
    tear(run_of(grid, "grpo", "none", 0).metrics_file)
    unfinish(run_of(grid, "krpo", "none", 1), failed="loss is NaN")
    unfinish(run_of(grid, "krpo", "none", 2))
    edit_json(run_of(grid, "krpo", "flip(rate=0.2)", 3).eval / "sums.json", settings__temperature=0.0)
    (run_of(grid, "grpo", "flip(rate=0.2)", 0).spec_file).write_text(": [")
    odd = run_of(grid, "grpo", "none", 3)
    rows = [json.loads(line) for line in odd.metrics_file.read_text().splitlines()]
    rows[2] |= {"from_the_future": 0.1 + 0.2, "reward": None}
    odd.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return grid


def test_an_exported_study_reads_as_the_runs_do(grid: Path, tmp_path: Path) -> None:
    first = read_study([grid])
    again = read_study([reports.export(grid, tmp_path / "data" / "noise")])
    for name in FRAMES:
        assert_frame_equal(getattr(again, name), getattr(first, name), check_exact=True)
    assert (again.names, again.plan, again.planned) == (first.names, first.plan, first.planned)
    assert again.specs == first.specs
    assert again.manifests == first.manifests
    assert sorted(map(str, again.notes)) == sorted(map(str, first.notes))
    assert len(first.notes) >= 5
    assert first.questions.query("question == 'q0'").right.max() == 2  # both samples


def test_the_report_of_an_exported_study_is_the_same_byte_for_byte(
    few_figures: None, grid: Path, tmp_path: Path
) -> None:
    page = reports.render(grid, tmp_path / "of runs").parent
    other = reports.render(reports.export(grid, tmp_path / "data" / "noise"), tmp_path / "of tables").parent
    files = [p.relative_to(page) for p in page.rglob("*") if p.is_file() and p.parent != page]
    assert len(files) > 20
    for file in files:
        assert (other / file).read_bytes() == (page / file).read_bytes(), file
    assert (other / "results.json").read_bytes() == (page / "results.json").read_bytes()


def test_an_export_repeats_byte_for_byte_and_replaces_itself(grid: Path, tmp_path: Path) -> None:
    folder = reports.export(grid, tmp_path / "a" / "noise")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(before) == set(FILES)
    reports.export(grid, folder)
    reports.export(folder, tmp_path / "b" / "noise")  # of an exported study: a copy
    for name, content in before.items():
        assert (folder / name).read_bytes() == content, name
        if name != "notes.csv":
            assert (tmp_path / "b" / "noise" / name).read_bytes() == content, name


def test_a_selection_works_on_an_exported_study(few_figures: None, grid: Path, tmp_path: Path) -> None:
    folder = reports.export(grid, tmp_path / "data")
    assert "2 of 2 done" in reports.render(folder, tmp_path / "out", select=["noise=none", "seed=0"]).read_text()


def double_last_line(file: Path) -> None:
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, lines[-1]]))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / "scores.csv").unlink(), "scores.csv: no such file"),
        (lambda folder: (folder / "steps.csv.gz").write_bytes(b"no"), "steps.csv.gz: damaged"),
        (lambda folder: (folder / "runs.jsonl").write_text("{"), "runs.jsonl: damaged"),
        (lambda folder: (folder / "study.json").write_text('{"format": 9}'), "written in format 9"),
        (lambda folder: (folder / "study.json").unlink(), "an exported study without its study.json"),
        (lambda folder: double_last_line(folder / "scores.csv"), "scores.csv: damaged or edited"),
    ],
)
def test_a_damaged_study_is_one_message(
    harm, told: str, grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = reports.export(grid, tmp_path / "data")
    harm(folder)
    assert main([str(folder)]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1


def test_nothing_else_is_overwritten(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="no exported study"):
        reports.export(grid, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_the_paper_shows_what_is_stored_and_says_what_is_missing(few_figures: None, grid: Path, tmp_path: Path) -> None:
    reports.export(grid, tmp_path / "data" / "noise")
    reports.export(grid, tmp_path / "data" / "my_own")
    text = render_paper(tmp_path / "paper", tmp_path / "data").page.read_text()
    for name in ("noise", "my_own"):
        assert f'href="{name}/index.html"' in text
        assert (tmp_path / "paper" / name / "index.html").is_file()
        assert (tmp_path / "paper" / name / "tables" / "differences.tex").is_file()
    assert text.count("<img ") == 3  # two of noise, one of the study that the paper does not know
    missing = text.split("Not stored")[1].split("</section>")[0]
    assert all((f"({part.name})" in missing) == (part.name != "noise") for part in PARTS)
    assert "krpo-ablate --grid ablations/paper.yaml" in missing
    page = tmp_path / "paper" / "index.html"
    before = page.stat().st_mtime_ns
    assert not render_paper(tmp_path / "paper", tmp_path / "data").changed
    assert page.stat().st_mtime_ns == before
    page.write_text("torn")
    assert render_paper(tmp_path / "paper", tmp_path / "data").changed
    assert page.read_text() == text


def test_the_paper_without_any_study(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no study is stored there"):
        render_paper(tmp_path / "paper", tmp_path / "nothing")


@pytest.mark.parametrize("arguments", [[], ["--paper", "x"], ["--export", "x"], ["--export", "x", "a", "b"]])
def test_options_that_exclude_each_other(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_studies_of_this_repository_are_readable_and_small() -> None:
    data = Path(reports.__file__).parent / "data"
    stored = [file.parent for file in data.glob("*/study.json")]
    assert stored
    for folder in stored:
        assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) < 2_500_000
        lines = gzip.decompress((folder / "steps.csv.gz").read_bytes()).count(b"\n")
        runs = json.loads((folder / "study.json").read_text())["runs"]
        assert lines > runs > 0
    assert not [name for folder in stored for name in folder.iterdir() if name.suffix == ".safetensors"]


def test_a_study_outlives_its_runs(few_figures: None, grid: Path, tmp_path: Path) -> None:
    """The folder stands by itself: it can be copied, and the runs can be gone."""
    folder = reports.export(grid, tmp_path / "data" / "noise")
    shutil.rmtree(grid)
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert read_study([moved]).runs.grid.unique().tolist() == ["noise"]


def test_a_date_and_a_torn_base_summary_are_told_the_same(few_figures: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=4, seeds=range(2))
    for file in grid.glob("*/spec.yaml"):
        file.write_text(file.read_text() + "made: 2026-01-01\n")
    for file in grid.glob("*/manifest.json"):
        file.write_text(file.read_text().replace("812.0", "NaN"))
    tear(grid / "base" / "tiny" / "eval" / "sums.json")
    tear(run_of(grid, "grpo", "none", 0).metrics_file)
    page = reports.render(grid)
    again = reports.render(reports.export(grid, tmp_path / "data" / "grid"))
    for name in ("exclusions.md", "environment.md", "configuration.md"):
        assert (again.parent / "tables" / name).read_bytes() == (page.parent / "tables" / name).read_bytes()
    assert "made | 2026-01-01" in (page.parent / "tables" / "configuration.md").read_text()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", [1, 4, 10])
def test_an_export_that_was_killed_is_made_again(
    before: bool, at: int, grid: Path, tmp_path: Path, few_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed: nothing cleans up. The same export again succeeds, and the paper is never made of what was left."""
    folder = tmp_path / "data" / "two"
    reports.export(grid, tmp_path / "whole")
    if before:
        reports.export(grid, folder)
    kept, calls = os.replace, iter(range(1, 1000))

    def killed(*paths: str | Path) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt
        kept(*paths)

    with monkeypatch.context() as patch:
        patch.setattr("reports.compact.os.replace", killed)
        patch.setattr("reports.compact.os.rename", killed)
        patch.setattr("reports.compact.shutil.rmtree", lambda *_, **__: None)
        with contextlib.suppress(KeyboardInterrupt):
            reports.export(grid, folder)
    old = time.time() - 3600
    for left in folder.parent.glob(".two.*.tmp"):
        os.utime(left, (old, old))
    if before or at == 1:
        assert list(folder.parent.glob(".two.*.tmp"))
    reports.export(grid, folder)
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == ["two"]


def test_the_paper_takes_no_folder_that_an_export_left(grid: Path, tmp_path: Path, few_figures: None) -> None:
    folder = reports.export(grid, tmp_path / "data" / "two")
    shutil.copytree(folder, folder.parent / ".two.abc.tmp")
    out = render_paper(tmp_path / "out", folder.parent).page.parent
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["two"]
    with pytest.raises(BadInput, match="holds the report of a grid"):
        render_paper(tmp_path / "out" / "two", folder.parent)
