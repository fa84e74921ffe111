"""`krpo-ablate`: train and evaluate every run of a grid file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from krpo.errors import run_cli

if TYPE_CHECKING:
    from ablations.driver import Outcome
    from ablations.executors.base import Executor
    from ablations.plan import Plan

EXAMPLES = """\
examples:
  krpo-ablate --grid ablations/quick.yaml
  krpo-ablate --grid ablations/noise.yaml --plan               # what it costs and what it can show
  krpo-ablate --grid ablations/quick.yaml --set steps=20 seeds='[0, 1]' --output /tmp/runs
  krpo-ablate --grid ablations/noise.yaml --only estimator=krpo noise=flip --limit 4
  krpo-ablate --status runs/noise                              # from anywhere, also while it runs
  krpo-ablate --explain runs/noise/A runs/noise/B              # why these are two runs

The same command again goes on where it stopped; runs that are done are not run again. Several drivers may work on one
directory. `krpo-report runs/quick` then renders the report.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="krpo-ablate",
        description="Train every run of a grid (estimator x noise x other settings x seed) and score its checkpoint.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--grid", type=Path, metavar="FILE", help="the grid file (YAML)")
    what.add_argument("--status", type=Path, metavar="DIR", help="how the grid in a directory stands")
    what.add_argument("--explain", type=Path, nargs=2, metavar=("A", "B"), help="the settings in which two runs differ")
    p.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="DIR", help="runs go to DIR/<grid> (default: runs)"
    )
    change = "change settings of every run (steps=20) or of the grid (seeds='[0, 1]', evaluation.limit=50)"
    p.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", dest="assignments", help=change
    )
    p.add_argument("--plan", action="store_true", help="list every run, the cost of the missing ones, and the power")

    which = p.add_argument_group("which runs")
    only = "only runs with this setting; several values of one key: any of them"
    which.add_argument("--only", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help=only)
    which.add_argument("--limit", type=int, metavar="N", help="start at most N runs")
    which.add_argument("--retry-failed", action="store_true", help="also run again what failed")

    how = p.add_argument_group("how they run")
    how.add_argument("--workers", type=int, metavar="N", help="runs at a time (default: one per core, or per GPU slot)")
    how.add_argument("--slots-per-gpu", type=int, default=1, metavar="N", help="runs that share a GPU (default: 1)")
    how.add_argument("--threads", type=int, default=1, metavar="N", help="threads of one run (default: 1)")
    how.add_argument("--memory", type=float, metavar="GB", help="stop a run that holds more memory than this")
    how.add_argument(
        "--hang-minutes", type=float, metavar="N", help="stop a run without progress for N minutes (default: 60)"
    )
    how.add_argument(
        "--save-every", type=int, metavar="N", help="steps between saved states (default: steps / 10, 10 at least)"
    )
    how.add_argument(
        "--keep-checkpoints",
        choices=("none", "last", "all"),
        default="last",
        help="none: remove a run's checkpoint once scored; all: keep those of its saved states too (default: last)",
    )
    how.add_argument("--plain", action="store_true", help="plain lines even on a terminal")

    where = p.add_argument_group("where they run")
    where.add_argument(
        "--executor", choices=("local", "ray", "slurm"), default="local", help="default: local, one process per run"
    )
    where.add_argument("--address", metavar="ADDRESS", help="of the Ray cluster (default: start one here)")
    where.add_argument(
        "--option",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="for the executor: num_gpus=0.5 (Ray), slurm_partition=gpu timeout_min=120 (Slurm)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_cli(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    if args.status:
        from ablations import status

        print(*status.lines(args.status), sep="\n")
        return 0
    if args.explain:
        from ablations import explain

        print(*explain.lines(*args.explain), sep="\n")
        return 0
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    _check(args)
    # Threads are set before torch is imported: two runs with two threads each on two cores are slower.
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking for a GPU must not start CUDA before a fork
    from ablations.grid import load_grid
    from ablations.plan import make_plan, select

    grid = load_grid(args.grid, args.assignments)
    plan = make_plan(grid, args.output)
    cells = select(plan.cells, args.only)
    if args.plan:
        from ablations import listing
        from ablations.executors import local_workers

        workers = args.workers or local_workers(args.slots_per_gpu)
        measure = args.executor == "local"
        for line in listing.lines(plan, cells, workers, measure=measure, retry_failed=args.retry_failed):
            print(line, flush=True)
        return 0

    from ablations.display import LiveDisplay, PlainDisplay
    from ablations.driver import run_plan
    from ablations.options import Options

    outcome = run_plan(
        plan,
        _executor(args, plan),
        Options(args.save_every, args.keep_checkpoints, grid.file.held_out_every),
        LiveDisplay() if sys.stderr.isatty() and not args.plain else PlainDisplay(),
        cells=cells,
        limit=args.limit,
        retry_failed=args.retry_failed,
    )
    _tell(outcome, len(cells), plan)
    return 1 if outcome.failed else 0


def _check(args: argparse.Namespace) -> None:
    from krpo.errors import BadInput

    least = {"workers": 1, "slots_per_gpu": 1, "threads": 1, "limit": 1, "save_every": 1}
    for name, value in least.items():
        if (given := getattr(args, name)) is not None and given < value:
            raise BadInput(f"--{name.replace('_', '-')} is {given}; it must be at least {value}")
    for name in ("memory", "hang_minutes"):
        if (given := getattr(args, name)) is not None and not given > 0:
            raise BadInput(f"--{name.replace('_', '-')} is {given}; it must be above 0")
    if args.hang_minutes is not None and args.executor != "local":
        raise BadInput(
            f"--hang-minutes is for --executor local, not for {args.executor}; on a cluster limit a run's time there "
            "(Slurm: --option timeout_min=N)"
        )
    if args.address and args.executor != "ray":
        raise BadInput(f"--address is for --executor ray, not for {args.executor}")


def _executor(args: argparse.Namespace, plan: Plan) -> Executor:
    from ablations.executors import make_executor

    return make_executor(
        args.executor,
        evaluation=plan.grid.evaluation,
        workers=args.workers,
        slots_per_gpu=args.slots_per_gpu,
        threads=args.threads,
        memory_gb=args.memory,
        hang_minutes=args.hang_minutes if args.hang_minutes is not None else 60,
        address=args.address,
        options=args.option,
        scratch=plan.root / "slurm",
    )


def _tell(outcome: Outcome, total: int, plan: Plan) -> None:
    parts = [f"{len(outcome.done_before)} found done"] if outcome.done_before else []
    if outcome.by_others:
        parts.append(f"{len(outcome.by_others)} done by another driver meanwhile")
    if outcome.left:
        parts.append(f"{len(outcome.left)} not started, beyond --limit")
    done = len(outcome.done_before) + len(outcome.finished) + len(outcome.by_others)
    details = f" ({', '.join(parts)})" if parts else ""
    print(f"{done} of {total} runs are done{details}: {plan.root}")
    for key, reason in outcome.failed.items():
        print(f"failed: {plan.root / key}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
