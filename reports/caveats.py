"""What a reader must know before believing a finding: what is missing, and in what else the compared runs differ."""

from __future__ import annotations

import pandas as pd

from reports.compare import Endpoint, not_scored, primary_scores, unpaired_seeds
from reports.names import circumstance, estimator_name, short
from reports.plan import BEGAN, NOT_ASKED
from reports.tables import Study


def caveats(study: Study, end: Endpoint | None) -> list[str]:
    """One sentence for each."""
    counts = study.runs.status.value_counts()
    told = [f"Only a selection of the runs is shown: {study.selection}."] if study.selection else []
    if end is not None and end.undeclared:
        told.append(
            f"No run has a score on {end.undeclared}, the first task of the grid file's evaluation. The finding is "
            f"about {end.task}, which is not the declared endpoint."
        )
    if failed := int(counts.get("failed", 0)):
        arms = study.runs[study.runs.status == "failed"].estimator.map(estimator_name).value_counts()
        told.append(
            f"{failed} of {len(study.runs)} runs failed and are missing from the comparison: "
            + ", ".join(f"{n} of {arm}" for arm, n in arms.items())
            + "."
        )
    if running := int(counts.get("running", 0)):
        runs = "1 run has" if running == 1 else f"{running} runs have"
        told.append(f"{runs} not finished: this is an interim report, and looking early favours chance findings.")
    if study.planned and study.planned > len(study.runs):
        told.append(
            f"{study.planned - len(study.runs)} of {study.planned} planned runs have no readable run directory."
        )
    if end is not None and end.treatment is not None and (lone := unpaired_seeds(study, end)):
        seeds = [f"{', '.join(map(str, of))} {circumstance(condition)}" for condition, of in lone.items()]
        told.append(f"Seeds without a partner in the other arm were left out: {'; '.join(seeds)}.")
    for key, by_arm in study.arm_settings.items():
        of_value: dict[str, list[str]] = {}
        for arm, value in by_arm.items():
            of_value.setdefault(short(value), []).append(estimator_name(arm))
        values = ", ".join(f"{value} for {' and '.join(arms)}" for value, arms in of_value.items())
        setting = f"{key.replace('_', ' ')} is {values}"
        told.append(f"The arms differ in more than the estimator: {setting}. A difference may come from that.")
    told += _different_starts(study, end)
    if end is not None and not primary_scores(study, end).value.between(0, 1).all():
        told.append(
            f"Not all scores on {end.task} lie between 0 and 1: points and per cent are hundredths of their unit."
        )
    says = "the table 'Left out or mended' says why"
    if n := len(not_scored(study, end)):
        told.append(f"{n} finished {'run' if n == 1 else 'runs'} could not be compared; {says}.")
    unread = {note.where for note in study.notes if note.excludes and note.what.startswith("its spec.yaml")}
    missing = (study.planned or 0) - len(study.runs)  # told above, and the unread may be among them
    if (n := len(unread)) > max(0, missing):
        told.append(f"{n} run {'directory' if n == 1 else 'directories'} could not be read; {says}.")
    if n := sum(note.what == NOT_ASKED for note in study.notes):
        told.append(f"{n} stored {'run is' if n == 1 else 'runs are'} not part of the grid file as it stands now.")
    return told


def _different_starts(study: Study, end: Endpoint | None) -> list[str]:
    """Whether runs that should begin alike did not: other weights of one policy, or other data of one task."""
    told = []
    for column, (key, what) in zip(("policy", "task"), BEGAN.items(), strict=True):
        hashes = study.runs.assign(hash=[str(study.manifests[run].get(key) or "") for run in study.runs.run])
        for name, runs in hashes[hashes.hash != ""].groupby(column):
            if (n := runs.hash.nunique()) < 2:
                continue
            by_arm = runs.groupby("estimator", sort=False).hash.unique()
            if (by_arm.map(len) == 1).all():
                of_arms = ", ".join(f"{estimator_name(str(arm))} {of[0][:12]}" for arm, of in by_arm.items())
                told.append(
                    f"The arms did not begin alike: the {what} of {name} differ ({of_arms}). A difference may come "
                    "from that."
                )
                continue
            said = f"The runs of {name} did not all have the same {what} ({n} hashes): see 'Environment'."
            if end is not None and (pairs := _unlike_pairs(runs, end)):
                said += f" {pairs[0]} of {pairs[1]} pairs of the comparison differ in that."
            told.append(said)
    return told


def _unlike_pairs(runs: pd.DataFrame, end: Endpoint) -> tuple[int, int] | None:
    """How many pairs of the primary comparison have different hashes, and how many there are."""
    keys = ["condition", "seed"]
    one, two = (
        runs[(runs.estimator == arm) & (runs.status == "done")][[*keys, "hash"]]
        for arm in (end.treatment, end.baseline)
    )
    pairs = one.merge(two, on=keys)
    return (int((pairs.hash_x != pairs.hash_y).sum()), len(pairs)) if len(pairs) else None
