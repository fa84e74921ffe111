"""The files of a report, in memory: stored data -> tables -> figures -> page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reports import figures, formats, results
from reports.compare import Endpoint, endpoint
from reports.figures import paired_difference, style
from reports.formats import Table
from reports.page import Picture, render_page, results_json
from reports.tables import Study, read_study


def build_files(roots: Sequence[Path]) -> dict[str, bytes]:
    """Every file of the report by its path below the report's folder."""
    study = read_study(roots)
    end = endpoint(study)
    differences = paired_difference.table(study, end)
    files: dict[str, bytes] = {}
    pictures = []
    with style.look():
        for name in figures.NAMES:
            table = figures.load(name).table(study, end)
            if not table.empty:
                pictures.append(draw(name, table, files))
    tables = all_tables(study, end, differences)
    for table in tables:
        for kind, write in (("csv", formats.to_csv), ("md", formats.to_markdown), ("tex", formats.to_latex)):
            if len(table.frame):
                files[f"tables/{table.name}.{kind}"] = write(table).encode()
    files["results.json"] = results_json(study, end, differences).encode()
    files["index.html"] = render_page(study, end, differences, pictures, tables).encode()
    return files


def draw(name: str, table: pd.DataFrame, files: dict[str, bytes]) -> Picture:
    """Save the table, read it back, and draw from what was read: a figure has no other source than its CSV."""
    module = figures.load(name)
    text = table.to_csv(index=False, lineterminator="\n")
    files[f"figures/{name}.csv"] = text.encode()
    stored = read_table(text)
    saved = {}
    for suffix, columns in (("", 2), ("-narrow", 1)):
        figure = module.draw(stored, columns)
        saved[suffix] = style.save(figure), tuple(round(96 * inches) for inches in figure.get_size_inches())
        for kind, content in saved[suffix][0].items():
            files[f"figures/{name}{suffix}.{kind}"] = content
    (wide, wide_size), (narrow, narrow_size) = saved[""], saved["-narrow"]
    return Picture(
        name,
        module.TITLE,
        module.caption(stored),
        module.alt(stored),
        wide["svg"],
        wide_size,
        narrow["svg"],
        narrow_size,
    )


def read_table(text: str) -> pd.DataFrame:
    """A figure's CSV as it was saved: labels stay text, numbers are read exactly."""
    labels = dict.fromkeys(("condition", "estimator", "level", "metric", "against"), str)
    return pd.read_csv(
        io.StringIO(text), dtype=labels, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )


def all_tables(study: Study, end: Endpoint | None, differences: pd.DataFrame) -> list[Table]:
    """In the order of the page."""
    tables = [results.main_table(study, end), results.difference_table(end, differences)] if end else []
    return [
        *tables,
        results.counts_table(study),
        results.cost_table(study),
        results.exclusion_table(study),
        results.deviation_table(study),
        results.setting_table(study),
        results.machine_table(study),
    ]
