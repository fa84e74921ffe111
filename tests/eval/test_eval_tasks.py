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
    assert all(q.prompt == rows[q.id].prompt for q in task.questions)


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
    assert gsm8k.metric_names() == ["strict-match", "flexible-extract", "math-verify"]
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
    assert {m: scored.verdicts[m] for m in ("strict-match", "flexible-extract")} == {
        "strict-match": strict,
        "flexible-extract": flexible,
    }
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
    from eval.tasks.task import EvalTask

    class Repeats:
        config = type("Config", (), {"task": "self_consistency"})
        OUTPUT_TYPE = "generate_until"

        def get_config(self, key):
            return {"repeats": 64, "num_fewshot": 8}.get(key)

    with pytest.raises(BadInput, match="asks for 64 answers"):
        EvalTask(Repeats(), None)


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


def test_gsm8k_gold_solutions_score_and_are_compared_by_math_verify(gsm8k):
    solutions = [q.doc["answer"] for q in gsm8k.questions]
    scored = gsm8k.score(gsm8k.questions, [[text] for text in solutions])
    assert all(set(s.verdicts.values()) == {1.0} for s in scored)
    assert gsm8k.score(gsm8k.questions[:1], [["\\boxed{18}"]])[0].verdicts["math-verify"] == 1.0
    assert gsm8k.score(gsm8k.questions[:1], [["#### 18.00"]])[0].verdicts["math-verify"] == 1.0
    assert gsm8k.score(gsm8k.questions[:1], [["\\boxed{9^{9^{9^9}}}"]])[0].timed_out


def test_math500_has_minervas_prompt_and_examples(data_dir):
    task = load_tasks(EvalSpec(tasks=("math500",), limit=20, data_dir=str(data_dir)))[0]
    prompt = task.questions[0].prompt
    assert prompt.startswith("Problem:\nFind the domain of the expression")
    assert prompt.count("Problem:\n") == 5
    assert prompt.count("I hope it is correct.") == 4
    assert prompt.endswith("\n\nSolution:")
    solutions = [json.loads(line)["solution"] for line in (data_dir / "math500_test.jsonl").read_text().splitlines()]
    scored = task.score(task.questions, [[text] for text in solutions[:20]])
    assert all(s.verdicts == {"accuracy": 1.0} for s in scored)
    said = f"The final answer is ${task.questions[0].gold}$. I hope it is correct."
    assert task.score(task.questions[:1], [[said]])[0].verdicts == {"accuracy": 1.0}


@pytest.mark.parametrize(("name", "trained"), [("gsm8k_think", "gsm8k"), ("math500_think", "math")])
def test_think_tasks_ask_in_the_trainers_prompt(name, trained, data_dir, policy):
    """The text that TRL's template gives the model in training, and the one that evaluation gives it, are one."""
    from eval.checkpoints import find_checkpoint
    from krpo.policies import load_policy
    from krpo.prompts import training_prompt

    task = load_tasks(EvalSpec(tasks=(name,), limit=5, data_dir=str(data_dir)))[0]
    rows = make_task(trained, data_dir=str(data_dir)).eval_rows()
    assert [q.prompt for q in task.questions] == [row.prompt for row in rows[:5]]
    assert task.instruct
    asked = task.asked_by(find_checkpoint(policy).training_prompt)
    assert [q.prompt for q in asked.questions] == [
        training_prompt(r.prompt, instruct=True, chat=False) for r in rows[:5]
    ]
    assert asked.fingerprint != task.fingerprint

    _, tokenizer = load_policy(policy)
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant]{% endif %}"
    tokenizer.chat_template = template
    from trl import apply_chat_template

    from krpo.prompts import rendered

    conversation = {"prompt": training_prompt(rows[0].prompt, instruct=True, chat=True)}
    assert rendered(rows[0].prompt, tokenizer, instruct=True) == apply_chat_template(conversation, tokenizer)["prompt"]


def test_svamp_asks_and_scores(data_dir):
    task = load_tasks(EvalSpec(tasks=("svamp",), limit=2, data_dir=str(data_dir)))[0]
    question = task.questions[0]
    assert question.prompt.startswith("Question: Each pack of dvds costs 76 dollars. If there is a discount of 25")
    assert (question.gold, question.level) == ("51", "Subtraction")
    scored = task.score([question] * 3, [["It costs $51."], ["#### 51.0"], ["50"]])
    assert [s.verdicts["accuracy"] for s in scored] == [1.0, 1.0, 0.0]


@pytest.mark.slow
def test_all_gold_solutions_score_and_changed_ones_do_not(data_dir):
    """1319 of 1319 and 500 of 500; with the final number changed, 0."""
    for name, n, column in (("gsm8k", 1319, "answer"), ("math500", 500, "solution")):
        task = load_tasks(EvalSpec(tasks=(name,), data_dir=str(data_dir)))[0]
        assert len(task.questions) == n
        raw = [json.loads(line) for line in (data_dir / f"{name}_test.jsonl").read_text().splitlines()]
        right = task.score(task.questions, [[row[column]] for row in raw])
        assert [q.id for q, s in zip(task.questions, right, strict=True) if set(s.verdicts.values()) != {1.0}] == []
        wrong = [
            f"#### {int(q.gold.replace(',', '')) + 1}" if name == "gsm8k" else "\\boxed{-98765}" for q in task.questions
        ]
        verdicts = task.score(task.questions, [[text] for text in wrong])
        assert sum(sum(s.verdicts.values()) for s in verdicts) == 0
