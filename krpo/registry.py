"""A registry of named, parametrised components: advantage estimators, their parts, and reward noise.

A component is registered under a name with the function or class that makes it; the keyword parameters of that
function are what YAML and the command line may set, checked and converted by their type hints. A user's own
component is named `package.module:object`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from krpo.config import Named, Source, coerce
from krpo.errors import BadInput, nearest

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry:
    """What is registered under a name: the factory, and facts about it (its formula, its source, its
    properties).
    """

    factory: Callable[..., Any]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Registry(Generic[T]):
    """Names of one kind of component, all of which are instances of one base class."""

    def __init__(self, kind: str, base: type[T]) -> None:
        self.kind = kind
        self.base = base
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, **facts: Any) -> Callable[[F], F]:
        """A decorator that registers a factory. Raises `BadInput` where the name is taken or could not be
        written.
        """
        if not name or ":" in name or name != name.strip():
            raise BadInput(f"{self.kind} {name!r}: a name has no colon and no surrounding blanks")
        if name in self._entries:
            taken = self._entries[name].factory
            raise BadInput(f"{self.kind} '{name}' is already registered, by {taken.__module__}.{taken.__qualname__}")

        def add(factory: F) -> F:
            self._entries[name] = Entry(factory, facts)
            return factory

        return add

    def names(self) -> list[str]:
        return sorted(self._entries)

    def entry(self, name: str) -> Entry:
        """The entry of a registered name or of `package.module:object`. Raises `BadInput` for an unknown
        name.
        """
        if ":" in name:
            return Entry(self._import(name))
        if name not in self._entries:
            raise BadInput(f"unknown {self.kind} '{name}'; {nearest(name, self._entries)}")
        return self._entries[name]

    def make(self, named: str | Named, /, **params: Any) -> T:
        """The component of that name with these parameters (they win over those inside a `Named`).

        Raises `BadInput` for an unknown name or parameter, naming the nearest known ones, and for a wrong
        type.
        """
        if not isinstance(named, (str, Named)):
            raise BadInput(f"{self.kind}: expected a name, found {named!r}")
        name = named if isinstance(named, str) else named.name
        if isinstance(named, Named):
            params = {**named.params, **params}
        factory = self.entry(name).factory
        label = f"{self.kind} '{name}'"
        checked = _checked(factory, params, label)
        try:
            made = factory(**checked)
        except BadInput as error:  # a component checks its own ranges
            raise BadInput(f"{label}: {error}") from None
        if not isinstance(made, self.base):
            raise BadInput(f"{label} made a {type(made).__name__}; it must make a {self.base.__name__}")
        return made

    def _import(self, path: str) -> Callable[..., Any]:
        module_name, _, attribute = path.partition(":")
        if os.getcwd() not in sys.path:  # an installed command does not look into the folder it is called from
            sys.path.append(os.getcwd())
        try:
            module = importlib.import_module(module_name)
        except (ImportError, ValueError) as error:
            raise BadInput(f"{self.kind} '{path}': cannot import '{module_name}' ({error})") from None
        found = getattr(module, attribute, None)
        if not callable(found):
            public = [n for n in vars(module) if not n.startswith("_")]
            raise BadInput(f"{self.kind} '{path}': '{module_name}' has no '{attribute}'; {nearest(attribute, public)}")
        return typing.cast(Callable[..., Any], found)


def _checked(factory: Callable[..., Any], params: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The parameters converted by the factory's type hints. Raises `BadInput` for unknown, missing or wrong
    ones.
    """
    signature = inspect.signature(factory).parameters
    hints = typing.get_type_hints(factory)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.values())
    for key in params:
        if key not in signature and not open_ended:
            known = nearest(key, signature) if signature else "it has none"
            raise BadInput(f"{label}: unknown parameter '{key}'; {known}")
    for key, p in signature.items():
        if key not in params and p.default is p.empty and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD):
            raise BadInput(f"{label}: parameter '{key}' is missing")
    return {k: coerce(hints[k], v, Source(label), k) if k in hints else v for k, v in params.items()}
