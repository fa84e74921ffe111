"""`krpo-report DIR [DIR...]`: render the report of a grid and print the path of its page."""

from __future__ import annotations

import argparse
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
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a grid directory, as in runs/quick; several are merged into one report",
    )
    it.add_argument("--output", type=Path, metavar="DIR", help="where to write (default: DIR/report)")
    it.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this setting, as in estimator=krpo or 'noise=flip(rate=0.2)'; may be repeated",
    )
    it.add_argument("--since", metavar="DATE", help="only runs that started since then, as in 2026-11-01 (UTC)")
    return it


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)

    def body() -> int:
        from reports.report import render_report
        from reports.selection import parse

        done = render_report(arguments.grids, arguments.output, parse(arguments.select, arguments.since))
        if not done.changed:
            print("nothing changed since this report was made", file=sys.stderr)
        print(done.page)
        return 0

    return run_cli(body)
