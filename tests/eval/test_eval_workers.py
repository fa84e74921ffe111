"""Several worker processes: the same records as one, and a death that is told and costs nothing."""

import os
import signal

import pytest

from eval import EvalSpec, evaluate
from eval.cli import main
from eval.gpus import how_many_workers
from eval.workers import Worker
from krpo.errors import BadInput, KrpoError

SPEC = EvalSpec(tasks=("sums", "arithmetic"), limit=8, samples=2, temperature=1.0, backend="hf", batch_size=3)


@pytest.fixture(scope="module")
def one(policy, other_policy, tmp_path_factory):
    root = tmp_path_factory.mktemp("one")
    evaluate([policy, other_policy], SPEC, out_dirs=[root / "0", root / "1"])
    return root


def records(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*.jsonl"))}


def test_two_workers_give_the_records_of_one(one, policy, other_policy, tmp_path):
    """Two checkpoints, one for each worker."""
    results = evaluate([policy, other_policy], SPEC, out_dirs=[tmp_path / "0", tmp_path / "1"], workers=2)
    assert len(records(one)) == 4
    assert records(tmp_path) == records(one)
    assert [list(result) for result in results] == [["sums", "arithmetic"]] * 2


def test_workers_share_the_questions_of_one_checkpoint(one, policy, tmp_path, monkeypatch):
    real, orders = Worker.send, []
    monkeypatch.setattr(Worker, "send", lambda self, order: (orders.append((self.number, order[0])), real(self, order)))
    evaluate([policy], SPEC, out_dirs=[tmp_path / "0"], workers=2)
    assert {(0, "open"), (1, "open"), (0, "answer"), (1, "answer")} == set(orders)
    assert records(tmp_path) == {name: rows for name, rows in records(one).items() if name.startswith("0")}


def test_a_worker_that_is_killed_is_told_and_costs_nothing(one, policy, other_policy, tmp_path, monkeypatch):
    real, sent = Worker.send, []

    def killing(self, order):
        sent.append(order)
        if len(sent) == 5:
            os.kill(self.process.pid, signal.SIGKILL)
        real(self, order)

    outs = [tmp_path / "0", tmp_path / "1"]
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "send", killing)
        with pytest.raises(KrpoError, match=r"worker \d was killed by signal 9.*the same command goes on"):
            evaluate([policy, other_policy], SPEC, out_dirs=outs, workers=2)
    kept = sum(file.read_bytes().count(b"\n") - 1 for file in tmp_path.rglob("*.partial.jsonl"))
    assert kept > 0
    seen = []
    evaluate([policy, other_policy], SPEC, out_dirs=outs, progress=seen.append, workers=2)
    assert records(tmp_path) == records(one)
    assert len([p for p in seen if not p.found]) < 24  # batches in all: some were there already


def test_what_a_worker_cannot_load_is_the_same_message(policy, tmp_path, capsys):
    argv = [policy, "--tasks", "sums", "--max-tokens", 5000, "--workers", 2, "--output", tmp_path]
    assert main([str(a) for a in argv]) == 2
    error = capsys.readouterr().err
    assert "max_tokens is 5000" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("gpus", "asked", "each", "workers"),
    [("", None, 1, 1), ("", 3, 1, 3), ("0123", None, 1, 4), ("0123", None, 2, 2), ("0123", 1, 2, 1)],
)
def test_one_worker_per_group_of_gpus(monkeypatch, gpus, asked, each, workers):
    monkeypatch.setattr("eval.gpus.visible_gpus", lambda: list(gpus))
    assert how_many_workers(asked, EvalSpec(tasks=("sums",), tensor_parallel=each)) == workers


@pytest.mark.parametrize(
    ("asked", "each", "said"),
    [
        (None, 4, "tensor_parallel is 4, but 2 GPUs are visible"),
        (2, 2, "2 workers of 2 GPUs each need 4 GPUs, but 2 are visible"),
        (0, 1, "workers is 0"),
    ],
)
def test_more_than_the_gpus_there_are_is_refused(monkeypatch, asked, each, said):
    monkeypatch.setattr("eval.gpus.visible_gpus", lambda: ["0", "1"])
    with pytest.raises(BadInput, match=said):
        how_many_workers(asked, EvalSpec(tasks=("sums",), tensor_parallel=each))


@pytest.mark.parametrize(
    ("backend", "each", "said"), [("hf", "2", "use --backend vllm"), ("vllm", "3", "4 attention heads")]
)
def test_tensor_parallel_that_cannot_be_is_refused(policy, tmp_path, capsys, backend, each, said):
    if backend == "vllm":
        pytest.importorskip("vllm")
    argv = [policy, "--tasks", "sums", "--backend", backend, "--tensor-parallel", each, "--output", tmp_path]
    assert main([str(a) for a in argv]) == 2
    assert said in capsys.readouterr().err
