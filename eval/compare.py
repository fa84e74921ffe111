"""`krpo-eval compare A B`: two finished evaluations, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.comparison import Difference, holm, paired_difference
from eval.runner import default_out_dir
from eval.settings import unlike
from krpo.errors import BadInput, nearest
from krpo.rundir import read_json, read_jsonl

EXPLAINED_BY = ("task version", "shots", "task configuration", "chat template", "lm_eval")
"""What makes other prompts out of the same questions."""


def compare(a: Path, b: Path, tasks: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """One comparison per task and metric that both have: task, metric, primary, both scores, the `Difference` A - B,
    what was done otherwise (`unlike`), whether the weights are the same, and for primary metrics Holm's adjusted
    p-value over the tasks.

    ``a`` and ``b`` are `eval/` folders, or runs, checkpoints or policies that have one. Raises `BadInput` where they
    answered different questions or hold no common task.
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
    if not found:
        raise BadInput(f"{a} and {b} have no metric in common that is a mean over questions")
    primaries = [entry for entry in found if entry["primary"]]
    adjusted = holm([entry["difference"]["p_value"] for entry in primaries])
    for entry, p_value in zip(primaries, adjusted, strict=True):
        entry["p_holm"] = p_value
    return found


def _compare_task(task: str, a: tuple[Path, dict[str, Any]], b: tuple[Path, dict[str, Any]]) -> list[dict[str, Any]]:
    (a_file, a_summary), (b_file, b_summary) = a, b
    a_rows, b_rows = _questions(a_file, a_summary), _questions(b_file, b_summary)
    if list(a_rows) != list(b_rows):
        shared = len(a_rows.keys() & b_rows.keys())
        raise BadInput(
            f"{task}: {a_file} and {b_file} did not answer the same questions ({len(a_rows)} and {len(b_rows)}, "
            f"{shared} in common); evaluate both on the same data with one --limit"
        )
    if len(a_rows) < 2:
        raise BadInput(f"{task}: one question is no comparison; evaluate both on more")
    otherwise = unlike(a_summary, b_summary)
    own_prompt = (a_summary["task_config"].get("metadata") or {}).get("instruct")  # put in each checkpoint's own form
    if "data fingerprint" in otherwise and not own_prompt and not any(name in otherwise for name in EXPLAINED_BY):
        raise BadInput(
            f"{task}: {a_file} and {b_file} did not answer the same questions: ids and answers are equal, but the "
            "prompts are not; evaluate both on the same data"
        )
    facts = {"task": task, "unlike": otherwise, "same_weights": a_summary["weights"] == b_summary["weights"]}
    entries: list[dict[str, Any]] = []
    for metric, score in a_summary["scores"].items():
        other = b_summary["scores"].get(metric)
        if other is None or "none" in (score.get("method"), other.get("method")):  # no mean over questions
            continue
        a_Q, b_Q = (_means(rows, metric) for rows in (a_rows, b_rows))
        difference: Difference = paired_difference(a_Q, b_Q)
        values = {"a": score["value"], "b": other["value"]}
        primary = metric == a_summary["primary"]
        entries.append({**facts, "metric": metric, "primary": primary, **values, "difference": asdict(difference)})
    return entries


def _questions(file: Path, summary: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Question and gold answer -> the verdicts on its samples."""
    rows = read_jsonl(file)
    if len(rows) != summary["n_questions"] * summary["samples"]:
        raise BadInput(f"{file}: its records are not whole; run krpo-eval again")
    verdicts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        verdicts.setdefault((row["question_id"], row["gold"]), []).append(row["verdicts"])
    return verdicts


def _means(questions: dict[tuple[str, str], list[dict[str, Any]]], metric: str) -> list[float]:
    return [sum(v[metric] for v in given) / len(given) for given in questions.values()]


def _summaries(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Task -> file of rows and summary."""
    for place in (folder, default_out_dir(folder)):
        files = [f for f in sorted(place.glob("*.json")) if f.with_suffix(".jsonl").is_file()]
        if files:
            return {summary["task"]: (f.with_suffix(".jsonl"), summary) for f in files for summary in [read_json(f)]}
    raise BadInput(f"{folder}: no finished evaluation there; run krpo-eval on it first")


def print_comparison(a: Path, b: Path, found: Sequence[dict[str, Any]]) -> None:
    """What was done otherwise, the differences, what they say, then who got what."""
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
    primaries = [entry for entry in found if entry["primary"]]
    print(f"A: {a}\nB: {b}")
    for entry in {entry["task"]: entry for entry in found}.values():
        if warning := _warning(entry):
            print(warning)
    print()
    print_table(lines)
    print(
        "\n* primary metric; Holm corrects over these. smallest: the true difference that as many such questions show"
    )
    print("with 80 % power at the 5 % level; a smaller one may be there and go unseen.\n")
    for entry in primaries:
        print(f"{entry['task']}, {entry['metric']}: {_verdict(entry, len(primaries))}")
    print()
    print_table(flips)


def _warning(entry: dict[str, Any]) -> str:
    """One line for what keeps a difference from being one of the weights; empty where nothing does."""
    told = ", ".join(f"{name} {x} / {y}" for name, (x, y) in entry["unlike"].items())
    if entry["same_weights"] and set(entry["unlike"]) <= {"seed"}:
        return f"{entry['task']}: A/A, the same weights and settings{told and f'; {told}'}"
    return told and f"warning: {entry['task']}: A / B were evaluated with different settings: {told}"


def _verdict(entry: dict[str, Any], tasks: int) -> str:
    d = entry["difference"]
    smallest = f"the smallest true difference that they could have shown is {d['smallest']:.3f}"
    if entry["same_weights"] and set(entry["unlike"]) == {"seed"}:
        half = (d["high"] - d["low"]) / 2
        return f"noise floor: two such evaluations of one checkpoint differ by up to {half:.3f} in 95 % of cases"
    if d["only_a"] == d["only_b"] == 0:
        return f"equal on each of {d['n']} questions" + (f"; {smallest}" if d["smallest"] > 0 else "")
    if d["low"] <= 0 <= d["high"]:
        return f"the interval holds 0: {d['n']} questions cannot tell A from B; {smallest}"
    higher, p = "A" if d["value"] > 0 else "B", f"p = {entry['p_holm']:.2g}"
    if entry["p_holm"] > 0.05:
        why = f"after Holm's correction over {tasks} tasks" if d["p_value"] <= 0.05 else f"by {d['method']}"
        return f"{higher} is higher, but not beyond chance {why} ({p})"
    return f"{higher} is higher by {abs(d['value']):.3f} ({p})"
