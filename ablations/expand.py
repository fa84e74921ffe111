"""The runs of a grid: axes (product), zip, include, exclude, and seeds.

```yaml
axes: {estimator: [grpo, krpo], noise: [none, {name: flip, rate: 0.2}]}   # every combination
zip:
  - {kl_weight: [0.01, 0.1], max_grad_norm: [1.0, 0.1]}                   # the first with the first, and so on
include:
  - {estimator: rloo, noise: [none, {name: flip, rate: 0.2}]}   # more runs; a list stands for each of its values
exclude:
  - {estimator: grpo, kl_weight: 0.1}                                     # what matches all of it is left out
```

An included run has the base's value of every setting that it does not name. Every run is done with every seed.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from krpo.config import Source, coerce
from krpo.errors import BadInput, nearest
from krpo.spec import RunSpec, field_names

_HINTS = typing.get_type_hints(RunSpec)


@dataclass(frozen=True)
class _Value:
    """A value of one setting, and the dotted key under which it stands in the grid file."""

    value: Any
    key: str


Choice = dict[str, _Value]


def expand(
    base: Mapping[str, Any],
    axes: Mapping[str, Any],
    zips: Sequence[Mapping[str, Any]],
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    source: Source,
) -> tuple[RunSpec, ...]:
    """The specifications in the order in which they are run.

    Seeds are the outermost axis, so that runs that are compared with one another are near each other in time and a
    stopped grid is balanced. Raises `BadInput` with file, line and key.
    """
    _check_keys(base, "base", source)
    fixed: Choice = {
        key: _Value(_coerce(key, value, source, f"base.{key}"), f"base.{key}") for key, value in base.items()
    }
    settings: dict[RunSpec, Choice] = {}
    lists = _axes(axes, zips, base, source)
    if lists or not include:
        for choice in _product(lists):
            _add(settings, fixed, choice, source)
    included: dict[RunSpec, str] = {}
    for number, entry in enumerate(include):
        for choice in _product(_lists(entry, f"include.{number}", source)):
            included[_add(settings, fixed, choice, source)] = f"include.{number}"
    for number, entry in enumerate(exclude):
        _take_out(settings, included, entry, f"exclude.{number}", source)
    if not settings:
        raise BadInput(f"{source.at('exclude')}: 'exclude' leaves no run")
    return tuple(replace(spec, seed=seed) for seed in _seeds(seeds, source) for spec in settings)


def _axes(
    axes: Mapping[str, Any], zips: Sequence[Mapping[str, Any]], base: Mapping[str, Any], source: Source
) -> list[list[Choice]]:
    """For each axis the choices that it offers; a zip is one axis whose choices set several settings."""
    _check_keys(axes, "axes", source)
    groups = [("axes", {key: values}) for key, values in axes.items()]
    groups += [(f"zip.{number}", dict(group)) for number, group in enumerate(zips)]
    seen: dict[str, str] = {f: f"base.{f}" for f in base}
    lists = []
    for prefix, group in groups:
        _check_keys(group, prefix, source)
        columns = {key: _column(key, values, f"{prefix}.{key}", source) for key, values in group.items()}
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} {n}" for key, n in lengths.items())
            raise BadInput(f"{source.at(prefix)}: the lists of a zip must be equally long; found {counts}")
        for key in group:
            if key in seen:
                raise BadInput(
                    f"{source.at(f'{prefix}.{key}')}: '{key}' is set twice, in {seen[key]} and in {prefix}.{key}"
                )
            seen[key] = f"{prefix}.{key}"
        if columns:
            lists.append([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    return lists


def _lists(entry: Mapping[str, Any], prefix: str, source: Source) -> list[list[Choice]]:
    """An entry of `include` or `exclude`: each setting with its value, or with several in a list."""
    _check_keys(entry, prefix, source)
    if not entry:
        raise BadInput(f"{source.at(prefix)}: '{prefix}' is empty; name the settings that it is about")
    return [
        [{key: value} for value in _column(key, v if isinstance(v, list) else [v], f"{prefix}.{key}", source)]
        for key, v in entry.items()
    ]


def _column(key: str, values: Any, dotted: str, source: Source) -> list[_Value]:
    if not isinstance(values, list) or not values:
        raise BadInput(f"{source.at(dotted)}: '{dotted}' must be a list of at least one value")
    return [_Value(_coerce(key, value, source, f"{dotted}.{i}"), f"{dotted}.{i}") for i, value in enumerate(values)]


def _product(lists: list[list[Choice]]) -> Iterator[Choice]:
    for row in itertools.product(*lists):
        yield {key: value for choice in row for key, value in choice.items()}


def _coerce(key: str, value: Any, source: Source, dotted: str) -> Any:
    return coerce(_HINTS[key], value, source, dotted)


def _add(settings: dict[RunSpec, Choice], fixed: Choice, choice: Choice, source: Source) -> RunSpec:
    values = fixed | choice
    try:
        spec = RunSpec(**{key: v.value for key, v in values.items()})
    except BadInput as error:  # a range; the message opens with the key
        key = str(error).split(" ", 1)[0]
        place = values[key].key if key in values else "base"
        raise BadInput(f"{source.at(place)}: {error}") from None
    if spec in settings:
        first, second = _told(settings[spec]), _told(choice)
        last = next((v.key for key, v in choice.items() if settings[spec].get(key) != v), "axes")
        raise BadInput(f"{source.at(last)}: a run stands twice in this grid ({_name(spec)}): {first} and {second}")
    settings[spec] = choice
    return spec


def _take_out(
    settings: dict[RunSpec, Choice], included: Mapping[RunSpec, str], entry: Mapping[str, Any], key: str, source: Source
) -> None:
    lists = _lists(entry, key, source)

    def matches(spec: RunSpec) -> bool:
        return all(
            any(getattr(spec, k) == v.value for choice in choices for k, v in choice.items()) for choices in lists
        )

    found = [spec for spec in settings if matches(spec)]
    if not found:
        raise BadInput(f"{source.at(key)}: '{key}' matches no run of this grid")
    for spec in found:
        if spec in included:
            raise BadInput(
                f"{source.at(key)}: '{key}' leaves out what '{included[spec]}' adds ({_name(spec)}); keep one"
            )
        del settings[spec]


def _seeds(seeds: Sequence[int], source: Source) -> Sequence[int]:
    if not seeds:
        raise BadInput(f"{source.at('seeds')}: 'seeds' is empty; a grid needs at least one seed")
    for position, seed in enumerate(seeds):
        if seed in seeds[:position]:
            raise BadInput(
                f"{source.at(f'seeds.{position}')}: seed {seed} is given twice, so each of its runs stands twice: "
                f"seeds[{seeds.index(seed)}] and seeds[{position}]"
            )
        if seed < 0:
            raise BadInput(f"{source.at(f'seeds.{position}')}: seeds[{position}] is {seed}; it must not be negative")
    return seeds


def _check_keys(section: Mapping[str, Any], prefix: str, source: Source) -> None:
    for key in section:
        where = source.at(f"{prefix}.{key}")
        if key == "seed":
            raise BadInput(f"{where}: '{prefix}.seed' has no place here; list the seeds under 'seeds'")
        if key not in field_names():
            raise BadInput(f"{where}: unknown key '{prefix}.{key}'; {nearest(key, field_names())}")


def _told(choice: Choice) -> str:
    return ", ".join(_brackets(v.key) for v in choice.values()) or "base"


def _brackets(key: str) -> str:
    """`axes.noise.1` as `axes.noise[1]`."""
    return "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in key.split(".")).removeprefix(".")


def _name(spec: RunSpec) -> str:
    return f"{spec.estimator.label}, {spec.noise.label}"
