"""What a number of paired seeds can show, before anything is spent.

For R paired seeds, differences with standard deviation s, and a two-sided t test at level a, the smallest mean
difference that is found with probability `power` is s d, where d solves

    P(|T| > t_{1-a/2, R-1}) = power,    T noncentral t with R - 1 degrees of freedom and noncentrality d sqrt(R).

(Cohen 1988, chapter 2.) Two seeds give a test, but one that finds only differences of some nine standard deviations.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from krpo.spec import RunSpec, field_names

LEVEL, POWER = 0.05, 0.8


def detectable(seeds: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest mean difference, in standard deviations of the paired difference; infinite below two seeds."""
    if seeds < 2:
        return math.inf
    import numpy as np
    from scipy.special import gammaincinv, ndtr, stdtrit

    degrees = seeds - 1
    critical = stdtrit(degrees, 1 - level / 2)
    # T = (Z + shift) / s, s^2 chi-squared over its degrees. The mean over quantiles of s is exact to four digits, also
    # where scipy's noncentral t has no value (few seeds, large shift).
    quantiles = (np.arange(4000) + 0.5) / 4000
    s = np.sqrt(2 * gammaincinv(degrees / 2, quantiles) / degrees)

    def found(d: float) -> float:
        shift = d * math.sqrt(seeds)
        return float(np.mean(ndtr(shift - critical * s) + ndtr(-shift - critical * s)))

    low, high = 0.0, 1.0
    while found(high) < power:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) < power else (low, middle)
    return high


def seeds_needed(effect: float, sd: float, *, most: int = 1000) -> int | None:
    """The fewest paired seeds that show a difference of ``effect``; None where ``most`` are too few."""
    low, high = 2, most
    if detectable(most) * sd > effect:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle) * sd <= effect else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Variation:
    """The standard deviation of the paired difference between two arms, as far as runs have shown it."""

    sd: float
    degrees: int
    source: str


def variation(scores: Iterable[tuple[RunSpec, float]], baseline: str | None, treatment: str | None) -> Variation | None:
    """From finished runs: the differences of pairs, pooled over conditions; else the seeds within each arm.

    Args:
        scores: specification and score of each finished run.
        baseline, treatment: labels of the two estimators; None where a grid has one.

    Returns:
        None where not even one arm has two seeds. Arms alone say nothing about what pairing gains, so their
        differences are then taken as independent.
    """
    arms: dict[tuple[tuple[Any, ...], str | None], dict[int, float]] = defaultdict(dict)
    for spec, score in scores:
        arms[_condition(spec), spec.estimator.label][spec.seed] = score
    conditions = {condition for condition, _ in arms}
    pairs: list[list[float]] = []
    for condition in conditions:
        a: Mapping[int, float] = arms.get((condition, baseline), {})
        b: Mapping[int, float] = arms.get((condition, treatment), {})
        pairs.append([b[seed] - a[seed] for seed in sorted(a.keys() & b.keys())])
    if found := _pooled(pairs):
        n = sum(map(len, pairs))
        return Variation(found[0], found[1], f"{n} pairs of finished runs, {treatment} - {baseline}")
    if found := _pooled([list(arm.values()) for arm in arms.values()]):
        return Variation(found[0] * math.sqrt(2), found[1], "finished runs of single arms, taken as independent")
    return None


def _condition(spec: RunSpec) -> tuple[Any, ...]:
    """Everything but estimator and seed."""
    return tuple(getattr(spec, name) for name in field_names() if name not in ("estimator", "seed"))


def _pooled(groups: Iterable[list[float]]) -> tuple[float, int] | None:
    """Standard deviation within groups, and its degrees of freedom."""
    squares, degrees = 0.0, 0
    for group in groups:
        mean = math.fsum(group) / len(group) if group else 0.0
        squares += math.fsum((x - mean) ** 2 for x in group)
        degrees += max(0, len(group) - 1)
    return (math.sqrt(squares / degrees), degrees) if degrees else None


def sampling_sd(answers: int) -> float:
    """The most that sampling the answers adds to a difference of two accuracies: sqrt(2 p (1-p) / n) at p = 1/2."""
    return math.sqrt(0.5 / answers)


def sentences(seeds: int, found: Variation | None, effect: float | None, answers: int | None) -> list[str]:
    """What `--plan` says about power.

    Args:
        seeds: paired seeds of the grid.
        found: the variation seen so far.
        effect: the smallest difference worth knowing, if the grid names one.
        answers: sampled answers of one run's evaluation; None where nothing is sampled.
    """
    if seeds < 2:
        return [f"power: {seeds} seed: no difference between arms can be shown, however large"]
    d = detectable(seeds)
    how = f"paired t test, two-sided {LEVEL:g}, power {POWER:g}"
    lines = []
    if found is not None:
        lines.append(
            f"power: {seeds} paired seeds can show a difference of {d * found.sd:.3f} or more ({how}; standard "
            f"deviation {found.sd:.4f} of the difference, from {found.source})"
        )
        if effect is not None:
            lines.append(_verdict(seeds, effect, found.sd))
    else:
        lines.append(
            f"power: {seeds} paired seeds can show a difference of {d:.2f} standard deviations of the paired "
            f"difference ({how}); no two finished runs yet that tell how large one is"
        )
        if answers:
            floor = d * sampling_sd(answers)
            lines.append(f"  if seeds differed only by the sampling of {answers} answers each: {floor:.3f}")
        if effect is not None:
            lines.append(
                f"  a difference of {effect:g} can be shown if that standard deviation is at most {effect / d:.3f}"
            )
    if seeds < 6:
        lines.append(
            f"  a sign-flip test on {seeds} pairs cannot go below p = {2 / 2**seeds:.3g}: at least 6 seeds for 0.05"
        )
    return lines


def _verdict(seeds: int, effect: float, sd: float) -> str:
    if detectable(seeds) * sd <= effect:
        return f"  enough for the difference of {effect:g} that the grid names"
    needed = seeds_needed(effect, sd)
    more = f"{needed} seeds would" if needed else "1000 seeds would not either"
    return f"  NOT ENOUGH for the difference of {effect:g} that the grid names: {more}"


def answers_of(evaluation: Any, questions: int | None) -> int | None:
    return questions * evaluation.samples if questions and evaluation.temperature > 0 else None
