"""The files of a report, in memory: stored data -> tables -> figures -> page."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd

from reports import figures, formats, record, results
from reports.compare import Endpoint, comparisons, endpoint, not_scored
from reports.figures import few, font, paired_difference, style
from reports.formats import Table
from reports.names import symbols_told
from reports.page import Picture, findings, render_page, results_json
from reports.parallel import inherited, pool, processes
from reports.selection import Selection
from reports.stored import Note
from reports.tables import Study, read_study

KINDS: Mapping[int, tuple[str, ...]] = {2: ("pdf", "svg", "png"), 1: ("pdf", "svg")}
"""What a figure is saved as, for two columns and for one."""


def build_files(roots: Sequence[Path], selection: Selection) -> dict[str, bytes]:
    """Every file of the report by its path below the report's folder."""
    study = read_study(roots, selection)
    end = endpoint(study)
    study = replace(study, notes=(*study.notes, *not_scored(study, end), *_boxes(study)))
    names = (*figures.NAMES, *figures.DIAGNOSTICS)
    with drawing({name: functools.partial(shown, name, study, end) for name in names}) as drawn:
        compared = comparisons(differences := paired_difference.table(study, end))
        found = findings(study, end, differences, compared)
        tables, records = result_tables(study, end, compared), record_tables(study)
        files, pictures = drawn()
    arms = symbols_told(study.estimators)
    tables, records = ([_explained(table, arms) for table in some] for some in (tables, records))
    for table in [*tables, *records]:
        for kind, write in (("csv", formats.to_csv), ("md", formats.to_markdown), ("tex", formats.to_latex)):
            if len(table.frame):
                files[f"tables/{table.name}.{kind}"] = write(table).encode()
    files["results.json"] = results_json(study, found, compared, pictures).encode()
    files["index.html"] = render_page(study, end, found, pictures, tables, records).encode()
    return files


def _boxes(study: Study) -> list[Note]:
    levels = study.scores.level.unique()
    boxes = font.lacking([*study.estimators, *study.conditions, *study.scores.task.unique(), *map(str, levels)])
    told = f"the font of the figures lacks {' '.join(boxes)}: drawn as a box there"
    return [Note(" + ".join(study.names), told)] if boxes else []


def _explained(table: Table, arms: str) -> Table:
    """The table; where it names arms, its note says what the symbols in their names are."""
    names_arms = any("estimator" in column.keys for column in table.columns)
    return replace(table, note=f"{table.note}{arms}".strip()) if names_arms else table


def shown(name: str, study: Study, end: Endpoint | None) -> pd.DataFrame:
    """What a figure shows; empty: nothing."""
    return few.marked(figures.load(name).table(study, end), end)


Drawn = tuple[dict[str, bytes], Picture]
"""The files of a figure by path, and what the page shows of it."""

Tables = Mapping[str, Callable[[], pd.DataFrame]]
"""How to make the table of each figure."""


@contextmanager
def drawing(tables: Tables) -> Iterator[Callable[[], tuple[dict[str, bytes], list[Picture]]]]:
    """Begin to draw the figures, side by side and beside the caller, a process per core; what is handed out waits for
    their files and what the page shows. A figure whose table is empty is left out."""

    def together(drawn: Iterable[Drawn | None]) -> tuple[dict[str, bytes], list[Picture]]:
        done = [one for one in drawn if one is not None]
        return {path: content for files, _ in done for path, content in files.items()}, [one for _, one in done]

    workers = processes(len(tables))
    if workers < 2:
        yield lambda: together(draw_figure(name, table) for name, table in tables.items())
        return
    font.families()  # before there are several processes, each of which would make its own
    with pool(workers, tables) as executor:
        begun = [executor.submit(_draw_inherited, name) for name in tables]
        yield lambda: together(one.result() for one in begun)


def _draw_inherited(name: str) -> Drawn | None:
    return draw_figure(name, inherited()[name])


def draw_figure(name: str, make: Callable[[], pd.DataFrame]) -> Drawn | None:
    """One figure, for two columns and for one; None where there is nothing to show.

    Its table is saved and read back: a figure has no other source than its CSV.
    """
    made = make()
    if made.empty:
        return None
    text = made.to_csv(index=False, lineterminator="\n")
    module, table = figures.load(name), read_table(text)
    wide, wide_size = draw(name, table, 2)
    narrow, narrow_size = draw(name, table, 1)
    files = {f"figures/{name}.csv": text.encode()}
    files |= {f"figures/{name}.{kind}": content for kind, content in wide.items()}
    files |= {f"figures/{name}-narrow.{kind}": content for kind, content in narrow.items()}
    caption = module.caption(table) + (symbols_told(table.estimator.unique()) if "estimator" in table else "")
    told = (module.TITLE, caption, module.alt(table))
    return files, Picture(name, *told, wide["svg"], wide_size, narrow["svg"], narrow_size)


def draw(name: str, table: pd.DataFrame, columns: style.Columns) -> tuple[dict[str, bytes], tuple[int, int]]:
    """The files by kind, and the size in CSS pixels."""
    with style.look():
        figure = figures.load(name).draw(table, columns)
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


def result_tables(study: Study, end: Endpoint | None, compared: pd.DataFrame) -> list[Table]:
    """What was found, in the order of the page. ``compared``: all of `reports.compare.comparisons`."""
    learning = results.learning_table(study)
    extraction = results.extraction_table(study)
    if end is None:
        return [learning, extraction]
    return [
        results.main_table(study, end),
        results.difference_table(end, compared),
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
