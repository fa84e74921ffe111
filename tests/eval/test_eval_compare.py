import pytest

from eval.cli import main
from eval.compare import compare
from krpo.errors import BadInput
from krpo.rundir import write_json, write_jsonl


def finished(folder, verdicts_QK, *, task="sums", gold="1"):
    """An evaluation with these verdicts, in the stored form."""
    rows = [
        {"question_id": str(q), "gold": gold, "sample": k, "verdicts": {"accuracy": v}}
        for q, verdicts_K in enumerate(verdicts_QK)
        for k, v in enumerate(verdicts_K)
    ]
    value = sum(row["verdicts"]["accuracy"] for row in rows) / len(rows)
    scores = {"accuracy": {"value": value}}
    summary = {"task": task, "primary": "accuracy", "samples": len(verdicts_QK[0]), "scores": scores}
    write_jsonl(folder / "eval" / f"{task}.jsonl", rows)
    write_json(folder / "eval" / f"{task}.json", summary)
    return folder


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
        ({"gold": "2"}, "did not answer the same questions"),
        ({"verdicts_QK": [[1, 1]] * 10}, "1 and 2 samples"),
        ({"task": "gsm8k"}, "no task in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, change, said):
    a = finished(tmp_path / "a", A)
    b = finished(tmp_path / "b", **{"verdicts_QK": B, **change})
    with pytest.raises(BadInput, match=said):
        compare(a, b)


def test_a_folder_without_evaluation_is_named(tmp_path, capsys):
    assert main(["compare", str(finished(tmp_path / "a", A)), str(tmp_path / "empty")]) == 2
    assert "no finished evaluation there" in capsys.readouterr().err
