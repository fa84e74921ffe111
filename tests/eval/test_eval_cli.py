import json
import subprocess
import sys
import time

import pytest

from eval.cli import folder_names, main


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


def test_the_table_says_n_interval_and_method(policy, tmp_path, capsys):
    argv = [policy, "--tasks", "sums", "--limit", "9", "--backend", "hf", "--output", tmp_path]
    assert main([str(a) for a in argv]) == 0
    shown = capsys.readouterr()
    header, _, first, *_ = shown.out.splitlines()
    assert header.split() == "checkpoint task metric score 95 % interval stderr questions samples".split()  # noqa: SIM905
    assert first.split()[1:3] == ["sums", "accuracy"]
    assert first.split()[-2:] == ["9", "1"]
    assert "Wilson" in shown.out
    assert "sums: 9/9 answers, accuracy" in shown.err


def test_records_of_several_checkpoints_get_their_own_folders():
    assert folder_names(["runs/a/checkpoint", "runs/b/checkpoint", "c"]) == ["a", "b", "c"]
    assert folder_names(["x/a", "y/a"]) == ["a", "a-1"]
