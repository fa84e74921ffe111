"""From rows (one per question and sample) to scores with intervals: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eval.statistics import all_at_k, mean_over_questions, pass_at_k

Row = dict[str, Any]


def summarize(
    rows: Sequence[Row],
    *,
    metrics: Sequence[str],
    primary: str,
    samples: int,
    aggregations: dict[str, Callable[[list[Any]], float]] | None = None,
) -> dict[str, Any]:
    """Scores of a task: over all questions, by level, and over k samples; with what went wrong on the way.

    ``rows`` hold every question with samples 0..K-1. ``aggregations`` are the metrics that are no mean over questions
    (lm-eval's f1, bleu, perplexity): they get their value from lm-eval and no interval.
    """
    aggregations = aggregations or {}
    levels = sorted({row["level"] for row in rows if row["level"] is not None}, key=_natural(rows))
    means = [m for m in metrics if m not in aggregations]
    scores = {m: score(rows, m) for m in means}
    for metric, aggregate in aggregations.items():
        values = [row["verdicts"][metric] for row in rows]
        scores[metric] = {
            "value": float(aggregate(values)),
            "stderr": None,
            "low": None,
            "high": None,
            "n": len(rows),
            "method": "none",
        }
    summary: dict[str, Any] = {"n_questions": len(rows) // samples, "samples": samples, "scores": scores}
    summary["by_level"] = {
        level: {m: score([r for r in rows if r["level"] == level], m) for m in means} for level in levels
    }
    if samples > 1 and primary in means:
        summary["at_k"] = at_k(rows, primary, samples)
    summary["counts"] = counts(rows)
    return summary


def score(rows: Sequence[Row], metric: str) -> dict[str, Any]:
    """Mean of a metric over questions, each averaged over its samples first."""
    return mean_over_questions(per_question(rows, metric).mean(axis=1)).to_plain()


def per_question(rows: Sequence[Row], metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A metric as an array [Q, K] in the order of the rows."""
    by_question: dict[str, list[float]] = {}
    for row in rows:
        by_question.setdefault(row["question_id"], []).append(row["verdicts"][metric])
    return np.array(list(by_question.values()), dtype=np.float64)


def at_k(rows: Sequence[Row], metric: str, samples: int) -> dict[str, Any]:
    """pass@k and all@k for every k up to K, with intervals over questions."""
    correct_Q = per_question(rows, metric).sum(axis=1)
    ks = range(1, samples + 1)
    return {
        "metric": metric,
        "pass": {str(k): mean_over_questions(pass_at_k(correct_Q, samples, k)).to_plain() for k in ks},
        "all": {str(k): mean_over_questions(all_at_k(correct_Q, samples, k)).to_plain() for k in ks},
    }


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """What went wrong, in answers, except prompts_cut, which counts questions."""
    generated = [row for row in rows if row["tokens"] is not None]
    return {
        "answers": len(rows),
        "answers_cut": sum(row["finish"] == "length" for row in generated),
        "not_extracted": sum(row["extracted"] is None for row in generated),
        "prompts_cut": len({row["question_id"] for row in generated if row["prompt_cut"]}),
        "mean_tokens": float(np.mean([row["tokens"] for row in generated])) if generated else None,
    }


def _natural(rows: Sequence[Row]) -> Callable[[str], tuple[int, Any]]:
    """Levels in the order in which they first appear, numbers by size."""
    seen: dict[str, int] = {}
    for row in rows:
        if row["level"] is not None:
            seen.setdefault(row["level"], len(seen))
    return lambda level: (0, float(level)) if level.replace(".", "", 1).isdigit() else (1, seen[level])
