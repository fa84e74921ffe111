import pytest

from eval.cli import main
from eval.compare import compare
from krpo.errors import BadInput
from krpo.rundir import write_json, write_jsonl

SETTINGS = {
    "backend": "hf", "device": "cpu", "dtype": "float32", "batch_size": 256, "chat_template": False,
    "temperature": 0.0, "samples": 1, "max_tokens": None, "seed": 0,
}  # fmt: skip
CONFIG = {"output_type": "generate_until", "generation_kwargs": {"max_gen_toks": 64}, "metadata": {"version": 1.0}}


def finished(folder, verdicts_QK, *, task="sums", gold="1", config=CONFIG, method="wilson", facts=None, **settings):
    """An evaluation with these verdicts, in the stored form."""
    rows = [
        {"question_id": str(q), "gold": gold, "sample": k, "verdicts": {"accuracy": v}}
        for q, verdicts_K in enumerate(verdicts_QK)
        for k, v in enumerate(verdicts_K)
    ]
    plain = [v for verdicts_K in verdicts_QK for v in verdicts_K if isinstance(v, (int, float))]
    summary = {
        "task": task,
        "primary": "accuracy",
        "n_questions": len(verdicts_QK),
        "samples": len(verdicts_QK[0]),
        "scores": {"accuracy": {"value": sum(plain) / max(1, len(plain)), "method": method}},
        "settings": {**SETTINGS, "samples": len(verdicts_QK[0]), **settings},
        "task_config": config,
        "data": "d0" * 32,
        "weights": folder.name,
        "versions": {"lm_eval": "0.4.13"},
        **(facts or {}),
    }
    write_jsonl(folder / "eval" / f"{task}.jsonl", rows)
    write_json(folder / "eval" / f"{task}.json", summary)
    return folder


def told(capsys, a, b):
    """The lines that `krpo-eval compare` prints."""
    assert main(["compare", str(a), str(b)]) == 0
    return capsys.readouterr().out.splitlines()


A = [[1], [1], [1], [1], [1], [1], [1], [0], [0], [0]]
B = [[1], [1], [1], [1], [0], [0], [0], [1], [0], [0]]


def test_differences_by_hand_and_holm_over_tasks(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for task in ("sums", "gsm8k"):
        finished(a, A, task=task)
        finished(b, B, task=task)
    found = compare(a, b)
    assert [entry["task"] for entry in found] == ["gsm8k", "sums"]
    assert found[0]["difference"]["value"] == pytest.approx(0.2)
    assert found[0]["difference"]["p_value"] == pytest.approx(0.625)
    assert found[0]["p_holm"] == 1.0
    assert [compare(b, a)[0]["difference"][k] for k in ("only_a", "only_b", "both")] == [1, 3, 4]


def test_the_table_says_who_got_what(tmp_path, capsys):
    a, b = finished(tmp_path / "a", A), finished(tmp_path / "b", B)
    assert main(["compare", str(a), str(b)]) == 0
    shown = capsys.readouterr().out
    assert "exact McNemar" in shown
    assert "+0.200" in shown
    assert shown.splitlines()[-1].split()[:6] == ["sums", "accuracy", "4", "3", "1", "2"]


def test_samples_are_averaged_first(tmp_path):
    a = finished(tmp_path / "a", [[1, 1], [1, 0], [0, 0]])
    b = finished(tmp_path / "b", [[1, 0], [0, 0], [0, 0]])
    entry = compare(a, b)[0]
    assert entry["difference"]["value"] == pytest.approx(1 / 3)
    assert entry["difference"]["method"] == "paired t"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gold": "2"}, r"did not answer the same questions \(10 and 10, 0 in common\)"),
        ({"verdicts_QK": B[:4]}, r"did not answer the same questions \(10 and 4, 4 in common\)"),
        ({"facts": {"data": "other"}}, "ids and answers are equal, but the prompts are not"),
        ({"facts": {"n_questions": 12}}, "its records are not whole"),
        ({"task": "gsm8k"}, "no task in common"),
        ({"method": "none", "verdicts_QK": [[[1, 2]]] * 10}, "no metric in common that is a mean"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, capsys, change, said):
    a = finished(tmp_path / "a", A)
    b = finished(tmp_path / "b", **{"verdicts_QK": B, **change})
    with pytest.raises(BadInput, match=said):
        compare(a, b)
    assert main(["compare", str(a), str(b)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_one_question_is_no_comparison(tmp_path, capsys):
    a, b = finished(tmp_path / "a", A[:1]), finished(tmp_path / "b", B[:1])
    assert main(["compare", str(a), str(b)]) == 2
    assert "one question is no comparison" in capsys.readouterr().err


OTHERWISE = [
    ({"temperature": 1.0, "samples": 4}, "temperature 0 / 1, samples 1 / 4"),
    ({"dtype": "bfloat16", "backend": "vllm", "device": "cuda"}, "backend hf / vllm, device cpu / cuda, dtype float32"),
    ({"max_tokens": 128}, "max tokens 64 / 128"),
    ({"config": CONFIG | {"num_fewshot": 5}, "facts": {"data": "5e"}}, "shots 0 / 5, data fingerprint d0d0d0d0 / 5e"),
    ({"config": CONFIG | {"metadata": {"version": 3.1}}}, "task version 1.0 / 3.1"),
    ({"chat_template": True, "facts": {"data": "5e"}}, "chat template no / yes"),
    ({"facts": {"versions": {"lm_eval": "0.4.12"}}}, "lm_eval 0.4.13 / 0.4.12"),
]


@pytest.mark.parametrize(("change", "said"), OTHERWISE)
def test_other_settings_are_named_with_both_values_in_one_line(tmp_path, capsys, change, said):
    samples = change.get("samples", 1)
    a, b = finished(tmp_path / "a", A), finished(tmp_path / "b", [v * samples for v in B], **change)
    warnings = [line for line in told(capsys, a, b) if line.startswith("warning")]
    assert len(warnings) == 1
    assert "sums: A / B were evaluated with different settings" in warnings[0]
    assert said in warnings[0]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"max_tokens": 64},  # what the task says anyway
        {"seed": 1},  # greedy
        {"batch_size": 8},  # float32
        {"tensor_parallel": 1},  # left out by older versions
    ],
)
def test_what_changes_no_number_is_not_warned_of(tmp_path, capsys, change):
    a, b = finished(tmp_path / "a", A), finished(tmp_path / "b", B, **change)
    assert not any("warning" in line for line in told(capsys, a, b))


