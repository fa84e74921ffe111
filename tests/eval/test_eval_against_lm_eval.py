"""lm-eval's own command line and krpo-eval on one checkpoint: the same numbers, question by question."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eval import EvalSpec, evaluate
from krpo.policies import policy_path
from krpo.rundir import read_jsonl

LIMIT = 40


@pytest.mark.slow
def test_gsm8k_numbers_are_those_of_lm_evals_command_line(data_dir, tmp_path):
    import lm_eval.tasks

    checkpoint = policy_path("tiny")
    stock = Path(lm_eval.tasks.__file__).parent / "gsm8k" / "gsm8k.yaml"
    files = {split: str((data_dir / f"gsm8k_{split}.jsonl").resolve()) for split in ("train", "test")}
    local = {
        "include": str(stock),
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }
    (tmp_path / "gsm8k.yaml").write_text(json.dumps(local))  # JSON is YAML
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--batch_size", "16"]
    command += ["--model_args", f"pretrained={checkpoint},dtype=float32", "--tasks", str(tmp_path / "gsm8k.yaml")]
    command += ["--limit", str(LIMIT), "--log_samples", "--output_path", str(tmp_path / "theirs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr

    spec = EvalSpec(tasks=("gsm8k",), limit=LIMIT, data_dir=str(data_dir), backend="hf", dtype="float32")
    mine = evaluate([checkpoint], spec, out_dirs=[tmp_path / "mine"])[0]["gsm8k"]
    rows = {row["question_id"]: row for row in read_jsonl(tmp_path / "mine" / "gsm8k.jsonl")}

    samples = [json.loads(line) for f in (tmp_path / "theirs").rglob("samples_*.jsonl") for line in f.open()]
    assert len(samples) == 2 * LIMIT  # one row per filter
    for sample in samples:
        row = rows[str(sample["doc_id"])]
        assert row["verdicts"][sample["filter"]] == sample["exact_match"]
        assert row["answer_text"] == sample["resps"][0][0]
    results = json.loads(next((tmp_path / "theirs").rglob("results_*.json")).read_text())["results"]["gsm8k"]
    for name in ("strict-match", "flexible-extract"):
        assert mine["scores"][name]["value"] == pytest.approx(results[f"exact_match,{name}"])
        assert mine["scores"][name]["stderr"] == pytest.approx(results[f"exact_match_stderr,{name}"])


CHOICES = """
task: choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}} ="
doc_to_choice: "{{{{options}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


def test_a_users_own_log_likelihood_task_runs_and_equals_lm_evals_evaluator(policy, tmp_path):
    """Multiple choice, nothing generated: against `lm_eval.simple_evaluate` on the same weights."""
    import lm_eval

    rows = [{"question": f"{i} + {i}", "options": [str(i), str(2 * i)], "label": 1} for i in range(1, 21)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tmp_path / "choices.yaml"
    task.write_text(CHOICES.format(file=tmp_path / "rows.jsonl"))
    spec = EvalSpec(tasks=(str(task),), backend="hf", dtype="float32")
    mine = evaluate([policy], spec, out_dirs=[tmp_path / "mine"])[0]["choices"]
    theirs = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={policy},dtype=float32",
        tasks=[str(task)],
        device="cpu",
        task_manager=lm_eval.tasks.TaskManager(include_defaults=False),
    )["results"]["choices"]
    assert mine["primary"] == "acc"
    assert mine["scores"]["acc"]["value"] == pytest.approx(theirs["acc,none"])
    assert mine["scores"]["acc"]["stderr"] == pytest.approx(theirs["acc_stderr,none"])
