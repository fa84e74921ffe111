"""A stored specification -> the settings that a report tells apart, whichever version of krpo wrote it."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping
from typing import Any

from krpo.config import Source, coerce, to_plain
from krpo.errors import BadInput
from krpo.spec import RunSpec, canonical, field_names

LEAST = {"seed": 0, "steps": 1, "prompts_per_step": 1, "group_size": 1}
LARGEST = 2**53
"""Whole numbers from here on are no longer exact in a table."""


def settled(stored: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """All settings of `RunSpec`, then what only another version knows, each as JSON can hold it; and the names of those
    that could not be read, which are kept as text.

    What the specification does not say has its default, as in `krpo.spec.run_key`. Raises `BadInput` for a number that
    cannot be read.
    """
    settings, unread = dict(_defaults()), []
    for key, value in stored.items():
        if key not in settings:
            settings[str(key)] = plain(value)
            continue
        hint = _hints()[key]
        try:
            settings[key] = plain(to_plain(coerce(hint, value, Source("spec.yaml"), key)))
        except BadInput:
            settings[key] = str(plain(value))
            unread.append(key)
        if hint in (int, float) and not _usable(settings[key], LEAST.get(key, 0)):
            raise BadInput(f"{key} is {str(value)[:40]}")
    return settings, unread


def _usable(number: Any, least: float) -> bool:
    return isinstance(number, (int, float)) and least <= number < LARGEST


def same(spec: Mapping[str, Any]) -> str:
    """Equal for specifications that ask for the same run: 1 and 1.0, `krpo` and `{name: krpo}`."""
    return repr(sorted(canonical(dict(spec)).items()))


def value_of(key: str, value: Any) -> Any:
    """One setting of a grid file as `settled` has it, numbers alike."""
    try:
        return canonical(plain(to_plain(coerce(_hints()[key], value, Source("grid.yaml"), key))))
    except BadInput:
        return str(plain(value))


def plain(value: Any) -> Any:
    """What JSON can hold, so that an exported study says what its runs say: no date, no number that is none."""
    if isinstance(value, Mapping):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(below) for below in value]
    if isinstance(value, int) and abs(value) > 2**1000:
        return f"{str(value)[:20]}..."
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


@functools.cache
def _hints() -> dict[str, Any]:
    return {name: hint for name, hint in typing.get_type_hints(RunSpec).items() if name in field_names()}


@functools.cache
def _defaults() -> dict[str, Any]:
    return {f.name: to_plain(f.default) for f in dataclasses.fields(RunSpec)}
