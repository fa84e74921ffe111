"""The files of a report, in memory: stored data -> tables -> figures -> page."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from reports import figures, formats, record, results
from reports.compare import Endpoint, endpoint
from reports.figures import few, paired_difference, style
from reports.formats import Table
from reports.page import Picture, render_page, results_json
from reports.selection import Selection
from reports.tables import Study, read_study

KINDS: Mapping[int, tuple[str, ...]] = {2: ("pdf", "svg", "png"), 1: ("pdf", "svg")}
"""What a figure is saved as, for two columns and for one."""


def build_files(roots: Sequence[Path], selection: Selection) -> dict[str, bytes]:
    """Every file of the report by its path below the report's folder."""
    study = read_study(roots, selection)
    end = endpoint(study)
    differences = paired_difference.table(study, end)
    shown = {name: figures.load(name).table(study, end) for name in (*figures.NAMES, *figures.DIAGNOSTICS)}
    files, pictures = draw_all({name: few.marked(table, end) for name, table in shown.items() if not table.empty})
    tables, records = result_tables(study, end, differences), record_tables(study)
    for table in [*tables, *records]:
        for kind, write in (("csv", formats.to_csv), ("md", formats.to_markdown), ("tex", formats.to_latex)):
            if len(table.frame):
                files[f"tables/{table.name}.{kind}"] = write(table).encode()
    files["results.json"] = results_json(study, end, differences, pictures).encode()
    files["index.html"] = render_page(study, end, differences, pictures, tables, records).encode()
    return files


def draw_all(tables: Mapping[str, pd.DataFrame]) -> tuple[dict[str, bytes], list[Picture]]:
    """Save each figure's table, read it back, and draw from what was read: a figure has no other source than its CSV.

    Returns the files by path and what the page shows. Figures are drawn side by side, one process per core.
    """
    texts = {name: table.to_csv(index=False, lineterminator="\n") for name, table in tables.items()}
    widths: tuple[style.Columns, ...] = (2, 1)
    jobs = [(name, text, columns) for name, text in texts.items() for columns in widths]
    workers = min(len(os.sched_getaffinity(0)), len(jobs)) if sys.platform == "linux" else 1
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            drawn = list(pool.map(draw, *zip(*jobs, strict=True)))
    else:
        drawn = [draw(*job) for job in jobs]
    files = {f"figures/{name}.csv": text.encode() for name, text in texts.items()}
    pictures = []
    for (name, text, _), (wide, wide_size), (narrow, narrow_size) in zip(
        jobs[::2], drawn[::2], drawn[1::2], strict=True
    ):
        files |= {f"figures/{name}.{kind}": content for kind, content in wide.items()}
        files |= {f"figures/{name}-narrow.{kind}": content for kind, content in narrow.items()}
        module, table = figures.load(name), read_table(text)
        told = (module.TITLE, module.caption(table), module.alt(table))
        pictures.append(Picture(name, *told, wide["svg"], wide_size, narrow["svg"], narrow_size))
    return files, pictures


def draw(name: str, text: str, columns: style.Columns) -> tuple[dict[str, bytes], tuple[int, int]]:
    """One figure from its CSV: the files by kind, and the size in CSS pixels."""
    with style.look():
        figure = figures.load(name).draw(read_table(text), columns)
        width, height = figure.get_size_inches()
        return style.save(figure, KINDS[columns]), (round(96 * width), round(96 * height))


def read_table(text: str) -> pd.DataFrame:
    """A figure's CSV as it was saved: labels stay text, numbers are read exactly."""
    labels = dict.fromkeys(
        ("condition", "estimator", "level", "metric", "against", "panel", "axis", "kind", "stands_for"), str
    )
    return pd.read_csv(
        io.StringIO(text), dtype=labels, keep_default_na=False, na_values=[""], float_precision="round_trip"
    )


def result_tables(study: Study, end: Endpoint | None, differences: pd.DataFrame) -> list[Table]:
    """What was found, in the order of the page."""
    learning = results.learning_table(study)
    extraction = results.extraction_table(study)
    if end is None:
        return [learning, extraction]
    return [
        results.main_table(study, end),
        results.difference_table(end, differences),
        results.aggregate_table(study, end),
        learning,
        results.metric_table(study, end),
        extraction,
        results.flip_table(study, end),
    ]


def record_tables(study: Study) -> list[Table]:
    """What was run, in the order of the page."""
    return [
        record.counts_table(study),
        record.exclusion_table(study),
        record.cost_table(study),
        record.deviation_table(study),
        record.setting_table(study),
        record.machine_table(study),
    ]
