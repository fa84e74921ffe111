"""`krpo-probe`: what advantage estimators do to the gradient at a frozen checkpoint."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from krpo.config import Named, Source, add_options, build, load_yaml, set_dotted, to_plain
from krpo.errors import BadInput, run_cli
from krpo.probe.spec import ProbeSpec, parse_names

LISTS = ("estimators", "noise")
FROM_CHECKPOINT = ("task", "reward", "loss_type", "temperature", "max_completion_length")

EXAMPLES = """\
examples:
  krpo-probe tiny --output probe                                   a few minutes on one core
  krpo-probe tiny --noise none,flip --set noise.rate=0.2           clean rewards, and a verifier that errs
  krpo-probe runs/first/checkpoint --estimators grpo,krpo,rloo     task and reward as it was trained
  krpo-probe tiny --estimators 'krpo,krpo(process_variance=1e-2)' --group-sizes 4,12

how it works:
  Every batch answers the same prompts; all estimators see the same answers, so differences between them are paired.
  A batch of 16 answers a prompt holds 8 batches of G = 2, so small groups are measured on more batches.
  variance / oracle is the gradient's variance, scaled to equal progress along the true gradient, relative to that of
  the baseline p_q; G/(G-1) is RLOO's where scores are independent. docs/probe.md has the formulas.
  The same command goes on after a kill; with other estimators or noise it uses the rollouts that are there.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="krpo-probe",
        description="Measure gradient variance and advantages of estimators at a frozen checkpoint; train nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("checkpoint", nargs="?", help="the policy: `tiny`, a local folder, or a Hugging Face name")
    p.add_argument("--config", type=Path, metavar="FILE", help="a YAML file with any of the options below")
    p.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="set options; noise.rate=0.2 sets the parameter of the noise models that are not none",
    )
    p.add_argument("--output", type=Path, metavar="DIR", default=Path("probe"), help="folder (default: probe)")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")
    p.add_argument("--quiet", action="store_true", help="print no progress")
    group = p.add_argument_group("the probe (each is also a key of --config)")
    add_options(group, ProbeSpec(), leave_out=("policy",))
    return p


def resolve(args: argparse.Namespace) -> ProbeSpec:
    """What the checkpoint was trained with, then the file, then options, then `--set`."""
    data: dict[str, Any] = {}
    source = Source("the command line")
    if args.config is not None:
        data, source = load_yaml(args.config)
        for derived in ("key", "rollouts"):
            data.pop(derived, None)
    if args.checkpoint is not None:
        data["policy"] = args.checkpoint
    data = {**_trained(data.get("policy")), **data}
    for f in dataclasses.fields(ProbeSpec):
        value = getattr(args, f"spec_{f.name}", None)
        if value is None:
            continue
        option = f"--{f.name.replace('_', '-')}"
        if f.name in LISTS:
            data[f.name] = parse_names(value, option)
        elif f.name == "group_sizes":
            data[f.name] = _sizes(value, option)
        else:
            set_dotted(data, f"{f.name}={value}")
    for assignment in args.assignments:
        _assign(data, assignment)
    return build(ProbeSpec, data, source)


def _trained(policy: Any) -> dict[str, Any]:
    """The options that a checkpoint of `krpo-train` was trained with."""
    from krpo.rundir import read_json

    file = Path(str(policy)) / "krpo.json"
    if policy is None or not file.is_file():
        return {}
    found = read_json(file)
    spec = found.get("spec", {}) if isinstance(found, dict) else {}
    return {name: spec[name] for name in FROM_CHECKPOINT if name in spec}


def _sizes(text: str, option: str) -> list[int]:
    try:
        return [int(item) for item in text.split(",")]
    except ValueError:
        raise BadInput(f"{option} {text}: expected whole numbers, as in 2,4,8,12,16") from None


def _assign(data: dict[str, Any], assignment: str) -> None:
    """One `--set`. `noise.x=1` goes to every noise model but none, of which there must be one."""
    key, dot, _ = assignment.partition("=")[0].partition(".")
    if key == "noise" and dot:
        models = [to_plain(item) if isinstance(item, Named) else item for item in data.get("noise", ["none"])]
        models = models if isinstance(models, list) else [models]
        chosen = [i for i, item in enumerate(models) if item != "none"]
        if not chosen:
            raise BadInput(f"--set {assignment}: no noise is chosen; add --noise none,flip")
        for i in chosen:
            holder = {"noise": models[i]}
            set_dotted(holder, assignment)
            models[i] = holder["noise"]
        data["noise"] = models
    elif dot and key == "task":
        data.setdefault("task", "sums")
        set_dotted(data, assignment)
    else:
        set_dotted(data, assignment)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return run_cli(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    spec = resolve(args)
    from krpo.probe.run import probe, read_csv
    from krpo.probe.table import render

    reporter = _Reporter(args.quiet)
    table = probe(spec, args.output, device=args.device, progress=reporter)
    reporter.close()
    print(render(read_csv(table), spec))
    print(f"all measures: {table}")
    return 0


class _Reporter:
    """Progress on standard error: a live line on a terminal, single lines elsewhere (every tenth of the rollouts)."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.live, self.lines = quiet, sys.stderr.isatty(), 0

    def __call__(self, text: str) -> None:
        if self.quiet:
            return
        if self.live:
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
        elif not text.startswith("rollouts") or self.lines % 10 == 0:
            print(text, file=sys.stderr, flush=True)
        self.lines += text.startswith("rollouts")

    def close(self) -> None:
        if self.live and not self.quiet:
            print(file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
