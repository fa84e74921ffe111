"""A grid file: a question, a base configuration, axes, seeds, an evaluation, and what the report compares.

```yaml
question: Does KRPO learn better than GRPO when rewards are flipped?
primary_endpoint: held-out accuracy on sums after the last step, KRPO - GRPO, paired by seed
base: {policy: tiny, task: sums, steps: 60}
axes:
  estimator: [grpo, krpo]
  noise: [none, {name: flip, rate: 0.2}]
seeds: [0, 1, 2, 3, 4]
evaluation: {tasks: [sums], samples: 4, temperature: 1.0}
report: {baseline: grpo, treatment: krpo}
```

The runs are the product of the axes and the seeds. This module needs no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.spec import EvalSpec
from krpo.config import Source, build, load_yaml, set_dotted, to_plain
from krpo.errors import BadInput, nearest
from krpo.spec import RunSpec, field_names


@dataclass(frozen=True)
class ReportSpec:
    """What the report compares: values of the axis `estimator`, by their labels."""

    baseline: str = "grpo"
    treatment: str = "krpo"


@dataclass(frozen=True)
class GridFile:
    """The keys a grid file may have."""

    base: dict
    axes: dict
    seeds: tuple[int, ...]
    evaluation: EvalSpec = field(default_factory=lambda: EvalSpec(tasks=("sums",)))
    report: ReportSpec = field(default_factory=ReportSpec)
    name: str = ""
    question: str = ""
    primary_endpoint: str = ""


@dataclass(frozen=True)
class Grid:
    """A grid, read and checked: its specifications in the order in which they are run."""

    name: str
    file: GridFile
    specs: tuple[RunSpec, ...]

    @property
    def evaluation(self) -> EvalSpec:
        return self.file.evaluation

    def to_plain(self) -> dict[str, Any]:
        """What `grid.yaml` in the grid's directory holds."""
        return {**to_plain(self.file), "name": self.name}


def load_grid(path: str | Path, assignments: Sequence[str] = ()) -> Grid:
    """Read a grid file and expand it.

    Args:
        path: the YAML file.
        assignments: `--set key=value`. A key of a run (``steps=20``, ``task.levels=[hard]``) goes into `base`;
            ``seeds``, ``axes.noise``, ``evaluation.limit`` and the like replace the grid's own.

    Raises:
        BadInput: unknown key, wrong type, an empty axis, no seeds, a run that stands twice; with file, line and key.
    """
    data, source = load_yaml(path)
    for assignment in assignments:
        key = assignment.partition("=")[0].partition(".")[0]
        set_dotted(data, assignment if key in GridFile.__dataclass_fields__ else f"base.{assignment}")
    file = build(GridFile, data, source)
    return Grid(name=file.name or Path(path).stem, file=file, specs=_expand(file, source))


def _expand(file: GridFile, source: Source) -> tuple[RunSpec, ...]:
    for section in ("base", "axes"):
        for key in getattr(file, section):
            where = source.at(f"{section}.{key}")
            if key == "seed":
                raise BadInput(f"{where}: '{section}.seed' has no place here; list the seeds under 'seeds'")
            if key not in field_names():
                raise BadInput(f"{where}: unknown key '{section}.{key}'; {nearest(key, field_names())}")
    for key, values in file.axes.items():
        if not isinstance(values, list) or not values:
            raise BadInput(f"{source.at(f'axes.{key}')}: 'axes.{key}' must be a list of at least one value")
    if not file.seeds:
        raise BadInput(f"{source.at('seeds')}: 'seeds' is empty; a grid needs at least one seed")
    seen: dict[str, str] = {}
    specs = []
    # Seeds are the outermost axis, so that runs that are compared with one another are near each other in time and a
    # stopped grid is balanced.
    for position, seed in enumerate(file.seeds):
        for indices in itertools.product(*(range(len(values)) for values in file.axes.values())):
            chosen = dict(zip(file.axes, indices, strict=True))
            spec = _cell(file, source, chosen, seed)
            where = ", ".join([f"axes.{k}[{i}]" for k, i in chosen.items()] + [f"seeds[{position}]"])
            identity = repr(spec.to_plain())
            if identity in seen:
                key = (
                    next((k for k in chosen if len(file.axes[k]) > 1), "seeds")
                    if seed not in file.seeds[:position]
                    else "seeds"
                )
                line = source.at(f"axes.{key}" if key in chosen else "seeds")
                raise BadInput(
                    f"{line}: a run stands twice in this grid ({spec.label()}): {seen[identity]} and {where}"
                )
            seen[identity] = where
            specs.append(spec)
    return tuple(specs)


def _cell(file: GridFile, source: Source, chosen: Mapping[str, int], seed: int) -> RunSpec:
    """One run: the base, overlaid with one value of each axis; errors name the line of whichever gave the value."""
    data: dict[str, Any] = {**file.base, "seed": seed}
    lines = {k.removeprefix("base."): n for k, n in source.lines.items() if k.startswith("base.")}
    for key, index in chosen.items():
        data[key] = file.axes[key][index]
        lines = {k: n for k, n in lines.items() if k != key and not k.startswith(f"{key}.")}
        prefix = f"axes.{key}.{index}"
        lines |= {
            key + k.removeprefix(prefix): n for k, n in source.lines.items() if (k + ".").startswith(f"{prefix}.")
        }
    return build(RunSpec, data, Source(source.name, lines))
