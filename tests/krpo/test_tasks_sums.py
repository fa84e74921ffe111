"""The task of the tiny policy."""

import re

import pytest

from krpo.tasks import Row, make_task
from krpo.tasks.sums import is_held_out, running_totals, solution

ROW = Row(id="normal/7+9-4", prompt="7+9-4=", answer="12", level="normal")


def test_rows_are_right() -> None:
    task = make_task("sums")
    steps = {"easy": 1, "normal": 2, "hard": 3}
    for row in task.eval_rows() + task.train_rows(5, 600):
        assert re.fullmatch(r"\d+([+-]\d+)+=", row.prompt)
        assert len(re.findall(r"[+-]", row.prompt)) == steps[row.level]
        assert str(eval(row.prompt.rstrip("="))) == row.answer
        assert all(0 <= total <= 99 for total in running_totals(row.prompt))
        assert row.id == f"{row.level}/{row.prompt.rstrip('=')}"
        assert task.verify(solution(row.prompt), row).correct


def test_levels_alternate_in_training_and_have_equal_held_out_parts() -> None:
    task = make_task("sums")
    assert [row.level for row in task.train_rows(0, 6)] == ["easy", "normal", "hard"] * 2
    levels = [row.level for row in task.eval_rows()]
    assert {level: levels.count(level) for level in task.levels} == {"easy": 200, "normal": 200, "hard": 200}
    assert {row.level for row in make_task("sums", levels=["hard"]).train_rows(0, 50)} == {"hard"}


def test_held_out_questions_never_occur_in_training() -> None:
    task = make_task("sums")
    held_out = {row.prompt for row in task.eval_rows()}
    assert len(held_out) == 600
    assert all(map(is_held_out, held_out))
    for seed in range(20):
        trained = {row.prompt for row in task.train_rows(seed, 3000)}
        assert not held_out & trained
        assert not any(map(is_held_out, trained))


def test_streams() -> None:
    task = make_task("sums")
    assert task.train_rows(1, 100) == task.train_rows(1, 200)[:100]
    assert task.train_rows(1, 100) != task.train_rows(2, 100)
    assert task.eval_rows() == make_task("sums").eval_rows()
    assert task.train_rows(1, 0) == []


def test_fingerprint_follows_the_data() -> None:
    assert make_task("sums").fingerprint() == make_task("sums").fingerprint()
    assert make_task("sums").fingerprint() != make_task("sums", levels=["hard"]).fingerprint()


def test_running_totals() -> None:
    assert running_totals("7+9-4=") == [16, 12]
    assert running_totals("40-38+2+30=") == [2, 4, 34]
    assert solution("7+9-4=") == "<think>16;12</think><answer>12</answer>"


@pytest.mark.parametrize(
    ("text", "credit"),
    [
        ("<think>16;12</think><answer>12</answer>", 1.0),
        ("<think>16;13</think><answer>13</answer>", 1 / 3),
        ("<think>16;13</think><answer>12</answer>", 2 / 3),
        ("<think>15;12</think><answer>12</answer>", 2 / 3),
        ("<think>16</think><answer>9</answer>", 1 / 3),
        ("<think>16;12;12;12</think><answer>12</answer>", 3 / 5),  # extra steps count against
        ("<think>12;16</think><answer>9</answer>", 0.0),  # right numbers in wrong places
        ("<answer>12</answer>", 1 / 3),
        ("<think>16;12", 0.0),
        ("16;12</think>", 2 / 3),  # a prompt may end in <think>
        ("", 0.0),
    ],
)
def test_partial_credit(text: str, credit: float) -> None:
    verdict = make_task("sums").verify(text, ROW)
    assert verdict.partial_credit == pytest.approx(credit)
    assert verdict.correct == ("<answer>12</answer>" in text)
