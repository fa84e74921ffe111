"""Tables as LaTeX: what is written compiles, fits the page, and says the same as the numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from reports.formats import A_PAGE, Column, Table, number, tex, to_latex

LATEX = shutil.which("pdflatex")
DOCUMENT = r"\documentclass{article}\usepackage{booktabs,graphicx,longtable}\begin{document}%s\end{document}"


def table(rows: int, *, levels: bool = False, words: str = "x") -> Table:
    frame = pd.DataFrame({"arm": [f"{words}{i}" for i in range(rows)], "value": range(rows)})
    columns = [Column("arm", "arm", str, number=False), Column("value", "a_b \N{NOT EQUAL TO} 5%", number)]
    if levels:
        frame["level"] = ["all", "hard"] * (rows // 2)
        columns.append(Column("level", "level", str, number=False))
    return Table("name", "Title & more", frame, columns, "n = 3.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("a$\\bad{$b", r"a\$\textbackslash{}bad\{\$b"),
        ("a \N{NOT EQUAL TO} b", r"a $\neq$ b"),
        ("\N{MINUS SIGN}1 \N{EN DASH} 2", "$-$1 -- 2"),
        ("ab" * 20, "ab" * 8 + r"\allowbreak{}" + "ab" * 12),
    ],
)
def test_signs_that_mean_something_to_latex(text: str, shown: str) -> None:
    assert tex(text) == shown


def test_a_short_table_is_a_float_no_wider_than_the_text() -> None:
    text = to_latex(table(3))
    assert text.count(r"\begin{table}") == text.count(r"\resizebox") == 1
    assert r"\begin{tabular}{lr}" in text
    assert text.splitlines()[8:11] == [r"arm & a\_b $\neq$ 5\% \\", r"\midrule", r"x0 & 0.00 \\"]


def test_a_long_table_goes_over_pages_and_repeats_its_head() -> None:
    text = to_latex(table(A_PAGE + 1))
    assert r"\begin{longtable}{lr}" in text
    assert text.count(r"arm & a\_b") == 2
    assert sum(line.startswith("x") for line in text.splitlines()) == A_PAGE + 1


@pytest.mark.parametrize(("letters", "size"), [(20, "footnotesize"), (80, "scriptsize"), (95, "tiny"), (300, "tiny")])
def test_a_long_table_has_letters_that_fit_the_line(letters: int, size: str) -> None:
    columns = [Column("arm", "arm", number=True), Column("value", "v", number)]
    frame = pd.DataFrame({"arm": ["x" * letters] * (A_PAGE + 1), "value": 1.0})
    assert to_latex(Table("name", "Title", frame, columns)).startswith(rf"{{\{size}\setlength")


def test_of_a_long_table_by_level_only_all_questions_are_for_a_paper() -> None:
    text = to_latex(table(2 * A_PAGE, levels=True))
    assert "Level: all questions; the CSV has every level." in text
    assert sum(line.startswith("x") for line in text.splitlines()) == A_PAGE
    assert "hard" not in text
    assert "hard" in to_latex(table(4, levels=True))


def test_long_words_are_broken_into_lines() -> None:
    assert r"\begin{tabular}{p{0.6\linewidth}r}" in to_latex(table(2, words="many words " * 5))


@pytest.mark.skipif(LATEX is None, reason="no LaTeX on this machine")
@pytest.mark.parametrize("rows", [3, A_PAGE + 30])
def test_latex_takes_it(rows: int, tmp_path: Path) -> None:
    shown = table(rows, words="a$\\bad{$b #1 ~ ^ <x> | \N{MULTIPLICATION SIGN} ")
    (tmp_path / "all.tex").write_text(DOCUMENT % to_latex(shown), encoding="utf-8")
    command = [str(LATEX), "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
