"""What a grid did not test. Said on the page, so that nobody has to ask."""

from __future__ import annotations

import numpy as np

from reports.compare import Endpoint, paired_seeds
from reports.names import estimator_name, named
from reports.tables import Study

_SCALE_CONTROLS = ("krpo_unit_rms", "grpo_scaled")


def not_tested(study: Study, end: Endpoint | None) -> list[str]:
    """One sentence per limit, from the runs themselves."""
    told = []
    seeds, what = _pairs(study, end)
    if seeds < 6:
        told.append(
            f"{seeds} {what if seeds == 1 else f'{what}s'}: a sign-flip test cannot reject at the 5% level with fewer "
            "than 6."
        )
    elif seeds < 8:
        told.append(f"{seeds} {what}s: 8 to 10 are recommended.")
    arms = {named(spec.get("estimator")).name for spec in study.specs.values()}
    if "krpo" in arms and not arms & set(_SCALE_CONTROLS):
        told.append(
            f"Scale: {_scale_told(study)}Without a scale control (krpo_unit_rms) a difference cannot be attributed to "
            "the filter."
        )
    if "krpo" in arms and "rloo" not in arms and "dr_grpo" not in arms:
        told.append(
            "Baselines without GRPO's division by the group's deviation (RLOO, Dr. GRPO): a gain could come "
            "from dropping it."
        )
    for key, what in (
        ("policy", "policy"),
        ("task", "task"),
        ("learning_rate", "learning rate"),
        ("group_size", "group size"),
    ):
        values = {str(spec.get(key)) for spec in study.specs.values() if key in spec}
        if len(values) == 1:
            value = next(iter(values)) if key != "task" else named(next(iter(study.specs.values())).get(key)).label
            told.append(f"Only one {what} ({value}).")
    if set(study.runs.noise) == {"none"}:
        told.append("No reward noise.")
    if end is not None:
        tasks = list(dict.fromkeys(study.scores.task))
        if len(tasks) == 1:
            told.append(
                f"Held-out questions of one kind only ({end.task}); nothing here speaks about other benchmarks."
            )
    lr = {spec.get("learning_rate") for spec in study.specs.values()}
    if len(lr) == 1 and len(study.estimators) > 1:
        told.append("No arm's learning rate was tuned; all share one.")
    gone = [
        estimator_name(arm)
        for arm in study.estimators
        if not (study.runs[study.runs.estimator == arm].status == "done").any()
    ]
    if gone:
        told.append(f"No finished run of {', '.join(gone)}.")
    return told


def _pairs(study: Study, end: Endpoint | None) -> tuple[int, str]:
    """The paired seeds of the finding, in the condition with the fewest; without a pair anywhere, the seeds."""
    pairs = paired_seeds(study, end) if end is not None and end.treatment is not None else {}
    found = [n for n in pairs.values() if n]
    return (min(found), "paired seed") if found else (study.runs.seed.nunique(), "seed")


def _scale_told(study: Study) -> str:
    """How large KRPO's advantages are over GRPO's, over the arms and conditions that have both; empty without."""
    if "advantage_rms" not in study.steps:
        return ""
    rms = study.steps.groupby(["condition", "estimator"], sort=False).advantage_rms.mean().unstack()
    of_krpo = [arm for arm in rms if str(arm).partition("(")[0] == "krpo"]
    if "grpo" not in rms or not of_krpo:
        return ""
    ratios = rms[of_krpo].div(rms.grpo, axis=0).to_numpy().ravel()
    ratios = ratios[np.isfinite(ratios)]
    if not ratios.size:
        return ""
    low, high = (f"{x:.2g}" if x < 100 else f"{x:.0f}" for x in (ratios.min(), ratios.max()))
    return f"KRPO's advantages are {low if low == high else f'{low} to {high}'} times as large as GRPO's here. "
