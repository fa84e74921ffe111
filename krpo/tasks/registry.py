"""Tasks by name: `sums`, `{name: sums, levels: [hard]}`, or a user's own `package.module:object`."""

from __future__ import annotations

from typing import Any

from krpo.config import Named
from krpo.registry import Registry
from krpo.tasks.base import Task

_tasks: Registry[Task] = Registry("task", Task)  # type: ignore[type-abstract]

register_task = _tasks.register


def make_task(named: str | Named, **params: Any) -> Task:
    """The task of that name. Raises `BadInput` for an unknown name or parameter, naming the nearest known ones."""
    return _tasks.make(named, **params)


def available_tasks() -> list[str]:
    return _tasks.names()
