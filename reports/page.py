"""Everything the page says, put into one self-contained HTML file. No script, no network; all text is escaped."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from krpo import __version__
from krpo.rundir import dumps
from reports.caveats import caveats
from reports.compare import (
    Endpoint,
    base_scores,
    contrast,
    final_scores,
    nothing_paired,
    primary_comparisons,
    summarise,
)
from reports.figures import DIAGNOSTICS
from reports.formats import Table
from reports.limits import not_tested
from reports.names import estimator_name
from reports.tables import Study
from reports.templates import environment, page_style
from reports.verdict import Verdict, judge, judge_row, judge_rows, points


@dataclass(frozen=True)
class Picture:
    """A drawn figure: SVG for two columns and for one, with what is said about it."""

    name: str
    title: str
    caption: str
    alt: str
    wide: bytes
    wide_size: tuple[int, int]
    narrow: bytes
    narrow_size: tuple[int, int]


@dataclass(frozen=True)
class Findings:
    """The finding on the primary endpoint, its conditions one by one, and what else was compared."""

    main: Verdict
    conditions: list[Verdict]
    further: list[Verdict]


def render_page(
    study: Study,
    end: Endpoint | None,
    found: Findings,
    pictures: Sequence[Picture],
    tables: Sequence[Table],
    records: Sequence[Table],
) -> str:
    """The page as HTML."""
    return (
        environment()
        .get_template("page.html")
        .render(
            name=" + ".join(study.names),
            style=page_style(),
            question=str(study.plan.get("question") or "").strip(),
            verdict=found.main,
            caveats=caveats(study, end),
            facts=facts(study, end),
            conditions=found.conditions,
            further=found.further,
            figures=[encoded(picture) for picture in pictures if picture.name not in DIAGNOSTICS],
            diagnostics=[encoded(picture) for picture in pictures if picture.name in DIAGNOSTICS],
            tables=[table for table in tables if len(table.frame)],
            records=[table for table in records if len(table.frame)],
            limits=not_tested(study, end),
            provenance=provenance(study),
            commands=commands(study),
            plan=yaml.safe_dump(dict(study.plan), sort_keys=False, allow_unicode=True, width=100) if study.plan else "",
            version=__version__,
        )
    )


def findings(study: Study, end: Endpoint | None, differences: pd.DataFrame, compared: pd.DataFrame) -> Findings:
    """All verdicts. ``differences``: the table of `reports.figures.paired_difference`; ``compared``: their
    `comparisons`."""
    if end is None:
        nothing = f"Nothing can be said: none of {len(study.runs)} runs is both finished and evaluated."
        return Findings(Verdict("nothing", nothing), [], [])
    primary = primary_comparisons(end, differences)
    several = judge_rows(end, primary) if len(primary) > 1 else []
    rest = compared[
        (compared.level == end.level)
        & ~((compared.estimator == end.treatment) & compared.condition.isin(end.conditions))
    ]
    further = [judge_row(end, row) for _, row in rest.iterrows()]
    why = nothing_paired(study, end) if primary.empty and end.treatment else ""
    return Findings(judge(end, primary, why), several, further)


def facts(study: Study, end: Endpoint | None) -> list[tuple[str, str]]:
    """The strip below the finding."""
    runs = study.runs
    done = int((runs.status == "done").sum())
    seeds = runs.seed.nunique()
    told = [("Primary endpoint", _endpoint_text(end))] if end is not None else []
    if end is not None and (gains := _gains(study, end)):
        told.append(("Gained by training", gains))
    told += [
        ("Runs", f"{done} of {study.planned or len(runs)} done, {seeds} {'seed' if seeds == 1 else 'seeds'}"),
        ("Arms", ", ".join(estimator_name(arm) for arm in study.estimators)),
        ("Conditions", ", ".join(study.conditions)),
        ("Policy and task", f"{', '.join(dict.fromkeys(runs.policy))} on {', '.join(dict.fromkeys(runs.task))}"),
    ]
    return told


def _gains(study: Study, end: Endpoint) -> str:
    """What each arm gained over the untrained policy in the first condition: is there any learning to compare?"""
    scores = final_scores(study, end.task, end.metric)
    found = summarise(scores[scores.level == end.level], base_scores(study, end.task, end.metric))
    found = found[(found.condition == found.condition.iloc[0]) & found.gain.notna()] if len(found) else found
    told = [f"{estimator_name(row.estimator)} {points(row.gain, sign=True)}" for row in found.itertuples()]
    return f"{', '.join(told)} points over the untrained policy ({found.condition.iloc[0]})" if told else ""


def _endpoint_text(end: Endpoint) -> str:
    several = len(end.conditions)
    where = f"in {several} conditions, jointly at 95% by Bonferroni's correction" if several > 1 else end.conditions[0]
    computed = f"{end.measure}, {contrast(end.treatment, end.baseline)}, {where}" if end.treatment else end.measure
    return (
        f"{end.declared} (Computed: {computed}.)"
        if end.declared
        else f"{computed}. Not declared in the grid file: the default."
    )


def provenance(study: Study) -> str:
    """Which code made the runs."""
    commits = sorted({str(m[key])[:12] for m in study.manifests.values() for key in m if "commit" in key and m[key]})
    dirty = any(m[key] is True for m in study.manifests.values() for key in m if "dirty" in key)
    code = f"Code: commit {', '.join(commits)}" if commits else "The commit of the code is not recorded"
    return code + (", with uncommitted changes in at least one run." if dirty else ".")


def commands(study: Study) -> str:
    files = [root / "grid.yaml" for root in study.roots if (root / "grid.yaml").exists()]
    lines = [shlex.join(["krpo-ablate", "--grid", str(file)]) for file in files]
    return "\n".join([*lines, shlex.join(["krpo-report", *map(str, study.roots)])])


def picture_words(picture: Picture) -> dict[str, Any]:
    return {key: getattr(picture, key) for key in ("name", "title", "caption", "alt", "wide_size", "narrow_size")}


def encoded(picture: Picture) -> dict[str, Any]:
    return picture_words(picture) | {
        key: base64.b64encode(getattr(picture, key)).decode() for key in ("wide", "narrow")
    }


def results_json(study: Study, found: Findings, compared: pd.DataFrame, pictures: Sequence[Picture] = ()) -> str:
    """The finding for programs: the same words and numbers as on the page."""
    verdict, rows = found.main, compared.to_dict("records")
    return (
        dumps(
            {
                "format": 1,
                "names": study.names,
                "question": str(study.plan.get("question") or "").strip(),
                "verdict": verdict.kind,
                "sentence": verdict.sentence,
                "detail": verdict.detail,
                "differences": rows,
                "figures": [picture_words(picture) for picture in pictures],
            }
        )
        + "\n"
    )
