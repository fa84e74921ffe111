"""KRPO taken apart: one ingredient changed at a time. Parameters and notation: `krpo.advantages.kalman`.

    krpo_uniform      r_i - x_{i|i-1}                           equal weights: krpo without its factors c_i
    krpo_innovation   (r_i - x_{i|i-1}) / sqrt(P_{i|i-1} + R)   the innovation over its own standard deviation
    krpo_batch        (r_i - x_{n|n}) / sqrt(P_{n|n})           final posterior for all; Q = 0, so order is free
    krpo_smoother     (r_i - x_{i|n}) / sqrt(P_{i|n})           Rauch-Tung-Striebel smoother
    krpo_loo          (r_i - x_{-i}) / sqrt(P_{-i})             filter over the group's other answers

Source: controls for arXiv 2505.07527. An all-equal group of rewards other than x_0 gets a small advantage from
each: what the prior still weighs in the estimate.
"""

from __future__ import annotations

from krpo.advantages.base import AdvantageEstimator, Composed
from krpo.advantages.kalman import Model
from krpo.advantages.kalman_parts import (
    Final,
    FinalStd,
    InnovationStd,
    LeaveOneOutFilter,
    LeaveOneOutStd,
    Prediction,
    Smoother,
    SmootherStd,
    pair,
)
from krpo.advantages.registry import register_estimator
from krpo.advantages.scales import NoScale

SOURCE = "control for arXiv 2505.07527"


@register_estimator(
    "krpo_uniform",
    formula="r_i - x_{i|i-1}",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="dependent",
    all_equal="other",
)
def krpo_uniform(
    *,
    process_variance: float = 1e-5,
    measurement_variance: float = 1e-2,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
) -> AdvantageEstimator:
    return Composed(Prediction(process_variance, measurement_variance, prior_mean, prior_variance), NoScale())


krpo_innovation = register_estimator(
    "krpo_innovation",
    formula="(r_i - x_{i|i-1}) / (sqrt(P_{i|i-1} + R) + eps)",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="dependent",
    all_equal="other",
)(pair(Prediction, InnovationStd))

krpo_batch = register_estimator(
    "krpo_batch",
    formula="(r_i - x_{n|n}) / (sqrt(P_{n|n}) + eps), Q = 0",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="free",
    all_equal="other",
)(pair(Final, FinalStd, Model(process_variance=0.0)))

krpo_smoother = register_estimator(
    "krpo_smoother",
    formula="(r_i - x_{i|n}) / (sqrt(P_{i|n}) + eps)",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="dependent",
    all_equal="other",
)(pair(Smoother, SmootherStd))

krpo_loo = register_estimator(
    "krpo_loo",
    formula="(r_i - x_{-i}) / (sqrt(P_{-i}) + eps)",
    source=SOURCE,
    shift="other",
    scale="equivariant",
    order="dependent",
    all_equal="other",
)(pair(LeaveOneOutFilter, LeaveOneOutStd))
