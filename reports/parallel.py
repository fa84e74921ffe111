"""Work shared among the cores of this machine, in processes that inherit everything that is loaded."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from krpo.errors import KrpoError

T = TypeVar("T")


def processes(jobs: int) -> int:
    """How many processes to start for this many jobs; below 2: do them here."""
    return min(len(os.sched_getaffinity(0)), jobs) if sys.platform == "linux" else 1


_inherited: Any = None
_PARENT_DIES = 1
"""`PR_SET_PDEATHSIG` of Linux's prctl(2)."""


@contextmanager
def pool(workers: int, handed_on: Any = None) -> Iterator[ProcessPoolExecutor]:
    """Processes in which `inherited` is what was ``handed_on``; it is not copied, and need not be picklable.

    Raises `KrpoError` where one of them was killed.
    """
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(handed_on,)) as executor:
            yield executor
    except BrokenProcessPool:
        raise KrpoError("a process that made a part was killed, perhaps because memory ran out; try again") from None


def inherited() -> Any:
    return _inherited


def _begin(handed_on: Any) -> None:
    """What is inherited holds no garbage, and such a process ends before it has made much, or with its parent."""
    global _inherited
    _inherited = handed_on
    ctypes.CDLL(None).prctl(_PARENT_DIES, signal.SIGKILL)  # one that is killed could not end it
    gc.freeze()
    gc.disable()


def side_by_side(function: Callable[..., T], *arguments: Sequence[Any], least: int = 8) -> list[T]:
    """`list(map(function, *arguments))`; a process for every core, if there are at least so many calls for each."""
    calls = len(arguments[0])
    workers = processes(calls // least)
    if workers < 2:
        return list(map(function, *arguments))
    with pool(workers) as executor:
        return list(executor.map(function, *arguments, chunksize=-(-calls // (4 * workers))))
