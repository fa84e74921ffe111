"""`krpo-report DIR [DIR...]`: render the report of a grid and print the path of its page; export; the paper."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from krpo.errors import run_cli


def parser() -> argparse.ArgumentParser:
    it = argparse.ArgumentParser(
        prog="krpo-report",
        description="Render figures, tables and one HTML page from the stored runs of a grid. Prints the page's path.",
    )
    it.add_argument(
        "grids",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="a grid directory, as in runs/quick; several are merged into one report",
    )
    it.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: DIR/report)")
    it.add_argument(
        "--export",
        type=Path,
        metavar="FOLDER",
        help="write no report but the results of one grid as a small folder of tables, to be reported on like a grid",
    )
    it.add_argument(
        "--paper",
        action="store_true",
        help="the project's own study from the tables in reports/data (default --output: runs/paper)",
    )
    it.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this setting, as in estimator=krpo or 'noise=flip(rate=0.2)'; may be repeated: the same "
        "key again keeps either value, another key asks for both",
    )
    it.add_argument("--since", metavar="DATE", help="only runs that started since then, as in 2026-11-01 (UTC)")
    return it


def main(argv: Sequence[str] | None = None) -> int:
    it = parser()
    arguments = it.parse_args(argv)
    chosen = arguments.select or arguments.since
    if arguments.paper and (arguments.grids or arguments.export or chosen):
        it.error("--paper takes no grid and no option but --output")
    if arguments.export and (len(arguments.grids) != 1 or arguments.output or chosen):
        it.error("--export takes one grid and no other option")
    if not arguments.paper and not arguments.grids:
        it.error("name a grid directory, as in runs/quick, or say --paper")

    def body() -> int:
        if arguments.export:
            from reports.tables import export

            print(export(arguments.grids[0], arguments.export))
            return 0
        if arguments.paper:
            from reports.paper import render_paper

            done = render_paper(arguments.output or Path("runs/paper"))
        else:
            from reports.report import render_report
            from reports.selection import parse

            done = render_report(arguments.grids, arguments.output, parse(arguments.select, arguments.since))
        if not done.changed:
            print("nothing changed since this report was made", file=sys.stderr)
        if done.exclusions is not None:
            print(_left_out(done.exclusions), file=sys.stderr)
        print(done.page)
        return 0

    return run_cli(body)


def _left_out(table: Path) -> str:
    """How much the report left out or mended, and where it says what."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [row["excludes"] == "True" for row in csv.DictReader(stream)]
    return f"left out: {sum(rows)}, mended: {len(rows) - sum(rows)}; {table.with_suffix('.md')} says what"


if __name__ == "__main__":
    raise SystemExit(main())
