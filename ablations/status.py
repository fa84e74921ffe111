"""`--status DIR`: how a grid stands, from its directory alone; also while it runs, also from another machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ablations.plan import stored_plan
from ablations.standing import STATES, Standing, standing
from krpo.rundir import RunDir

_SHOWN = 20


@dataclass(frozen=True)
class Stored:
    """A run that a stored plan names, and how it stands."""

    run: RunDir
    label: str
    steps: int
    standing: Standing


def read(root: Path) -> list[Stored]:
    """Every run of the grid in a directory. Raises `BadInput` where no grid was run there."""
    plan = stored_plan(root)
    found = []
    for one in plan["runs"]:
        run = RunDir(root / one["key"])
        found.append(Stored(run, one["label"], one["steps"], standing(run, plan["evaluation"])))
    return found


def lines(root: Path) -> list[str]:
    """What `--status` prints: counts, what runs now, what failed and why, and the time left."""
    runs = read(root)
    text = [f"{root}: {counts(one.standing for one in runs)}"]
    for state in ("running", "failed", "stale"):
        those = [one for one in runs if one.standing.state == state]
        for one in those[:_SHOWN]:
            of = f" of {one.steps}" if state == "running" else ""
            detail = one.standing.detail.replace(",", f"{of},", 1) if of else one.standing.detail
            text.append(f"{state:<8} {one.run.key}  {one.label}: {detail}")
        if len(those) > _SHOWN:
            text.append(f"{state:<8} and {len(those) - _SHOWN} more")
    if left := _time_left(runs):
        text.append(left)
    return text


def counts(standings: Iterable[Standing]) -> str:
    """`12 runs: 9 done, 2 running, 1 missing`."""
    found = Counter(one.state for one in standings)
    parts = [f"{found[state]} {state}" for state in STATES if found[state]]
    return f"{sum(found.values())} runs: {', '.join(parts)}"


def _time_left(runs: list[Stored]) -> str:
    seconds = [one.standing.seconds for one in runs if one.standing.seconds]
    running = sum(one.standing.state == "running" for one in runs)
    left = sum(one.standing.state in ("running", "stale", "missing") for one in runs)
    if not seconds or not running:
        return ""
    hours = left * sum(seconds) / len(seconds) / running / 3600
    return f"about {hours:.1f} hours left with {running} at a time, at {sum(seconds) / len(seconds):.0f} seconds a run"
