"""The plan of a grid: which run goes into which directory, and what is left to do there."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ablations.grid import Grid
from ablations.standing import Standing, standing
from eval.spec import FORMAT as EVAL_FORMAT
from eval.spec import EvalSpec
from krpo.config import Named
from krpo.errors import BadInput, nearest
from krpo.rundir import RunDir, read_json, write_text
from krpo.spec import RunSpec, field_names, run_key

PLAN_FORMAT = 1


@dataclass(frozen=True)
class Cell:
    """One run of the grid and the directory it has."""

    spec: RunSpec
    run: RunDir
    evaluation: EvalSpec
    label: str  # what it differs in from the grid's other runs

    def standing(self, *, look_for_holder: bool = True) -> Standing:
        return standing(self.run, evaluation_key(self.evaluation), look_for_holder=look_for_holder)


@dataclass(frozen=True)
class Plan:
    """A grid laid out in a directory."""

    grid: Grid
    root: Path
    cells: tuple[Cell, ...]
    weights: dict[str, str]  # policy -> hash of its files
    data: dict[str, str]  # task -> fingerprint

    def base_dir(self, policy: str) -> Path:
        """Where the scores of the untrained policy go."""
        slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in policy.strip("/"))
        return self.root / "base" / slug

    def write(self) -> None:
        """Put `grid.yaml` and `plan.json` into the grid's directory; what is there already is not touched."""
        grid = yaml.safe_dump(self.grid.to_plain(), sort_keys=False, allow_unicode=True, width=110)
        contents = {"grid.yaml": grid, "plan.json": json.dumps(self._to_plain()) + "\n"}
        for name, text in contents.items():
            file = self.root / name
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                write_text(file, text)

    def _to_plain(self) -> dict[str, Any]:
        runs = [{"key": c.run.key, "label": c.label, "steps": c.spec.steps} for c in self.cells]
        return {
            "format": PLAN_FORMAT,
            "name": self.grid.name,
            "evaluation": evaluation_key(self.grid.evaluation),
            "weights": self.weights,
            "data": self.data,
            "runs": runs,
        }


def make_plan(grid: Grid, runs: Path) -> Plan:
    """Lay a grid out under ``runs/<grid name>``.

    Checks every name and parameter (task, estimator, noise, policy) before anything is started. Raises `BadInput`, also
    where runs in the directory were made with other weights or data under the same name.
    """
    from krpo.advantages import make_estimator
    from krpo.noise import make_noise
    from krpo.policies import weights_hash
    from krpo.tasks import make_task

    for estimator in _distinct(grid, "estimator"):
        with _placed(grid, "estimator", estimator):
            make_estimator(estimator)
    for noise in _distinct(grid, "noise"):
        with _placed(grid, "noise", noise):
            make_noise(noise)
    weights: dict[str, str] = {}
    for policy in _distinct(grid, "policy"):
        with _placed(grid, "policy", policy):
            weights[policy] = weights_hash(policy)
    data: dict[str, str] = {}
    for task in _distinct(grid, "task"):
        with _placed(grid, "task", task):
            data[task.label] = make_task(task).fingerprint()
    root = runs / grid.name
    varied = varied_settings(grid.specs)
    cells = []
    for spec in grid.specs:
        key = run_key(spec, base_weights=weights[spec.policy], data=data[spec.task.label])
        cells.append(Cell(spec, RunDir(root / key), grid.evaluation, label(spec, varied)))
    plan = Plan(grid, root, tuple(cells), weights, data)
    _check_unchanged(plan)
    return plan


def _distinct(grid: Grid, key: str) -> list[Any]:
    """The values of a setting, each once, in the order of the runs (which share them, so that none is hashed)."""
    return list({id(value): value for value in (getattr(spec, key) for spec in grid.specs)}.values())


@contextlib.contextmanager
def _placed(grid: Grid, key: str, value: Any) -> Iterator[None]:
    """Put before a message about a value where the grid names it."""
    try:
        yield
    except BadInput as error:
        place = grid.places.get((key, value))
        raise BadInput(f"{place}: {error}" if place else str(error)) from None


