"""`krpo-report --paper`: the project's own study, every figure and table again, from the tables under `reports/data/`.

Each study gets a report of its own below one folder; `index.html` there shows the finding and the main figures of all.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo import __version__
from krpo.errors import BadInput
from krpo.rundir import write_text
from reports.output import STATE, check_ours, check_writable
from reports.report import Rendered, is_probe, render_report
from reports.stored import is_compact
from reports.templates import environment, page_style

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Part:
    """One study of the paper: the name of its grid, its heading, and the figures shown on the common page."""

    name: str
    title: str
    figures: tuple[str, ...]


PARTS = (
    Part("paper", "The published recipe", ("krpo_return", "learning_curves", "difficulty", "paired_difference")),
    Part("probe", "The variance of the gradient", ("gradient_variance",)),
    Part("noise", "Noisy rewards", ("paired_difference", "learning_curves", "difficulty", "noise_sweep")),
    Part("filters", "Which part of the filter", ("paired_difference", "advantage_rms")),
    Part("scale", "The scale of the advantages", ("axis_sweep", "paired_difference", "advantage_rms")),
    Part("order", "The order of the answers", ("paired_difference", "spread_over_steps")),
    Part("group_size", "The size of the group", ("axis_sweep", "paired_difference")),
    Part("kalman", "The two variances of the filter", ("heat_map", "paired_difference")),
)
"""In the order of the page. A study that is stored under another name follows them."""


def render_paper(out: str | Path = Path("runs/paper"), data: str | Path = DATA) -> Rendered:
    """Render every study stored under ``data`` and the page that leads to them; what has not changed is left alone.

    Raises `BadInput` where no study is stored, or where ``out`` cannot be written.
    """
    folder, data = Path(out), Path(data)
    folders = [path for path in data.glob("[!.]*") if is_compact(path) or is_probe(path)] if data.is_dir() else []
    stored = sorted(path.name for path in folders)
    if not stored:
        raise BadInput(f"{data}: no study is stored there; write one with krpo-report --export {data}/NAME runs/NAME")
    check_writable(folder)
    if (folder / STATE).exists():
        raise BadInput(f"{folder}: holds the report of a grid; choose another place with --output")
    known = {part.name: part for part in PARTS}
    parts = [part for part in PARTS if part.name in stored]
    parts += [Part(name, name.replace("_", " "), ("paired_difference",)) for name in stored if name not in known]
    if not any((folder / part.name / STATE).exists() for part in parts):
        check_ours(folder, ["index.html"])
    rendered = [render_report(data / part.name, folder / part.name) for part in parts]
    chapters = [_chapter(part, done.page.parent) for part, done in zip(parts, rendered, strict=True)]
    missing = [part for part in PARTS if part.name not in stored]
    text = (
        environment()
        .get_template("paper.html")
        .render(
            style=page_style(),
            chapters=chapters,
            missing=missing,
            version=__version__,
        )
    )
    page = folder / "index.html"
    changed = not page.is_file() or page.read_text(encoding="utf-8") != text
    if changed:
        write_text(page, text)
    return Rendered(page, changed or any(done.changed for done in rendered))


def _chapter(part: Part, folder: Path) -> dict[str, Any]:
    """What the common page shows of a study, from the files of its report."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure for figure in results["figures"]}
    shown = []
    for name in part.figures:
        if name in figures:
            files = {"wide": folder / f"figures/{name}.svg", "narrow": folder / f"figures/{name}-narrow.svg"}
            encoded = {key: base64.b64encode(file.read_bytes()).decode() for key, file in files.items()}
            shown.append(figures[name] | encoded)
    tables = sorted(file.stem for file in (folder / "tables").glob("*.csv"))
    return {"name": part.name, "title": part.title, "results": results, "figures": shown, "tables": tables}
