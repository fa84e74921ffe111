"""`krpo-eval compare A B`: two finished evaluations, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.comparison import Difference, holm, paired_difference
from krpo.errors import BadInput, nearest
from krpo.rundir import read_json, read_jsonl


def compare(a: Path, b: Path, tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One comparison per task and metric that both have: task, metric, primary, both scores, the `Difference` A - B,
    and for primary metrics Holm's adjusted p-value over the tasks.

    ``a`` and ``b`` are `eval/` folders, or runs or checkpoints that have one. Raises `BadInput` where they answered
    different questions, hold no common task, or drew different numbers of samples.
    """
    first, second = _summaries(a), _summaries(b)
    common = [task for task in first if task in second]
    for task in tasks or ():
        if task not in common:
            raise BadInput(f"task '{task}' is not in both {a} and {b}; {nearest(task, common)}")
    if not common:
        raise BadInput(f"no task in common: {a} has {', '.join(first)}; {b} has {', '.join(second)}")
    found: list[dict[str, Any]] = []
    for task in tasks or common:
        found += _compare_task(task, first[task], second[task])
    primaries = [entry for entry in found if entry["primary"]]
    adjusted = holm([entry["difference"]["p_value"] for entry in primaries])
    for entry, p_value in zip(primaries, adjusted, strict=True):
        entry["p_holm"] = p_value
    return found


def _compare_task(task: str, a: tuple[Path, dict[str, Any]], b: tuple[Path, dict[str, Any]]) -> list[dict[str, Any]]:
    (a_file, a_summary), (b_file, b_summary) = a, b
    a_scores, b_scores = _scores(a_file), _scores(b_file)
    if list(a_scores) != list(b_scores):
        raise BadInput(
            f"{task}: {a_file} and {b_file} did not answer the same questions; evaluate both with one --limit"
        )
    if a_summary["samples"] != b_summary["samples"]:
        counts = f"{a_summary['samples']} and {b_summary['samples']}"
        raise BadInput(
            f"{task}: {a_file} and {b_file} have {counts} samples a question; evaluate both with one --samples"
        )
    entries: list[dict[str, Any]] = []
    for metric in a_summary["scores"]:
        if metric not in b_summary["scores"]:
            continue
        a_Q, b_Q = ([scores[metric] for scores in side.values()] for side in (a_scores, b_scores))
        difference: Difference = paired_difference(a_Q, b_Q)
        values = {side: summary["scores"][metric]["value"] for side, summary in (("a", a_summary), ("b", b_summary))}
        primary = metric == a_summary["primary"]
        entries.append({"task": task, "metric": metric, "primary": primary, **values, "difference": asdict(difference)})
    return entries


def _scores(file: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Question and gold answer -> metric -> mean over its samples."""
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for row in read_jsonl(file):
        rows.setdefault((row["question_id"], row["gold"]), []).append(row["verdicts"])
    return {q: {m: sum(v[m] for v in given) / len(given) for m in given[0]} for q, given in rows.items()}


def _summaries(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Task -> file of rows and summary."""
    places = [folder, folder / "eval", folder.parent / "eval" if folder.name == "checkpoint" else folder]
    for place in places:
        files = [f for f in sorted(place.glob("*.json")) if f.with_suffix(".jsonl").is_file()]
        if files:
            return {summary["task"]: (f.with_suffix(".jsonl"), summary) for f in files for summary in [read_json(f)]}
    raise BadInput(f"{folder}: no finished evaluation there; run krpo-eval on it first")


def print_comparison(a: Path, b: Path, found: Sequence[dict[str, Any]]) -> None:
    """The differences, then who got what."""
    from eval.display import print_table

    header = ("task", "metric", "A", "B", "A - B", "95 % interval", "p", "p (Holm)", "smallest", "questions", "method")
    lines = [header]
    flips = [("task", "metric", "both right", "A higher", "B higher", "equal, not both right", "correlation")]
    for entry in found:
        d = entry["difference"]
        lines.append(
            (
                entry["task"],
                entry["metric"] + (" *" if entry["primary"] else ""),
                f"{entry['a']:.3f}",
                f"{entry['b']:.3f}",
                f"{d['value']:+.3f}",
                f"{d['low']:+.3f} to {d['high']:+.3f}",
                f"{d['p_value']:.3g}",
                f"{entry['p_holm']:.3g}" if entry["primary"] else "",
                f"{d['smallest']:.3f}",
                str(d["n"]),
                d["method"],
            )
        )
        counts = [str(d[k]) for k in ("both", "only_a", "only_b", "same")]
        correlation = "-" if d["correlation"] is None else f"{d['correlation']:.2f}"
        flips.append((entry["task"], entry["metric"], *counts, correlation))
    print(f"A: {a}\nB: {b}\n")
    print_table(lines)
    print(
        "\n* primary metric; Holm corrects over these. smallest: the true difference that as many such questions show"
    )
    print("with 80 % power at the 5 % level; a smaller one may be there and go unseen.\n")
    print_table(flips)
