"""The published arithmetic rows, regenerated: the git blob ids of the published files are the reference."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from krpo.tasks import make_task
from krpo.tasks.arithmetic import TEMPLATES, evaluate, published

DATA = Path(os.environ.get("KRPO_DATA_DIR", Path(__file__).parents[2].parent / "shared" / "data"))


def git_blob_id(text: str) -> str:
    content = text.encode()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_the_published_files_byte_for_byte() -> None:
    lines = [problem.json_line() for problem in published()]
    assert git_blob_id("".join(lines)) == "8d1cc7e6f4ea6d3340d5967a7d1c150d25f97bcf"
    assert git_blob_id("".join(lines[:80_000])) == "bfbd36c4a0135722da103edcc5be9085b074de68"
    assert git_blob_id("".join(lines[80_000:])) == "f8a0d4a96a2566e024015b68bfa81a83b8f49826"


def test_the_stored_reference_rows() -> None:
    file = DATA / "arithmetic_reference.jsonl"
    if not file.exists():
        pytest.skip(f"needs {file.name} in {DATA}; set KRPO_DATA_DIR")
    stored = [json.loads(line) for line in file.read_text().splitlines()]
    assert stored == [json.loads(p.json_line()) for p in published()[80_000:82_000]]


def test_evaluation_shares_no_question_with_training() -> None:
    def bare(prompt: str) -> str:
        question = re.sub(r"\s", "", prompt)
        return re.sub(r"^(Whatis|Solve)|(=\??|\?)$", "", question)

    task = make_task("arithmetic", max_terms=6, max_digits=6, eval_size=None)
    rows = task.eval_rows()
    trained = {bare(row.prompt) for row in task.train_rows(0, 80_000)}
    held_out = [bare(row.prompt) for row in rows]
    assert not trained & set(held_out)
    assert len(held_out) == len(set(held_out))
    assert 19_000 < len(rows) < 20_000 - 300  # 307 published test questions occur in training, blanks aside


def test_evaluate_agrees_with_python() -> None:
    for problem in published()[:2000]:
        assert problem.answer == str(eval(problem.expression))
    assert evaluate(["-(", "1", "+", "2", ")", "*", "-3"]) == 9
    assert evaluate(["2", "-", "(", "3", "-", "-4", ")"]) == -5


def test_rows() -> None:
    task = make_task("arithmetic", max_terms=3, max_digits=3)
    assert task.levels == ("terms2", "terms3")
    rows = task.train_rows(7, 50)
    assert rows == task.train_rows(7, 90)[:50]
    assert rows != task.train_rows(8, 50)
    assert {row.level for row in rows} == {"terms2", "terms3"}
    assert {row.level for row in task.eval_rows()} == {"terms2", "terms3"}
    by_id = {p.id: p for p in published()}
    for row in rows:
        assert by_id[row.id].num_digits <= 3
        assert by_id[row.id].question in row.prompt
        assert task.verify(f"<answer>{row.answer}</answer>", row).correct
        assert not task.verify(f"<answer>{row.answer}0</answer>", row).correct
    assert len({t.format("") for t in TEMPLATES}) == 5


def test_a_second_pass_is_a_second_shuffle() -> None:
    task = make_task("arithmetic", max_terms=2, max_digits=1)
    size = len({row.id for row in task.train_rows(0, 80_000)})
    ids = [row.id for row in task.train_rows(0, 2 * size)]
    assert sorted(ids[:size]) == sorted(ids[size:]) == sorted(set(ids))
    assert ids[:size] != ids[size:]


def test_fingerprint_follows_the_parameters() -> None:
    assert make_task("arithmetic").fingerprint() == make_task("arithmetic").fingerprint()
    assert make_task("arithmetic").fingerprint() != make_task("arithmetic", max_terms=3).fingerprint()
