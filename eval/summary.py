"""From rows (one per question and sample) to scores with intervals: pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.statistics import all_at_k, maj_at_k, mean_over_questions, pass_at_k, split_variance
from krpo.answers import as_number

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
        if split := split_variance(per_question(rows, primary)):
            summary["stderr_parts"] = {"questions": split.questions, "sampling": split.sampling}
    summary["counts"] = counts(rows)
    if len(exact := [m for m in means if set(per_question(rows, m).flat) <= {0.0, 1.0} and m != "formatted"]) > 1:
        summary["disagreement"] = disagreement(rows, exact)
    return summary


def score(rows: Sequence[Row], metric: str) -> dict[str, Any]:
    """Mean of a metric over questions, each averaged over its samples first."""
    return mean_over_questions(per_question(rows, metric).mean(axis=1)).to_plain()


def per_question(rows: Sequence[Row], metric: str) -> NDArray[np.float64]:
    """A metric as an array [Q, K] in the order of the rows."""
    by_question: dict[str, list[float]] = {}
    for row in rows:
        by_question.setdefault(row["question_id"], []).append(row["verdicts"][metric])
    return np.array(list(by_question.values()), dtype=np.float64)


def at_k(rows: Sequence[Row], metric: str, samples: int) -> dict[str, Any]:
    """pass@k and all@k for every k up to K, maj@k for K and the powers of two below it; intervals over questions."""
    correct_Q = per_question(rows, metric).sum(axis=1)
    labels_QK = vote_labels(rows, metric)
    ks = range(1, samples + 1)
    powers = [k for k in ks if k & (k - 1) == 0 or k == samples]
    return {
        "metric": metric,
        "pass": {str(k): mean_over_questions(pass_at_k(correct_Q, samples, k)).to_plain() for k in ks},
        "all": {str(k): mean_over_questions(all_at_k(correct_Q, samples, k)).to_plain() for k in ks},
        "maj": {str(k): mean_over_questions(maj_at_k(labels_QK, k)).to_plain() for k in powers},
    }


def vote_labels(rows: Sequence[Row], metric: str) -> NDArray[np.int64]:
    """What each answer votes for [Q, K]: 0 right, positive numbers for different wrong answers, -1 none found.

    Right answers are one candidate however they are spelled; wrong ones are the same where they are the same number
    or the same text.
    """
    by_question: dict[str, list[Row]] = {}
    for row in rows:
        by_question.setdefault(row["question_id"], []).append(row)
    return np.array([_labels(group, metric) for group in by_question.values()], dtype=np.int64)


def _labels(group: Sequence[Row], metric: str) -> list[int]:
    wrong: dict[Any, int] = {}
    labels = []
    for row in group:
        extracted = row["extracted"]
        if row["verdicts"][metric] == 1:
            labels.append(0)
        elif extracted is None:
            labels.append(-1)
        else:
            number = as_number(extracted)
            labels.append(wrong.setdefault(extracted.strip() if number is None else number, len(wrong) + 1))
    return labels


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """What went wrong, in answers, except prompts_cut, which counts questions."""
    generated = [row for row in rows if row["tokens"] is not None]
    return {
        "answers": len(rows),
        "answers_cut": sum(row["finish"] == "length" for row in generated),
        "not_extracted": sum(row["extracted"] is None for row in generated),
        "timed_out": sum(row["timed_out"] for row in rows),
        "prompts_cut": len({row["question_id"] for row in generated if row["prompt_cut"]}),
        "mean_tokens": float(np.mean([row["tokens"] for row in generated])) if generated else None,
    }


def disagreement(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, float]:
    """The share of answers on which two ways of scoring differ, for each pair."""
    verdicts = {m: per_question(rows, m) for m in metrics}
    return {f"{a} / {b}": float((verdicts[a] != verdicts[b]).mean()) for a, b in combinations(metrics, 2)}


def _natural(rows: Sequence[Row]) -> Callable[[str], int]:
    """Levels by their number where all are a number behind one name (`terms2`, `3`), else as they first appear."""
    seen: dict[str, int] = {}
    for row in rows:
        if row["level"] is not None:
            seen.setdefault(row["level"], len(seen))
    parts = [match for level in seen if (match := re.fullmatch(r"(\D*)(\d+)", level))]
    if len(parts) == len(seen) and len({match[1] for match in parts}) == 1:
        numbers = {match[0]: int(match[2]) for match in parts}
        return lambda level: numbers[level]
    return lambda level: seen[level]
