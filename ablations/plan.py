"""The plan of a grid: which run goes into which directory, and what is left to do there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.grid import Grid
from eval.spec import FORMAT as EVAL_FORMAT
from eval.spec import EvalSpec
from krpo.errors import BadInput
from krpo.rundir import RunDir, read_json
from krpo.spec import RunSpec, run_key

State = Literal["done", "failed", "unfinished", "missing"]


@dataclass(frozen=True)
class Cell:
    """One run of the grid and the directory it has."""

    spec: RunSpec
    run: RunDir
    evaluation: EvalSpec

    def state(self) -> State:
        """`done`: trained, and evaluated as the grid asks. `failed`: the run itself failed and would again."""
        status = self.run.status()
        if status == "missing":
            return "missing"
        if status == "failed":
            return "unfinished" if _read(self.run.failed_file).get("retry") else "failed"
        if status == "done" and _read(self.run.done_file).get("evaluation") == evaluation_key(self.evaluation):
            return "done"
        return "unfinished"

    def reason(self) -> str:
        """Why the run failed, as its FAILED file says."""
        return str(_read(self.run.failed_file).get("reason", "no reason was recorded"))


@dataclass(frozen=True)
class Plan:
    """A grid laid out in a directory."""

    grid: Grid
    root: Path
    cells: tuple[Cell, ...]

    def base_dir(self, policy: str) -> Path:
        """Where the scores of the untrained policy go."""
        slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in policy.strip("/"))
        return self.root / "base" / slug

    @property
    def policies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.spec.policy for cell in self.cells))


def make_plan(grid: Grid, runs: Path) -> Plan:
    """Lay a grid out under ``runs/<grid name>``.

    Checks every name and parameter (task, estimator, noise, policy) before anything is started. Raises `BadInput`.
    """
    from krpo.advantages import make_estimator
    from krpo.noise import make_noise
    from krpo.policies import weights_hash
    from krpo.tasks import make_task

    weights: dict[str, str] = {}
    data: dict[str, str] = {}
    checked: set[str] = set()
    root = runs / grid.name
    cells = []
    for spec in grid.specs:
        for make, part in ((make_estimator, spec.estimator), (make_noise, spec.noise)):
            if (what := f"{make.__name__} {part.label}") not in checked:
                make(part)
                checked.add(what)
        if spec.policy not in weights:
            weights[spec.policy] = weights_hash(spec.policy)
        if spec.task.label not in data:
            data[spec.task.label] = make_task(spec.task).fingerprint()
        key = run_key(spec, base_weights=weights[spec.policy], data=data[spec.task.label])
        cells.append(Cell(spec, RunDir(root / key), grid.evaluation))
    return Plan(grid, root, tuple(cells))


def evaluation_key(evaluation: EvalSpec) -> str:
    """A hash of what the grid asks of an evaluation; a finished run's DONE file holds it."""
    content = json.dumps([EVAL_FORMAT, evaluation.to_plain()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _read(file: Path) -> dict:
    """A marker file's content; a torn one counts as empty, so that its run is taken up again."""
    try:
        value = read_json(file)
    except BadInput:
        return {"retry": True}
    return value if isinstance(value, dict) else {}
