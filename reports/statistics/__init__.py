"""Statistics across training seeds, on numpy and scipy alone; plain arrays in, result objects with named fields out.

The unit of replication is a training run. Arms that share a seed share initial weights, data order and noise, so a
comparison of two arms is made on the per-seed differences. With ten seeds or fewer Student's t is the interval to lead
with: a percentile bootstrap of five seeds covers 84% where it says 95%.

Shape suffixes: `_S` seeds (training runs), `_M` tasks (or levels), `_T` steps.
"""

from reports.statistics.aggregates import (
    InterquartileMean,
    Profile,
    improvement,
    interquartile_mean,
    iqm,
    optimality_gap,
    performance_profile,
    whole_run_bootstrap,
)
from reports.statistics.curves import (
    COLLAPSE,
    CollapseRule,
    SpreadOverSteps,
    Stability,
    collapsed,
    normalised_area,
    smooth,
    spread_over_steps,
    stability,
    steps_to_level,
)
from reports.statistics.paired import (
    Band,
    Interval,
    PairedResult,
    SignFlipResult,
    detectable_difference,
    holm,
    paired_t,
    power_paired_t,
    seeds_needed,
    sign_flip,
    t_band,
    t_interval,
    t_quantile,
    wilson,
)

__all__ = [
    "COLLAPSE",
    "Band",
    "CollapseRule",
    "InterquartileMean",
    "Interval",
    "PairedResult",
    "Profile",
    "SignFlipResult",
    "SpreadOverSteps",
    "Stability",
    "collapsed",
    "detectable_difference",
    "holm",
    "improvement",
    "interquartile_mean",
    "iqm",
    "normalised_area",
    "optimality_gap",
    "paired_t",
    "performance_profile",
    "power_paired_t",
    "seeds_needed",
    "sign_flip",
    "smooth",
    "spread_over_steps",
    "stability",
    "steps_to_level",
    "t_band",
    "t_interval",
    "t_quantile",
    "whole_run_bootstrap",
    "wilson",
]
