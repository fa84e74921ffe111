"""A task: its questions as lm-eval puts them to a model, and lm-eval's verdict on an answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from eval.tasks.own import compared
from krpo.errors import BadInput

COMPARED = ("gsm8k",)  # lm-eval's own tasks whose answers are compared by math-verify besides
FEWSHOT_SEED = 1234  # lm-eval's default, so that few-shot prompts are those of its command line
PRIMARY = ("accuracy", "flexible-extract", "math_verify", "acc_norm", "acc", "exact_match")

Score = float | tuple[Any, ...]


@dataclass(frozen=True)
class Question:
    """One question as lm-eval puts it to a model."""

    id: str
    level: str | None
    gold: str
    prompt: str
    doc: Mapping[str, Any]
    requests: tuple[Any, ...]  # lm-eval Instances: one for an answer to generate, several for log-likelihoods


@dataclass(frozen=True)
class Scored:
    """What one answer got."""

    verdicts: dict[str, Score]
    extracted: str | None
    timed_out: bool = False  # the comparison took too long and was given up


class EvalTask:
    """One task: its questions, and the verdict on an answer."""

    def __init__(self, task: Any, limit: int | None, chat: Callable[..., str] | None = None) -> None:
        self.name: str = str(task.config.task)
        self.generates: bool = task.OUTPUT_TYPE == "generate_until"
        self.instruct: bool = bool((task.get_config("metadata") or {}).get("instruct"))  # asked in the trainer's prompt
        self._task = task
        if task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", 0)
        if (repeats := task.get_config("repeats") or 1) > 1:
            raise BadInput(
                f"task {self.name} asks for {repeats} answers per question by itself; take its sibling that asks for "
                f"one, with --samples {repeats}"
            )
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
        self.questions = self._build(limit, chat)
        self.aggregations: dict[str, Callable[[list[Any]], float]] = task.aggregation()
        self.filters: list[str] = [f.name for f in task._filters]
        stated = (task.get_config("metadata") or {}).get("primary")
        names = self.metric_names()
        self.primary: str = stated or next((m for m in PRIMARY if m in names), names[0])
        self.config = _plain_config(task)
        self.fingerprint = self._fingerprint()

    def asked_by(self, ask: Callable[[str], str]) -> EvalTask:
        """The same task with every prompt put as ``ask`` puts it."""
        other = copy(self)
        other.questions = [replace(q, prompt=ask(q.prompt)) for q in self.questions]
        prompts = [q.prompt for q in other.questions]
        other.fingerprint = hashlib.sha256(json.dumps([self.fingerprint, prompts]).encode()).hexdigest()
        return other

    def metric_names(self) -> list[str]:
        names = [self.metric_name(m, f) for f in self.filters for m in self.aggregations]
        return list(dict.fromkeys(names + ["math-verify"] * (self.name in COMPARED)))

    def metric_name(self, metric: str, filter_name: str) -> str:
        """lm-eval's pair of metric and filter as one name: by the filter where there is one metric, and vice versa."""
        if len(self.filters) == 1:
            return metric
        return filter_name if len(self.aggregations) == 1 else f"{metric},{filter_name}"

    def generation(self) -> dict[str, Any]:
        """The task's generation settings (stop strings, length)."""
        return dict(self._task.get_config("generation_kwargs") or {})

    def score(self, questions: Sequence[Question], responses: Sequence[Sequence[Any]]) -> list[Scored]:
        """Verdicts on one response per request of each question, by lm-eval's filters and metrics."""
        groups = [
            [replace(r, resps=[response], filtered_resps={}) for r, response in zip(q.requests, given, strict=True)]
            for q, given in zip(questions, responses, strict=True)
        ]
        with quiet():
            for ensemble in self._task._filters:
                ensemble.apply([request for group in groups for request in group])
            scored = [self._verdict(q, group) for q, group in zip(questions, groups, strict=True)]
        if self.name not in COMPARED:
            return scored
        matches = compared([given[0] for given in responses], [q.gold for q in questions])
        return [
            replace(s, verdicts={**s.verdicts, "math-verify": float(m.correct)}, timed_out=m.timed_out)
            for s, m in zip(scored, matches, strict=True)
        ]

    def _verdict(self, question: Question, group: list[Any]) -> Scored:
        verdicts: dict[str, Score] = {}
        extracted: str | None = None
        timed_out = False
        for name in self.filters:
            kept = [request.filtered_resps[name] for request in group]
            for metric, value in self._task.process_results(question.doc, kept).items():
                label = self.metric_name(metric, name)
                verdicts[label] = tuple(value) if isinstance(value, (tuple, list)) else float(value)
                if label == self.primary and self.generates:
                    extracted = _extracted(kept[0])
                    timed_out = bool(getattr(kept[0], "timed_out", False))
        return Scored(verdicts, extracted, timed_out)

    def _build(self, limit: int | None, chat: Callable[..., str] | None) -> list[Question]:
        with quiet():
            self._task.build_all_requests(
                limit=limit,
                rank=0,
                world_size=1,
                apply_chat_template=chat is not None,
                fewshot_as_multiturn=chat is not None,
                chat_template=chat,
            )
        by_doc: dict[int, list[Any]] = {}
        for request in self._task.instances:
            by_doc.setdefault(request.doc_id, []).append(request)
        return [self._question(index, requests) for index, requests in by_doc.items()]

    def _question(self, index: int, requests: list[Any]) -> Question:
        doc = requests[0].doc
        level = doc.get("level")
        gold = str(self._task.doc_to_target(doc)).rsplit("####", 1)[-1].strip()
        name = next((str(doc[key]) for key in ("id", "unique_id", "ID") if key in doc), str(index))
        prompt = str(requests[0].args[0])
        return Question(name, None if level is None else str(level), gold, prompt, doc, tuple(requests))

    def _fingerprint(self) -> str:
        """A hash of what is asked and what counts as right: prompts (few-shot examples and all) and gold answers."""
        digest = hashlib.sha256()
        for q in self.questions:
            asked = [str(request.args[0]) for request in q.requests]
            digest.update(json.dumps([q.id, q.gold, asked], ensure_ascii=False).encode())
        return digest.hexdigest()


def _extracted(kept: Any) -> str | None:
    """What a filter took for the answer; lm-eval writes [invalid] where it found none."""
    value = getattr(kept, "extracted", kept)
    return None if value is None or value == "[invalid]" else str(value)


def _plain_config(task: Any) -> dict[str, Any]:
    """The task's configuration without what depends on the machine."""
    config = task.config.to_dict(keep_callable=True)
    for key in ("custom_dataset", "dataset_kwargs"):
        config.pop(key, None)
    config["metadata"] = {k: v for k, v in (config.get("metadata") or {}).items() if k != "config_source"}
    plain: dict[str, Any] = json.loads(
        json.dumps(config, default=lambda f: f"{f.__module__}.{f.__qualname__}", sort_keys=True)
    )
    return plain


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """lm-eval without its progress bars and warnings: whoever calls `evaluate` decides what is shown."""
    import lm_eval.api.task as module

    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, module.tqdm
    logger.setLevel(logging.ERROR)
    module.tqdm = partial(bar, disable=True)
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = before or "false"  # a forked worker would be warned about
    try:
        yield
    finally:
        logger.setLevel(level)
        module.tqdm = bar
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
