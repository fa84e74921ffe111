"""What a job does on another machine: its output goes to its log, and how it ended is a value, not an exception.

A raised exception would have to be unpickled by the driver, and would be retried by a cluster that cannot tell a run
that fails from a machine that fails. So only the machine's failures are failures of a task.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablations.executors.base import Busy, Event, Job
from krpo.errors import KrpoError, reason_of

End = dict[str, Any]


def carry_out(job: Job, threads: int) -> End:
    """Do the job in this process. Returns the kind of its end, with a reason where it failed."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with _output_to(job.log):
        import torch

        torch.set_num_threads(threads)
        try:
            job.work(_ignore)
        except Busy:
            return {"kind": "busy"}
        except KrpoError as error:
            print(f"error: {error}", file=sys.stderr)
            return {"kind": "failed", "reason": reason_of(error)}
        except Exception as error:
            traceback.print_exc()
            return {"kind": "failed", "reason": reason_of(error)}
    return {"kind": "done"}


def event_of(job: Job, end: End) -> Event:
    kind = end.pop("kind")
    return Event(job, kind, end)


def _ignore(message: dict[str, Any]) -> None:
    """Progress is read from the run directory instead."""


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        yield
