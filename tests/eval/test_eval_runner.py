import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval import EvalSpec, default_out_dir, evaluate
from eval.cli import main
from krpo.errors import BadInput
from krpo.rundir import read_jsonl

GREEDY = EvalSpec(tasks=("sums",), limit=12, backend="hf")
SAMPLED = EvalSpec(tasks=("sums",), limit=6, samples=4, temperature=1.0, backend="hf")


def rows_of(folder, task="sums"):
    return read_jsonl(folder / f"{task}.jsonl")


@pytest.fixture(scope="module")
def sampled(policy, tmp_path_factory):
    out = tmp_path_factory.mktemp("sampled")
    seen = []
    summary = evaluate([policy], SAMPLED, out_dirs=[out], progress=seen.append)[0]["sums"]
    return out, summary, seen


def test_one_row_per_question_and_sample_in_order(sampled):
    rows = rows_of(sampled[0])
    assert [row["sample"] for row in rows] == [0, 1, 2, 3] * 6
    assert len({row["question_id"] for row in rows}) == 6
    wanted = {"question_id", "sample", "level", "prompt_sha256", "answer_text", "extracted", "gold"}
    assert all(wanted | {"verdicts", "tokens", "finish", "seed"} <= set(row) for row in rows)
    assert all(row["finish"] == "length" or row["tokens"] <= 64 for row in rows)


def test_summary_keeps_the_contract(sampled):
    out, summary, _ = sampled
    assert json.loads((out / "sums.json").read_text()) == summary
    assert summary["task"] == "sums"
    assert summary["primary"] == "accuracy"
    assert (summary["n_questions"], summary["samples"]) == (6, 4)
    assert set(summary["scores"]["accuracy"]) >= {"value", "stderr", "low", "high", "n"}
    assert list(summary["by_level"]) == ["easy", "normal", "hard"]
    assert set(summary["at_k"]["pass"]) == {"1", "2", "3", "4"}
    assert summary["versions"]["lm_eval"]
    assert summary["counts"]["answers"] == 24


def test_samples_of_one_question_are_different_draws(sampled):
    rows = rows_of(sampled[0])
    assert len({row["seed"] for row in rows}) == len(rows)
    for first in range(0, len(rows), 4):
        assert len({row["answer_text"] for row in rows[first : first + 4]}) == 4


def test_progress_counts_answers(sampled):
    last = sampled[2][-1]
    assert (last.done, last.total, last.metric, last.found) == (24, 24, "accuracy", False)


def test_a_finished_evaluation_is_not_run_again(sampled, policy, monkeypatch):
    out, summary, _ = sampled
    monkeypatch.setattr("eval.backends.make_backend", lambda *a, **k: pytest.fail("a model was loaded"))
    seen = []
    assert evaluate([policy], SAMPLED, out_dirs=[out], progress=seen.append)[0]["sums"] == summary
    assert [p.found for p in seen] == [True]


