"""Which stored runs a report is about: those that the grid file asks for, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from ablations.expand import expand
from ablations.grid import GridFile
from krpo.config import Source, build, load_yaml, to_plain
from krpo.errors import BadInput
from krpo.rundir import RunDir, find_runs
from krpo.spec import RunSpec, canonical, field_names
from reports.compact import read_compact
from reports.names import named
from reports.parallel import side_by_side
from reports.rundirs import StoredRun, read_run
from reports.specs import same, settled, value_of
from reports.stored import FORMAT, MARKER, Note, check_directory, check_format, is_compact

Plan = Mapping[str, Any]
"""A grid file's content; empty where a directory has none."""


SPECIFY = ("base", "axes", "zip", "include", "exclude", "seeds")
"""The keys of a grid file that say which runs it asks for."""

NOT_ASKED = "is not part of the grid file as it stands now"


def read_plan(root: Path) -> Plan:
    """The grid file of a directory. Raises `BadInput` for one that a newer version wrote, or that is not YAML."""
    file = root / "grid.yaml"
    if not file.exists():
        return {}
    plan, _ = load_yaml(file)
    check_format(plan, file, FORMAT)
    return plan


def planned_runs(plans: Sequence[Plan]) -> int | None:
    """How many runs the grid files ask for, those that several ask for once; None where one does not say."""
    if len(plans) == 1:
        return _size(plans[0])
    asked = set()
    for plan in plans:
        specs = asked_for(plan)
        if not specs:
            return None
        asked |= {same(to_plain(spec)) for spec in specs}
    return len(asked)


def _size(plan: Plan) -> int | None:
    axes, seeds = plan.get("axes") or {}, plan.get("seeds")
    if not plan or not isinstance(axes, dict) or not isinstance(seeds, list):
        return None
    if not all(isinstance(values, list) for values in axes.values()):
        return None
    return prod(map(len, [*axes.values(), seeds])) if _is_product(plan) else len(asked_for(plan)) or None


def varied(plan: Plan) -> dict[str, list[Any]] | None:
    """Each setting that a grid file varies, with all its values; None where the file cannot be understood."""
    axes = plan.get("axes") or {}
    if not isinstance(axes, dict) or not all(isinstance(values, list) for values in axes.values()):
        return None
    if _is_product(plan):
        return axes
    specs = [to_plain(spec) for spec in asked_for(plan)]
    if not specs:
        return None
    parts = [axes, *(plan.get("zip") or ()), *(plan.get("include") or ())]
    keys = dict.fromkeys(key for part in parts for key in part)
    return {key: list({repr(spec[key]): spec[key] for spec in specs}.values()) for key in keys}


def _is_product(plan: Plan) -> bool:
    return not any(plan.get(key) for key in ("zip", "include", "exclude"))


def asked_for(plan: Plan) -> tuple[RunSpec, ...]:
    """The runs that a grid file asks for; none where it cannot be understood, or where there is no file."""
    try:
        return _expanded(plan) if plan else ()
    except BadInput:
        return ()


