"""Ten checkpoints of the tiny policy, 500 questions x 4 samples: one call of `krpo-eval` against ten of lm-eval.

    python benchmarks/evaluation.py                 # hf and vllm
    python benchmarks/evaluation.py --backend hf --checkpoints 3

Both sides run as fresh processes on the same task (`sums`, its first 500 questions) with the same sampling settings,
in turn in one run of this script. lm-eval reads the task from the YAML file of this package with `repeats: 4`. Printed
are seconds, the ratio, peak memory (resident, of the process and its children), and both accuracies with their
standard errors, which must agree within sampling noise.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from eval.backends.vllm import answering_for_vllm
from krpo.policies import policy_path

QUESTIONS, SAMPLES = 500, 4


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--backend", choices=("hf", "vllm"), action="append", help="default: both")
    p.add_argument("--checkpoints", type=int, default=10)
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        checkpoints = copies(root, args.checkpoints)
        for backend in args.backend or ("hf", "vllm"):
            mine = ours(root / f"ours-{backend}", checkpoints, backend)
            theirs = lm_evals(root / f"theirs-{backend}", checkpoints, backend)
            line = {"backend": backend, "checkpoints": len(checkpoints), "questions": QUESTIONS, "samples": SAMPLES}
            line |= {"krpo_eval": mine, "lm_eval": theirs, "ratio": round(theirs["seconds"] / mine["seconds"], 2)}
            print(json.dumps(line), flush=True)
    return 0


def copies(root: Path, n: int) -> list[Path]:
    """The tiny policy with a little noise on its weights: checkpoints as of a training run."""
    import torch
    from safetensors.torch import load_file, save_file

    made = []
    for i in range(n):
        folder = root / f"checkpoint-{i}"
        shutil.copytree(policy_path("tiny"), folder)
        rng = torch.Generator().manual_seed(i)
        weights = load_file(folder / "model.safetensors")
        noisy = {k: w + 0.01 * w.std() * torch.randn(w.shape, generator=rng) for k, w in weights.items() if w.ndim > 1}
        save_file(weights | noisy, folder / "model.safetensors", metadata={"format": "pt"})
        made.append(folder)
    return made


def ours(out: Path, checkpoints: list[Path], backend: str) -> dict[str, object]:
    options = f"--tasks sums --limit {QUESTIONS} --samples {SAMPLES} --temperature 1 --dtype float32".split()
    command = [sys.executable, "-m", "eval.cli", *map(str, checkpoints), *options, "--backend", backend]
    seconds, memory = timed([*command, "--output", str(out)])
    scores = [json.loads(file.read_text())["scores"]["accuracy"] for file in out.rglob("sums.json")]
    return figures(seconds, memory, [(s["value"], s["stderr"]) for s in scores])


def lm_evals(out: Path, checkpoints: list[Path], backend: str) -> dict[str, object]:
    out.mkdir()
    task = (Path(__file__).parents[1] / "eval" / "tasks" / "sums.yaml").read_text()
    task = re.sub(r"generation_kwargs: .*", "generation_kwargs: {until: [], do_sample: true, temperature: 1.0}", task)
    task = task.replace("eval.tasks.own.judge", "repeated.judge").replace("eval.tasks.own.metrics", "repeated.average")
    (out / "sums_repeated.yaml").write_text(
        f"{task}\nrepeats: {SAMPLES}\n".replace("task: sums", "task: sums_repeated")
    )
    (out / "repeated.py").write_text(REPEATED)
    seconds, peak, scores = 0.0, 0.0, []
    for number, checkpoint in enumerate(checkpoints):
        model = f"pretrained={checkpoint},dtype=float32"
        if backend == "vllm":
            model += ",enforce_eager=True,max_gen_toks=64"
        options = f"--tasks sums_repeated --limit {QUESTIONS} --batch_size {'auto' if backend == 'vllm' else 256}"
        command = [sys.executable, str(Path(__file__)), "--as-lm-eval", "run", "--model", backend]
        command += ["--model_args", model, *options.split(), "--include_path", str(out)]
        command += ["--gen_kwargs", "max_gen_toks=64", "--output_path", str(out / str(number))]
        if backend == "hf":
            command += ["--device", "cpu"]
        used, memory = timed(command)
        seconds, peak = seconds + used, max(peak, memory)
        results = json.loads(next((out / str(number)).rglob("results_*.json")).read_text())["results"]
        scores.append(
            (results["sums_repeated"]["accuracy,verdict"], results["sums_repeated"]["accuracy_stderr,verdict"])
        )
    return figures(seconds, peak, scores)


REPEATED = """
from eval.tasks import own

def judge(answers, docs):
    return [own.judge([[text] for text in texts], [doc] * len(texts)) for texts, doc in zip(answers, docs)]

def average(doc, results):
    each = [own.metrics(doc, [verdict]) for verdict in results[0]]
    return {name: sum(m[name] for m in each) / len(each) for name in each[0]}
"""


def figures(seconds: float, memory: float, scores: list[tuple[float, float]]) -> dict[str, object]:
    accuracy, stderr = (round(sum(column) / len(scores), 4) for column in zip(*scores, strict=True))
    return {"seconds": round(seconds, 1), "peak_gib": round(memory, 2), "accuracy": accuracy, "stderr": stderr}


def timed(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a command, and the peak resident memory (GiB) of its process tree."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    start, peak = time.monotonic(), 0
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        process = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                tree = [process, *process.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in tree))
            except psutil.Error:
                pass
            time.sleep(0.1)
        if child.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}\nfailed:\n{said.read().decode(errors='replace')[-3000:]}")
    return time.monotonic() - start, peak / 2**30


def as_lm_eval(argv: list[str]) -> None:
    """lm-eval's own command line; it asks for the version of `vllm`, so `vllm-cpu` must answer."""
    with answering_for_vllm():
        from lm_eval.__main__ import cli_evaluate

        sys.argv = ["lm-eval", *argv]
        cli_evaluate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-lm-eval"]:
        as_lm_eval(sys.argv[2:])
    else:
        sys.exit(main())