def test_a_task_put_in_each_checkpoints_own_form_has_other_prompts_and_the_same_questions(tmp_path, capsys):
    config = CONFIG | {"metadata": {"version": 1.0, "instruct": True}}
    a = finished(tmp_path / "a", A, config=config)
    b = finished(tmp_path / "b", B, config=config, facts={"data": "5e"})
    assert told(capsys, a, b)[2].endswith("different settings: data fingerprint d0d0d0d0 / 5e")


def test_a_difference_that_cannot_be_told_says_what_could_have_been(tmp_path, capsys):
    """10 questions, 3 against 1: Bonett and Price's spread is sqrt((4/12 + 2/12 - (2/12)^2) / 12) = 0.1984, and
    1.960 + 0.842 of them are 0.556."""
    lines = told(capsys, finished(tmp_path / "a", A), finished(tmp_path / "b", B))
    assert (
        "sums, accuracy: the interval holds 0: 10 questions cannot tell A from B; the smallest true difference that "
        "they could have shown is 0.556"
    ) in lines


def test_a_difference_that_is_there_is_said_and_holm_can_take_it_back(tmp_path, capsys):
    a, b = tmp_path / "a", tmp_path / "b"
    finished(a, [[1]] * 6 + [[0]] * 30)
    finished(b, [[0]] * 36)
    assert "sums, accuracy: A is higher by 0.167 (p = 0.031)" in told(capsys, a, b)  # McNemar of 6 : 0 is 2 / 2^6
    finished(a, A, task="gsm8k")
    finished(b, B, task="gsm8k")
    assert (
        "sums, accuracy: A is higher, but not beyond chance after Holm's correction over 2 tasks (p = 0.062)"
        in told(capsys, a, b)
    )


def test_the_same_weights_with_another_seed_are_the_noise_floor(tmp_path, capsys):
    same = {"temperature": 1.0, "facts": {"weights": "w"}}
    a = finished(tmp_path / "a", [[1, 1], [1, 0], [0, 0], [1, 0]], **same)
    b = finished(tmp_path / "b", [[1, 0], [1, 1], [0, 0], [0, 0]], **same, seed=1)
    lines = told(capsys, a, b)
    assert "sums: A/A, the same weights and settings; seed 0 / 1" in lines
    # d = .5, -.5, 0, .5: mean .125, sd .4787, t(3) = 3.182: half an interval is 3.182 x .4787 / 2
    assert (
        "sums, accuracy: noise floor: two such evaluations of one checkpoint differ by up to 0.762 in 95 % of cases"
        in (lines)
    )


def test_an_evaluation_against_itself_is_equal(tmp_path, capsys):
    a = finished(tmp_path / "a", A)
    assert any(line.startswith("sums, accuracy: equal on each of 10 questions") for line in told(capsys, a, a))


def test_a_folder_without_evaluation_is_named(tmp_path, capsys):
    assert main(["compare", str(finished(tmp_path / "a", A)), str(tmp_path / "empty")]) == 2
    assert "no finished evaluation there" in capsys.readouterr().err
