import json
import re
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from eval.cli import folder_names, main
from eval.display import print_results
from eval.summary import summarize
from krpo.rundir import read_jsonl


def said_by(capsys, *argv):
    """Exit status and what is said on standard error."""
    status = main([str(a) for a in argv])
    return status, capsys.readouterr().err


def test_help_teaches_and_is_quick():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "eval.cli", "--help"], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 1.0
    assert "krpo-eval ckpt --tasks gsm8k --data-dir data --limit 200" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tasks", "sums", "--samples", "8", "--temperature", "0"], ["samples is 8", "temperature"]),
        (["--tasks", "smus"], ["no task 'smus'", "did you mean sums"]),
        (["--tasks", ","], ["tasks is empty"]),
        (["--tasks", "gsm8k", "--data-dir", "{empty}"], ["gsm8k_test.jsonl", "gsm8k"]),
        (["--tasks", "gsm8k", "--data-dir", "{missing}"], ["no such folder", "missing"]),
        (["--tasks", "gsm8k", "--data-dir", "{columns}"], ["gsm8k_test.jsonl, line 1", "'question'", "problem"]),
        (["--tasks", "gsm8k", "--data-dir", "{broken}"], ["gsm8k_test.jsonl, line 2", "not valid JSON"]),
        (["--tasks", "sums", "--chat-template"], ["no chat template"]),
        (["--tasks", "sums", "--max-tokens", "5000"], ["max_tokens is 5000", "1024 positions"]),
        (["--tasks", "sums", "--limit", "0"], ["limit is 0"]),
    ],
)
def test_bad_input_is_one_clear_message(policy, tmp_path, capsys, options, words):
    good = json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n"
    files = {"empty": "", "columns": '{"problem": "1 + 1?", "answer": "2"}\n', "broken": good + '{"question": \n'}
    for name, content in files.items():
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "gsm8k_train.jsonl").write_text(good)
            (tmp_path / name / "gsm8k_test.jsonl").write_text(content)
    folders = {name: tmp_path / name for name in (*files, "missing")}
    options = [option.format(**folders) for option in options]
    status, error = said_by(capsys, policy, *options, "--output", tmp_path / "out")
    assert status == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_a_missing_checkpoint_and_a_folder_that_is_none(tmp_path, capsys):
    for path in (tmp_path / "nowhere" / "checkpoint", tmp_path):
        status, error = said_by(capsys, path, "--tasks", "sums")
        assert status == 2
        assert error.count("\n") == 1
        assert str(path) in error


def test_vllm_not_installed_is_said_with_the_remedy(policy, capsys, monkeypatch):
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "vllm" else real(name, *a))
    status, error = said_by(capsys, policy, "--tasks", "sums", "--backend", "vllm")
    assert status == 2
    assert "vLLM is not installed" in error
    assert "--backend hf" in error


def cells(line):
    return re.split(r"  +", line.strip())


def shown_by(capsys, policy, out, *options):
    """What a call prints: its head lines, scores by metric, and what went wrong, as cells by their column."""
    argv = [policy, "--tasks", "sums", "--limit", "9", "--backend", "hf", "--output", out, *options]
    assert main([str(a) for a in argv]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("checkpoint")]
    head = lines[: starts[0]]
    scores, troubles = (
        [dict(zip(cells(lines[start]), cells(row), strict=True)) for row in lines[start + 2 : lines.index("", start)]]
        for start in starts
    )
    return head, {row["metric"]: row for row in scores}, troubles, shown


def test_the_head_says_what_a_caption_needs(policy, tmp_path, capsys):
    head, *_ = shown_by(capsys, policy, tmp_path, "--samples", "2", "--temperature", "0.7", "--seed", "5")
    settings, tasks, versions, _ = head
    said = "backend hf, device cpu, dtype float32, batch size 256, temperature 0.7, samples 2, seed 5"
    assert settings == f"Settings: {said}"
    assert tasks == "Tasks: sums version 1.0, 0-shot, max tokens 64"
    for name in ("lm_eval", "math-verify", "torch", "transformers"):
        assert f"{name.replace('-', '_')} {version(name)}" in versions


def test_the_table_says_n_interval_and_method(policy, tmp_path, capsys):
    _, scores, _, shown = shown_by(capsys, policy, tmp_path)
    assert scores["accuracy"]["questions"] == "9"
    assert scores["accuracy"]["samples"] == "1"
    assert {row["method"] for row in scores.values()} == {"Wilson"}
    assert "Wilson: the score interval" in shown.out
    assert "Wilson (SE)" not in shown.out
    assert "sums: 9/9 answers, accuracy" in shown.err


def test_what_did_not_go_wrong_is_shown_as_zero(policy, tmp_path, capsys):
    *_, troubles, _ = shown_by(capsys, policy, tmp_path, "--max-tokens", "4")
    rows = read_jsonl(tmp_path / "sums.jsonl")
    (row,) = troubles
    assert row["answers"] == "9"
    assert row["timed out"] == row["prompts cut"] == "0"
    assert row["cut"] == str(sum(r["finish"] == "length" for r in rows))
    assert int(row["cut"]) >= 5
    assert row["no answer found"] == "9"  # there is no room for the tags


def test_each_line_is_labelled_by_the_method_of_its_own_interval(tmp_path, capsys):
    """Two samples: right or wrong on both is a 0/1 verdict (Wilson), one of two is not; beyond 1 it is Student's."""
    rows = [
        {
            "question_id": str(q), "sample": k, "level": None, "extracted": None, "finish": "stop", "tokens": 5,
            "timed_out": False, "prompt_cut": False,
            "verdicts": {"mixed": (q + k) % 2, "whole": q % 2, "length": 10 * q},
        }
        for q in range(4) for k in range(2)
    ]  # fmt: skip
    for q in range(2):
        rows[2 * q]["verdicts"]["mixed"] = rows[2 * q + 1]["verdicts"]["mixed"] = 1
    metrics = ["mixed", "whole", "length"]
    summary = summarize(rows, metrics=metrics, primary="mixed", samples=2)
    settings = {
        "backend": "hf", "device": "cpu", "dtype": "float32", "batch_size": 8, "chat_template": False,
        "temperature": 1.0, "samples": 2, "max_tokens": None, "seed": 0,
    }  # fmt: skip
    summary |= {"task": "t", "primary": "mixed", "settings": settings, "task_config": {}, "data": "d", "versions": {}}
    print_results(["c"], [{"t": summary}], [tmp_path])
    shown = capsys.readouterr().out
    methods = {
        cells(line)[2]: cells(line)[5] for line in shown.splitlines() if line.startswith("c  ") and " to " in line
    }
    assert {m: methods[m] for m in metrics} == {"mixed": "Wilson (SE)", "whole": "Wilson", "length": "Student t"}
    assert "mixed / whole" in shown


def test_records_of_several_checkpoints_get_their_own_folders():
    assert folder_names(["runs/a/checkpoint", "runs/b/checkpoint", "c"]) == ["a", "b", "c"]
    assert folder_names(["x/a", "y/a"]) == ["a", "a-1"]
