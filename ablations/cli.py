"""`krpo-ablate`: train and evaluate every run of a grid file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from krpo.errors import run_cli

EXAMPLES = """\
examples:
  krpo-ablate --grid ablations/quick.yaml
  krpo-ablate --grid ablations/quick.yaml --plan
  krpo-ablate --grid ablations/quick.yaml --set steps=20 --set seeds='[0, 1]' --output /tmp/runs

The same command again goes on where it stopped; runs that are done are not run again.
`krpo-report runs/quick` then renders the report.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="krpo-ablate",
        description="Train every run of a grid (estimator x noise x other settings x seed) and score its checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--grid", type=Path, required=True, metavar="FILE", help="the grid file (YAML)")
    p.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="DIR", help="runs go to DIR/<grid> (default: runs)"
    )
    change = "change a setting of every run (steps=20) or of the grid (seeds='[0, 1]', evaluation.limit=50)"
    p.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", dest="assignments", help=change
    )
    p.add_argument("--workers", type=int, metavar="N", help="runs at a time, one thread each (default: one per core)")
    p.add_argument("--plan", action="store_true", help="list every run and its state; start nothing")
    p.add_argument("--retry-failed", action="store_true", help="also run again what failed")
    p.add_argument("--plain", action="store_true", help="plain lines even on a terminal")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_cli(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    from krpo.errors import BadInput

    if args.workers is not None and args.workers < 1:
        raise BadInput(f"--workers is {args.workers}; it must be at least 1")
    # One thread per run, set before torch is imported: two runs with two threads each on two cores are slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from ablations.grid import load_grid
    from ablations.plan import make_plan

    grid = load_grid(args.grid, args.assignments)
    plan = make_plan(grid, args.output)
    if args.plan:
        for cell in plan.cells:
            print(f"{cell.state():<11} {cell.run.path}  {cell.spec.label()}")
        return 0

    from ablations.display import LiveDisplay, PlainDisplay
    from ablations.driver import run_plan

    live = sys.stderr.isatty() and not args.plain
    outcome = run_plan(
        plan,
        workers=args.workers or len(os.sched_getaffinity(0)),
        display=LiveDisplay() if live else PlainDisplay(),
        retry_failed=args.retry_failed,
    )
    found = f" ({outcome.done_before} found done)" if outcome.done_before else ""
    done = len(plan.cells) - len(outcome.failed)
    print(f"{done} of {len(plan.cells)} runs are done{found}: {plan.root}")
    for key, reason in outcome.failed.items():
        print(f"failed: {plan.root / key}: {reason}", file=sys.stderr)
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
