"""Several processes answer for one call: one per GPU, or per group of GPUs that hold one model together.

The parent keeps the tasks, the journals and the scoring; a worker turns prompts into answers and knows nothing else.
Batches depend on the prompts alone, so records do not depend on how many workers there are. A worker takes a checkpoint
that nobody has, and only where there is none left helps with another's questions: engines start as seldom as may be.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from eval.gpus import visible_gpus
from eval.spec import EvalSpec
from krpo.errors import KrpoError

if TYPE_CHECKING:
    from eval.backends import BackendName, Reply
    from eval.job import Job

PATIENCE = 10.0  # seconds for a worker to free its engine


@dataclass
class Share:
    """The jobs of one checkpoint that are under way, and the batches that nobody has taken yet."""

    jobs: list[Job]
    asked: list[list[Any]]
    expected: int  # batches, until a worker has counted them
    waiting: deque[tuple[int, list[int]]] | None = None  # job, batch

    @property
    def left(self) -> int:
        return self.expected if self.waiting is None else len(self.waiting)


@dataclass
class Worker:
    """One process, from the parent's side."""

    number: int
    gpus: list[str]
    process: subprocess.Popen[bytes] | None = None
    connection: Connection | None = None
    share: Share | None = None  # the checkpoint it holds
    doing: tuple[Job, list[int]] | None = None
    busy: bool = False

    def start(self, backend_name: str, spec: EvalSpec, threads: int) -> None:
        here, there = Pipe()
        environment = {**os.environ}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        else:
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        code = "import sys; fd, *sys.path = sys.argv[1:]; from eval.worker import main; main(int(fd))"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(there.fileno()), *sys.path],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
        )
        there.close()
        self.connection = here
        here.send((backend_name, spec))

    def send(self, order: Any) -> None:
        assert self.connection is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: told when its end is read
            self.connection.send(order)
        self.busy = True

    def receive(self) -> tuple[str, Any]:
        assert self.connection is not None
        self.busy = False
        try:
            kind, content = self.connection.recv()
            return kind, content
        except (EOFError, ConnectionResetError):
            return "failed", KrpoError(self._death())

    def _death(self) -> str:
        assert self.process is not None
        status = self.process.wait()
        where = f" (GPU {', '.join(self.gpus)})" if self.gpus else ""
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        hint = ", often for lack of memory" if status == -9 else ""
        at = f" while it answered {self.doing[0].task.name} for {self.doing[0].checkpoint.name}" if self.doing else ""
        return f"worker {self.number + 1}{where} {how}{hint}{at}; what was answered is kept, the same command goes on"

    def end(self, patience: float) -> None:
        """Let it free its engine if it has nothing to do; else, or where that takes long, kill it."""
        if self.process is None or self.connection is None:
            return
        if self.busy:
            self.process.kill()
        with contextlib.suppress(OSError):
            self.connection.send(None)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.connection.close()
        assert self.process.stdin is not None
        self.process.stdin.close()


class Crew:
    """``size`` workers, each started when there is something for it to do."""

    def __init__(self, size: int, backend_name: BackendName, spec: EvalSpec) -> None:
        each = spec.tensor_parallel
        gpus = visible_gpus()
        self.workers = [Worker(n, gpus[n * each : (n + 1) * each]) for n in range(size)]
        self.backend_name, self.spec = backend_name, spec
        self.shares: list[Share] = []
        self.through: list[tuple[Job, list[int], list[Reply]]] = []  # to be yielded

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *failure: object) -> None:
        for worker in self.workers:
            worker.end(0.0 if failure[0] else PATIENCE)

    def answers(self, groups: Iterable[list[Job]]) -> Iterator[tuple[Job, list[int], list[Reply]]]:
        """Work through the jobs. Yields each batch with its replies, in whatever order they come.

        Where a worker fails or dies, the others finish what they have in hand before its `KrpoError` is raised.
        """
        groups = iter(groups)
        failure: Exception | None = None
        while True:
            for worker in self.workers:
                if not worker.busy and failure is None:
                    self._employ(worker, groups)
            yield from self.through  # scored by the caller while the workers go on
            self.through = []
            busy = {w.connection: w for w in self.workers if w.busy}
            if not busy:
                break
            for connection in wait(list(busy)):  # type: ignore[arg-type]
                worker = busy[connection]  # type: ignore[index]
                kind, content = worker.receive()
                if kind == "failed":
                    failure = failure or content
                elif kind == "opened":
                    _count(worker.share, content)
                elif worker.doing is not None:
                    self.through.append((*worker.doing, content))
                worker.doing = None
        if failure is not None:
            raise failure

    def _employ(self, worker: Worker, groups: Iterator[list[Job]]) -> None:
        """Give a worker its next order, if there is one: its own checkpoint's, a fresh one's, another's."""
        share = worker.share
        if share is not None and share.waiting:
            number, batch = share.waiting.popleft()
            worker.doing = (share.jobs[number], batch)
            worker.send(("answer", number, batch))
            return
        self.shares = [s for s in self.shares if s.left]
        share = self._fresh(groups) or max(self.shares, key=self._unmanned, default=None)
        if share is None or self._unmanned(share) <= 0:
            return
        if worker.process is None:
            cores = os.cpu_count() or 1
            worker.start(self.backend_name, self.spec, max(1, cores // len(self.workers)))
        worker.share = share
        worker.send(("open", share.jobs[0].checkpoint.path, share.asked))

    def _unmanned(self, share: Share) -> int:
        """How many batches of a share there are beyond the workers that are on it."""
        return share.left - sum(w.share is share for w in self.workers)

    def _fresh(self, groups: Iterator[list[Job]]) -> Share | None:
        for jobs in groups:
            asked = [job.open() for job in jobs]
            self.through += [(job, [], []) for job in jobs if job.complete]
            todo = [(job, items) for job, items in zip(jobs, asked, strict=True) if not job.complete]
            if todo:
                expected = sum(-(-len(items) // self.spec.batch_size) for _, items in todo)
                share = Share([job for job, _ in todo], [items for _, items in todo], expected)
                self.shares.append(share)
                return share
        return None


def _count(share: Share | None, batches: list[list[list[int]]]) -> None:
    """A worker has the checkpoint and says how its questions fall into batches; the first one's word counts."""
    if share is not None and share.waiting is None:
        missing = [job.missing(each) for job, each in zip(share.jobs, batches, strict=True)]
        share.waiting = deque((number, batch) for number, each in enumerate(missing) for batch in each)