def varied_settings(specs: Sequence[RunSpec]) -> tuple[str, ...]:
    """The settings in which the runs differ, besides estimator, noise and seed."""
    others = [name for name in field_names() if name not in ("estimator", "noise", "seed")]
    return tuple(name for name in others if len({getattr(spec, name) for spec in specs}) > 1)


def label(spec: RunSpec, varied: Sequence[str]) -> str:
    """`krpo, flip(rate=0.2), group size 4, seed 3`."""
    values = {name.replace("_", " "): getattr(spec, name) for name in varied}
    others = [f"{name} {value.label if isinstance(value, Named) else value}" for name, value in values.items()]
    return ", ".join([spec.estimator.label, spec.noise.label, *others, f"seed {spec.seed}"])


def stored_plan(root: Path) -> dict[str, Any]:
    """`plan.json` of a grid's directory. Raises `BadInput` where there is none."""
    file = root / "plan.json"
    if not file.exists():
        below = sorted(p.parent.name for p in root.glob("*/plan.json")) if root.is_dir() else []
        hint = f"; it holds the grids {', '.join(below)}" if below else "; make one with krpo-ablate --grid FILE"
        raise BadInput(f"{root}: no grid was run here{hint}")
    plan = read_json(file)
    if not isinstance(plan, dict) or plan.get("format", 0) > PLAN_FORMAT:
        raise BadInput(f"{file}: written by a newer version")
    return plan


def _check_unchanged(plan: Plan) -> None:
    """Half a grid with one policy and half with another is no comparison: refuse to go on."""
    if not (plan.root / "plan.json").exists():
        return
    before = stored_plan(plan.root)
    for what, now, then in (("policy", plan.weights, before["weights"]), ("task", plan.data, before["data"])):
        for name in sorted(now.keys() & then.keys()):
            if now[name] == then[name]:
                continue
            begun = sum((plan.root / run["key"] / "spec.yaml").exists() for run in before["runs"])
            if begun:
                raise BadInput(
                    f"the {what} '{name}' has changed since runs in {plan.root} were made ({then[name][:12]}, now "
                    f"{now[name][:12]}; {begun} begun): put it back, or choose another --output for the new one"
                )


def select(cells: Sequence[Cell], conditions: Sequence[str]) -> list[Cell]:
    """The cells for which every key has one of the values asked for: `--only estimator=krpo seed=0 seed=1`.

    A component matches by its name (`flip`) or by its whole label (`flip(rate=0.2)`). Raises `BadInput` for an unknown
    key and for a value that no cell has.
    """
    wanted: dict[str, set[str]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals or key not in field_names():
            raise BadInput(f"--only {condition}: expected KEY=VALUE; {nearest(key, field_names())}")
        names = {name for cell in cells for name in _names(getattr(cell.spec, key))}
        if (value := _number(value)) not in names:
            raise BadInput(f"--only {condition}: no run of this grid has it; {nearest(value, names)}")
        wanted.setdefault(key, set()).add(value)
    return [c for c in cells if all(values & _names(getattr(c.spec, key)) for key, values in wanted.items())]


def _names(value: Any) -> set[str]:
    return {value.name, value.label} if isinstance(value, Named) else {_number(str(value))}


def _number(text: str) -> str:
    """`1e-4` and `0.0001` are the same."""
    try:
        return repr(float(text))
    except ValueError:
        return text


@functools.cache
def evaluation_key(evaluation: EvalSpec) -> str:
    """A hash of what the grid asks of an evaluation; a finished run's DONE file holds it.

    Settings at their defaults are left out, so that a setting that is new in a later version changes no key.
    """
    defaults = EvalSpec(tasks=evaluation.tasks).to_plain()
    asked = {name: value for name, value in evaluation.to_plain().items() if value != defaults[name]}
    asked.pop("data_dir", None)  # where data lies changes nothing; the evaluation itself looks at what it is
    content = json.dumps([EVAL_FORMAT, list(evaluation.tasks), asked], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
