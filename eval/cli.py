"""`krpo-eval`: checkpoints in, scores with intervals out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from eval.spec import EvalSpec
from krpo.errors import BadInput, KrpoError, run_cli

EXAMPLES = """\
examples:
  krpo-eval runs/quick/*/checkpoint --tasks sums
      every run's checkpoint, greedy; records go to each run's eval/ folder
  krpo-eval ckpt --tasks gsm8k --data-dir data --limit 200
      lm-eval's own 5-shot GSM8K on local files (gsm8k_train.jsonl, gsm8k_test.jsonl), first 200 questions
  krpo-eval ckpt --tasks sums,gsm8k --samples 8 --temperature 1
      eight sampled answers a question: their average, pass@k, maj@k and all@k
  krpo-eval compare runs/quick/3f2a runs/quick/9c01
      the paired difference of two finished evaluations
  krpo-eval ckpt --tasks sums --samples 8 --temperature 1 --seed 1
  krpo-eval compare ckpt ckpt/eval/seed=1
      the noise floor: the same checkpoint twice, with two seeds (A/A)

tasks: sums, arithmetic; gsm8k, math500, svamp in lm-eval's form; gsm8k_think, math500_think in the trainer's prompt;
and every lm-eval task by its name, or your own by its YAML file
A finished evaluation is not run again; an interrupted one goes on where it stopped.
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="krpo-eval",
        description="Score checkpoints on held-out questions: one record per answer, and scores with intervals.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def option(name: str, text: str, **more: Any) -> None:
        p.add_argument(name, help=text, **more)

    option("checkpoints", "a checkpoint folder, a hub name, or `tiny`", nargs="+", metavar="CKPT")
    option("--tasks", "what to score on, separated by commas", required=True, metavar="A,B")
    option("--limit", "only the first N questions of each task", type=int, metavar="N")
    option("--samples", "answers per question (default 1)", type=int, default=1, metavar="K")
    option("--temperature", "0 is greedy (default)", type=float, default=0.0, metavar="T")
    option("--backend", "auto: vLLM on a GPU if installed, else hf", choices=("auto", "hf", "vllm"), default="auto")
    option("--data-dir", "local data files in place of the hub's", metavar="DIR")
    option("--output", "where records go (default: eval/ beside or inside the checkpoint)", metavar="DIR")
    option("--max-tokens", "tokens an answer may have (default: the task's)", type=int, metavar="N")
    option("--batch-size", "most answers generated at once (default 256)", type=int, default=256, metavar="N")
    dtypes = ("auto", "float32", "bfloat16", "float16")
    option("--dtype", "auto: float32 on a CPU, bfloat16 on a GPU", choices=dtypes, default="auto")
    option("--workers", "processes that share the work (default: one per GPU; 1 on a CPU)", type=int, metavar="N")
    option("--tensor-parallel", "GPUs that hold one model together (vllm; default 1)", type=int, default=1, metavar="N")
    option("--seed", "each sample's own is derived from it (default 0; others: in eval/seed=N)", type=int, default=0)
    option("--chat-template", "render prompts with the tokenizer's chat template", action="store_true")
    return p


def compare_parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="krpo-eval compare",
        description="The paired difference of two evaluations on the same questions: interval, test, who got what.",
        epilog="example:\n  krpo-eval compare runs/quick/3f2a runs/quick/9c01 --tasks sums",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("a", metavar="A", help="a run, a checkpoint or an eval/ folder")
    p.add_argument("b", metavar="B", help="another, evaluated on the same questions")
    p.add_argument("--tasks", metavar="A,B", help="only these (default: all that both have)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["compare"]:
        chosen = compare_parser().parse_args(argv[1:])
        return run_cli(lambda: _compare(chosen))
    args = parser().parse_args(argv)
    return run_cli(lambda: _evaluate(args))


def _compare(args: argparse.Namespace) -> int:
    from pathlib import Path

    from eval.compare import compare, print_comparison

    a, b = Path(args.a), Path(args.b)
    print_comparison(a, b, compare(a, b, _names(args.tasks) if args.tasks else None))
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _evaluate(args: argparse.Namespace) -> int:
    from pathlib import Path

    spec = EvalSpec(
        tasks=_names(args.tasks),
        limit=args.limit,
        samples=args.samples,
        temperature=args.temperature,
        backend=args.backend,
        data_dir=args.data_dir,
        max_tokens=args.max_tokens,
        batch_size=args.batch_size,
        dtype=args.dtype,
        tensor_parallel=args.tensor_parallel,
        seed=args.seed,
        chat_template=args.chat_template,
    )
    if len(set(args.checkpoints)) < len(args.checkpoints):
        raise BadInput("a checkpoint is named twice")
    from eval.display import Display, print_results
    from eval.runner import default_out_dir, evaluate, of_seed

    outs = [default_out_dir(c, spec.seed) for c in args.checkpoints]
    if args.output:
        names = [""] if len(args.checkpoints) == 1 else folder_names(args.checkpoints)
        outs = [of_seed(Path(args.output) / name, spec.seed) for name in names]
    with Display(sys.stderr) as display:
        try:
            results = evaluate(args.checkpoints, spec, out_dirs=outs, progress=display, workers=args.workers)
        except MemoryError:
            raise KrpoError("out of memory; what was answered is kept, the same command goes on from there") from None
    print_results(args.checkpoints, results, outs)
    return 0


def folder_names(checkpoints: Sequence[str]) -> list[str]:
    """One folder name per checkpoint: its own, or its run's where it is called `checkpoint`; numbered if they clash."""
    from pathlib import Path

    names: list[str] = []
    for checkpoint in checkpoints:
        path = Path(checkpoint)
        name = path.parent.name if path.name == "checkpoint" and path.parent.name else path.name
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
