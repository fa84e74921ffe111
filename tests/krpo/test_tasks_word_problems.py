"""GSM8K, MATH and reasoning-gym as tasks: real rows, held-out splits, and a verifier that judges as a person would."""

from __future__ import annotations

import json

import pytest

from krpo.errors import BadInput
from krpo.tasks import make_task


def test_gsm8k_rows_are_the_real_ones(data_dir):
    task = make_task("gsm8k", data_dir=str(data_dir))
    assert len(task.eval_rows()) == 1319
    first = task.eval_rows()[0]
    assert first.prompt.startswith("Janet")
    assert first.answer == "18"
    assert all("," not in row.answer for row in task.eval_rows())
    passes = task.train_rows(3, 2 * 7473)
    assert len({row.id for row in passes[:7473]}) == len({row.id for row in passes[7473:]}) == 7473
    assert passes[:7473] != passes[7473:]
    assert passes[:10] == task.train_rows(3, 10)
    assert passes[:10] != task.train_rows(4, 10)


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("<think>16-3-4=9; 9*2=18</think><answer>18</answer>", True),
        ("<think>?</think><answer> $18.00 </answer>", True),
        ("<answer>17</answer>", False),
        ("no idea", False),
        ("<answer>9^{9^{9^9}}</answer>", False),
    ],
)
def test_gsm8k_answers(data_dir, text, correct):
    task = make_task("gsm8k", data_dir=str(data_dir))
    verdict = task.verify(text, task.eval_rows()[0])
    assert verdict.correct is correct


def test_math_trains_on_no_question_of_math_500(data_dir, tmp_path):
    test = [json.loads(line) for line in (data_dir / "math500_test.jsonl").read_text().splitlines()]
    (tmp_path / "math500_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
    own = {"problem": "What is $1+1$?", "solution": "It is $\\boxed{2}$.", "level": "Level 1"}
    leaked = {name: test[0][name] for name in ("problem", "solution")}
    (tmp_path / "math_train.jsonl").write_text(json.dumps(own) + "\n" + json.dumps(leaked) + "\n")
    task = make_task("math", data_dir=str(tmp_path))
    assert [(row.prompt, row.answer, row.level) for row in task.train_rows(0, 1)] == [("What is $1+1$?", "2", "level1")]
    rows = task.eval_rows()
    assert len(rows) == 500
    assert {row.level for row in rows} == set(task.levels)
    verdicts = task.verify_all([f"<answer>{row.answer}</answer>" for row in rows[:40]], rows[:40])
    assert all(verdict.correct for verdict in verdicts)


def test_reasoning_gym_by_name():
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    task = make_task("reasoning_gym", dataset="chain_sum", options={"max_terms": 3})
    rows = task.train_rows(0, 20)
    assert not {row.prompt for row in rows} & {row.prompt for row in task.eval_rows()}
    assert rows[:5] == task.train_rows(0, 5)
    assert task.verify(f"<answer>{rows[0].answer}</answer>", rows[0]).correct
    assert not task.verify("<answer>0.5</answer>", rows[0]).correct
    with pytest.raises(BadInput, match="did you mean chain_sum"):
        make_task("reasoning_gym", dataset="chain_sums")
    with pytest.raises(BadInput, match="min_tems"):
        make_task("reasoning_gym", dataset="chain_sum", options={"min_tems": 3})
