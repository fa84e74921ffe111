"""A grid file: a question, a base configuration, axes, seeds, an evaluation, and what the report compares.

```yaml
question: Does KRPO learn better than GRPO when rewards are flipped?
primary_endpoint: held-out accuracy on sums after the last step, KRPO - GRPO, paired by seed
effect: 0.03                      # the smallest difference worth knowing; `--plan` says whether it can be seen
base: {policy: tiny, task: sums, steps: 60}
axes:
  estimator: [grpo, krpo]
  noise: [none, {name: flip, rate: 0.2}]
seeds: [0, 1, 2, 3, 4]
evaluation: {tasks: [sums], samples: 4, temperature: 1.0}
report: {baseline: grpo, treatment: krpo}
```

The runs are the product of the axes, more by `zip`, `include` and `exclude` (`ablations.expand`), times the seeds. A
file may extend another one (`ablations.inherit`). This module needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ablations.expand import expand
from ablations.inherit import read_grid
from eval.spec import EvalSpec
from krpo.config import Named, Source, build, coerce, to_plain
from krpo.errors import BadInput, nearest
from krpo.spec import RunSpec


@dataclass(frozen=True)
class ReportSpec:
    """What the report compares: two estimators of the grid, by their labels."""

    baseline: str | None = None  # None: grpo, or the first
    treatment: str | None = None  # None: krpo, or the first other
    condition: Any = None  # a noise; None: every condition


@dataclass(frozen=True)
class GridFile:
    """The keys a grid file may have, besides `extends`."""

    base: dict
    seeds: tuple[int, ...]
    axes: dict = field(default_factory=dict)
    zip: tuple[dict, ...] = ()
    include: tuple[dict, ...] = ()
    exclude: tuple[dict, ...] = ()
    evaluation: EvalSpec = field(default_factory=lambda: EvalSpec(tasks=("sums",)))
    report: ReportSpec = field(default_factory=ReportSpec)
    effect: float | None = None  # of the primary endpoint
    held_out_every: int | None = None  # steps between two points of the held-out curve
    name: str = ""
    question: str = ""
    primary_endpoint: str = ""

    def __post_init__(self) -> None:
        if self.effect is not None and not self.effect > 0:
            raise BadInput(f"effect is {self.effect}; it must be above 0")
        if self.held_out_every is not None and self.held_out_every < 1:
            raise BadInput(f"held_out_every is {self.held_out_every}; it must be at least 1")


@dataclass(frozen=True)
class Grid:
    """A grid, read and checked: its specifications in the order in which they are run."""

    name: str
    file: GridFile
    specs: tuple[RunSpec, ...]
    places: Mapping[tuple[str, Any], str] = field(default_factory=dict)  # (setting, value) -> where it stands

    @property
    def evaluation(self) -> EvalSpec:
        return self.file.evaluation

    def to_plain(self) -> dict[str, Any]:
        """What `grid.yaml` in the grid's directory holds: the grid file, complete, to be used like any other."""
        plain = {**to_plain(self.file), "name": self.name}
        plain["report"] = {key: value for key, value in plain["report"].items() if value is not None}
        return {key: value for key, value in plain.items() if value is not None and value != []}


def load_grid(path: str | Path, assignments: Sequence[str] = ()) -> Grid:
    """Read a grid file and expand it.

    Args:
        path: the YAML file.
        assignments: `--set key=value`. A key of a run (``steps=20``, ``task.levels=[hard]``) goes into `base`, and
            fixes the axis of that name if there is one; ``seeds``, ``axes.noise``, ``evaluation.limit`` and the like
            replace the grid's own.

    Raises:
        BadInput: unknown key, wrong type, an empty axis, no seeds, a run that stands twice, includes and excludes that
            contradict one another, files that extend one another in a circle, a comparison of what the grid does not
            run; with file, line and key.
    """
    path = Path(path)
    data, source = read_grid(path, assignments, tuple(GridFile.__dataclass_fields__))
    file = build(GridFile, data, source)
    specs = expand(file.base, file.axes, file.zip, file.include, file.exclude, file.seeds, source)
    file = replace(file, report=_compared(file.report, specs, source))
    return Grid(name=file.name or path.stem, file=file, specs=specs, places=_places(file, source))


def compared_by_default(arms: Sequence[str], baseline: str | None = None) -> tuple[str, str | None]:
    """The labels of baseline and treatment where a grid file names none: `krpo` against `grpo`, or the first of the
    arms in the place of either; no treatment where there is one arm."""
    baseline = baseline or ("grpo" if "grpo" in arms else arms[0])
    others = [arm for arm in arms if arm != baseline]
    return baseline, ("krpo" if "krpo" in others else next(iter(others), None))


_ONE_NOISE = re.compile(r"[\w.:]+(\([^()]*\))?")
"""`flip(rate=0.2)`; other words for a condition, as `flip 0.2, group size 8`, are a report's."""


def _compared(report: ReportSpec, specs: Sequence[RunSpec], source: Source) -> ReportSpec:
    """The section with its defaults filled in. Raises `BadInput` where it names what the grid does not run: a report
    that found out would come after all the training."""
    arms = list(dict.fromkeys(spec.estimator.label for spec in specs))
    noises = list(dict.fromkeys(spec.noise.label for spec in specs))

    def refuse(key: str, label: str, known: Sequence[str]) -> None:
        if label not in known:
            raise BadInput(
                f"{source.at(f'report.{key}')}: report.{key} is '{label}', which this grid does not run; "
                f"{nearest(label, known)}"
            )

    condition = report.condition
    if isinstance(condition, Mapping):
        refuse("condition", coerce(Named, condition, source, "report.condition").label, noises)
    elif condition is not None and _ONE_NOISE.fullmatch(str(condition)):
        refuse("condition", str(condition), [*noises, "clean"] if "none" in noises else noises)
    if len(arms) == 1:  # nothing to compare, whatever a file that is extended says
        return replace(report, baseline=arms[0], treatment=None)
    baseline = report.baseline or compared_by_default(arms)[0]
    treatment = report.treatment or compared_by_default(arms, baseline)[1]
    refuse("baseline", baseline, arms)
    if treatment == baseline:
        raise BadInput(f"{source.at('report.treatment')}: report.treatment is '{treatment}', which is the baseline too")
    refuse("treatment", str(treatment), [arm for arm in arms if arm != baseline])
    return replace(report, baseline=baseline, treatment=treatment)


def _places(file: GridFile, source: Source) -> dict[tuple[str, Any], str]:
    """Where each component and policy is named, for messages about a name that is unknown: file, line and key."""
    found: dict[tuple[str, Any], str] = {}
    sections: list[tuple[str, Mapping[str, Any]]] = [("base", file.base), ("axes", file.axes)]
    sections += [(f"zip.{i}", group) for i, group in enumerate(file.zip)]
    sections += [(f"include.{i}", entry) for i, entry in enumerate(file.include)]
    for prefix, section in sections:
        for key in ("estimator", "noise", "task", "policy"):
            if key not in section:
                continue
            whole = isinstance(section[key], list)
            for i, value in enumerate(section[key] if whole else [section[key]]):
                dotted = f"{prefix}.{key}.{i}" if whole else f"{prefix}.{key}"
                known = value if key == "policy" else coerce(Named, value, source, dotted)
                found.setdefault((key, known), f"{source.at(dotted)}: {prefix}.{key}")
    return found
