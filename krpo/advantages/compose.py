"""Any baseline with any scale: `{baseline: running_kalman, scale: group_std}` in YAML.

    A_i = (r_i - b_i), scaled

What it does to an all-equal group is what its baseline does: the named parts say so.
"""

from __future__ import annotations

from krpo.advantages.base import AdvantageEstimator, Composed
from krpo.advantages.registry import BASELINES, SCALES, register_estimator
from krpo.config import Named

GROUP_MEAN = Named("group_mean")
NO_SCALE = Named("none")


@register_estimator("composed", formula="(r_i - baseline_i), scaled", source="any of the parts below")
def composed(
    *,
    baseline: Named = GROUP_MEAN,
    scale: Named = NO_SCALE,
) -> AdvantageEstimator:
    return Composed(BASELINES.make(baseline), SCALES.make(scale))
