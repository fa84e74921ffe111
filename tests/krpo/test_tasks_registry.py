"""Tasks by name, and what is said when the name or a parameter is wrong."""

import subprocess
import sys

import pytest

from krpo.config import Named
from krpo.errors import BadInput
from krpo.tasks import available_tasks, make_task


def test_names() -> None:
    assert {"arithmetic", "sums"} <= set(available_tasks())
    for name in ("arithmetic", "sums"):
        assert make_task(name).name == name


def test_a_name_with_parameters() -> None:
    assert make_task(Named("sums", {"levels": ["hard"]})).levels == ("hard",)
    assert make_task("sums", levels=["hard", "easy"]).levels == ("hard", "easy")


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("sum", {}, "unknown task 'sum'; did you mean sums"),
        ("sums", {"level": ["hard"]}, "did you mean levels?"),
        ("sums", {"levels": ["hrad"]}, "did you mean hard?"),
        ("sums", {"levels": []}, "levels is empty; known: easy, normal, hard"),
        ("sums", {"levels": "hard"}, "must be a list"),
        ("sums", {"levels": ["hard", "hard"]}, "twice"),
        ("arithmetic", {"max_terms": 7}, "max_terms is 7; it must be 2 to 6"),
        ("arithmetic", {"max_digits": 0}, "max_digits is 0; it must be 1 to 6"),
        ("arithmetic", {"eval_size": 0}, "eval_size is 0"),
        ("arithmetic", {"max_terms": 2.5}, "whole number"),
    ],
)
def test_bad_input_is_named(name: str, params: dict, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_task(name, **params)
    assert words in str(caught.value)


def test_tasks_and_answers_need_no_torch() -> None:
    code = (
        "import sys, krpo.tasks, krpo.answers, krpo.policies; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
