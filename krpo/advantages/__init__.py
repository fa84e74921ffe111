"""Advantage estimators: rewards [P, G] -> advantages [P, G], by name.

    from krpo.advantages import make_estimator
    krpo = make_estimator("krpo", process_variance=1e-4)
    advantages_PG = krpo(rewards_PG, mask_PG=mask_PG)

One family per file; importing this package registers them all. `docs/estimators.md` measures them side by side and
`docs/adding-an-estimator.md` says how to add one.
"""

from krpo.advantages import (  # noqa: F401 (they register)
    compose,
    grpo,
    kalman_adaptive,
    kalman_history,
    kalman_order,
    kalman_parts,
    kalman_variants,
    krpo,
    means,
    pass_rate,
    reshaped,
    scales,
    shrinkage,
    virtual,
    weighted,
)
from krpo.advantages.base import AdvantageEstimator, Baseline, Batch, Composed, Scale
from krpo.advantages.registry import (
    available_estimators,
    make_estimator,
    register_baseline,
    register_estimator,
    register_scale,
)

__all__ = [
    "AdvantageEstimator",
    "Baseline",
    "Batch",
    "Composed",
    "Scale",
    "available_estimators",
    "make_estimator",
    "register_baseline",
    "register_estimator",
    "register_scale",
]
