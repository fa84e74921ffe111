"""The local executor: one process per job, forked from this one, as many at a time as asked for.

A fork starts with torch and TRL already imported, so a job costs no start-up. A job that dies, in whatever way, ends
alone; the driver is told and the others go on. Workers end with the driver: the kernel kills them when it goes away.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from krpo.errors import KrpoError, reason_of

_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Job:
    """Something to do in a process of its own; its standard output and error go to ``log``."""

    name: str
    work: Callable[[Callable[[dict[str, Any]], None]], None]
    log: Path


@dataclass(frozen=True)
class Event:
    """What a job tells: `started`, whatever it sends itself (`step`, `evaluating`), and `done`, `failed` or `died`."""

    job: Job
    kind: str
    data: dict[str, Any]


def execute(jobs: Sequence[Job], workers: int) -> Iterator[Event | None]:
    """Run the jobs, ``workers`` at a time, in order; yield their events, and None once a second when nothing happens.

    On `KeyboardInterrupt`, and when the consumer stops, the running jobs are ended; what they had finished stays.
    """
    waiting = deque(jobs)
    running: dict[Connection, tuple[Any, Job]] = {}
    reasons: dict[str, str] = {}
    gc.collect()
    gc.freeze()  # the children share the parent's pages as long as nobody writes to them
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                receiver, sender = _fork.Pipe(duplex=False)
                process = _fork.Process(target=_child, args=(job, sender), name=job.name)
                process.start()
                sender.close()
                running[receiver] = (process, job)
                yield Event(job, "started", {})
            ready = wait(list(running), timeout=1.0)
            if not ready:
                yield None
            for receiver in cast(list[Connection], ready):
                process, job = running[receiver]
                try:
                    message = receiver.recv()
                except (EOFError, OSError):
                    del running[receiver]
                    receiver.close()
                    process.join()
                    yield _end(job, process.exitcode, reasons.get(job.name, ""))
                    continue
                if message["kind"] == "reason":  # it fails now; the event follows when it has ended
                    reasons[job.name] = message["reason"]
                else:
                    yield Event(job, message.pop("kind"), message)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
        gc.unfreeze()


def _end(job: Job, exitcode: int, reason: str) -> Event:
    if exitcode == 0:
        return Event(job, "done", {})
    if exitcode == 1:
        return Event(job, "failed", {"reason": reason})
    how = f"ended by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"ended with status {exitcode}"
    return Event(job, "died", {"reason": how})


def _child(job: Job, sender: Connection) -> None:
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    status = 0
    try:
        job.work(sender.send)
    except Exception as error:
        status = 1
        with contextlib.suppress(OSError):
            sender.send({"kind": "reason", "reason": reason_of(error)})
        if isinstance(error, KrpoError):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
    with contextlib.suppress(OSError):  # the log may be on the full disk
        sys.stdout.flush()
        sys.stderr.flush()
    sender.close()
    os._exit(status)  # no clean-up of what belongs to the parent


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when the driver is killed; elsewhere nothing is done."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)
