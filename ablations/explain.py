"""Why two runs are not the same run: the fields in which they differ. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.rundir import RunDir, read_json
from krpo.spec import canonical


@dataclass(frozen=True)
class Difference:
    field: str
    a: Any
    b: Any
    in_key: bool  # whether it is part of what names the run


def explain(a: Path, b: Path) -> list[Difference]:
    """The differences between two run directories, those that are part of the key first.

    Raises `BadInput` where one is no run directory.
    """
    facts_a, facts_b = _facts(RunDir(a)), _facts(RunDir(b))
    found = []
    for field in sorted(facts_a.keys() | facts_b.keys()):
        value_a, value_b = facts_a.get(field), facts_b.get(field)
        if canonical(value_a) != canonical(value_b):
            found.append(
                Difference(field, value_a, value_b, field.split(".")[0] in ("spec", "format", "weights", "data"))
            )
    return sorted(found, key=lambda d: (not d.in_key, d.field))


def lines(a: Path, b: Path) -> list[str]:
    """What `--explain` prints."""
    found = explain(a, b)
    in_key = [d for d in found if d.in_key]
    text = [f"A  {a}", f"B  {b}"]
    if not in_key:
        text.append("the same run: nothing that is part of a run's key differs")
    text += [f"  {d.field.removeprefix('spec.')}: {_shown(d.a)} -> {_shown(d.b)}" for d in in_key]
    others = [d for d in found if not d.in_key]
    if others:
        text.append("also different, and not part of the key:")
        text += [f"  {d.field}: {_shown(d.a)} -> {_shown(d.b)}" for d in others]
    return text


def _facts(run: RunDir) -> dict[str, Any]:
    if not run.spec_file.exists():
        beside = (
            "; give the path of a run directory, as in runs/quick/0123456789abcdef" if not run.path.is_dir() else ""
        )
        raise BadInput(f"{run.path}: is no run directory (it has no spec.yaml){beside}")
    spec = run.spec()
    facts: dict[str, Any] = {"format": spec.pop("format", None)}
    spec.pop("key", None)
    facts |= _flat("spec", spec)
    manifest = read_json(run.manifest_file) if run.manifest_file.exists() else {}
    facts |= {"weights": manifest.get("base_weights"), "data": manifest.get("data")}
    facts |= _flat("git", manifest.get("git")) | _flat("packages", manifest.get("packages"))
    for task, summary in run.evals().items():
        facts |= _flat(f"evaluation.{task}", summary.get("settings"))
    return {field: value for field, value in facts.items() if value is not None}


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(f"{prefix}.{key}", inner).items()}


def _shown(value: Any) -> str:
    return "(absent)" if value is None else str(value)
