"""The local executor: one process per job, forked from this one, as many at a time as asked for.

A fork starts with torch and TRL already imported, so a job costs no start-up. A job that dies, hangs, or takes too much
memory ends alone; the driver is told why and the others go on. Workers end with the driver: the kernel kills them when
it goes away.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import psutil

from ablations.executors.base import Busy, Event, Job
from krpo.errors import KrpoError, reason_of

_fork = multiprocessing.get_context("fork")
_BUSY = 3


@dataclass
class _Running:
    job: Job
    process: Any
    gpu: str | None
    heard: float = field(default_factory=time.monotonic)
    reason: str = ""
    stopped: bool = False  # by us


class LocalExecutor:
    """Forks on this machine.

    Args:
        workers: jobs at a time.
        preload: imports what jobs need, once, before the first fork.
        gpus: the GPUs to share out, by the names that CUDA_VISIBLE_DEVICES takes; one job sees one of them.
        threads: torch threads of one job.
        memory_gb: a job whose processes hold more than this is stopped; None: no limit.
        hang_minutes: a job that tells nothing for so long is stopped; None: never.
    """

    def __init__(
        self,
        workers: int,
        *,
        preload: Callable[[], None] | None = None,
        gpus: Sequence[str] = (),
        threads: int = 1,
        memory_gb: float | None = None,
        hang_minutes: float | None = None,
    ) -> None:
        self.workers = workers
        self.preload = preload
        self.gpus = tuple(gpus)
        self.threads = threads
        self.memory_gb = memory_gb
        self.hang_minutes = hang_minutes

    def execute(self, jobs: Sequence[Job]) -> Iterator[Event | None]:
        if self.preload is not None:
            self.preload()
            self.preload = None
        waiting = deque(jobs)
        running: dict[Connection, _Running] = {}
        checked = time.monotonic()
        kills = _oom_kills()
        gc.collect()
        gc.freeze()  # the children share the parent's pages as long as nobody writes to them
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    job = waiting.popleft()
                    self._start(job, running)
                    yield Event(job, "started", {})
                ready = wait(list(running), timeout=1.0)
                if not ready:
                    yield None
                for receiver in cast(list[Connection], ready):
                    one = running[receiver]
                    one.heard = time.monotonic()
                    try:
                        message = receiver.recv()
                    except (EOFError, OSError):
                        del running[receiver]
                        receiver.close()
                        one.process.join()
                        by_kernel = _oom_kills() > kills
                        kills = _oom_kills()
                        yield _end(one, by_kernel)
                        continue
                    if message["kind"] == "reason":  # it fails now; the event follows when it has ended
                        one.reason = message["reason"]
                    else:
                        yield Event(one.job, message.pop("kind"), message)
                if time.monotonic() - checked > 1:
                    checked = time.monotonic()
                    for one in running.values():
                        self._enforce(one)
        finally:
            for one in running.values():
                one.process.terminate()
            for one in running.values():
                one.process.join(timeout=5)
                _kill(one.process)
            gc.unfreeze()

    def _start(self, job: Job, running: dict[Connection, _Running]) -> None:
        receiver, sender = _fork.Pipe(duplex=False)
        taken = [one.gpu for one in running.values()]
        gpu = min(self.gpus, key=taken.count) if self.gpus else None
        process = _fork.Process(target=_child, args=(job, sender, gpu, self.threads), name=job.name)
        process.start()
        sender.close()
        running[receiver] = _Running(job, process, gpu)

    def _enforce(self, one: _Running) -> None:
        """Stop a job that is over a limit; its end is then found like any other's."""
        if one.stopped:
            return
        if self.hang_minutes is not None and time.monotonic() - one.heard > 60 * self.hang_minutes:
            one.reason = f"no progress for {self.hang_minutes:g} minutes (--hang-minutes)"
        elif self.memory_gb is not None and (used := _memory_gb(one.process.pid)) > self.memory_gb:
            one.reason = f"out of memory: {used:.2f} GB, over the limit of {self.memory_gb:g} GB (--memory)"
        else:
            return
        one.stopped = True
        _kill(one.process)


def _end(one: _Running, by_kernel: bool) -> Event:
    code = one.process.exitcode
    if one.stopped:  # it would do the same again
        return Event(one.job, "died", {"reason": one.reason, "retry": False})
    if code == 0:
        return Event(one.job, "done", {})
    if code == 1:
        return Event(one.job, "failed", {"reason": one.reason})
    if code == _BUSY:
        return Event(one.job, "busy", {})
    if code == -signal.SIGKILL and by_kernel:
        how = "out of memory: killed by the kernel"
    else:
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    return Event(one.job, "died", {"reason": how, "retry": True})


def _kill(process: Any) -> None:
    """The process and what it started."""
    if not process.is_alive():
        return
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()
    process.join()


def _memory_gb(pid: int) -> float:
    """Resident memory of a process and what it started."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss
    return total / 1e9


def _oom_kills() -> int:
    """How many processes the kernel (Linux) has killed for want of memory since it started."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _child(job: Job, sender: Connection, gpu: str | None, threads: int) -> None:
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    status = 0
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
        _set_threads(threads)
        job.work(sender.send)
    except Exception as error:
        status = _BUSY if isinstance(error, Busy) else 1
        with contextlib.suppress(OSError):
            sender.send({"kind": "reason", "reason": reason_of(error)})
        if isinstance(error, KrpoError):
            print(f"error: {error}", file=sys.stderr)
        elif status == 1:
            traceback.print_exc()
    with contextlib.suppress(OSError):  # the log may be on the full disk
        sys.stdout.flush()
        sys.stderr.flush()
    sender.close()
    os._exit(status)  # no clean-up of what belongs to the parent


def _set_threads(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when the driver is killed; elsewhere nothing is done."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
