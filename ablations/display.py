"""Progress of a grid: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ablations.executors.base import Event
from ablations.plan import Cell, Plan


class _Tally:
    """What is known of a plan while it runs; both displays draw from it."""

    def __init__(self, todo: list[Cell], workers: int, before: int) -> None:
        self.total, self.before = before + len(todo), before
        self.cells = {cell.run.key: cell for cell in todo}
        self.workers = workers
        self.ended = self.failed = 0
        self.steps_done = dict.fromkeys(self.cells, 0)
        self.rewards: dict[str, float] = {}
        self.running: dict[str, str] = {}
        self.started = time.monotonic()

    def take(self, event: Event) -> None:
        name = event.job.name
        if event.kind == "started":
            self.running[name] = "starting"
        elif event.kind == "step":
            self.steps_done[name] = event.data["step"]
            self.rewards[name] = event.data["row"].get("accuracy", event.data["row"].get("reward", float("nan")))
            self.running[name] = f"step {event.data['step']}/{self.cells[name].spec.steps}"
        elif event.kind == "evaluating":
            total = event.data.get("total")
            self.running[name] = f"evaluating {event.data['done']}/{total}" if total else "evaluating"
        elif event.kind == "busy":
            self.running[name] = "in another driver"
        else:
            self.running.pop(name, None)
            if name in self.cells:
                self.steps_done[name] = self.cells[name].spec.steps
                self.ended += 1
                self.failed += event.kind != "done"

    def label(self, name: str) -> str:
        return self.cells[name].label if name in self.cells else f"{name} (untrained)"

    def left(self) -> str:
        """Time left, from the steps done so far; a run's evaluation is part of its steps' share."""
        total = sum(cell.spec.steps for cell in self.cells.values())
        done = sum(self.steps_done.values())
        if done < 0.02 * total:
            return "time left: not known yet"
        seconds = (time.monotonic() - self.started) * (total - done) / done
        return f"about {_clock(seconds)} left"

    def summary(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.before + self.ended - self.failed}/{self.total} runs done{failed}; {self.left()}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class PlainDisplay:
    """A line when a run ends, and a summary at most every twenty seconds."""

    def begin(self, plan: Plan, todo: list[Cell], workers: int, before: int) -> None:
        self.tally = _Tally(todo, workers, before)
        self.last = time.monotonic()
        found = f", {self.tally.before} found done" if self.tally.before else ""
        self._say(f"{plan.grid.name}: {len(todo)} runs to do{found}, {workers} at a time, in {plan.root}")

    def event(self, event: Event | None) -> None:
        if event is not None:
            reward = self.tally.rewards.get(event.job.name)
            self.tally.take(event)
            if event.kind in ("done", "failed", "died"):
                seen = f", training accuracy {reward:.2f} at the last step" if reward is not None else ""
                word = "done" if event.kind == "done" else "FAILED"
                self._say(f"{word}: {self.tally.label(event.job.name)}{seen}; {self.tally.summary()}")
                self.last = time.monotonic()
        if time.monotonic() - self.last > 20:
            self.last = time.monotonic()
            self._say(self.tally.summary())

    def end(self) -> None:
        pass

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class LiveDisplay:
    """A table of the running runs with their step and reward, and the whole grid's progress above it."""

    def begin(self, plan: Plan, todo: list[Cell], workers: int, before: int) -> None:
        self.name = plan.grid.name
        self.tally = _Tally(todo, workers, before)
        self.live = Live(self._table(), console=Console(stderr=True), refresh_per_second=4, transient=True)
        self.live.start()

    def event(self, event: Event | None) -> None:
        if event is not None:
            self.tally.take(event)
            if event.kind in ("failed", "died"):
                self.live.console.print(
                    f"FAILED: {self.tally.label(event.job.name)}; see {event.job.log}", markup=False
                )
        self.live.update(self._table())

    def end(self) -> None:
        self.live.stop()

    def _table(self) -> Table:
        table = Table(title=f"{self.name}: {self.tally.summary()}", title_justify="left", expand=False)
        for column in ("run", "now", "accuracy"):
            table.add_column(column)
        for name, now in self.tally.running.items():
            reward: Any = self.tally.rewards.get(name)
            table.add_row(self.tally.label(name), now, "" if reward is None else f"{reward:.2f}")
        return table
