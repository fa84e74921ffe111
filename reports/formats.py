"""A table as CSV (full precision), Markdown, LaTeX (booktabs) and cells for the page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from reports.verdict import points

Format = Callable[..., str]
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """``key`` in the frame (or several, shown as one), ``title`` for readers, and how it is shown."""

    key: str | tuple[str, ...]
    title: str
    show: Format = str
    number: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.key,) if isinstance(self.key, str) else self.key


@dataclass(frozen=True)
class Table:
    """``frame`` holds the numbers as computed; ``columns`` say how they are shown; ``note`` says n, method and
    interval."""

    name: str
    title: str
    frame: pd.DataFrame
    columns: Sequence[Column]
    note: str = ""
    fold: bool = field(default=False)  # on the page: shown only on demand

    @property
    def head(self) -> list[str]:
        return [column.title for column in self.columns]

    @property
    def cells(self) -> list[list[str]]:
        shown = [list(map(column.show, *(self.frame[key] for key in column.keys))) for column in self.columns]
        return [list(row) for row in zip(*shown, strict=True)] if shown else []


def words(value: Any) -> str:
    return DASH if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _or_dash(show: Callable[[float], str]) -> Format:
    return lambda value: DASH if value is None or not math.isfinite(value) else show(float(value))


percent = _or_dash(lambda value: f"{100 * value:.1f}")
signed_points = _or_dash(lambda value: points(value, sign=True))
plain_points = _or_dash(points)
whole = _or_dash(lambda value: f"{value:,.0f}")
p_value = _or_dash(lambda value: "<0.001" if value < 0.001 else f"{value:.3f}")
number = _or_dash(lambda value: f"{value:#.3g}".rstrip(".").replace("-", "\N{MINUS SIGN}"))


def interval_of(show: Format) -> Format:
    """Two values as `61.7 to 70.3`; a dash where there is no interval."""
    return lambda low, high: f"{show(low)} to {show(high)}" if math.isfinite(low) and math.isfinite(high) else DASH


def to_csv(table: Table) -> str:
    text: str = table.frame.to_csv(index=False, lineterminator="\n")
    return text


def to_markdown(table: Table) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    rule = ["---:" if column.number else "---" for column in table.columns]
    note = f"\n{table.note}\n" if table.note else ""
    return "\n".join([f"**{table.title}**", "", row(table.head), row(rule), *map(row, table.cells)]) + "\n" + note


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--", "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{NOT EQUAL TO}": r"$\neq$",
}  # fmt: skip
_TEX_PATTERN = re.compile("|".join(map(re.escape, _TEX)))
_UNBROKEN = re.compile(r"[0-9A-Za-z]{16}(?=[0-9A-Za-z]{16})")
"""Pieces of a hash, or of another word too long for a line, after which the line may break."""


def tex(text: str) -> str:
    """Text as LaTeX shows it; every character that means something to LaTeX is escaped."""
    escaped = _TEX_PATTERN.sub(lambda match: _TEX[match.group()], text.replace("\n", " "))
    return _UNBROKEN.sub(r"\g<0>\\allowbreak{}", escaped)


A_PAGE = 45
"""Rows that a table can have and still stand on one page."""
_LONG = 40
"""Letters from which on a column of words is broken into lines."""


def to_latex(table: Table) -> str:
    """A table in the style of booktabs, as wide as the column of text at most: a `table` float, or a `longtable` where
    it is longer than a page. Of a table that long with a row per level, only the rows over all questions.

    Needs \\usepackage{booktabs,graphicx,longtable}.
    """
    note = table.note
    if len(table.frame) > A_PAGE and "level" in table.frame and (table.frame.level == "all").any():
        table = replace(table, frame=table.frame[table.frame.level == "all"])
        note += " Level: all questions; the CSV has every level."
    cells = table.cells
    spec = "".join(_alignment(column, [row[i] for row in cells]) for i, column in enumerate(table.columns))
    head, *body = [" & ".join(map(tex, row)) + r" \\" for row in [table.head, *cells]]
    caption = rf"\caption{{{tex(f'{table.title}. {note}'.strip())}}}"
    label = rf"\label{{tab:{table.name}}}"
    if len(cells) > A_PAGE:
        begin = [rf"{{{_size(table.head, cells)}\setlength{{\tabcolsep}}{{2pt}}", rf"\begin{{longtable}}{{{spec}}}"]
        begin += [caption, label + r"\\", r"\toprule", head, r"\midrule", r"\endfirsthead"]
        begin += [r"\toprule", head, r"\midrule", r"\endhead"]
        lines = [*begin, *body, r"\bottomrule", r"\end{longtable}}"]
    else:
        begin = [r"\begin{table}", r"\centering", caption, label, r"\smallskip"]
        begin += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", rf"\begin{{tabular}}{{{spec}}}"]
        lines = [*begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


_TEXT = 345.0
"""Points of a line of LaTeX's `article`."""
_SIZES = {r"\footnotesize": 4.1, r"\scriptsize": 3.85, r"\tiny": 3.25}
"""Points that a letter takes, about."""


def _size(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """The largest size of letters in which a table of several pages, which cannot be scaled, is as wide as the text."""
    letters = sum(max(map(len, column)) for column in zip(head, *cells, strict=True))
    fits = (size for size, wide in _SIZES.items() if letters * wide + 4 * len(head) <= _TEXT)
    return next(fits, list(_SIZES)[-1])


def _alignment(column: Column, cells: Sequence[str]) -> str:
    if column.number:
        return "r"
    return r"p{0.6\linewidth}" if max(map(len, cells), default=0) > _LONG else "l"
