"""YAML at the edge, frozen dataclasses inside.

`load_yaml` reads a file and remembers on which line each key stands; `build` turns a mapping into a dataclass and
refuses what the dataclass does not know, naming the file, the line and the nearest key.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from krpo.errors import BadInput, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Where a mapping came from: a file (or "the command line") and the line of each dotted key."""

    name: str = "the configuration"
    lines: Mapping[str, int] = field(default_factory=dict)

    def at(self, key: str) -> str:
        """`noise.yaml, line 12` for a dotted key; the nearest parent's line where the key itself has none."""
        parts = key.split(".")
        while parts:
            if (line := self.lines.get(".".join(parts))) is not None:
                return f"{self.name}, line {line}"
            parts.pop()
        return self.name


@dataclass(frozen=True)
class Named:
    """A component by name with its parameters: `krpo`, or `{name: krpo, process_variance: 1e-4}` in YAML."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """`flip(rate=0.2)`: how tables and figures call it."""
        inside = ", ".join(f"{k}={_plain(v)}" for k, v in sorted(self.params.items()))
        return f"{self.name}({inside})" if inside else self.name

    def to_plain(self) -> Any:
        return {"name": self.name, **self.params} if self.params else self.name

    def __hash__(self) -> int:
        return hash(self.label)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:  # a part of a composed estimator, with parameters of its own
        return Named(value["name"], {k: v for k, v in value.items() if k != "name"}).label
    return f"{value:g}" if isinstance(value, float) else str(value)


def load_yaml(path: str | Path) -> tuple[dict[str, Any], Source]:
    """Read a YAML file that holds a mapping. Raises `BadInput` for a missing file, broken YAML or a key given twice."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise BadInput(f"{path}: no such file" + (f"; {nearest(path.name, siblings)}" if siblings else "")) from None
    except (IsADirectoryError, UnicodeDecodeError, PermissionError) as error:
        raise BadInput(f"{path}: cannot be read as a YAML file ({error})") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[str, int] = {}
        if node is not None:
            _collect_lines(node, "", lines, str(path))
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none, as 2026-13-01, is a ValueError
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadInput(f"{path}{where}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected a mapping of keys to values, found {type(data).__name__}")
    return data, Source(str(path), lines)


