"""KRPO as published, and its scale control.

    krpo           A_i = (r_i - x_{i|i}) / (sqrt(P_{i|i}) + eps)     arXiv 2505.07527, code of 2025-05-18
    krpo_unit_rms  krpo, divided by its root mean square over the batch

x and P are the running posterior of `krpo.advantages.kalman`, started anew for each group and run over its answers
in generation order. Equivalently A_i = c_i (r_i - x_{i-1}), c_i = (1 - K_i)/sqrt(K_i R): a fixed lower-triangular
matrix times the rewards, so a whole batch is one matrix product.

An all-equal group does not get 0: the prior mean x_0 = 0 leaks into the advantages (a group of 12 ones sums to
0.554); only a group of rewards x_0 gets 0.
"""

from __future__ import annotations

from krpo.advantages.base import AdvantageEstimator
from krpo.advantages.kalman_parts import PosteriorStd, RunningKalman, pair
from krpo.advantages.registry import register_estimator
from krpo.advantages.scales import Rescaled, UnitRMS

krpo = register_estimator(
    "krpo",
    formula="(r_i - x_{i|i}) / (sqrt(P_{i|i}) + eps)",
    source="arXiv 2505.07527",
    shift="other",
    scale="equivariant",
    order="dependent",
    all_equal="other",
)(pair(RunningKalman, PosteriorStd))


@register_estimator(
    "krpo_unit_rms",
    formula="krpo / root mean square of krpo over the batch",
    source="scale control for KRPO",
    shift="other",
    scale="invariant",
    order="dependent",
    all_equal="other",
)
def krpo_unit_rms(
    *,
    process_variance: float = 1e-5,
    measurement_variance: float = 1e-2,
    prior_mean: float = 0.0,
    prior_variance: float = 1.0,
) -> AdvantageEstimator:
    inner = krpo(
        process_variance=process_variance,
        measurement_variance=measurement_variance,
        prior_mean=prior_mean,
        prior_variance=prior_variance,
    )
    return Rescaled(inner, UnitRMS())
