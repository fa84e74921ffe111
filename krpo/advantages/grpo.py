"""The estimators of everyday training code: a mean as baseline, a standard deviation or nothing as scale.

    grpo                    (r_i - mean_group) / (std_group + eps)      arXiv 2402.03300
    grpo_scaled             factor x grpo                               scale control
    grpo_batch_std          (r_i - mean_group) / (std_batch + eps)      arXiv 2508.08221
    dr_grpo                 r_i - mean_group                            arXiv 2503.20783
    rloo                    r_i - mean of the others                    arXiv 2402.14740
    reinforce_pp            (r_i - mean_batch) / (std_batch + eps)      arXiv 2501.03262
    reinforce_pp_baseline   r_i - mean_group, whitened over the batch   arXiv 2501.03262

TRL calls the first, third and fourth scale_rewards="group", "batch" and "none".
An all-equal group gets exactly 0 from all of them but `reinforce_pp`, which has no group.
Libraries differ in eps: TRL 1e-4, verl 1e-6, OpenRLHF 1e-9; the whitening of verl and OpenRLHF (1e-8) is over tokens,
so that an answer counts as often as it has tokens, here once.
"""

from __future__ import annotations

from krpo.advantages.base import AdvantageEstimator, Composed
from krpo.advantages.means import BatchMean, GroupMean, LeaveOneOut
from krpo.advantages.registry import register_estimator
from krpo.advantages.scales import BatchStd, Constant, GroupStd, NoScale, Rescaled, Whiten


@register_estimator(
    "grpo",
    formula="(r_i - mean_group) / (std_group + eps)",
    source="arXiv 2402.03300",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def grpo(*, eps: float = 1e-4) -> AdvantageEstimator:
    return Composed(GroupMean(), GroupStd(eps))


@register_estimator(
    "grpo_scaled",
    formula="factor x grpo",
    source="scale control for KRPO",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def grpo_scaled(*, factor: float = 10.0, eps: float = 1e-4) -> AdvantageEstimator:
    return Rescaled(grpo(eps=eps), Constant(factor))


@register_estimator(
    "grpo_batch_std",
    formula="(r_i - mean_group) / (std_batch + eps)",
    source="arXiv 2508.08221",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def grpo_batch_std(*, eps: float = 1e-4) -> AdvantageEstimator:
    return Composed(GroupMean(), BatchStd(eps))


@register_estimator(
    "dr_grpo",
    formula="r_i - mean_group",
    source="arXiv 2503.20783",
    shift="invariant",
    scale="equivariant",
    order="free",
    all_equal="zero",
)
def dr_grpo() -> AdvantageEstimator:
    return Composed(GroupMean(), NoScale())


@register_estimator(
    "rloo",
    formula="r_i - mean of the group's others",
    source="arXiv 2402.14740",
    shift="invariant",
    scale="equivariant",
    order="free",
    all_equal="zero",
)
def rloo() -> AdvantageEstimator:
    return Composed(LeaveOneOut(), NoScale())


@register_estimator(
    "reinforce_pp",
    formula="(r_i - mean_batch) / (std_batch + eps)",
    source="arXiv 2501.03262",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="other",
)
def reinforce_pp(*, eps: float = 1e-8) -> AdvantageEstimator:
    return Composed(BatchMean(), BatchStd(eps))


@register_estimator(
    "reinforce_pp_baseline",
    formula="(r_i - mean_group), divided by its std over the batch",
    source="arXiv 2501.03262",
    shift="invariant",
    scale="invariant",
    order="free",
    all_equal="zero",
)
def reinforce_pp_baseline(*, eps: float = 1e-8) -> AdvantageEstimator:
    return Composed(GroupMean(), Whiten(eps))
