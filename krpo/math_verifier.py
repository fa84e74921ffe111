"""Is an answer equal to the gold answer as mathematics? math-verify, in processes that can be killed.

A model's answer is hostile input: `9^{9^{9^9}}` keeps a computer algebra system busy for good, and neither threads nor
alarms stop it. So each comparison has a hard limit; a worker that exceeds it is killed and replaced, and the answer
counts as wrong and as timed out. What can be decided by plain text or number comparison never reaches a worker.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from krpo.answers import MAX_ANSWER, MAX_TEXT, OPEN, as_number, boxed_answer, tagged_answer
from krpo.errors import KrpoError

LIMIT = 3.0  # seconds for one comparison
START_LIMIT = 120.0  # seconds for a worker to import math-verify, on a busy machine
TAIL = 1000  # characters at the end of a text without a marked answer in which one is looked for
FOLLOW_UP = re.compile(r"\n\s*(?:Question|Problem|Q):")  # a model that goes on to ask itself the next question
IN_BASE = re.compile(r"(\w+)_\{?(\d+)\}?")  # 52_8: math-verify passes over the base
MARKED = re.compile(r"####\s*(\S[^\n]{0,300})")


@dataclass(frozen=True)
class Match:
    """The outcome of one comparison."""

    equal: bool
    timed_out: bool = False
    extracted: str | None = None  # what was compared; None where the text holds no answer


def marked_answer(text: str) -> str | None:
    """The answer that a text marks as its own: in `<answer>`, else in `\\boxed{}`, else behind `####`; None if none.

    What follows after the model starts to ask itself another question does not count.
    """
    text = FOLLOW_UP.split(text[:MAX_TEXT], maxsplit=1)[0]
    found = tagged_answer(text)
    if found is None and OPEN not in text:
        found = boxed_answer(text)
        if found is None and (mark := MARKED.search(text)):
            found = mark[1]
    return None if found is None else found.strip()


class MathVerifier:
    """Compares answers with gold answers in ``workers`` processes. Use it as a context manager, or call `close`.

    Workers start with the first comparison that needs one. It may be used after a fork: the child starts its own.
    """

    def __init__(self, workers: int = 1, *, limit: float = LIMIT) -> None:
        self.size = max(1, workers)
        self.limit = limit
        self.workers: list[_Worker] = []
        self.owner = os.getpid()

    def __enter__(self) -> MathVerifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.workers = []

    def check(self, texts: Sequence[str], golds: Sequence[str]) -> list[Match]:
        """One `Match` per text: the answer it gives, compared with its gold answer."""
        matches: list[Match | None] = []
        hard: list[tuple[int, str, str, bool]] = []
        for i, (text, gold) in enumerate(zip(texts, golds, strict=True)):
            answer = marked_answer(text)
            exact = answer is not None
            if answer is None:
                answer = FOLLOW_UP.split(text[:MAX_TEXT], maxsplit=1)[0][-TAIL:].strip() if OPEN not in text else ""
            easy = decide(answer, gold, exact)
            matches.append(easy)
            if easy is None:
                hard.append((i, gold, answer, exact))
        for (i, *_), match in zip(hard, self._ask([(g, a, e) for _, g, a, e in hard]), strict=True):
            matches[i] = match
        return [match for match in matches if match is not None]

    def _ask(self, jobs: Sequence[tuple[str, str, bool]]) -> list[Match]:
        """Send each job to the next free worker; a worker that exceeds the limit or dies is replaced."""
        if not jobs:
            return []
        if self.owner != os.getpid():
            self.workers, self.owner = [], os.getpid()
        while len(self.workers) < min(self.size, len(jobs)):
            self.workers.append(_Worker())
        results: list[Match | None] = [None] * len(jobs)
        waiting = list(enumerate(jobs))[::-1]
        busy: dict[int, tuple[int, float]] = {}  # worker -> job, deadline
        while waiting or busy:
            for w in range(len(self.workers)):
                if w not in busy and waiting:
                    if self.workers[w].process.poll() is not None:  # somebody else killed it
                        self._replace(w)
                    i, job = waiting.pop()
                    self.workers[w].send(job)
                    busy[w] = (i, time.monotonic() + self.limit)
            ready = _readable({w: self.workers[w] for w in busy}, min(deadline for _, deadline in busy.values()))
            for w, (i, deadline) in list(busy.items()):
                extracted = jobs[i][1] if jobs[i][2] else None
                if w in ready:
                    reply = self.workers[w].receive()
                    if reply is None:  # it died, most likely of its memory limit
                        self._replace(w)
                    results[i] = Match(bool(reply), timed_out=reply is None, extracted=extracted)
                elif time.monotonic() >= deadline:
                    self._replace(w)
                    results[i] = Match(False, timed_out=True, extracted=extracted)
                else:
                    continue
                del busy[w]
        return [result for result in results if result is not None]

    def _replace(self, w: int) -> None:
        self.workers[w].kill()
        self.workers[w] = _Worker()


def decide(answer: str, gold: str, exact: bool) -> Match | None:
    """What needs no computer algebra: nothing there, far too long, the same text, or two numbers. None: undecided.

    ``exact``: ``answer`` is the answer and nothing else, not a text in which one is to be found.
    """
    if not answer or len(answer) > (MAX_ANSWER if exact else TAIL):
        return Match(False)
    if answer == gold:
        return Match(True, extracted=answer)
    if exact and (base := IN_BASE.fullmatch(gold)):
        return Match(answer in (base[1], f"{base[1]}_{base[2]}", f"{base[1]}_{{{base[2]}}}"), extracted=answer)
    left, right = as_number(answer), as_number(gold)
    if left is not None and right is not None:
        return Match(left == right, extracted=answer)
    return None


class _Worker:
    """One process. It is started by its file, not by forking or by importing the caller's main module again."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self.ready = False

    def fileno(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def send(self, job: tuple[str, str, bool]) -> None:
        if not self.ready:
            if not select.select([self], [], [], START_LIMIT)[0] or self.receive() != "ready":
                self.kill()
                raise KrpoError("the process that compares answers did not start; is math-verify installed?")
            self.ready = True
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job).encode() + b"\n")

    def receive(self) -> object | None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _readable(workers: dict[int, _Worker], deadline: float) -> set[int]:
    """Those of the workers that have replied (or died) by the deadline; it returns with the first."""
    ready = select.select(list(workers.values()), [], [], max(0.0, deadline - time.monotonic()))[0]
    return {w for w, worker in workers.items() if worker in ready}
