"""What a grid did not test. Said on the page, so that nobody has to ask."""

from __future__ import annotations

from reports.compare import Endpoint
from reports.names import estimator_name, named
from reports.tables import Study

_SCALE_CONTROLS = ("krpo_unit_rms", "grpo_scaled")


def not_tested(study: Study, end: Endpoint | None) -> list[str]:
    """One sentence per limit, from the runs themselves."""
    told = []
    seeds = study.runs.seed.nunique()
    if seeds < 6:
        told.append(
            f"{seeds} {'seed' if seeds == 1 else 'seeds'}: a sign-flip test cannot reject at the 5% level "
            f"with fewer than 6."
        )
    elif seeds < 8:
        told.append(f"{seeds} seeds: 8 to 10 are recommended.")
    arms = {named(spec.get("estimator")).name for spec in study.specs.values()}
    if "krpo" in arms and not arms & set(_SCALE_CONTROLS):
        told.append(
            "Scale: KRPO's advantages are about ten times as large as GRPO's. Without a scale control "
            "(krpo_unit_rms) a "
            "difference cannot be attributed to the filter."
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