def test_another_seed_gives_other_answers_and_the_same_seed_the_same(sampled, policy, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    evaluate([policy], SAMPLED, out_dirs=[again])
    assert (again / "sums.jsonl").read_bytes() == (sampled[0] / "sums.jsonl").read_bytes()
    evaluate([policy], EvalSpec(**{**SAMPLED.to_plain(), "tasks": ("sums",), "seed": 1}), out_dirs=[other])
    pairs = zip(rows_of(other), rows_of(again), strict=True)
    assert all(a["answer_text"] != b["answer_text"] for a, b in pairs)


def test_other_weights_have_another_key(policy, other_policy, tmp_path):
    a, b = evaluate([policy, other_policy], GREEDY, out_dirs=[tmp_path / "a", tmp_path / "b"])
    assert a["sums"]["key"] != b["sums"]["key"]
    texts = [[row["answer_text"] for row in rows_of(tmp_path / name)] for name in "ab"]
    assert texts[0] != texts[1]


def interrupted(monkeypatch, policy, spec: EvalSpec, out: Path) -> None:
    """Evaluate, killed after the second batch and in the middle of a journal line."""
    from eval.store import Store

    real, batches = Store.append, []

    def killed(self, rows):
        if len(batches) == 2:
            with self.journal_file.open("ab") as stream:
                stream.write(b'{"question_id": "easy/1')
            raise InterruptedError
        batches.append(rows)
        real(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", killed)
        with pytest.raises(InterruptedError):
            evaluate([policy], spec, out_dirs=[out])


def test_an_interrupted_evaluation_goes_on_and_gives_the_same_records(policy, tmp_path, monkeypatch):
    spec = EvalSpec(tasks=("sums",), limit=6, samples=4, temperature=1.0, backend="hf", batch_size=5)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    evaluate([policy], spec, out_dirs=[whole])

    interrupted(monkeypatch, policy, spec, torn)
    seen = []
    evaluate([policy], spec, out_dirs=[torn], progress=seen.append)
    assert seen[0].done == 15  # two batches were there already
    assert (torn / "sums.jsonl").read_bytes() == (whole / "sums.jsonl").read_bytes()
    assert not (torn / "sums.partial.jsonl").exists()


def test_killed_outright_and_started_again_gives_the_same_records(policy, tmp_path):
    """SIGKILL from outside, as soon as something has been saved."""
    spec = EvalSpec(tasks=("sums",), limit=60, samples=2, temperature=1.0, backend="hf", batch_size=4)
    options = "--tasks sums --limit 60 --samples 2 --temperature 1 --backend hf --batch-size 4".split()  # noqa: SIM905
    command = [sys.executable, "-m", "eval.cli", str(policy), *options, "--output", str(tmp_path / "killed")]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = tmp_path / "killed" / "sums.partial.jsonl"
    while child.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 8):
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert child.returncode == -signal.SIGKILL
    kept = len(journal.read_bytes().splitlines()) - 1
    assert 8 <= kept < 120
    seen = []
    evaluate([policy], spec, out_dirs=[tmp_path / "killed"], progress=seen.append)
    assert kept <= seen[0].done <= kept + 4
    evaluate([policy], spec, out_dirs=[tmp_path / "whole"])
    assert (tmp_path / "killed" / "sums.jsonl").read_bytes() == (tmp_path / "whole" / "sums.jsonl").read_bytes()


def files_of(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_another_evaluation_in_the_same_folder_loses_nothing(policy, tmp_path, monkeypatch):
    """Greedy, then sampled, then greedy again: the last is read back, and the sampled one is kept under its key."""
    evaluate([policy], GREEDY, out_dirs=[tmp_path])
    greedy = files_of(tmp_path)
    sampled = evaluate([policy], SAMPLED, out_dirs=[tmp_path])[0]["sums"]
    ours = {name: content for name, content in files_of(tmp_path).items() if "earlier" not in name}
    assert ours["sums.jsonl"] != greedy["sums.jsonl"]
    assert sorted(f.name for f in (tmp_path / "earlier").rglob("*.*")) == ["sums.json", "sums.jsonl"]
    monkeypatch.setattr("eval.backends.make_backend", lambda *a, **k: pytest.fail("a model was loaded"))
    evaluate([policy], GREEDY, out_dirs=[tmp_path])
    kept = files_of(tmp_path)
    assert {name: kept[name] for name in greedy} == greedy
    assert {f"earlier/{sampled['key']}/{name}" for name in ours} == kept.keys() - greedy.keys()
    evaluate([policy], SAMPLED, out_dirs=[tmp_path])
    assert {name: (tmp_path / name).read_bytes() for name in ours} == ours


def test_an_interrupted_evaluation_survives_another_one_in_its_folder(policy, tmp_path, monkeypatch):
    spec = EvalSpec(tasks=("sums",), limit=6, samples=4, temperature=1.0, backend="hf", batch_size=5)
    interrupted(monkeypatch, policy, spec, tmp_path)
    evaluate([policy], GREEDY, out_dirs=[tmp_path])
    seen = []
    evaluate([policy], spec, out_dirs=[tmp_path], progress=seen.append)
    assert seen[0].done == 15  # ten answers were there already
    assert not list(tmp_path.rglob("*.partial.jsonl"))


def test_killed_between_rows_and_summary_leaves_no_summary_of_other_rows(policy, tmp_path, monkeypatch):
    other = EvalSpec(**{**SAMPLED.to_plain(), "tasks": ("sums",), "seed": 1})  # as many rows
    evaluate([policy], SAMPLED, out_dirs=[tmp_path])
    before = files_of(tmp_path)

    def killed(*_):
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr("eval.store.write_json", killed)
        with pytest.raises(InterruptedError):
            evaluate([policy], other, out_dirs=[tmp_path])
    evaluate([policy], SAMPLED, out_dirs=[tmp_path])
    after = files_of(tmp_path)
    assert {name: after[name] for name in before} == before


def test_two_seeds_of_one_checkpoint_stand_side_by_side_and_compare_as_a_a(policy, tmp_path, capsys):
    options = "--tasks sums --limit 12 --samples 4 --temperature 1 --backend hf --max-tokens 8".split()  # noqa: SIM905
    command = [str(policy), *options]
    command += ["--output", str(tmp_path)]
    assert main(command) == 0
    first = files_of(tmp_path)
    assert main([*command, "--seed", "1"]) == 0
    both = files_of(tmp_path)
    assert {name: both[name] for name in first} == first
    assert both.keys() - first.keys() == {"seed=1/sums.json", "seed=1/sums.jsonl"}
    capsys.readouterr()
    assert main(["compare", str(tmp_path), str(tmp_path / "seed=1")]) == 0
    assert "sums: A/A, the same weights and settings; seed 0 / 1" in capsys.readouterr().out


def test_batching_and_padding_do_not_change_greedy_answers(policy, tmp_path):
    for size in (1, 5, 256):
        spec = EvalSpec(tasks=("sums",), limit=12, backend="hf", batch_size=size)
        evaluate([policy], spec, out_dirs=[tmp_path / str(size)])
    assert rows_of(tmp_path / "1") == rows_of(tmp_path / "5") == rows_of(tmp_path / "256")


def test_default_folders(tmp_path):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    assert default_out_dir(tmp_path / "run" / "checkpoint") == tmp_path / "run" / "eval"
    assert default_out_dir(tmp_path / "run") == tmp_path / "run" / "eval"
    assert default_out_dir(tmp_path / "run", seed=3) == tmp_path / "run" / "eval" / "seed=3"
    assert default_out_dir("Qwen/Qwen3-0.6B") == Path("runs/policies/Qwen--Qwen3-0.6B/eval")


def test_a_missing_checkpoint_is_found_before_anything_runs(policy, tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        evaluate([policy, tmp_path / "nowhere"], GREEDY, out_dirs=[tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "a").exists()


def test_prompts_too_long_are_cut_and_counted(policy, data_dir, tmp_path):
    spec = EvalSpec(tasks=("gsm8k",), limit=3, data_dir=str(data_dir), backend="hf", max_tokens=16)
    summary = evaluate([policy], spec, out_dirs=[tmp_path])[0]["gsm8k"]
    assert summary["counts"]["prompts_cut"] == 3
    assert set(summary["scores"]) == {"strict-match", "flexible-extract", "math-verify"}
    assert set(summary["disagreement"]) == {
        "strict-match / flexible-extract",
        "strict-match / math-verify",
        "flexible-extract / math-verify",
    }


def test_a_torn_summary_is_computed_again(sampled, policy, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(sampled[0], out)
    (out / "sums.json").write_text('{"key": ')
    assert evaluate([policy], SAMPLED, out_dirs=[out])[0]["sums"]["scores"] == sampled[1]["scores"]
