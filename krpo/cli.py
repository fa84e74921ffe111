"""`krpo-train`: one training run from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from krpo.config import Source, add_options, build, load_yaml
from krpo.cost import recipe_path
from krpo.errors import BadInput, run_cli
from krpo.launch import launched
from krpo.spec import RunSpec, set_option

EXAMPLES = """\
examples:
  krpo-train --steps 60 --output runs/first
  krpo-train --estimator grpo --noise flip --set noise.rate=0.2 --seed 3
  krpo-train --set estimator.process_variance=1e-4 --set task.levels='[hard]'
  krpo-train --recipe paper --dry-run
  krpo-train --config runs/quick/0123456789abcdef/spec.yaml --output runs/again
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="krpo-train",
        description="Train a policy with a named advantage estimator; write one run directory.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a YAML file with any of the options below (a run's spec.yaml works)",
    )
    p.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="set options, dotted for parameters",
    )
    p.add_argument("--recipe", metavar="NAME", help="a recipe that comes with krpo: paper, gsm8k")
    p.add_argument("--output", type=Path, metavar="DIR", help="the run directory (default: runs/train/<key>)")
    p.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved run, its memory and what is missing here; train nothing",
    )
    p.add_argument(
        "--save-every", type=int, metavar="N", help="save a state to resume from every N steps (default: none)"
    )
    p.add_argument("--held-out-every", type=int, metavar="N", help="a point of the held-out curve every N steps")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train (default: auto)")
    p.add_argument("--tracker", metavar="NAME", help="also log to tensorboard, wandb, trackio, ... where installed")
    p.add_argument("--quiet", action="store_true", help="print no progress")
    group = p.add_argument_group("the run (each is also a key of --config)")
    add_options(group, RunSpec())
    return p


def resolve(args: argparse.Namespace) -> RunSpec:
    """File, then options, then `--set`, in this order."""
    data: dict[str, Any] = {}
    source = Source("the command line")
    if args.recipe is not None and args.config is not None:
        raise BadInput("--recipe and --config each name a file; give one of them")
    if args.recipe is not None:
        data, source = load_yaml(recipe_path(args.recipe))
    elif args.config is not None:
        data, source = load_yaml(args.config)
        for derived in ("key", "format"):
            data.pop(derived, None)
    for f in dataclasses.fields(RunSpec):
        if (value := getattr(args, f"spec_{f.name}")) is not None:
            set_option(data, f"{f.name}={value}")
    for assignment in args.assignments:
        set_option(data, assignment)
    return build(RunSpec, data, source)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_cli(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    spec = resolve(args)
    import yaml

    from krpo.advantages import make_estimator
    from krpo.noise import make_noise
    from krpo.tasks import make_task

    make_estimator(spec.estimator)
    make_noise(spec.noise)
    make_task(spec.task)
    if args.dry_run:
        print(yaml.safe_dump(spec.to_plain(), sort_keys=False), end="")
        return _dry_run(spec, args.device)
    from krpo.train import key_of, train

    main_process = launched().is_main
    output = args.output or Path("runs/train") / key_of(spec)
    report = None if args.quiet or not main_process else _Reporter(spec.steps)
    run = train(
        spec,
        output,
        progress=report,
        save_every=args.save_every,
        held_out_every=args.held_out_every,
        device=args.device,
        tracker=args.tracker,
    )
    if report is not None:
        report.close()
    if main_process:
        print(f"checkpoint: {run.checkpoint}")
    return 0


def _dry_run(spec: RunSpec, device: str) -> int:
    """Say what the run will cost and what is missing here. Exit status 2 where something is."""
    from krpo import cost
    from krpo.train import key_of

    missing = []
    try:
        print(cost.describe(cost.estimate_memory(spec)))
        missing += cost.check_devices(spec, device)
        print(f"key: {key_of(spec)}")
    except BadInput as error:
        missing.append(str(error))
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    print("not ready: see what is missing" if missing else "ready: model, data and device are there")
    return 2 if missing else 0


class _Reporter:
    """Progress on standard error: a live line on a terminal, a line every tenth of the run elsewhere."""

    def __init__(self, steps: int) -> None:
        self.steps, self.live = steps, sys.stderr.isatty()
        self.every = max(1, steps // 10)
        self.seconds = 0.0

    def __call__(self, row: dict[str, Any]) -> None:
        step = row["step"]
        self.seconds += row["wall"]["step_seconds"]
        left = self.seconds / step * (self.steps - step)
        text = (
            f"step {step}/{self.steps}  reward {row.get('reward', float('nan')):.3f}  "
            f"advantage rms {row.get('advantage_rms', float('nan')):.2f}  {left:.0f} s left"
        )
        if self.live:
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
        elif step % self.every == 0 or step == self.steps:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.live:
            print(file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
