"""What `krpo-eval` shows: progress while it runs, and the table of scores at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from eval.runner import Progress

PLAIN_EVERY = 5.0  # seconds between two lines where there is no terminal


class Display:
    """A callback for `evaluate`: a rich progress line on a terminal, plain lines elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.started: dict[tuple[int, str], tuple[float, int]] = {}
        self.last = 0.0
        self.bar: Any = None
        self.rows: dict[tuple[int, str], Any] = {}

    def __enter__(self) -> Display:
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            text, score = TextColumn("{task.description}"), TextColumn("{task.fields[score]}")
            columns = (text, BarColumn(), MofNCompleteColumn(), score, TimeRemainingColumn())
            self.bar = Bar(*columns, console=Console(file=self.stream))
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, p: Progress) -> None:
        which = (p.checkpoint_index, p.task)
        label = f"[{p.checkpoint_index + 1}/{p.checkpoints}] {p.checkpoint}  {p.task}"
        score = "" if p.score is None else f"{p.metric} {p.score:.3f}"
        if self.bar:
            if which not in self.rows:
                self.rows[which] = self.bar.add_task(_escaped(label), total=p.total, score="")
            self.bar.update(self.rows[which], completed=p.done, score=score + ("  (found)" if p.found else ""))
            return
        now = time.monotonic()
        first, before = self.started.setdefault(which, (now, p.done))
        if p.done < p.total and now - self.last < PLAIN_EVERY:
            return
        self.last = now
        left = "found finished" if p.found else _left(p.done, p.total, before, now - first)
        print(f"{label}: {p.done}/{p.total} answers, {score}, {left}", file=self.stream, flush=True)


def _left(done: int, total: int, before: int, seconds: float) -> str:
    if done >= total:
        return "done"
    if done <= before:
        return "time left not known yet"
    return f"about {seconds * (total - done) / (done - before):.0f} s left"


def print_results(checkpoints: Sequence[str], results: Sequence[dict[str, Any]], outs: Sequence[Path]) -> None:
    """One line per checkpoint, task and metric: value, interval, standard error, questions, samples."""
    lines = [("checkpoint", "task", "metric", "score", "95 % interval", "stderr", "questions", "samples")]
    notes: list[str] = []
    for checkpoint, result in zip(checkpoints, results, strict=True):
        for task, summary in result.items():
            for metric, score in summary["scores"].items():
                lines.append((checkpoint, task, metric, *_cells(score), str(summary["samples"])))
            for name, scores in summary.get("at_k", {}).items():
                if name != "metric":
                    for k, score in scores.items():
                        if _worth_a_line(int(k), summary["samples"]):
                            lines.append((checkpoint, task, f"{name}@{k}", *_cells(score), str(summary["samples"])))
            for level, scores in summary["by_level"].items():
                cells = _cells(scores[summary["primary"]])
                lines.append((checkpoint, task, f"{summary['primary']}, {level}", *cells, str(summary["samples"])))
            notes += [f"{checkpoint}, {task}: {note}" for note in _notes(summary)]
    print_table(lines)
    print()
    print("Questions are the independent units: samples of one question are averaged first. Interval: Wilson.")
    for note in notes:
        print(note)
    more = f" and {len(outs) - 3} more" if len(outs) > 3 else ""
    print(f"Records: {', '.join(str(out) for out in outs[:3])}{more}")


def _worth_a_line(k: int, samples: int) -> bool:
    """Powers of two and K itself; at k = 1 all three are the plain score."""
    return k > 1 and (k & (k - 1) == 0 or k == samples)


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Columns aligned, the first line as the header."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for number, line in enumerate(lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _cells(score: dict[str, Any]) -> tuple[str, str, str, str]:
    interval = "-" if score["low"] is None else f"{score['low']:.3f} to {score['high']:.3f}"
    stderr = "-" if score["stderr"] is None else f"{score['stderr']:.4f}"
    return f"{score['value']:.3f}", interval, stderr, str(score["n"])


def _notes(summary: dict[str, Any]) -> list[str]:
    counts, questions = summary["counts"], summary["n_questions"]
    notes = []
    if counts["prompts_cut"]:
        notes.append(
            f"{counts['prompts_cut']} of {questions} prompts were too long for the model: their beginning was cut"
        )
    if counts["answers_cut"]:
        notes.append(f"{counts['answers_cut']} of {counts['answers']} answers were cut at the most tokens allowed")
    if counts["not_extracted"]:
        notes.append(f"no answer could be found in {counts['not_extracted']} of {counts['answers']}")
    if counts["timed_out"]:
        notes.append(f"{counts['timed_out']} comparisons took too long and count as wrong")
    for pair, share in summary.get("disagreement", {}).items():
        if share > 0:
            notes.append(f"{pair} disagree on {share:.1%} of the answers")
    return notes


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
