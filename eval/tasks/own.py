"""What the YAML files here point at: the questions and the verifiers of `krpo.tasks`, for lm-eval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import zip_longest
from typing import Any

from krpo.answers import Verdict
from krpo.tasks import Row, Task, make_task

Docs = dict[str, Any]  # split -> datasets.Dataset, as lm-eval wants it


def sums(**_: Any) -> Docs:
    return held_out("sums")


def arithmetic(**_: Any) -> Docs:
    return held_out("arithmetic")


def gsm8k(data_dir: str | None = None, **_: Any) -> Docs:
    return held_out("gsm8k", data_dir)


def math500(data_dir: str | None = None, **_: Any) -> Docs:
    return held_out("math", data_dir)


def held_out(name: str, data_dir: str | None = None) -> Docs:
    """A task's evaluation split, one document a row. Levels of equal size take turns, so that the first N questions
    (`--limit N`) hold all of them alike; data sets keep their order.
    """
    from datasets import Dataset

    task = make_task(name, **({"data_dir": data_dir} if data_dir else {}))
    by_level: dict[str, list[Row]] = {}
    rows = task.eval_rows()
    for row in rows:
        by_level.setdefault(row.level, []).append(row)
    if len({len(group) for group in by_level.values()}) == 1:
        rows = [row for turn in zip_longest(*by_level.values()) for row in turn]
    return {"test": Dataset.from_list([{"task": name, **asdict(row)} for row in rows])}


def judge(answers: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """An lm-eval filter: each question's first answer becomes the task's verdict on it."""
    return _task(docs[0]["task"]).verify_all([texts[0] for texts in answers], [_row(doc) for doc in docs])


def metrics(doc: Mapping[str, Any], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """lm-eval's process_results: the numbers of one verdict."""
    return {"accuracy": float(verdicts[0].correct), "formatted": float(verdicts[0].formatted)}


def accuracy(doc: Mapping[str, Any], verdicts: Sequence[Verdict]) -> dict[str, float]:
    return {"accuracy": float(verdicts[0].correct)}


def problem_text(doc: Mapping[str, Any]) -> str:
    """The prompt of lm-eval's minerva tasks."""
    return f"Problem:\n{doc['prompt']}\n\nSolution:"


def compared(texts: Sequence[str], golds: Sequence[str]) -> list[Verdict]:
    """Answers to a task of lm-eval's own, compared with math-verify besides."""
    return _task("gsm8k").verify_all(texts, [Row("", "", gold.replace(",", ""), "") for gold in golds])


@cache
def _task(name: str) -> Task:
    return make_task(name)


def _row(doc: Mapping[str, Any]) -> Row:
    return Row(id=doc["id"], prompt=doc["prompt"], answer=doc["answer"], level=doc["level"])