def _collect_lines(node: yaml.Node, prefix: str, lines: dict[str, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
            if key in lines:
                raise BadInput(f"{name}, line {line}: key '{key}' is given twice (first on line {lines[key]})")
            lines[key] = line
            _collect_lines(value_node, f"{key}.", lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            lines[f"{prefix}{i}"] = item.start_mark.line + 1
            _collect_lines(item, f"{prefix}{i}.", lines, name)


def build(cls: type[T], data: Any, source: Source | None = None, *, prefix: str = "") -> T:
    """A frozen dataclass from a plain mapping. Raises `BadInput` on unknown or missing keys and on wrong types."""
    source = source or Source()
    if not isinstance(data, Mapping):
        raise BadInput(
            f"{source.at(prefix.rstrip('.'))}: {prefix.rstrip('.') or 'the file'} must be a mapping, found {data!r}"
        )
    hints = _hints(cast(Any, cls))
    fields = {f.name: f for f in dataclasses.fields(cast(Any, cls)) if f.init}
    for key in data:
        if key not in fields:
            raise BadInput(f"{source.at(f'{prefix}{key}')}: unknown key '{prefix}{key}'; {nearest(key, fields)}")
    values = {}
    for name, f in fields.items():
        if name in data:
            values[name] = coerce(hints[name], data[name], source, f"{prefix}{name}")
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise BadInput(f"{source.at(prefix.rstrip('.'))}: key '{prefix}{name}' is missing")
    try:
        return cls(**values)
    except BadInput as error:  # a dataclass checks its own ranges in __post_init__ and names the key
        key = str(error).split(" ", 1)[0].strip("'")
        raise BadInput(f"{source.at(prefix + key)}: {prefix}{error}") from None


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def coerce(hint: Any, value: Any, source: Source, key: str) -> Any:
    """``value`` as the type ``hint``, without surprises: 1 is a float's 1.0, but "1", True and 1.5 are no int."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        inner = [a for a in args if a is not type(None)]
        for option in inner[:-1]:
            try:
                return coerce(option, value, source, key)
            except BadInput:
                continue
        return coerce(inner[-1], value, source, key)
    if origin is typing.Literal:
        if value not in args:
            raise BadInput(f"{source.at(key)}: '{key}' is {value!r}; {nearest(value, [str(a) for a in args])}")
        return value
    if hint is Named:
        return _named(value, source, key)
    if dataclasses.is_dataclass(hint):
        return (
            value if isinstance(value, cast(type, hint)) else build(cast(type, hint), value, source, prefix=f"{key}.")
        )
    if origin in (tuple, list):
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise BadInput(f"{source.at(key)}: '{key}' must be a list, found {value!r}")
        return tuple(coerce(args[0], item, source, f"{key}.{i}") for i, item in enumerate(value))
    if (
        origin in (dict, Mapping)
        or hint in (dict, Mapping)
        or (isinstance(origin, type) and issubclass(origin, Mapping))
    ):
        if not isinstance(value, Mapping):
            raise BadInput(f"{source.at(key)}: '{key}' must be a mapping, found {value!r}")
        return dict(value)
    if hint is Any:
        return value
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 (no dot) as a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        wanted = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(
            hint, hint.__name__
        )
        raise BadInput(f"{source.at(key)}: '{key}' must be {wanted}, found {value!r}")
    return value


def _named(value: Any, source: Source, key: str) -> Named:
    if isinstance(value, Named):
        return value
    if value is None or value is False:  # `noise: none` is a text; `noise: ~` and `noise: off` mean the same
        return Named("none")
    if isinstance(value, str):
        return Named(value)
    if isinstance(value, Mapping):
        if "name" not in value and {"baseline", "scale"} & set(value):  # an advantage put together from parts
            return Named("composed", {str(k): _number(v) for k, v in value.items()})
        if not isinstance(value.get("name"), str):
            raise BadInput(f"{source.at(key)}: '{key}' needs a name, as in {{name: krpo, process_variance: 1.0e-4}}")
        params = {str(k): _number(v) for k, v in value.items() if k != "name"}
        return Named(value["name"], params)
    raise BadInput(f"{source.at(key)}: '{key}' must be a name or a mapping with a name, found {value!r}")


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and `Named` as what YAML and JSON can hold; the inverse of `build`."""
    if isinstance(value, Named):
        return value.to_plain()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def set_dotted(data: dict[str, Any], assignment: str) -> None:
    """Apply one `--set key=value` (value in YAML, key dotted for nesting) to a plain mapping, in place."""
    key, eq, text = assignment.partition("=")
    if not eq or not key:
        raise BadInput(f"--set {assignment}: expected key=value, as in --set steps=200")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise BadInput(f"--set {assignment}: '{text}' is not valid YAML") from None
    *parents, last = key.split(".")
    for part in parents:
        below = data.get(part)
        if isinstance(below, str):  # --set estimator.process_variance=1e-4 where the file says `estimator: krpo`
            below = {"name": below}
        data[part] = below = dict(below) if isinstance(below, Mapping) else {}
        data = below
    data[last] = value


def add_options(parser: argparse._ArgumentGroup, defaults: Any, leave_out: Sequence[str] = ()) -> None:
    """An option `--name VALUE` for each field of a specification, stored as `spec_name`; its text is the help."""
    for f in dataclasses.fields(defaults):
        if f.name not in leave_out:
            text = f"{f.metadata['help']} (default: {_shown(getattr(defaults, f.name))})".replace("%", "%%")
            parser.add_argument(f"--{f.name.replace('_', '-')}", dest=f"spec_{f.name}", metavar="VALUE", help=text)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(_shown(item) for item in value)
    return str(getattr(value, "label", value))
