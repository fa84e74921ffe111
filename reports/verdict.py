"""The finding in one sentence, with its interval, and never surer than the interval.

The primary endpoint is one comparison for each condition that it names. With several, their intervals hold jointly
(Bonferroni): the chance that any of them misses is 5% at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from reports.compare import POOLED, Endpoint
from reports.names import circumstance, estimator_name

Kind = Literal["higher", "lower", "equivalent", "cannot tell", "identical", "mixed", "nothing"]


@dataclass(frozen=True)
class Verdict:
    """``kind`` is decided by the intervals alone; ``detail`` says what they exclude and what could not be seen."""

    kind: Kind
    sentence: str
    detail: str = ""


def points(value: float, *, sign: bool = False) -> str:
    """0.0421 -> `4.2`: percentage points with a true minus sign; below a tenth of a point one significant digit."""
    digits = ".1f" if abs(value) >= 0.001 or abs(value) < 1e-9 else ".1g"
    text = format(100 * value, f"+{digits}" if sign else digits)
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else "0.0"


def interval(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"{points(low, sign=True)} to {points(high, sign=True)}"


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}" if p < 0.1 else f"p = {p:.2f}"


def judge(end: Endpoint, rows: pd.DataFrame, why: str = "") -> Verdict:
    """The verdict on the primary endpoint: ``rows`` of `reports.compare.comparisons`, one per condition that
    has data. ``why`` there are none, where that is known."""
    base = estimator_name(end.baseline)
    if end.treatment is None:
        return Verdict("nothing", f"Nothing is compared: {base} is the only arm with runs.")
    arm = estimator_name(end.treatment)
    both = f"no seed has a finished and evaluated run of both {arm} and {base}"
    if rows.empty:
        return Verdict("nothing", f"This grid cannot tell: {why or both}.")
    bare = [circumstance(condition) for condition in end.conditions if condition not in set(rows.condition)]
    gap = f" {both[0].upper()}{both[1:]} {_listed(bare, 'or')}." if bare else ""
    verdicts = judge_rows(end, rows)
    if len(verdicts) == 1:
        only = verdicts[0]
        return Verdict(only.kind, only.sentence + gap, only.detail)
    kinds = {verdict.kind for verdict in verdicts}
    groups = [(kind, [r for v, (_, r) in zip(verdicts, rows.iterrows(), strict=True) if v.kind == kind]) for kind in
              dict.fromkeys(verdict.kind for verdict in verdicts)]  # fmt: skip
    told = "; ".join(_clause(kind, members, arm, base) for kind, members in groups)
    n = sorted({int(row.n) for _, row in rows.iterrows()})
    seeds = (f"{n[0]} to " if len(n) > 1 else "") + (f"{n[-1]} paired seeds" if n[-1] > 1 else "1 paired seed")
    sentence = f"{told[0].upper()}{told[1:]}. (Held-out accuracy, {arm} minus {base}, {seeds}{_jointly(rows)}.){gap}"
    return Verdict(kinds.pop() if len(kinds) == 1 else "mixed", sentence)


def judge_rows(end: Endpoint, rows: pd.DataFrame) -> list[Verdict]:
    """The verdict on each condition; their intervals hold jointly."""
    return [judge_row(end, row, jointly=with_interval(rows)) for _, row in rows.iterrows()]


def with_interval(rows: pd.DataFrame) -> int:
    """How many comparisons have an interval: two seeds at least, and some spread over them."""
    return int(rows.low.notna().sum())


def _jointly(rows: pd.DataFrame) -> str:
    n = with_interval(rows)
    if n < 2:
        return "; the interval holds at 95%" if n else ""
    which = "conditions" if n == len(rows) else "conditions that have one"
    return f"; the intervals hold at 95% for the {n} {which} jointly"


def _clause(kind: Kind, rows: Sequence[pd.Series], arm: str, base: str) -> str:
    shown = _listed([f"{points(row['mean'], sign=True)} points {_where(row)} ({_surely(row)})" for row in rows])
    if kind in ("higher", "lower"):
        return f"{arm} scored {kind} than {base}: {shown}"
    if kind == "equivalent":
        return f"{arm} and {base} differ by less than what was declared to matter: {shown}"
    if kind == "identical":
        return f"{arm} and {base} are exactly equal {_listed([_where(row) for row in rows])}"
    return f"this grid cannot tell whether {arm} or {base} is better: {shown}"


def _surely(row: pd.Series) -> str:
    if math.isfinite(row.low):
        return interval(row.low, row.high)
    return "one pair, no interval" if row.n < 2 else f"the same in all {int(row.n)} pairs, no interval"


def _listed(items: Sequence[str], last: str = "and") -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def judge_row(end: Endpoint, row: pd.Series, jointly: int = 1) -> Verdict:
    """The verdict on one comparison. ``jointly``: how many intervals hold together at 95%; `row` was made for that."""
    arm, base, where = estimator_name(str(row.estimator)), estimator_name(end.baseline), _where(row)
    n, mean, low, high = int(row.n), float(row["mean"]), float(row.low), float(row.high)
    if n < 2:
        return Verdict(
            "cannot tell",
            f"This grid cannot tell whether {arm} or {base} is better {where}: one paired seed gives a difference "
            f"({points(mean, sign=True)} points of {end.measure}) and no measure of chance.",
            "At least 6 paired seeds are needed before a sign-flip test can reject at all; 8 to 10 are recommended.",
        )
    if not math.isfinite(low):
        if abs(mean) < 1e-12:
            return Verdict(
                "identical", f"{arm} and {base} have exactly the same {end.measure} {where} in all {n} paired seeds."
            )
        return Verdict(
            "cannot tell",
            f"All {n} paired seeds show the same difference of {points(mean, sign=True)} points of {end.measure} "
            f"{where}; without any spread no interval can be given.",
        )
    level = "95% interval" if jointly == 1 else "95% joint interval"
    told = f"{level} {interval(low, high)} points; {n} paired seeds"
    tests = f"Sign-flip test: {p_text(row.p_sign_flip)}"
    if row.least_p > 0.05:
        tests += f" ({n} seeds cannot give less than {row.least_p:.3g})"
    if jointly > 1:
        tests += f". Paired t test, Holm's correction over the {jointly} conditions: {p_text(row.p_holm)}"
    effect = end.smallest_effect or 0.0
    small = -effect < low and high < effect
    if small and low <= 0 <= high:
        return Verdict(
            "equivalent",
            f"{arm} and {base} differ by less than {points(effect)} points of {end.measure} {where}, the smallest "
            f"difference that was declared to matter: {points(mean, sign=True)} points ({told}).",
            f"{tests}.",
        )
    if low > 0 or high < 0:
        kind: Kind = "higher" if low > 0 else "lower"
        within = f"All of the interval is below the {points(effect)} points declared to matter. " if small else ""
        return Verdict(
            kind,
            f"{arm} scored {points(abs(mean))} points {kind} than {base} on {end.measure} {where} ({told}).",
            f"{within}A true difference of only {points(min(abs(low), abs(high)))} points is not excluded. {tests}.",
        )
    return Verdict(
        "cannot tell",
        f"This grid cannot tell whether {arm} or {base} is better {where}: the difference is "
        f"{points(mean, sign=True)} points of {end.measure} ({told}).",
        f"Excluded at this level: {arm} better by more than {points(high)} points, or worse by more than "
        f"{points(-low)}. With this spread, {n} seeds find a true difference of {points(row.detectable)} points four "
        f"times out of five; a smaller one could not have been seen reliably. {tests}.",
    )


def _where(row: pd.Series) -> str:
    if row.condition == POOLED:
        return "averaged over the conditions"
    return circumstance(str(row.condition))
