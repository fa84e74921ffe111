"""Grid files that extend one another, and what `--set` changes: everything becomes one mapping with known places.

```yaml
extends: noise.yaml        # beside this file
axes: {noise: [none, {name: flip, rate: 0.3}]}
```

The sections `base`, `axes`, `evaluation` and `report` are laid over those of the extended file key by key (an axis set
to `~` is taken out); every other key replaces the extended file's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from krpo.config import Source, load_yaml, set_dotted
from krpo.errors import BadInput

SECTIONS = ("base", "axes", "evaluation", "report")


@dataclass(frozen=True)
class Places(Source):
    """Where each dotted key stands, when keys come from several files and the command line."""

    places: Mapping[str, str] = field(default_factory=dict)

    def at(self, key: str) -> str:
        parts = key.split(".")
        while parts:
            if (place := self.places.get(".".join(parts))) is not None:
                return place
            parts.pop()
        return self.name


def read_grid(path: Path, assignments: Sequence[str], grid_keys: Sequence[str]) -> tuple[dict[str, Any], Places]:
    """A grid file, what it extends, and the command line's changes, as one mapping.

    Args:
        path: the grid file.
        assignments: `key=value` of `--set`.
        grid_keys: keys of the grid itself; any other key is one of a run.

    Raises:
        BadInput: a file that is missing, not YAML, or extends itself; an assignment that cannot be applied.
    """
    data, places = _read(path, ())
    for assignment in assignments:
        _assign(data, places, assignment, grid_keys)
    return data, Places(str(path), places=places)


def _read(path: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    data, source = load_yaml(path)
    places = {key: f"{path}, line {line}" for key, line in source.lines.items()}
    if "extends" not in data:
        return data, places
    where = source.at("extends")
    parent = data.pop("extends")
    if not isinstance(parent, str):
        raise BadInput(f"{where}: 'extends' must be the name of another grid file, found {parent!r}")
    target = path.parent / parent
    chain = (*chain, path.resolve())
    if target.resolve() in chain:
        names = [p.name for p in (*chain[chain.index(target.resolve()) :], target)]
        raise BadInput(f"{where}: grid files extend one another in a circle: {' -> '.join(names)}")
    try:
        below, below_places = _read(target, chain)
    except BadInput as error:
        if str(error).startswith(f"{target}: no such file"):
            raise BadInput(f"{where}: extends {error}") from None
        raise
    below.pop("name", None)  # a grid's name is its own
    return _lay_over(below, data, below_places, places)


def _lay_over(
    below: dict[str, Any], above: dict[str, Any], below_places: dict[str, str], above_places: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    merged, places = dict(below), dict(below_places)
    for key, value in above.items():
        if key in SECTIONS and isinstance(value, Mapping) and isinstance(below.get(key), Mapping):
            merged[key] = {**below[key], **value}
            for inner in value:
                _forget(places, f"{key}.{inner}")
            if key == "axes":
                merged[key] = {axis: values for axis, values in merged[key].items() if values is not None}
        else:
            merged[key] = value
            _forget(places, key)
    return merged, places | above_places


def _forget(places: dict[str, str], key: str) -> None:
    for known in [k for k in places if k == key or k.startswith(f"{key}.")]:
        del places[known]


def _assign(data: dict[str, Any], places: dict[str, str], assignment: str, grid_keys: Sequence[str]) -> None:
    """One `--set`. A run's key goes into `base`; where it was an axis, that axis is fixed to the one value."""
    dotted = assignment.partition("=")[0]
    key = dotted.partition(".")[0]
    if key in grid_keys:
        set_dotted(data, assignment)
        _forget(places, dotted)
        places[dotted] = f"--set {assignment}"
        return
    if key in (data.get("axes") or {}):
        if dotted != key:
            raise BadInput(
                f"--set {assignment}: '{key}' is an axis of this grid; change it by --set axes.{key}='[...]'"
            )
        del data["axes"][key]
    for number, group in enumerate(data.get("zip") or []):
        if isinstance(group, Mapping) and key in group:
            raise BadInput(f"--set {assignment}: '{key}' varies with other settings (zip[{number}]) in this grid")
    if dotted == "task":
        _evaluate_new_task(data, places, assignment)
    set_dotted(data, f"base.{assignment}")
    _forget(places, f"base.{dotted}")
    places[f"base.{dotted}"] = f"--set {assignment}"


def _evaluate_new_task(data: dict[str, Any], places: dict[str, str], assignment: str) -> None:
    """Evaluation follows the task that is trained, unless `--set evaluation.tasks` said otherwise."""
    evaluation = data.get("evaluation") or {}
    if isinstance(evaluation, Mapping) and not places.get("evaluation.tasks", "").startswith("--set"):
        data["evaluation"] = {**evaluation, "tasks": [assignment.partition("=")[2]]}
        places["evaluation.tasks"] = f"--set {assignment}"
