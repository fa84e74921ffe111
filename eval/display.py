"""What `krpo-eval` shows: progress while it runs; at the end how it was done, the scores, and what went wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from eval.runner import Progress
from eval.settings import caption

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


INTERVALS = {
    "wilson": ("Wilson", "the score interval of right answers among n questions"),
    "wilson_from_stderr": (
        "Wilson (SE)",
        "Wilson's with the number of 0/1 questions that would have this standard error; Student's quantile",
    ),
    "t": ("Student t", "of the mean over questions"),
    "none": ("-", ""),
}
"""An interval's method, as a summary calls it -> its name in the table, and what that means."""


def print_results(checkpoints: Sequence[str], results: Sequence[dict[str, Any]], outs: Sequence[Path]) -> None:
    """How it was done; one line per checkpoint, task and metric; what went wrong with the answers."""
    header = ("checkpoint", "task", "metric", "score", "95 % interval", "method", "stderr", "questions", "samples")
    scores: list[tuple[str, ...]] = [header]
    troubles = [("checkpoint", "task", "answers", *TROUBLES, "tokens", "scorings that disagree")]
    methods: dict[str, None] = {}
    for checkpoint, result in zip(checkpoints, results, strict=True):
        for task, summary in result.items():
            for metric, score in _lines(summary):
                scores.append((checkpoint, task, metric, *_cells(score), str(summary["samples"])))
                methods[score["method"]] = None
            troubles.append((checkpoint, task, *_troubles(summary)))
    print("\n".join(caption([summary for result in results for summary in result.values()])), end="\n\n")
    print_table(scores)
    print(
        "\nQuestions are the independent units: samples of one question are averaged first; stderr is over questions."
    )
    for name, meaning in (INTERVALS[method] for method in methods):
        if meaning:
            print(f"{name}: {meaning}.")
    print()
    print_table(troubles)
    print("\ncut: at the most tokens allowed; timed out: the comparison, counted as wrong; prompts cut: at their")
    print("beginning, too long for the model (in questions); tokens: of an answer, on average.")
    more = f" and {len(outs) - 3} more" if len(outs) > 3 else ""
    for checkpoint, result in zip(checkpoints, results, strict=True):
        for task, summary in result.items():
            if cut := summary["counts"]["prompts_cut"]:
                print(f"warning: {checkpoint}, {task}: {cut} of {summary['n_questions']} prompts lost their beginning")
    print(f"Records: {', '.join(str(out) for out in outs[:3])}{more}")
    if any((out / "earlier").is_dir() for out in outs):
        print("Evaluations with other settings that stood there before are kept in earlier/ of the same folder.")


def _lines(summary: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Metric and score of every line that a summary gets."""
    yield from summary["scores"].items()
    for name in ("pass", "all", "maj"):
        for k, score in summary.get("at_k", {}).get(name, {}).items():
            if _worth_a_line(int(k), summary["samples"]):
                yield f"{name}@{k}", score
    for level, scores in summary["by_level"].items():
        if summary["primary"] in scores:
            yield f"{summary['primary']}, {level}", scores[summary["primary"]]


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


def _cells(score: dict[str, Any]) -> tuple[str, ...]:
    interval = "-" if score["low"] is None else f"{score['low']:.3f} to {score['high']:.3f}"
    stderr = "-" if score["stderr"] is None else f"{score['stderr']:.4f}"
    return f"{score['value']:.3f}", interval, INTERVALS[score["method"]][0], stderr, str(score["n"])


TROUBLES = {
    "cut": "answers_cut",
    "no answer found": "not_extracted",
    "timed out": "timed_out",
    "prompts cut": "prompts_cut",
}


def _troubles(summary: dict[str, Any]) -> tuple[str, ...]:
    """What went wrong, zeros included: that nothing was cut is a finding too."""
    counts = summary["counts"]
    tokens = "-" if counts["mean_tokens"] is None else f"{counts['mean_tokens']:.1f}"
    pairs = [f"{pair} {share:.1%}" for pair, share in summary.get("disagreement", {}).items()]
    return str(counts["answers"]), *(str(counts[key]) for key in TROUBLES.values()), tokens, ", ".join(pairs) or "-"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
