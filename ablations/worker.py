"""What one worker process does: train a run, evaluate its checkpoint, and tell the driver how it goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablations.plan import Cell, evaluation_key
from eval import EvalSpec, evaluate, prepare
from krpo.errors import is_disk_full, reason_of
from krpo.policies import policy_path
from krpo.train import train

Send = Callable[[dict[str, Any]], None]


def preload(evaluation: EvalSpec) -> None:
    """Import what every run needs, once, before the first fork: a run then starts in milliseconds."""
    prepare(evaluation)


def run_cell(cell: Cell, send: Send) -> None:
    """Train and evaluate one cell; what is done already is not done again. Marks the run DONE or FAILED."""
    run = cell.run
    try:
        train(cell.spec, run.path, progress=lambda row: send({"kind": "step", "step": row["step"], "row": row}))
        send({"kind": "evaluating"})
        evaluate([run.checkpoint], cell.evaluation, out_dirs=[run.eval])
        run.mark_done(steps=cell.spec.steps, evaluation=evaluation_key(cell.evaluation))
    except Exception as error:
        with contextlib.suppress(OSError):  # on a full disk the driver is told all the same
            run.mark_failed(reason_of(error), retry=may_pass(error))
        raise


def may_pass(error: BaseException) -> bool:
    """Whether the same run can succeed when it is simply started again: the machine was at fault, not the run."""
    return is_disk_full(error) or isinstance(error, MemoryError)


def evaluate_base(policy: str, evaluation: EvalSpec, out: Path, send: Send) -> None:
    """Score the untrained policy, so that a report can say what training gained."""
    send({"kind": "evaluating"})
    evaluate([Path(policy_path(policy))], evaluation, out_dirs=[out / "eval"])
