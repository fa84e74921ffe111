"""How a run stands: one small file is read for it, so that ten thousand runs take seconds. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ablations.lock import holder
from krpo.rundir import RunDir

State = Literal["done", "running", "failed", "stale", "missing"]
STATES: tuple[State, ...] = ("done", "running", "failed", "stale", "missing")


@dataclass(frozen=True)
class Standing:
    """`done`: trained, and evaluated as the grid asks now. `running`: a process works on it. `failed`: it failed and
    would again. `stale`: something is there that is not what the grid asks: stopped on the way, or evaluated otherwise.
    """

    state: State
    detail: str = ""
    seconds: float | None = None  # what the whole run took; where it is done
    bytes: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)  # primary metric by task


def standing(run: RunDir, evaluation: str, *, look_for_holder: bool = True) -> Standing:
    """How the run stands.

    Args:
        run: its directory.
        evaluation: the key of the evaluation that the grid asks for.
        look_for_holder: False where this process itself holds the run's lock.
    """
    done = _read(run.done_file)
    if done and done.get("evaluation") == evaluation:
        wall = done.get("wall") or {}
        return Standing("done", "", wall.get("seconds"), wall.get("bytes"), done.get("scores") or {})
    if look_for_holder and (who := holder(run.path)) is not None:
        place = f"process {who['pid']} on {who['host']}" if who else "another process"
        return Standing("running", f"step {last_step(run)}, {place}")
    if done is not None:
        return Standing("stale", "trained, evaluated otherwise" if done.get("evaluation") else "trained, not evaluated")
    failed = _read(run.failed_file)
    if failed is not None:
        reason = str(failed.get("reason", "no reason was recorded"))
        return Standing("stale" if failed.get("retry") or not failed else "failed", reason)
    if run.spec_file.exists():
        return Standing("stale", f"stopped after step {last_step(run)}")
    return Standing("missing")


def last_step(run: RunDir) -> int:
    """The last step in metrics.jsonl; 0 where there is none."""
    row = last_row(run)
    return int(row["step"]) if row else 0


def last_row(run: RunDir) -> dict[str, Any] | None:
    """The last whole row of metrics.jsonl, from the end of the file."""
    try:
        with run.metrics_file.open("rb") as stream:
            stream.seek(max(0, run.metrics_file.stat().st_size - 65536))
            lines = stream.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    return None


def _read(file: Path) -> dict[str, Any] | None:
    """A marker's content; empty where it is torn, so that its run is taken up again; None where there is none."""
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {}
    return value if isinstance(value, dict) else {}
