"""One look for all figures: column widths, colours that survive greyscale and colour blindness, deterministic bytes.

Colours are Okabe and Ito's; every arm also has its own line style and marker, so no figure needs colour to be read.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from reports.figures import font

Look = tuple[str, Any, str]
"""Colour, line style and marker."""

Columns = Literal[1, 2]
"""One or two columns of a paper: 3.35 or 6.9 inches. One column is also what a phone shows."""

WIDTH = {1: 3.35, 2: 6.9}
INK, FAINT, GRID = "#1f2328", "#6b7280", "#e3e6ea"

_LOOKS = [
    ("#0072B2", (0, ()), "o"),
    ("#D55E00", (0, (5, 1.6)), "s"),
    ("#009E73", (0, (1.2, 1.2)), "^"),
    ("#AA4499", (0, (5, 1.4, 1.2, 1.4)), "D"),
    ("#B8860B", (0, (3, 1, 1, 1, 1, 1)), "v"),
    ("#56B4E9", (0, (7, 2)), "P"),
    ("#444444", (0, (2, 2)), "X"),
]
MOST = len(_LOOKS)
"""More arms than this cannot be told apart by colour, line and marker."""
_FIXED = {"grpo": 0, "krpo": 1, "rloo": 2, "krpo_unit_rms": 3, "dr_grpo": 4}

_STAND_OUT, _PLAIN = ("grpo", "krpo"), "#444444"

RC = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # nothing stands above a panel that its title would have to make room for
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.bottom": False,  # the grid's lines stand there
    "ytick.left": False,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.hinting": "none",  # else text is wider at the resolution of the PNG than where the layout was made
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "svg.hashsalt": "krpo",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "path.simplify": True,
}


@contextmanager
def look() -> Iterator[None]:
    """The settings under which every figure is drawn and saved; nothing of the user's own configuration leaks in."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the page says it once (`font.lacking`)
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        mpl.rcParams["font.family"] = font.families()
        yield


def looks(arms: Iterable[str]) -> dict[str, Look]:
    """Colour, line style and marker of each arm. The usual estimators keep theirs from report to report; of more arms
    than there are looks, all but GRPO and KRPO are plain, and the figure has to name them."""
    names = list(dict.fromkeys(arms))
    if len(names) > MOST:  # only the best known stand out
        return {name: _LOOKS[_FIXED[name]] if name in _STAND_OUT else (_PLAIN, (0, ()), "o") for name in names}
    free = [i for i in range(len(_LOOKS)) if i not in _FIXED.values()]
    given: dict[str, Look] = {}
    taken = 0
    reserved = {_FIXED[name] for name in names if name in _FIXED}
    pool = [*free, *(i for i in _FIXED.values() if i not in reserved)]
    for name in names:
        if name in _FIXED:
            given[name] = _LOOKS[_FIXED[name]]
        else:
            given[name] = _LOOKS[pool[taken % len(pool)]]
            taken += 1
    return given


def panels(rows: int, columns: int, width: Columns, height: float, **kwargs: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``rows`` x ``columns`` panels, each ``height`` inches high, as wide as the paper's columns allow."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04, wspace=0.02, hspace=0.03)
    figure = Figure(figsize=(WIDTH[width], rows * height + 0.45), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, [list(row) for row in axes]


LETTER, LINE, HANDLE = 0.066, 0.16, 0.54
"""Inches: a letter's mean width, a line of text, and what stands beside a label in a legend."""


class _Wrapper(textwrap.TextWrapper):
    """Lines end at spaces, or inside what has none, like `flip(rate=0.2)`, behind a mark."""

    wordsep_re = re.compile(r"(\s+|(?<=[(=_,:]))")


def wrapped(text: str, inches: float) -> str:
    """Text in lines of at most about so many inches; of two things, each on its line if that does."""
    width = max(8, int(inches / LETTER))
    halves = text.split(", ")
    if len(text) > width and len(halves) == 2 and max(map(len, halves)) < width:
        return ",\n".join(halves)
    return _Wrapper(width=width).fill(text)


def title(ax: Axes, text: str) -> None:
    """What a panel shows, in as many lines as its width asks for."""
    ax.set_title(wrapped(text, inches_across(ax) - 0.3))


def inches_across(ax: Axes) -> float:
    """The width of a panel with what stands beside it."""
    spec, figure = ax.get_gridspec(), ax.get_figure(root=True)
    assert spec is not None
    assert figure is not None
    return float(figure.get_figwidth()) / spec.ncols


def below(figure: Figure, text: str, width: Columns) -> None:
    """What the x axes of all panels show."""
    figure.supxlabel(wrapped(text, WIDTH[width]), fontsize=8, color=INK)


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], width: Columns) -> None:
    """One legend for all panels, above them, so that it covers no data, with as many labels in a row as there is room
    for. The figure grows by its rows, not the panels smaller."""
    texts = [wrapped(label, WIDTH[width] - HANDLE - 0.1) for label in labels]
    letters = [max(map(len, text.splitlines())) for text in texts]
    most = len(texts) if width == 2 and len(texts) <= 5 else min(len(texts), 2 if width == 1 else 4)

    def inches(columns: int) -> float:  # labels run down the columns
        return sum(LETTER * max(column) + HANDLE for column in np.array_split(letters, columns))

    per_row = next((n for n in range(most, 1, -1) if inches(n) <= WIDTH[width]), 1)
    lines = math.ceil(len(texts) / per_row) + max(text.count("\n") for text in texts)
    figure.set_figheight(figure.get_figheight() + LINE * (lines - 1))
    figure.legend(
        handles, texts, loc="outside upper left", ncols=per_row, handlelength=2.6, columnspacing=1.4, borderaxespad=0.2
    )


def line_handle(look: Look, *, marker: bool = False) -> Line2D:
    colour, style, shape = look
    return Line2D([], [], color=colour, linestyle=style, marker=shape if marker else "", markersize=4.5)


def percent_axis(axis: Any) -> None:
    """A share from 0 to 1 shown in per cent; what is none, as short as any."""
    axis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda value, _: f"{100 * value:{'.0f' if abs(value) < 100 else '.3g'}}%")
    )


def log_axis(ax: Axes) -> None:
    """A logarithmic y axis that is labelled in plain numbers."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
    ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def points_axis(axis: Any) -> None:
    """A difference of two shares shown in percentage points, signed."""
    axis.set_major_formatter(
        mpl.ticker.FuncFormatter(
            lambda value, _: "0" if abs(value) < 1e-12 else f"{100 * value:+.4g}".replace("-", "\N{MINUS SIGN}")
        )
    )


def plain_points_axis(axis: Any) -> None:
    """A share shown in percentage points, without a sign in front."""
    axis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda value, _: f"{100 * value:.4g}".replace("-", "\N{MINUS SIGN}"))
    )


def save(figure: Figure, kinds: Sequence[str] = ("pdf", "svg", "png")) -> dict[str, bytes]:
    """The figure in each format. Equal figures give equal bytes: no dates, no random identifiers, no version."""
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None},
    }
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)  # once, not once per format
    figure.set_layout_engine(None)  # with "none" each format would be drawn twice
    saved = {}
    for kind in kinds:
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata=metadata[kind])
        saved[kind] = stream.getvalue()
    return saved
