"""The names of advantage estimators, baselines and scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from krpo.advantages.base import AdvantageEstimator, Baseline, Scale
from krpo.config import Named
from krpo.registry import F, Registry

ESTIMATORS: Registry[AdvantageEstimator] = Registry("estimator", AdvantageEstimator)
BASELINES: Registry[Baseline] = Registry("baseline", Baseline)
SCALES: Registry[Scale] = Registry("scale", Scale)

register_baseline = BASELINES.register
register_scale = SCALES.register


def register_estimator(
    name: str,
    *,
    formula: str = "",
    source: str = "",
    shift: Literal["invariant", "other", "undeclared"] = "undeclared",
    scale: Literal["equivariant", "invariant", "other", "undeclared"] = "undeclared",
    order: Literal["free", "dependent", "undeclared"] = "undeclared",
    all_equal: Literal["zero", "other", "undeclared"] = "undeclared",
) -> Callable[[F], F]:
    """A decorator that registers an estimator's class, or a function that makes one, and declares what it
    promises.

    The declared properties are tested for every registered name and appear in the estimator sheet:

    Args:
        name: how YAML and the command line call it. Raises `BadInput` where it is taken.
        formula: the advantage A_i in one line.
        source: the paper with its arXiv number, or what else defines it.
        shift: "invariant" where A(r + b) = A(r).
        scale: "equivariant" where A(s r) = s A(r) for s > 0, "invariant" where A(s r) = A(r) but for eps of a
            division.
        order: "free" where permuting the answers of a group permutes their advantages and nothing else.
        all_equal: "zero" where a group of equal rewards gets no advantage.
    """
    return ESTIMATORS.register(
        name, formula=formula, source=source, shift=shift, scale=scale, order=order, all_equal=all_equal
    )


def make_estimator(named: str | Named, /, **params: Any) -> AdvantageEstimator:
    """The advantage estimator of that name: ``make_estimator("krpo", process_variance=1e-4)``.

    Takes a registered name, a `Named` from a configuration, or a user's own ``package.module:object`` (an
    `AdvantageEstimator` class or a function that makes one). Raises `BadInput` for unknown names and
    parameters.
    """
    estimator = ESTIMATORS.make(named, **params)
    estimator.name = named.name if isinstance(named, Named) else named
    return estimator


def available_estimators() -> list[str]:
    """All registered names, sorted."""
    return ESTIMATORS.names()