def asked_specs(plans: Sequence[Plan], stored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The specifications that grid files ask for. What a file does not name is as in the ``stored`` ones, of whichever
    version; none at all where those differ in that."""
    found = []
    for plan in plans:
        named_keys = {*(plan.get("base") or ()), *(varied(plan) or ()), "seed"}
        others = dict.fromkeys(key for spec in stored for key in spec if key not in named_keys)
        values = {key: {repr(canonical(spec.get(key))): spec.get(key) for spec in stored} for key in others}
        if any(len(of_key) > 1 for of_key in values.values()):
            return []
        common = {key: next(iter(of_key.values())) for key, of_key in values.items()}
        found += [settled(to_plain(spec))[0] | common for spec in asked_for(plan)]
    return found


def not_understood(root: Path, plan: Plan, notes: list[Note]) -> None:
    """A note where no grid file says which runs were asked for, so that nothing can be left out or paired by it."""
    if not plan:
        told = f"{root.resolve().name} has none, so what was planned and what was to be compared is not known"
        notes.append(Note("grid.yaml", told))
        return
    try:
        _expanded(plan)
    except BadInput as error:
        notes.append(Note("grid.yaml", f"cannot be understood as a whole, so runs are not checked against it: {error}"))


def _expanded(plan: Plan) -> tuple[RunSpec, ...]:
    source = Source("grid.yaml")
    file = build(GridFile, {key: plan[key] for key in SPECIFY if key in plan}, source)
    return expand(file.base, file.axes, file.zip, file.include, file.exclude, file.seeds, source)


def axis_order(axis: str, plans: Sequence[Plan]) -> dict[str, int]:
    """The position of each label of an axis in the grid files; the noise `none` comes first."""
    values = [value for plan in plans for value in (varied(plan) or {}).get(axis, [])]
    labels = list(dict.fromkeys(named(value).label for value in values))
    if axis == "noise":
        labels = ["none", *(label for label in labels if label != "none")]
    return {label: i for i, label in enumerate(labels)}


def stored_runs(root: Path, plan: Plan, notes: list[Note]) -> list[StoredRun]:
    """The runs of one grid directory, or of an exported one.

    Raises `BadInput` where there is none, or where it is no grid directory.
    """
    if is_compact(root):
        read, told = read_compact(root)
        notes += told
    else:
        read, runs = [], _run_dirs(root)
        for one in side_by_side(read_run, runs, [root.resolve().name] * len(runs)):
            if isinstance(one, Note):
                notes.append(one)
            else:
                read.append(one)
    wanted = _wanted(plan)
    found = [one for one in read if wanted(one.spec)]
    others = [one for one in read if not wanted(one.spec)]
    notes += [Note(one.key, NOT_ASKED, excludes=True) for one in others]
    if not found:
        why = f"; {notes[-1].where}: {notes[-1].what}" if notes else ""
        if others:
            why = f"; of {len(others)} runs there none is part of grid.yaml as it stands now"
        raise BadInput(f"{root}: holds no run of its grid file{why}; start them with krpo-ablate --grid FILE")
    return found


BEGAN = {"base_weights": "weights", "data": "data"}
"""What a manifest says of a run's start, and what that is called."""


def once(runs: Sequence[StoredRun], notes: list[Note]) -> list[StoredRun]:
    """Each specification once: of runs that differ only in code format, base weights or data, the latest finished."""
    chosen: dict[str, StoredRun] = {}
    for one in runs:
        asked = same(one.spec)
        other = chosen.get(asked)
        if other is None:
            chosen[asked] = one
            continue
        old, new = (other, one) if _age(one) > _age(other) else (one, other)
        chosen[asked] = new
        where = f" of {new.grid}" if old.grid != new.grid else ""
        why = "" if _age(new) == _age(old) else ", which is newer" if new.status == old.status else ", which is done"
        unlike = [what for key, what in BEGAN.items() if old.manifest.get(key) != new.manifest.get(key)]
        other_start = f"; the two began with different {' and '.join(unlike)}" if unlike else ""
        notes.append(Note(old.key, f"stands for the same run as {new.key}{where}{why}{other_start}"))
    return list(chosen.values())


def _age(one: StoredRun) -> tuple[bool, float]:
    started = one.manifest.get("wall.started")
    return one.status == "done", float(started) if isinstance(started, (int, float)) else 0.0


def _run_dirs(root: Path) -> list[RunDir]:
    check_directory(root)
    if (root / "spec.yaml").exists():
        raise BadInput(f"{root}: is one run; name the directory of its grid, as in {root.resolve().parent}")
    if (root / "runs.jsonl").exists():
        raise BadInput(f"{root}: an exported study without its {MARKER}; export it again")
    has_plan = (root / "grid.yaml").exists()
    below = sorted(p.parent.name for p in root.glob("*/grid.yaml"))
    if below and not has_plan:
        raise BadInput(f"{root}: holds the grids {', '.join(below)}; name those to report on, as in {root / below[0]}")
    if runs := list(find_runs(root)):
        return runs
    what = "no run has started yet" if has_plan else "this is no grid directory (no grid.yaml and no run in it)"
    raise BadInput(f"{root}: {what}; make one with krpo-ablate --grid FILE")


def _wanted(plan: Plan) -> Callable[[Mapping[str, Any]], bool]:
    """Whether the grid file asks for a run, by its specification: the settings that the file names must be those of one
    of its runs. Without a grid file, or with one that cannot be understood, it does."""
    settings, seeds, base = varied(plan), plan.get("seeds"), plan.get("base") or {}
    if settings is None or not isinstance(base, dict):
        return lambda spec: True
    named_keys = {key: [value] for key, value in base.items()} | settings
    if isinstance(seeds, list) and seeds:
        named_keys["seed"] = seeds
    wanted = {key: values for key, values in named_keys.items() if key in field_names()}
    if _is_product(plan):
        known = {key: [value_of(key, value) for value in values] for key, values in wanted.items()}
        return lambda spec: all(canonical(spec[key]) in values for key, values in known.items())
    asked = {_chosen(to_plain(spec), wanted) for spec in asked_for(plan)}
    return lambda spec: _chosen(spec, wanted) in asked


def _chosen(spec: Mapping[str, Any], keys: Iterable[str]) -> str:
    return repr([canonical(spec[key]) for key in keys])
