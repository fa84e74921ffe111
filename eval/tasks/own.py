"""What the YAML files here point at: the questions and the verifier of the tasks in `krpo.tasks`, for lm-eval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import zip_longest
from typing import Any

from krpo.answers import Verdict
from krpo.prompts import training_prompt
from krpo.tasks import Row, Task, make_task


def sums(**_: Any) -> dict[str, Any]:
    return held_out("sums")


def arithmetic(**_: Any) -> dict[str, Any]:
    return held_out("arithmetic")


def held_out(task: str) -> dict[str, Any]:
    """The task's evaluation split as lm-eval wants it: ``{"test": Dataset}``.

    Levels alternate, so that the first N questions (`--limit N`) hold all levels alike.
    """
    from datasets import Dataset

    by_level: dict[str, list[dict[str, Any]]] = {level: [] for level in _task(task).levels}
    for row in _task(task).eval_rows():
        prompt = training_prompt(row.prompt, instruct=_task(task).instruct, chat=False)
        by_level.setdefault(row.level, []).append({"task": task, **asdict(row), "prompt": prompt})
    rounds = zip_longest(*by_level.values())
    return {"test": Dataset.from_list([doc for docs in rounds for doc in docs if doc is not None])}


def judge(answers: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]]) -> list[Verdict]:
    """An lm-eval filter: each question's first answer becomes the task's verdict on it."""
    return [_task(doc["task"]).verify(texts[0], _row(doc)) for texts, doc in zip(answers, docs, strict=True)]


def metrics(doc: Mapping[str, Any], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """lm-eval's process_results: the numbers of one verdict."""
    return {"accuracy": float(verdicts[0].correct), "formatted": float(verdicts[0].formatted)}


@cache
def _task(name: str) -> Task:
    return make_task(name)


def _row(doc: Mapping[str, Any]) -> Row:
    return Row(id=doc["id"], prompt=doc["prompt"], answer=doc["answer"], level=doc["level"])
