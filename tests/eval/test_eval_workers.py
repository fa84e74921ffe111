"""Several processes share an evaluation: the records are those of one, and a dead worker loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import make_policy

from eval import EvalSpec, evaluate
from eval.workers import how_many
from krpo.errors import BadInput
from krpo.rundir import read_json

ROOT = Path(__file__).resolve().parents[2]
SPEC = EvalSpec(tasks=("sums", "arithmetic"), limit=6, samples=2, temperature=1.0, backend="hf", max_tokens=24)


def content(folder: Path) -> dict[str, object]:
    """Every record and summary below a folder, without times."""
    found: dict[str, object] = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jsonl")}
    for file in folder.rglob("*.json"):
        found[str(file.relative_to(folder))] = {k: v for k, v in read_json(file).items() if k != "wall"}
    return found


@pytest.mark.parametrize("checkpoints", [1, 3])
def test_two_workers_leave_the_records_of_one(checkpoints, tmp_path):
    """One checkpoint is shared by its tasks, three as wholes."""
    policies = [make_policy(tmp_path / f"policy-{i}", seed=i) for i in range(checkpoints)]
    seen = []
    alone, shared = ([tmp_path / way / str(i) for i in range(checkpoints)] for way in ("alone", "shared"))
    one = evaluate(policies, SPEC, out_dirs=alone)
    two = evaluate(policies, SPEC, out_dirs=shared, workers=2, progress=seen.append)
    assert content(tmp_path / "alone") == content(tmp_path / "shared")
    assert [list(summaries) for summaries in two] == [["sums", "arithmetic"]] * checkpoints
    assert [s["sums"]["scores"] for s in one] == [s["sums"]["scores"] for s in two]
    assert {(p.checkpoint_index, p.task) for p in seen if p.done == p.total} == {
        (i, task) for i in range(checkpoints) for task in SPEC.tasks
    }


def test_a_killed_worker_is_told_and_the_same_command_goes_on(tmp_path):
    policies = [str(make_policy(tmp_path / f"policy-{i}", seed=i)) for i in range(2)]
    sampling = ["--tasks", "sums", "--limit", "200", "--samples", "4", "--temperature", "1", "--batch-size", "16"]
    options = [*sampling, "--workers", "2", "--output"]
    command = [sys.executable, "-m", "eval.cli", *policies, *options, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = psutil.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (journals := [p for p in tmp_path.rglob("*.partial.jsonl") if p.stat().st_size > 1000]):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    workers = [c for c in process.children() if "spawn_main" in " ".join(c.cmdline())]
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a worker ended with SIGKILL while it evaluated" in told
    assert "Traceback" not in told
    assert any(p.exists() for p in journals)

    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert again.returncode == 0, again.stderr
    spec = EvalSpec(tasks=("sums",), limit=200, samples=4, temperature=1.0, backend="hf", batch_size=16)
    evaluate(policies, spec, out_dirs=[tmp_path / "alone" / Path(p).name for p in policies])
    assert content(tmp_path / "out") == content(tmp_path / "alone")


def test_how_many_workers(monkeypatch):
    import torch

    vllm = EvalSpec(tasks=("sums",), backend="vllm", tensor_parallel=2)
    assert how_many(None, SPEC, 4) == (1, [])
    assert how_many(3, SPEC, 2) == (2, [])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)  # a fault-free box that is not here
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert how_many(None, SPEC, 9) == (4, ["0", "1", "2", "3"])
    assert how_many(None, vllm, 9)[0] == 2
    with pytest.raises(BadInput, match="need 6 GPUs; visible are 4"):
        how_many(3, vllm, 9)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    assert how_many(2, SPEC, 9) == (2, ["GPU-a", "GPU-b", "GPU-c", "GPU-d"])


def test_what_cannot_be(tmp_path):
    with pytest.raises(BadInput, match="workers is 0"):
        evaluate(["tiny"], SPEC, workers=0)
    with pytest.raises(BadInput, match="only vLLM can do"):
        evaluate(["tiny"], EvalSpec(tasks=("sums",), backend="hf", tensor_parallel=2))
    with pytest.raises(BadInput, match="tensor_parallel is 0"):
        EvalSpec(tasks=("sums",), tensor_parallel=0)


def test_bad_input_in_a_worker_reaches_the_caller(tmp_path):
    with pytest.raises(BadInput, match="no_such_task"):
        evaluate(["tiny"], EvalSpec(tasks=("sums", "no_such_task"), limit=2), out_dirs=[tmp_path], workers=2)


def test_one_gpu_for_one_model_is_no_news_for_a_key(tmp_path, policy):
    summary = evaluate([policy], EvalSpec(tasks=("sums",), limit=2), out_dirs=[tmp_path])[0]["sums"]
    assert "tensor_parallel" not in summary["settings"]
