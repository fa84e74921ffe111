import json

import pytest

from eval.spec import EvalSpec
from eval.tasks.loading import load_tasks
from eval.tasks.local import read_rows
from krpo.errors import BadInput
from krpo.tasks import make_task


@pytest.fixture(scope="module")
def sums():
    return load_tasks(EvalSpec(tasks=("sums",)))[0]


@pytest.fixture(scope="module")
def gsm8k(data_dir):
    return load_tasks(EvalSpec(tasks=("gsm8k",), limit=30, data_dir=str(data_dir)))[0]


def test_sums_asks_exactly_the_held_out_prompts_of_training(sums):
    rows = {row.id: row for row in make_task("sums").eval_rows()}
    assert {q.id for q in sums.questions} == set(rows)
    assert all(q.prompt == rows[q.id].prompt and q.gold == rows[q.id].answer for q in sums.questions)


def test_the_first_questions_hold_all_levels_alike(sums):
    levels = [q.level for q in sums.questions[:30]]
    assert {level: levels.count(level) for level in levels} == {"easy": 10, "normal": 10, "hard": 10}


def test_arithmetic_keeps_the_blanks_of_its_questions():
    task = load_tasks(EvalSpec(tasks=("arithmetic",), limit=200))[0]
    rows = {row.id: row for row in make_task("arithmetic").eval_rows()}
    assert all(f"Question: {rows[q.id].prompt}\n" in q.prompt for q in task.questions)


def test_sums_verdicts(sums):
    question = sums.questions[0]
    texts = [f"<think>1</think><answer>{question.gold}</answer>", "<answer>x</answer>", question.gold]
    scored = sums.score([question] * 3, [[t] for t in texts])
    assert [s.verdicts for s in scored] == [
        {"accuracy": 1.0, "formatted": 1.0},
        {"accuracy": 0.0, "formatted": 1.0},
        {"accuracy": 0.0, "formatted": 0.0},
    ]
    assert [s.extracted for s in scored] == [question.gold, "x", None]
    assert sums.primary == "accuracy"


def test_gsm8k_is_lm_evals_own_task_on_the_local_file(gsm8k, data_dir):
    first = json.loads((data_dir / "gsm8k_test.jsonl").read_text().splitlines()[0])
    prompt = gsm8k.questions[0].prompt
    assert prompt.endswith(f"\n\nQuestion: {first['question']}\nAnswer:")
    assert prompt.count("Question: ") == 6  # five examples, then the question
    assert gsm8k.metric_names() == ["strict-match", "flexible-extract"]
    assert gsm8k.primary == "flexible-extract"
    assert gsm8k.questions[0].gold == "18"
    assert gsm8k.generation()["until"] == ["Question:", "</s>", "<|im_end|>"]


@pytest.mark.parametrize(
    ("text", "strict", "flexible", "extracted"),
    [
        ("#### 18", 1, 1, "18"),
        ("so she makes 9 * 2 = $18.\n#### 18", 1, 1, "18"),
        ("The answer is $18.", 0, 1, "$18."),
        ("#### 18.00", 0, 0, "18.00"),
        ("<answer>18</answer>", 0, 1, "18"),
        ("so 18 dollars (that is 9*2).", 0, 0, "2"),
        ("", 0, 0, None),
    ],
)
def test_gsm8k_extraction_is_lm_evals(gsm8k, text, strict, flexible, extracted):
    scored = gsm8k.score(gsm8k.questions[:1], [[text]])[0]
    assert scored.verdicts == {"strict-match": strict, "flexible-extract": flexible}
    assert scored.extracted == extracted


def test_the_fingerprint_follows_the_data(tmp_path):
    rows = [{"question": f"What is {i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"} for i in range(8)]
    prints = []
    for change in ("#### 3", "#### 4"):
        for split in ("train", "test"):
            text = "".join(json.dumps(row) + "\n" for row in rows).replace("#### 3", change)
            (tmp_path / f"gsm8k_{split}.jsonl").write_text(text)
        task = load_tasks(EvalSpec(tasks=("gsm8k",), data_dir=str(tmp_path)))[0]
        prints.append(task.fingerprint)
    assert prints[0] != prints[1]


def test_a_task_that_repeats_by_itself_is_refused(monkeypatch, data_dir):
    from eval.tasks import loading

    class Repeats:
        config = type("Config", (), {"task": "self_consistency"})
        OUTPUT_TYPE = "generate_until"

        def get_config(self, key):
            return {"repeats": 64, "num_fewshot": 8}[key]

    with pytest.raises(BadInput, match="asks for 64 answers"):
        loading.EvalTask(Repeats(), None)


COLUMNS = {"question": str, "answer": str}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "a", "answer": "b"}\n{"question": ', "line 2: not valid JSON"),
        ('{"problem": "a", "answer": "b"}\n', "line 1: column 'question' is missing"),
        ('{"question": "a", "answer": 3}\n', "line 1: 'answer' must be a str, found 3"),
        ("[1]\n", "line 1: expected an object with 'question' and 'answer'"),
        ("\n", "no rows"),
    ],
)
def test_a_malformed_data_file_is_named_with_its_line(tmp_path, content, said):
    file = tmp_path / "gsm8k_test.jsonl"
    file.write_text(content)
    with pytest.raises(BadInput, match=said) as caught:
        read_rows(file, COLUMNS)
    assert "gsm8k_test.jsonl" in str(caught.value)
